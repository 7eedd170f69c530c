"""The sums of one window and one scope, and the rules that they are judged by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from evaluation.group_metrics import Counts, Floats
from evaluation.monitoring.feature_grid import FeatureGrid, require_counts
from evaluation.tally_spec import OVERALL, Family
from federation.errors import ConfigError, DataError


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """What is known of a window: sums over the sites of a scope, or one site's own counts.

    Attributes:
        name: of the window.
        rows: in it.
        features: per feature, rows per bin of its grid, shape (bins,).
        scores: rows per label and score bin, shape (2, bins); None without predictions.
        confusions: per group label, TN, FP, FN, TP, shape (4,); `overall` is all rows.
        score_sums: sum of the scores, shape (any,), in which only the total counts; None if it was
            not counted, and bins' middles stand for their scores.
        noise_variance: of the noise in every count; 0 for exact sums.
        sites: that contributed.
        hidden: labels of groups that must not be shown, as `suppression.hidden` finds them over all
            scopes. Groups with few rows, and one that would follow from the rest, are hidden
            besides.
    """

    name: str
    rows: int
    features: Mapping[str, Counts]
    scores: Counts | None = None
    confusions: Mapping[str, Counts] = field(default_factory=dict)
    score_sums: Floats | None = None
    noise_variance: float = 0.0
    sites: int = 1
    hidden: frozenset[str] = frozenset()


class Marks(NamedTuple):
    """How large a change must be to be watched, and to be acted on."""

    watch: float
    act: float


PSI_MARKS = Marks(0.1, 0.25)
LARGE_MARKS, SMALL_MARKS = Marks(0.05, 0.1), Marks(0.02, 0.05)
QUALITY_MARKS = Marks(0.02, 0.1)


@dataclass(frozen=True, slots=True)
class DriftRules:
    """How windows are judged; agreed on before any is seen.

    Attributes:
        false_alarms: chance that a window without any change has a significant finding, all its
            comparisons together. 1 / N allows one such window in N on average.
        minimum_cell: no count from 1 to one below it is shown.
        psi: marks of features' and scores' population stability index (Siddiqi 2006).
        rate: of the positive rate and the base rate, in share of rows.
        error: of the error rate.
        calibration: of the mean of score minus outcome.
        quality: of the shares missing, undeclared, below and above the range.
        fairness: of a group's rates and of gaps between groups.
        families: groups whose gaps are followed, `TallySpec.families`.
        detailed: whether findings have charts and distances, which no verdict rests on.

    Raises:
        ConfigError: a chance outside (0, 1), a cell below 1, or marks that do not rise from 0.
    """

    false_alarms: float = 0.05
    minimum_cell: int = 10
    psi: Marks = PSI_MARKS
    rate: Marks = LARGE_MARKS
    error: Marks = SMALL_MARKS
    calibration: Marks = SMALL_MARKS
    quality: Marks = QUALITY_MARKS
    fairness: Marks = LARGE_MARKS
    families: tuple[Family, ...] = ()
    detailed: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms < 1:
            raise ConfigError("drift.false_alarms", self.false_alarms, "a chance in (0, 1)")
        if self.minimum_cell < 1:
            raise ConfigError("drift.minimum_cell", self.minimum_cell, "a whole number > 0")
        for name in ("psi", "rate", "error", "calibration", "quality", "fairness"):
            marks: Marks = getattr(self, name)
            if not 0 < marks.watch < marks.act:
                raise ConfigError(f"drift.{name}", tuple(marks), "0 < watch < act")


def require_window(grids: Sequence[FeatureGrid], window: WindowCounts) -> None:
    """Return if the counts are of these grids and agree on the number of rows.

    Raises:
        DataError: they do not; names which.
    """
    expected = {grid.feature.name for grid in grids}
    if set(window.features) != expected:
        odd = sorted(expected ^ set(window.features))
        raise DataError(f"window {window.name}: features {odd} are missing or unknown")
    for grid in grids:
        require_counts(grid, window.features[grid.feature.name])
    if window.scores is not None and (window.scores.ndim != 2 or len(window.scores) != 2):
        raise DataError(f"window {window.name}: scores of shape {window.scores.shape}")
    if any(confusion.shape != (4,) for confusion in window.confusions.values()):
        raise DataError(f"window {window.name}: a confusion that is not TN, FP, FN, TP")
    if window.confusions and OVERALL not in window.confusions:
        raise DataError(f"window {window.name}: no confusion of {OVERALL}")
    if not window.noise_variance:
        _require_totals(window)


def _require_totals(window: WindowCounts) -> None:
    totals = dict(window.features)
    if window.scores is not None:
        totals["scores"] = window.scores
    if window.confusions:
        totals[OVERALL] = window.confusions[OVERALL]
    for name, counts in totals.items():
        if int(counts.sum()) != window.rows or np.any(counts < 0):
            raise DataError(
                f"window {window.name}: {name}: expected counts >= 0 of {window.rows} rows in "
                f"all, got {int(counts.sum())}; a site sent no counts"
            )
    if any(np.any(confusion < 0) for confusion in window.confusions.values()):
        raise DataError(f"window {window.name}: a confusion below 0; a site sent no counts")
