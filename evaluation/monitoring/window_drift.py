"""A data window against the frozen reference and against the window before it.

Every comparison of a window, whatever it is of and whichever of the two it is with, is one of a
family whose chance of any false alarm is the contract's.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from evaluation.group_metrics import FN, FP, TP
from evaluation.monitoring.comparison import Comparison, judged, worst
from evaluation.monitoring.fairness_drift import fairness_drift
from evaluation.monitoring.feature_grid import FeatureGrid
from evaluation.monitoring.histogram_drift import Pair, covariate_drift, score_drift
from evaluation.monitoring.rate_drift import RatePair, calibration_drift, rate_drift
from evaluation.monitoring.window_counts import (
    DriftRules,
    Marks,
    WindowCounts,
    require_window,
)
from evaluation.tally_spec import OVERALL
from federation.drift_summary import Baseline, Kind, WindowDrift
from federation.errors import DataError
from federation.schema import Categorical


def drift_findings(
    grids: Sequence[FeatureGrid],
    reference: WindowCounts,
    current: WindowCounts,
    previous: WindowCounts | None,
    rules: DriftRules,
    scope: str,
) -> WindowDrift:
    """All findings on one window of one scope.

    Args:
        grids: frozen with the reference; all windows were counted in them.
        reference: the frozen one.
        current: the window that is judged.
        previous: the one before it; None if there is none yet.
        rules: agreed on before.
        scope: `overall`, a cohort's name, or a site's in its own report.

    Raises:
        DataError: a window is not counted in these grids, or its counts disagree.
    """
    against: list[tuple[Baseline, WindowCounts]] = [("reference", reference)]
    if previous is not None:
        against.append(("previous window", previous))
    for window in (current, *(each for _, each in against)):
        require_window(grids, window)
        if window.scores is not None and current.scores is not None:
            _require_same_bins(window.scores.shape[1], current.scores.shape[1], window.name)
    level = rules.false_alarms / max(1, len(against) * _planned(grids, current, rules))
    comparisons = [
        comparison
        for baseline, before in against
        for comparison in compared(grids, before, current, rules, baseline, level)
    ]
    findings = judged(comparisons, rules)
    return WindowDrift(
        scope=scope,
        window=current.name,
        reference=reference.name,
        previous=previous.name if previous is not None else None,
        rows=current.rows,
        sites=current.sites,
        noise_variance=current.noise_variance,
        comparisons=sum(one.test is not None for one in comparisons),
        false_alarms=rules.false_alarms,
        verdict=worst([finding.verdict for finding in findings]),
        findings=findings,
    )


def compared(
    grids: Sequence[FeatureGrid],
    before: WindowCounts,
    now: WindowCounts,
    rules: DriftRules,
    against: Baseline,
    level: float,
) -> Iterator[Comparison]:
    """Every comparison of two windows, before any is judged; arguments as in `drift_findings`.

    `level` is about the chance that one comparison may be wrong with.
    """
    noise = (before.noise_variance, now.noise_variance)
    for grid in grids:
        pair = Pair(before.features[grid.feature.name], now.features[grid.feature.name], noise)
        yield covariate_drift(grid, pair, against, rules, level)
    scores = None if before.scores is None or now.scores is None else (before.scores, now.scores)
    if scores is not None:
        # Both labels of a score are counted apart, each with noise of its own.
        double = (2 * noise[0], 2 * noise[1])
        pooled = Pair(scores[0].sum(axis=0), scores[1].sum(axis=0), double)
        yield score_drift(pooled, against, rules, level)
    pairs = [*_outcome_rates(before, now, rules), *_quality(grids, before, now, rules)]
    yield from rate_drift(pairs, against, rules, noise)
    if scores is not None:
        sums = (before.score_sums, now.score_sums)
        yield calibration_drift(scores, sums, against, rules, noise)
    yield from fairness_drift(before, now, against, rules)


def _require_same_bins(before: int, now: int, name: str) -> None:
    if before != now:
        raise DataError(f"window {name}: {before} score bins, expected {now} as in this window")


def _outcome_rates(
    before: WindowCounts, now: WindowCounts, rules: DriftRules
) -> Iterator[RatePair]:
    if OVERALL not in before.confusions or OVERALL not in now.confusions:
        return
    tables = np.stack([before.confusions[OVERALL], now.confusions[OVERALL]])
    rows = int(tables[0].sum()), int(tables[1].sum())
    of: tuple[tuple[Kind, str, tuple[int, int], Marks], ...] = (
        ("prediction", "change in positive rate", (FP, TP), rules.rate),
        ("label", "change in base rate", (FN, TP), rules.rate),
        ("concept", "change in error rate", (FP, FN), rules.error),
    )
    for kind, name, places, marks in of:
        part = tables[:, places].sum(axis=1)
        yield RatePair(kind, OVERALL, name, marks, (int(part[0]), int(part[1])), rows, 2)


def _quality(
    grids: Sequence[FeatureGrid], before: WindowCounts, now: WindowCounts, rules: DriftRules
) -> Iterator[RatePair]:
    """Shares of rows that are in none of a feature's proper bins; those that never occur aside."""
    for grid in grids:
        name = grid.feature.name
        counts = np.stack([before.features[name], now.features[name]])
        rows = int(counts[0].sum()), int(counts[1].sum())
        if isinstance(grid.feature, Categorical):
            places = {"other": grid.bins - 2, "missing": grid.bins - 1}
        else:
            places = {"below range": 0, "above range": grid.bins - 2, "missing": grid.bins - 1}
        for what, place in places.items():
            part = int(counts[0, place]), int(counts[1, place])
            if any(part):
                yield RatePair(
                    "data quality", name, f"change in {what} share", rules.quality, part, rows
                )


def _planned(grids: Sequence[FeatureGrid], current: WindowCounts, rules: DriftRules) -> int:
    return 2 * len(grids) + 5 + 3 * (len(current.confusions) + len(rules.families))
