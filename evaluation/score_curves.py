"""Discrimination from a histogram of scores: AUC, Kolmogorov-Smirnov distance, ROC curve.

AUC is the chance that a positive scores above a negative, ties counting half (Hanley and McNeil
1982). Pairs from different bins are ordered by their bins; pairs within one bin may go either way,
so the AUC of the rows lies within half their share of the value that calls them ties. Likewise the
distance of the two distributions is known at the edges and bounded between them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from evaluation.group_metrics import Counts, Floats, share
from evaluation.uncertainty import TAIL, Z95


class AucBounds(NamedTuple):
    """The AUC if scores within a bin were tied, and what the rows' AUC cannot leave."""

    value: float
    low: float
    high: float


class KsBounds(NamedTuple):
    """What the Kolmogorov-Smirnov distance of the rows is at least, and at most."""

    low: float
    high: float


def auc(scores: Counts) -> AucBounds | None:
    """AUC of the rows behind a histogram; None without positives or without negatives.

    Exact (low = high) if no bin holds both a positive and a negative; the value is exact if rows in
    one bin have one score.

    Args:
        scores: rows of label 0 and label 1 per bin, shape (2, bins), bins of rising score.

    >>> import numpy as np
    >>> auc(np.array([[2, 1, 0], [0, 1, 2]]))
    AucBounds(value=0.9444444444444444, low=0.8888888888888888, high=1.0)
    """
    # Python's integers: a product of two totals of millions of rows is exact.
    negatives, positives = scores[0].tolist(), scores[1].tolist()
    pairs = sum(negatives) * sum(positives)
    if pairs == 0:
        return None
    below, won, tied = 0, 0, 0
    for negative, positive in zip(negatives, positives, strict=True):
        won += positive * below
        tied += positive * negative
        below += negative
    return AucBounds((2 * won + tied) / (2 * pairs), won / pairs, (won + tied) / pairs)


def auc_interval(scores: Counts) -> tuple[float, float] | None:
    """95 % interval of sampling rows, of the AUC that calls scores of one bin tied.

    DeLong, DeLong and Clarke-Pearson 1988: the variance of the shares that each row wins, here from
    counts, on the scale of the logit, which keeps the interval within [0, 1]. Where every row wins
    alike that variance is 0 and says nothing; but as many pairs as share no row are independent
    trials: all of them came out one way, or, if all are ties, Hoeffding 1963, theorem 1, bounds
    their mean.

    Args:
        scores: as in `auc`.

    Returns:
        None without positives or without negatives.
    """
    found = auc(scores)
    if found is None:
        return None
    value, fewest = found.value, int(scores.sum(axis=1).min())
    error = math.sqrt(_delong_variance(scores))
    if error == 0 or value in {0.0, 1.0}:
        ties = math.sqrt(math.log(1 / TAIL) / (2 * fewest))
        reach = 1 - TAIL ** (1 / fewest) if value in {0.0, 1.0} else ties
        return max(0.0, value - reach), min(1.0, value + reach)
    # |d logit(p)| = |d p| / (p (1 - p))
    centre, half = logit(value), Z95 * error / (value * (1 - value))
    return float(expit(centre - half)), float(expit(centre + half))


def ks(scores: Counts) -> KsBounds | None:
    """Bounds of the distance between the scores' distributions; None if one label has no rows.

    At least the largest distance at an edge. Within a bin either distribution lies between its
    values at the two edges, so at most the largest difference of one's upper and the other's lower.

    Args:
        scores: as in `auc`.

    >>> import numpy as np
    >>> ks(np.array([[2, 1, 0], [0, 1, 2]]))
    KsBounds(low=0.6666666666666666, high=1.0)
    """
    negatives, positives = (sum(row.tolist()) for row in scores)
    if not negatives or not positives:
        return None
    low = high = below_negative = below_positive = 0
    for negative, positive in scores.T.tolist():
        # In units of one over both totals, so that whole numbers stay exact.
        start_negative, start_positive = below_negative * positives, below_positive * negatives
        below_negative, below_positive = below_negative + negative, below_positive + positive
        end_negative, end_positive = below_negative * positives, below_positive * negatives
        low = max(low, abs(end_negative - end_positive))
        high = max(high, end_negative - start_positive, end_positive - start_negative)
    return KsBounds(low / (negatives * positives), high / (negatives * positives))


def roc(scores: Counts, edges: Sequence[int] | Counts) -> Floats:
    """False and true positive rate if scores from an edge on are called positive.

    Args:
        scores: as in `auc`.
        edges: score bins that the positive scores begin with, 0 to bins.

    Returns:
        shape (edges, 2); NaN without negatives, or without positives.
    """
    above = np.zeros((2, scores.shape[1] + 1), dtype=np.int64)
    above[:, :-1] = np.cumsum(scores[:, ::-1], axis=1)[:, ::-1]
    totals = np.broadcast_to(above[:, :1], (2, len(edges)))
    return share(above[:, np.asarray(edges, dtype=np.int64)], totals).T


def _delong_variance(scores: Counts) -> float:
    """Of the AUC of tied bins; a label with a single row adds what a fair coin would: 1/4."""
    variance = 0.0
    for own, other in (scores, scores[::-1]):
        total, others = int(own.sum()), int(other.sum())
        won = (np.cumsum(other) - other / 2) / others
        if total == 1:
            variance += 0.25
            continue
        mean = np.dot(own, won) / total
        variance += float(np.dot(own, np.square(won - mean))) / (total - 1) / total
    return variance
