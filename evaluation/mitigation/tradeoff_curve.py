"""What a group's thresholds can reach: one rate over another, a concave curve by mixing two cuts.

As in fairlearn 0.15, `postprocessing._tradeoff_curve_utilities`, from counts per score bin instead
of rows: the points of all cuts, their upper hull, and the hull on a grid.
"""

from typing import Literal, NamedTuple

import numpy as np

from evaluation.group_metrics import Counts, Floats

Metric = Literal["selection_rate", "true_positive_rate", "false_positive_rate", "accuracy"]
GRID = np.linspace(0, 1, 1001)
"""Where curves of several groups are compared: fairlearn's default."""


class TradeoffCurve(NamedTuple):
    """A curve on GRID; each point is reached by mixing two cuts.

    Attributes:
        heights: shape (1001,).
        first: probability of the first cut, shape (1001,).
        cuts: both, shape (1001, 2), int64.
    """

    heights: Floats
    first: Floats
    cuts: Counts


def tradeoff_curve(scores: Counts, over: Metric, of: Metric) -> TradeoffCurve:
    """The best `of` for every value of `over`.

    Args:
        scores: rows of label 0 and label 1 per bin, shape (2, bins), bins of rising score; both
            labels occur.
        over: the rate on the grid; it rises from 0 to 1 as the cut falls.
        of: what is high on the curve.
    """
    cuts = _cuts(scores)
    # Selected from each cut on: the totals from the top, with nobody above the last bin.
    above = np.concatenate([np.cumsum(scores[:, ::-1], axis=1)[:, ::-1], np.zeros((2, 1))], axis=1)
    false, true = above[0][cuts], above[1][cuts]
    negatives, positives = (float(row.sum()) for row in scores)
    rates: dict[Metric, Floats] = {
        "selection_rate": (false + true) / (negatives + positives),
        "true_positive_rate": true / positives,
        "false_positive_rate": false / negatives,
        "accuracy": (negatives - false + true) / (negatives + positives),
    }
    x, y = rates[over], rates[of]
    order = np.lexsort((y, x))
    hull = order[_upper_hull(x[order], y[order])]
    return _on_grid(x[hull], y[hull], cuts[hull])


def _cuts(scores: Counts) -> Counts:
    """Cuts that select differently, highest first: halfway between bins that hold rows."""
    occupied = np.flatnonzero(scores.sum(axis=0))
    between = (occupied[:-1] + occupied[1:] + 1) // 2
    cuts: Counts = np.concatenate([[scores.shape[1]], between[::-1], [0]]).astype(np.int64)
    return cuts


def _upper_hull(x: Floats, y: Floats) -> list[int]:
    """Places of the points on the upper hull (Andrew 1979), of points sorted by x and y."""
    kept: list[int] = []
    for place in range(len(x)):
        while len(kept) >= 2:
            start, middle = kept[-2], kept[-1]
            rise = (y[middle] - y[start]) * (x[place] - x[start])
            if rise > (y[place] - y[start]) * (x[middle] - x[start]):
                break
            kept.pop()
        kept.append(place)
    return kept


def _on_grid(x: Floats, y: Floats, cuts: Counts) -> TradeoffCurve:
    left = np.searchsorted(x, GRID, side="right") - 1
    left[1:] = np.where(GRID[1:] == x[left[1:]], left[1:] - 1, left[1:])
    first = (x[left + 1] - GRID) / (x[left + 1] - x[left])
    heights = first * y[left] + (1 - first) * y[left + 1]
    return TradeoffCurve(heights, first, np.stack([cuts[left], cuts[left + 1]], axis=1))
