"""Group metrics exactly as fairlearn computes them on the pooled rows, to the last bit.

The difference to `group_metrics`: what is 0/0 counts as 0, as in fairlearn 0.15, so that a group
without positives has a true positive rate of 0. For comparing with other tools, not for a report.
A group without rows does not exist for fairlearn: its metrics are NaN, and no gap counts them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation import group_metrics
from evaluation.group_metrics import Aggregate, Counts, Floats, Method, Metric, share


def rate(metric: Metric, confusion: Counts) -> Floats:
    """A metric per group, 0/0 counting as 0, shape (...).

    Args:
        metric: for instance `group_metrics.true_positive_rate`.
        confusion: TN, FP, FN, TP per group, shape (..., 4).
    """
    return np.nan_to_num(metric(confusion))


def zero_one_loss(confusion: Counts) -> Floats:
    """`sklearn.metrics.zero_one_loss` per group: 1 - accuracy, not (FP + FN) / rows."""
    loss: Floats = 1 - rate(group_metrics.accuracy, confusion)
    return loss


def f1(confusion: Counts) -> Floats:
    """`sklearn.metrics.f1_score` per group, shape (...)."""
    return rate(group_metrics.f1, confusion)


def balanced_accuracy(confusion: Counts) -> Floats:
    """`sklearn.metrics.balanced_accuracy_score` per group, shape (...); NaN without rows.

    A class without rows does not count, so that of a group of one class it is that class's recall.
    """
    recalls = np.stack([part(confusion) for part in group_metrics.balanced_accuracy.parts], axis=-1)
    known = ~np.isnan(recalls)
    return share(np.sum(recalls, axis=-1, where=known), known.sum(axis=-1))


@dataclass(frozen=True, slots=True)
class MetricFrame:
    """`fairlearn.metrics.MetricFrame` of one metric, from counts.

    Attributes:
        metric: of counts of shape (..., 4); a `group_metrics` one, or a function of this module.
        confusion: TN, FP, FN, TP, shape (..., groups, 4); leading axes are control features, whose
            levels are judged each on its own.
    """

    metric: Metric | Callable[[Counts], Floats]
    confusion: Counts

    @property
    def by_group(self) -> Floats:
        """The metric per group, shape (..., groups); NaN without rows."""
        return self._of(self.confusion)

    @property
    def overall(self) -> Floats:
        """The metric of all groups together, shape (...)."""
        return self._of(self.confusion.sum(axis=-2))

    def group_min(self) -> Floats:
        """The smallest group's, shape (...)."""
        return _least(self.by_group)

    def group_max(self) -> Floats:
        """The largest group's, shape (...)."""
        return -_least(-self.by_group)

    def difference(self, method: Method = "between_groups") -> Floats:
        """Largest distance between two groups, or of one from `overall`, shape (...)."""
        if method == "between_groups":
            return self.group_max() - self.group_min()
        return -_least(-np.abs(self.by_group - self.overall[..., None]))

    def ratio(self, method: Method = "between_groups") -> Floats:
        """Smallest ratio of two groups, or of one and `overall`; at most 1, NaN for 0/0 alone."""
        if method == "between_groups":
            return share(self.group_min(), self.group_max())
        by_group = self.by_group
        ratios = share(by_group, np.broadcast_to(self.overall[..., None], by_group.shape))
        return _least(np.divide(1.0, ratios, out=ratios.copy(), where=ratios > 1))

    def _of(self, confusion: Counts) -> Floats:
        values = np.nan_to_num(self.metric(confusion))
        return np.where(confusion.any(axis=-1), values, np.nan)


def demographic_parity_difference(confusion: Counts, *, method: Method = "between_groups") -> float:
    """`fairlearn.metrics.demographic_parity_difference` of groups, shape (groups, 4)."""
    return _difference(group_metrics.selection_rate, confusion, method)


def demographic_parity_ratio(confusion: Counts, *, method: Method = "between_groups") -> float:
    """`fairlearn.metrics.demographic_parity_ratio`; NaN if nobody is selected."""
    return _ratio(group_metrics.selection_rate, confusion, method)


def equal_opportunity_difference(confusion: Counts, *, method: Method = "between_groups") -> float:
    """`fairlearn.metrics.equal_opportunity_difference`."""
    return _difference(group_metrics.true_positive_rate, confusion, method)


def equal_opportunity_ratio(confusion: Counts, *, method: Method = "between_groups") -> float:
    """`fairlearn.metrics.equal_opportunity_ratio`; NaN if every rate is 0."""
    return _ratio(group_metrics.true_positive_rate, confusion, method)


def equalized_odds_difference(
    confusion: Counts, *, method: Method = "between_groups", agg: Aggregate = "worst_case"
) -> float:
    """`fairlearn.metrics.equalized_odds_difference`."""
    gaps = [_difference(metric, confusion, method) for metric in _ODDS]
    return max(gaps) if agg == "worst_case" else _mean_of_known(gaps)


def equalized_odds_ratio(
    confusion: Counts, *, method: Method = "between_groups", agg: Aggregate = "worst_case"
) -> float:
    """`fairlearn.metrics.equalized_odds_ratio`.

    Worst case: if every false positive rate is 0, the ratio of the true positive rates stands
    alone; if every true positive rate is 0, the result is NaN: fairlearn takes Python's `min` of
    the two in this order, and `min` passes over a NaN that comes second. Mean: pandas passes over
    either.
    """
    ratios = [_ratio(metric, confusion, method) for metric in _ODDS]
    return min(ratios) if agg == "worst_case" else _mean_of_known(ratios)


def accuracy_difference(confusion: Counts, *, method: Method = "between_groups") -> float:
    """`fairlearn.metrics.accuracy_score_difference`."""
    return _difference(group_metrics.accuracy, confusion, method)


def accuracy_ratio(confusion: Counts, *, method: Method = "between_groups") -> float:
    """`fairlearn.metrics.accuracy_score_ratio`."""
    return _ratio(group_metrics.accuracy, confusion, method)


_ODDS = (group_metrics.true_positive_rate, group_metrics.false_positive_rate)


def _difference(metric: Metric, confusion: Counts, method: Method) -> float:
    return float(MetricFrame(metric, confusion).difference(method))


def _ratio(metric: Metric, confusion: Counts, method: Method) -> float:
    return float(MetricFrame(metric, confusion).ratio(method))


def _mean_of_known(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return sum(known) / len(known) if known else np.nan


def _least(by_group: Floats) -> Floats:
    """The smallest of what is known along the last axis, NaN if nothing is."""
    known = ~np.isnan(by_group)
    least = np.min(by_group, axis=-1, initial=np.inf, where=known)
    return np.where(known.any(axis=-1), least, np.nan)
