"""Area under the ROC curve from a histogram of scores, with bounds that hold for certain.

AUC is the chance that a positive scores above a negative, ties counting half (Hanley and McNeil
1982). Pairs from different bins are ordered by their bins; pairs within one bin may go either way,
so the AUC of the rows lies within half their share of the value that calls them ties.
"""

from typing import NamedTuple

from evaluation.group_metrics import Counts


class AucBounds(NamedTuple):
    """The AUC if scores within a bin were tied, and what the rows' AUC cannot leave."""

    value: float
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
