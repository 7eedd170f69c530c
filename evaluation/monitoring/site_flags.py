"""Drift at one site, which cohort sums hide: tested at the site, told as a sum of flags.

The frozen grids and reference counts are broadcast; each site compares its own window with them and
contributes one of five levels per subject, one-hot. The sum says "3 of 10 sites act on age", and
never which. A site whose rows always differed from the others' says so, too; given its own
reference window instead, it says what has changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel, ConfigDict

from evaluation.group_metrics import Floats
from evaluation.monitoring.change_detection import (
    Direction,
    ErrorReference,
    FalseAlarmContract,
    Reading,
    replay,
    step,
)
from evaluation.monitoring.feature_grid import FeatureGrid
from evaluation.monitoring.window_counts import DriftRules, WindowCounts
from evaluation.monitoring.window_drift import drift_findings
from federation import canonical
from federation.drift_summary import DriftFinding, SiteFlags
from federation.errors import ConfigError, DataError
from federation.layout import Segment, count_segment

LEVELS = ("ok", "slight", "watch", "act", "window too small")
"""`slight`: beyond chance, but too small to matter."""

OK, SLIGHT, WATCH, ACT, TOO_SMALL = range(len(LEVELS))
OUTCOMES = {"scores": "psi", "labels": "change in base rate", "errors": "change in error rate"}
ERRORS_CUSUM = "errors_cusum"


def flag_names(grids: Sequence[FeatureGrid], *, cusum: bool = True) -> tuple[str, ...]:
    """What a site has a flag for: each feature, scores, labels, errors, and errors over time.

    Raises:
        ConfigError: a feature has the name of one of the others.
    """
    features = tuple(grid.feature.name for grid in grids)
    others = (*OUTCOMES, *((ERRORS_CUSUM,) if cusum else ()))
    both = sorted(set(features) & {*OUTCOMES, ERRORS_CUSUM})
    if both:
        raise ConfigError("schema.features", both, "no feature of this name", "rename the column")
    return (*features, *others)


def site_flags(
    grids: Sequence[FeatureGrid],
    reference: WindowCounts,
    own: WindowCounts,
    rules: DriftRules,
    sites: int = 1,
) -> dict[str, int]:
    """The level of each feature and of `scores`, `labels` and `errors` at one site.

    Args:
        grids: frozen with the reference.
        reference: broadcast, or the site's own earlier window.
        own: the site's own window.
        rules: of the drift; its chance of a false alarm holds for all flags of all sites together.
        sites: that flag at a time.

    Raises:
        DataError: a window is not counted in these grids.
        ConfigError: `sites` below 1.
    """
    if sites < 1:
        raise ConfigError("sites", sites, "a whole number > 0")
    each = replace(rules, false_alarms=rules.false_alarms / sites)
    found = drift_findings(grids, reference, own, None, each, "this site").findings
    levels = dict.fromkeys(flag_names(grids, cusum=False), TOO_SMALL)
    names = {statistic: name for name, statistic in OUTCOMES.items()}
    for finding in found:
        name = finding.subject if finding.kind == "covariate" else names.get(finding.statistic)
        if name is not None:
            levels[name] = _level(finding)
    return levels


class _StoredHistory(BaseModel):
    """As `SiteHistory.to_json` writes it."""

    model_config = ConfigDict(extra="forbid")
    reference: tuple[int, int]
    contract: tuple[float, int, Direction]
    windows: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class SiteHistory:
    """What a site keeps of its error counts from window to window; never leaves it.

    Attributes:
        reference: errors among its own reference rows.
        contract: for all sites together; its `detectors` is their number.
        windows: rows and errors of each window, in order.
    """

    reference: ErrorReference
    contract: FalseAlarmContract
    windows: tuple[tuple[int, int], ...] = ()

    def to_json(self) -> dict[str, object]:
        """A plain value."""
        return {
            "reference": [self.reference.rows, self.reference.errors],
            "contract": [self.contract.windows, self.contract.detectors, self.contract.direction],
            "windows": [list(window) for window in self.windows],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> "SiteHistory":
        """The inverse of `to_json`.

        Raises:
            DataError: it is not what `to_json` writes.
        """
        try:
            stored = _StoredHistory.model_validate_json(canonical.encode(dict(value)), strict=True)
            history = cls(
                ErrorReference(*stored.reference),
                FalseAlarmContract(*stored.contract),
                stored.windows,
            )
        except (TypeError, ValueError) as error:
            raise DataError(f"not a site's history of errors: {error}") from error
        if history.to_json() != dict(value):
            raise DataError("not a site's history of errors: written in another way")
        return history


def cusum_flag(history: SiteHistory, rows: int, errors: int) -> tuple[SiteHistory, int, Reading]:
    """The history with one more window, the level of `errors_cusum`, and what the detector said."""
    detector, _ = replay(history.reference, history.contract, history.windows)
    _, reading = step(detector, rows, errors)
    level = TOO_SMALL if rows == 0 else ACT if reading.alarm else OK
    windows = (*history.windows, (rows, errors))
    return SiteHistory(history.reference, history.contract, windows), level, reading


def flag_segments(names: Sequence[str], summands: int) -> tuple[Segment, ...]:
    """One segment per subject, `flags/SUBJECT`: a one-hot level."""
    return tuple(count_segment(f"flags/{name}", len(LEVELS), 1, summands) for name in names)


def flag_values(flags: Mapping[str, int]) -> dict[str, Floats]:
    """What a site puts into the segments.

    Raises:
        DataError: a level that is none.
    """
    for name, level in flags.items():
        if level not in range(len(LEVELS)):
            raise DataError(f"flag of {name}: level {level}, expected 0 to {len(LEVELS) - 1}")
    return {f"flags/{name}": np.eye(len(LEVELS))[level] for name, level in flags.items()}


def flag_findings(sums: Mapping[str, Floats], minimum_contributors: int) -> tuple[SiteFlags, ...]:
    """How many sites are at each level, per subject, in the order of `sums`.

    Args:
        sums: per name of `flag_segments`, shape (5,); others are passed over.
        minimum_contributors: with fewer sites nothing is told.

    Raises:
        DataError: not whole numbers >= 0, or not of as many sites in each subject.
    """
    flags = {name: counts for name, counts in sums.items() if name.startswith("flags/")}
    sites = {name: float(np.sum(counts)) for name, counts in flags.items()}
    for name, counts in flags.items():
        whole = np.all((counts >= 0) & (counts == np.rint(counts)))
        if counts.shape != (len(LEVELS),) or not whole or sites[name] != max(sites.values()):
            raise DataError(f"sum of {name}: expected one level from each site; a site sent others")
    return tuple(
        _told(name.removeprefix("flags/"), counts, int(sites[name]), minimum_contributors)
        for name, counts in flags.items()
    )


def _told(name: str, counts: Floats, sites: int, minimum: int) -> SiteFlags:
    if sites < minimum:
        text = f"{name}: fewer than {minimum} sites"
        return SiteFlags(subject=name, sites=sites, by_level=None, text=text)
    by_level = {level: int(count) for level, count in zip(LEVELS, counts.tolist(), strict=True)}
    told = [
        f"{by_level[level]} of {sites} sites: {level}"
        for level in ("act", "watch", "slight", "window too small")
        if by_level[level]
    ]
    text = f"{name}: {'; '.join(told) or f'{sites} of {sites} sites: ok'}"
    return SiteFlags(subject=name, sites=sites, by_level=by_level, text=text)


def _level(finding: DriftFinding) -> int:
    if finding.verdict == "window too small":
        return TOO_SMALL
    if finding.verdict == "ok":
        return SLIGHT if finding.significant else OK
    return ACT if finding.verdict == "act" else WATCH
