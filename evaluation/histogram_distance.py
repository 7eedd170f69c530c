"""How far two histograms are apart, and how far the rows in them could be.

A row's place within its bin is unknown, so a distance of the rows lies in an interval that follows
from the counts for certain. Kolmogorov-Smirnov: the cumulative shares are known at the edges and
rise between them. Wasserstein: moving a row within its bin costs at most half the bin's width
against the even spread that is assumed (Villani 2009, "Optimal transport", chapter 6).
"""

import math
from typing import NamedTuple

import numpy as np

from evaluation.chance_law import Windows, weighted_law
from evaluation.group_metrics import Counts, Floats


class Interval(NamedTuple):
    """A distance of the rows: at least `low`, at most `high`."""

    low: float
    high: float


class TransportDistance(NamedTuple):
    """Wasserstein-1 distance of rows moved into the public range, and how far off it can be.

    Attributes:
        value: of rows spread evenly in their bins.
        error: the rows' own distance differs from `value` by at most this.
        deviation: standard deviation of the reference, spread likewise; both above are in units of
            the feature, so that `value / deviation` has none.
    """

    value: float
    error: float
    deviation: float


class ChiSquare(NamedTuple):
    """Pearson's two-sample statistic, its degrees of freedom, and the chance of one as large."""

    statistic: float
    degrees_of_freedom: int
    p_value: float


def kolmogorov_smirnov_interval(reference: Counts, current: Counts) -> Interval:
    """Where the Kolmogorov-Smirnov distance of the rows lies.

    Args:
        reference: rows per bin of rising value, shape (bins,), not negative, with at least one row.
        current: likewise.
    """
    before, now = _cumulative(reference), _cumulative(current)
    low = float(np.max(np.abs(before - now)))
    within = np.maximum(before[1:] - now[:-1], now[1:] - before[:-1])
    # Within a bin where one window has no row the other's curve alone moves: the edges are exact.
    alone = (np.diff(before) == 0) | (np.diff(now) == 0)
    return Interval(low, max(low, float(np.max(np.where(alone, 0.0, within)))))


def wasserstein_distance(edges: Floats, reference: Counts, current: Counts) -> TransportDistance:
    """Wasserstein-1 distance of two numeric histograms.

    Args:
        edges: of the inner bins, shape (bins + 1,), ascending.
        reference: rows below, per inner bin and above, shape (bins + 2,), not negative, with at
            least one row; those below and above count as standing at the first and last edge.
        current: likewise.
    """
    before, now = _cumulative(reference)[1:-1], _cumulative(current)[1:-1]
    widths = np.diff(edges)
    gap = before - now
    value = float(np.sum(widths * _mean_absolute(gap[:-1], gap[1:])))
    inner = reference[1:-1] / reference.sum() + current[1:-1] / current.sum()
    alike = (reference[1:-1] == 0) & (current[1:-1] == 0)
    error = float(np.sum(np.where(alike, 0.0, inner) * widths / 2))
    return TransportDistance(value, error, _deviation(edges, reference))


def two_sample_chi_square(
    reference: Counts, current: Counts, noise: tuple[Floats, Floats] | None = None
) -> ChiSquare:
    """Pearson's test that two histograms are of one distribution; bins without rows are left out.

    Args:
        reference: rows per bin, shape (bins,), with at least one row.
        current: likewise.
        noise: variance of the noise in each bin of either.
    """
    kept = (reference + current) > 0
    before, now = reference[kept].astype(np.float64), current[kept].astype(np.float64)
    if np.count_nonzero(kept) < 2:
        return ChiSquare(0.0, 0, 1.0)
    rows = (float(before.sum()), float(now.sum()))
    shares = (before + now) / sum(rows)
    scale = rows[0] * rows[1] / sum(rows)
    statistic = scale * float(np.sum((now / rows[1] - before / rows[0]) ** 2 / shares))
    variances = np.zeros((2, len(shares))) if noise is None else np.stack(noise)[:, kept]
    law = weighted_law(Windows(rows, shares, variances)).scaled(scale)
    return ChiSquare(statistic, len(shares) - 1, law.p_value(statistic))


def _cumulative(counts: Counts) -> Floats:
    """From 0 to 1, shape (bins + 1,)."""
    return np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])


def _mean_absolute(start: Floats, end: Floats) -> Floats:
    """Mean of |x| as x goes evenly from `start` to `end`."""
    crossing = start * end < 0
    span = np.where(crossing, np.abs(start) + np.abs(end), 1.0)
    crossed = (start**2 + end**2) / (2 * span)
    return np.where(crossing, crossed, np.abs(start + end) / 2)


def _deviation(edges: Floats, counts: Counts) -> float:
    middles = np.concatenate([[edges[0]], (edges[:-1] + edges[1:]) / 2, [edges[-1]]])
    spread = np.concatenate([[0.0], np.diff(edges) ** 2 / 12, [0.0]])
    shares = counts / counts.sum()
    mean = float(shares @ middles)
    return math.sqrt(max(float(shares @ ((middles - mean) ** 2 + spread)), 0.0))
