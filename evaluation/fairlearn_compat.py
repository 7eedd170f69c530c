"""Group metrics exactly as fairlearn computes them on the pooled rows, to the last bit.

The difference to `group_metrics`: what is 0/0 counts as 0, as in fairlearn 0.15, so that a group
without positives has a true positive rate of 0. For comparing with other tools, not for a report.
Groups without rows do not exist for fairlearn; they are left out here.
"""

import numpy as np

from evaluation import group_metrics
from evaluation.group_metrics import Counts, Floats, Rate


def rate(metric: Rate, confusion: Counts) -> Floats:
    """A rate per group, 0/0 counting as 0, shape (groups,).

    Args:
        metric: for instance `group_metrics.true_positive_rate`.
        confusion: TN, FP, FN, TP per group, shape (groups, 4); every group has rows.
    """
    return np.nan_to_num(metric(confusion))


def f1(confusion: Counts) -> Floats:
    """`sklearn.metrics.f1_score` per group, shape (groups,)."""
    return np.nan_to_num(group_metrics.f1(confusion))


def balanced_accuracy(confusion: Counts) -> Floats:
    """`sklearn.metrics.balanced_accuracy_score` per group: a class without rows does not count."""
    return group_metrics.balanced_accuracy(confusion)


def demographic_parity_difference(confusion: Counts) -> float:
    """`fairlearn.metrics.demographic_parity_difference` of groups, shape (groups, 4)."""
    return _difference(group_metrics.selection_rate, confusion)


def demographic_parity_ratio(confusion: Counts) -> float:
    """`fairlearn.metrics.demographic_parity_ratio`; NaN if nobody is selected."""
    return _ratio(group_metrics.selection_rate, confusion)


def equal_opportunity_difference(confusion: Counts) -> float:
    """`fairlearn.metrics.equal_opportunity_difference`."""
    return _difference(group_metrics.true_positive_rate, confusion)


def equal_opportunity_ratio(confusion: Counts) -> float:
    """`fairlearn.metrics.equal_opportunity_ratio`; NaN if every rate is 0."""
    return _ratio(group_metrics.true_positive_rate, confusion)


def equalized_odds_difference(confusion: Counts) -> float:
    """`fairlearn.metrics.equalized_odds_difference`, `agg="worst_case"`."""
    return max(_difference(metric, confusion) for metric in _ODDS)


def equalized_odds_ratio(confusion: Counts) -> float:
    """`fairlearn.metrics.equalized_odds_ratio`, `agg="worst_case"`.

    If every false positive rate is 0, the ratio of the true positive rates stands alone; if every
    true positive rate is 0, the result is NaN: fairlearn takes Python's `min` of the two in this
    order, and `min` passes over a NaN that comes second.
    """
    return min(_ratio(metric, confusion) for metric in _ODDS)


def accuracy_difference(confusion: Counts) -> float:
    """`fairlearn.metrics.accuracy_score_difference`."""
    return _difference(group_metrics.accuracy, confusion)


_ODDS = (group_metrics.true_positive_rate, group_metrics.false_positive_rate)


def _difference(metric: Rate, confusion: Counts) -> float:
    by_group = _of_people(metric, confusion)
    return float(by_group.max() - by_group.min())


def _ratio(metric: Rate, confusion: Counts) -> float:
    by_group = _of_people(metric, confusion)
    return float(group_metrics.share(by_group.min(), by_group.max()))


def _of_people(metric: Rate, confusion: Counts) -> Floats:
    return rate(metric, confusion[confusion.sum(axis=-1) > 0])
