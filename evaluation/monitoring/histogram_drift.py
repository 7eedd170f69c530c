"""Covariate and prediction drift: a feature's or the scores' histogram against an earlier one."""

import math
from typing import NamedTuple

import numpy as np

from evaluation.chance_law import TOO_NOISY, Windows, pooled_windows, psi_law, weighted_law
from evaluation.drift import jensen_shannon_distance, population_stability_index
from evaluation.drift_bins import LEAST_EXPECTED, Bins, counts_in, join_rare, reference_quantiles
from evaluation.group_metrics import Counts, Floats
from evaluation.histogram_distance import (
    kolmogorov_smirnov_interval,
    two_sample_chi_square,
    wasserstein_distance,
)
from evaluation.monitoring.bin_texts import bin_texts
from evaluation.monitoring.comparison import Comparison, Test
from evaluation.monitoring.feature_grid import FeatureGrid
from evaluation.monitoring.window_counts import DriftRules
from federation.drift_summary import Baseline, Distances, ShareChart
from federation.schema import Numeric

QUANTILES, FEWEST_BINS, MOST_CHARTED = 10, 4, 12


class Pair(NamedTuple):
    """Rows per bin of two windows, shape (bins,) each, and the variance of noise in each count."""

    before: Counts
    now: Counts
    noise: tuple[float, float] = (0.0, 0.0)

    @property
    def rows(self) -> tuple[int, int]:
        """Of both windows."""
        return int(self.before.sum()), int(self.now.sum())


def covariate_drift(
    grid: FeatureGrid, pair: Pair, against: Baseline, rules: DriftRules, level: float
) -> Comparison:
    """How far a feature's histogram has moved.

    Args:
        grid: with `quantile_bins`.
        pair: counted in it.
        against: what `before` is.
        rules: of the drift.
        level: about the chance that this comparison may be wrong with; decides how many bins a
            window can be judged on, and nothing else.
    """
    both = np.maximum(pair.before, 0) + np.maximum(pair.now, 0)
    if isinstance(grid.feature, Numeric):
        ends = {0, grid.bins - 2, grid.bins - 1}
        ordered: Bins = tuple(
            run for run in grid.quantile_bins if not ends.intersection(run) or both[list(run)].any()
        )
    else:
        # Levels have no order; by frequency, a rare one's neighbour is rare too.
        by_frequency = np.argsort(-both, kind="stable").tolist()
        ordered = tuple((place,) for place in by_frequency if both[place])
    made = _psi(pair, ordered, rules, level)
    name = grid.feature.name
    if isinstance(made, str):
        return Comparison("covariate", name, "psi", against, pair.rows, rules.psi, reason=made)
    chart = distances = None
    if rules.detailed:
        charted = charted_bins(made.bins, pair)
        chart = _chart(bin_texts(grid, charted), charted, pair)
        distances = _distances(grid, pair, made.bins)
    return Comparison(
        "covariate", name, "psi", against, pair.rows, rules.psi, made.value, made.test,
        chart=chart, distances=distances, reason=made.reason,
    )  # fmt: skip


def score_drift(pair: Pair, against: Baseline, rules: DriftRules, level: float) -> Comparison:
    """How far the histogram of scores has moved; bins are of equal width on [0, 1]."""
    if pair.before.sum() <= 0:
        runs: Bins = ()
    else:
        runs = reference_quantiles(np.maximum(pair.before, 0), QUANTILES)
    made = _psi(pair, runs, rules, level)
    if isinstance(made, str):
        return Comparison("prediction", "scores", "psi", against, pair.rows, rules.psi, reason=made)
    if not rules.detailed:
        return Comparison(
            "prediction", "scores", "psi", against, pair.rows, rules.psi, made.value, made.test,
            reason=made.reason,
        )  # fmt: skip
    charted = charted_bins(made.bins, pair)
    bins = len(pair.before)
    texts = tuple(f"{run[0] / bins:.3g} to {(run[-1] + 1) / bins:.3g}" for run in charted)
    edges = np.linspace(0.0, 1.0, bins + 1)
    return Comparison(
        "prediction", "scores", "psi", against, pair.rows, rules.psi, made.value, made.test,
        chart=_chart(texts, charted, pair),
        distances=_ordered_distances(edges, _padded(pair), pair, made.bins),
        reason=made.reason,
    )  # fmt: skip


class TestedPsi(NamedTuple):
    """A PSI on bins none of which is too small to show."""

    bins: Bins
    value: float
    test: Test | None
    reason: str


def charted_bins(bins: Bins, pair: Pair) -> Bins:
    """At most 12 of them, the rarest joined to their rarer neighbour; in order of their places."""
    both = pair.before + pair.now
    joined = list(bins)
    while len(joined) > MOST_CHARTED:
        joined = _join_at(joined, int(np.argmin(counts_in(tuple(joined), both))), both)
    return tuple(sorted(joined))


def _psi(pair: Pair, ordered: Bins, rules: DriftRules, level: float) -> TestedPsi | str:
    """The PSI on as many bins as the windows can be judged on; a text says why there is none."""
    if min(pair.rows) <= 0:
        return "a window without rows"
    before, now = np.maximum(pair.before, 0), np.maximum(pair.now, 0)
    bins = join_rare(ordered, before, now, max(LEAST_EXPECTED, rules.minimum_cell))
    while len(bins) > FEWEST_BINS and _critical(pair, bins, level) > rules.psi.act:
        both = before + now
        bins = tuple(_join_at(list(bins), int(np.argmin(counts_in(bins, both))), both))
    if len(bins) < 2:
        return "too few rows for two bins"
    law_windows = _windows(pair, bins)
    # Joining bins only lowers a PSI: the law of the bins before it errs on the side of no alarm.
    shown = _showable(bins, before, now, rules.minimum_cell)
    if len(shown) < 2:
        return f"no two bins of {rules.minimum_cell} rows in both windows"
    value = population_stability_index(counts_in(shown, before), counts_in(shown, now))
    if law_windows.noisiness > TOO_NOISY:
        return TestedPsi(shown, value, None, "the sums' noise is too large for a window so small")
    law = psi_law(law_windows)
    return TestedPsi(shown, value, Test(law.p_value(value), law.critical), "")


def _critical(pair: Pair, bins: Bins, level: float) -> float:
    return weighted_law(_windows(pair, bins)).critical(level)


def _windows(pair: Pair, bins: Bins) -> Windows:
    before, now = (np.maximum(side, 0) for side in (pair.before, pair.now))
    cells = np.array([len(places) for places in bins], np.float64)
    noise = pair.noise[0] * cells, pair.noise[1] * cells
    return pooled_windows(counts_in(bins, before), counts_in(bins, now), *noise)


def _showable(bins: Bins, before: Counts, now: Counts, minimum: int) -> Bins:
    """Joined until no bin holds 1 to `minimum - 1` rows of either window."""
    joined = list(bins)
    while len(joined) > 1:
        sides = [counts_in(tuple(joined), side) for side in (before, now)]
        small = np.any([(side > 0) & (side < minimum) for side in sides], axis=0)
        if not small.any():
            break
        rows = sides[0] + sides[1]
        place = int(np.argmin(np.where(small, rows, rows.max() + 1)))
        joined = _join_at(joined, place, before + now)
    return tuple(joined)


def _join_at(joined: list[tuple[int, ...]], place: int, both: Counts) -> list[tuple[int, ...]]:
    rows = counts_in(tuple(joined), both)
    near = [other for other in (place - 1, place + 1) if 0 <= other < len(joined)]
    partner = min(near, key=lambda other: int(rows[other]))
    first, second = sorted((place, partner))
    merged = tuple(sorted(joined[first] + joined[second]))
    return [*joined[:first], merged, *joined[second + 1 :]]


def _chart(texts: tuple[str, ...], bins: Bins, pair: Pair) -> ShareChart:
    sides = [counts_in(bins, np.maximum(side, 0)) for side in (pair.before, pair.now)]
    before, now = (tuple((side / max(int(side.sum()), 1)).tolist()) for side in sides)
    return ShareChart(bins=texts, before=before, now=now)


def _distances(grid: FeatureGrid, pair: Pair, bins: Bins) -> Distances:
    values = Pair(pair.before[:-1], pair.now[:-1])
    if isinstance(grid.feature, Numeric) and min(values.rows) > 0:
        return _ordered_distances(np.asarray(grid.edges), values, pair, bins)
    return _level_distances(pair, bins)


def _ordered_distances(edges: Floats, values: Pair, pair: Pair, bins: Bins) -> Distances:
    before, now = np.maximum(values.before, 0), np.maximum(values.now, 0)
    ks = kolmogorov_smirnov_interval(before, now)
    moved = wasserstein_distance(edges, before, now)
    scaled = moved.value / moved.deviation if moved.deviation > 0 else None
    return _level_distances(pair, bins).model_copy(
        update={
            "ks_low": ks.low,
            "ks_high": ks.high,
            "wasserstein": moved.value,
            "wasserstein_error": moved.error,
            "wasserstein_scaled": scaled if scaled is None or math.isfinite(scaled) else None,
        }
    )


def _level_distances(pair: Pair, bins: Bins) -> Distances:
    before, now = (counts_in(bins, np.maximum(side, 0)) for side in (pair.before, pair.now))
    cells = np.array([len(places) for places in bins], np.float64)
    chi = two_sample_chi_square(before, now, (pair.noise[0] * cells, pair.noise[1] * cells))
    return Distances(
        ks_low=None, ks_high=None, jensen_shannon=jensen_shannon_distance(before, now),
        wasserstein=None, wasserstein_error=None, wasserstein_scaled=None,
        chi_square=chi.statistic, chi_square_p=chi.p_value,
    )  # fmt: skip


def _padded(pair: Pair) -> Pair:
    """With empty bins below and above: scores never leave [0, 1]."""
    return Pair(np.pad(pair.before, 1), np.pad(pair.now, 1))
