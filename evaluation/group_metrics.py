"""Rates of groups and gaps between them, from TN, FP, FN, TP counts; fairlearn's names.

A rate of nothing (0/0) is NaN here: it was not measured. fairlearn calls it 0, which makes a group
without positives the worst of all; `fairlearn_compat` does as fairlearn does. Definitions:
Hardt, Price and Srebro 2016, arXiv:1610.02413, section 2; fairlearn 0.15 user guide, "Common
fairness metrics".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Kind = Literal["difference", "ratio"]
Method = Literal["between_groups", "to_overall"]
Aggregate = Literal["worst_case", "mean"]

TN, FP, FN, TP = range(4)


class Metric(Protocol):
    """A number per group that is made of one or more shares of its rows."""

    @property
    def name(self) -> str:
        """Fairlearn's or sklearn's name."""
        ...

    @property
    def parts(self) -> "tuple[Rate, ...]":
        """The shares that it is made of; of disjoint rows, so that they vary independently."""
        ...

    def __call__(self, confusion: Counts) -> Floats:
        """The metric per group, shape (...), of TN, FP, FN, TP, shape (..., 4); NaN for 0/0."""
        ...

    def of(self, parts: Sequence[Floats]) -> Floats:
        """The metric of its parts' values; it grows with each of them."""
        ...


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of the rows of a group.

    Attributes:
        name: fairlearn's or sklearn's name.
        numerator: which counts are the numerator.
        among: which counts are the denominator.
        denominator: what the denominator counts, in words.
    """

    name: str
    numerator: tuple[int, ...]
    among: tuple[int, ...]
    denominator: str

    def __call__(self, confusion: Counts) -> Floats:
        """The rate per group, shape (...); NaN for 0/0.

        Args:
            confusion: TN, FP, FN, TP, shape (..., 4).
        """
        return share(*self.counts(confusion))

    def counts(self, confusion: Counts) -> tuple[Counts, Counts]:
        """Numerator and denominator, each of shape (...)."""
        return _added(confusion, self.numerator), _added(confusion, self.among)

    @property
    def parts(self) -> "tuple[Rate, ...]":
        """Itself."""
        return (self,)

    def of(self, parts: Sequence[Floats]) -> Floats:
        """Its value as it is."""
        return parts[0]


@dataclass(frozen=True, slots=True)
class MeanRate:
    """The mean of some rates; NaN where one of them is not known."""

    name: str
    parts: tuple[Rate, ...]

    def __call__(self, confusion: Counts) -> Floats:
        """The mean per group, shape (...), of TN, FP, FN, TP, shape (..., 4)."""
        return self.of([rate(confusion) for rate in self.parts])

    def of(self, parts: Sequence[Floats]) -> Floats:
        """The mean of rates already known."""
        mean: Floats = np.sum(np.stack(list(parts)), axis=0) / len(parts)
        return mean


@dataclass(frozen=True, slots=True)
class FScore:
    """F1, the harmonic mean of precision and recall; NaN if nothing is or is called positive.

    It grows with the Jaccard score q = TP / (TP + FP + FN) alone: F1 = 2q / (1 + q). So an interval
    of that share is one of F1, and groups with one q have one F1.
    """

    name: str
    parts: tuple[Rate, ...]

    def __call__(self, confusion: Counts) -> Floats:
        """F1 per group, shape (...), of TN, FP, FN, TP, shape (..., 4)."""
        hits = 2 * confusion[..., TP]
        return share(hits, hits + confusion[..., FP] + confusion[..., FN])

    def of(self, parts: Sequence[Floats]) -> Floats:
        """F1 of the Jaccard score."""
        f1: Floats = 2 * parts[0] / (1 + parts[0])
        return f1


@dataclass(frozen=True, slots=True)
class Gap:
    """How far apart the groups of a family are, in one metric or in several.

    Attributes:
        name: fairlearn's name.
        kind: a `difference` is 0 if groups are alike, a `ratio` 1.
        metrics: what is compared.
        method: the groups with each other, or each of them with all rows together.
        aggregate: the worst of the metrics counts, or their mean (fairlearn's `agg`).
    """

    name: str
    kind: Kind
    metrics: tuple[Metric, ...]
    method: Method = "between_groups"
    aggregate: Aggregate = "worst_case"

    def __call__(self, confusion: Counts) -> Floats:
        """The gap, shape (...); NaN if it is not known for one of the metrics.

        Args:
            confusion: TN, FP, FN, TP per group, shape (..., groups, 4); overall is their sum.
        """
        overall = confusion.sum(axis=-2)
        return self.of(
            [metric(confusion) for metric in self.metrics],
            [metric(overall) for metric in self.metrics],
        )

    def of(self, by_group: Sequence[Floats], overall: Sequence[Floats]) -> Floats:
        """The gap, shape (...), of metrics already known.

        Args:
            by_group: of each metric, shape (..., groups).
            overall: of each metric, shape (...).
        """
        apart = [self._apart(*each) for each in zip(by_group, overall, strict=True)]
        if self.aggregate == "mean":
            return np.asarray(np.sum(apart, axis=0) / len(apart))
        worst = np.max if self.kind == "difference" else np.min
        return np.asarray(worst(apart, axis=0))

    def extremes(self, by_group: Sequence[Floats], overall: Sequence[Floats]) -> tuple[int, int]:
        """Indices of the lowest and the highest group, in the metric that is worst.

        Args:
            by_group: of each metric, shape (groups,), with a gap that is not NaN.
            overall: of each metric, shape ().
        """
        worst = replace(self, aggregate="worst_case").of(by_group, overall)
        decisive = next(
            known
            for known, whole in zip(by_group, overall, strict=True)
            if self._apart(known, whole) == worst
        )
        return int(np.nanargmin(decisive)), int(np.nanargmax(decisive))

    @property
    def variants(self) -> "tuple[Gap, ...]":
        """The same gap by the other method, and with several metrics by the other aggregate too."""
        aggregates: tuple[Aggregate, ...] = ("worst_case", "mean")
        methods: tuple[Method, ...] = ("between_groups", "to_overall")
        every = (
            replace(self, method=method, aggregate=aggregate)
            for aggregate in aggregates[: len(self.metrics)]
            for method in methods
        )
        return tuple(gap for gap in every if gap != self)

    def _apart(self, by_group: Floats, overall: Floats) -> Floats:
        measure = {
            ("difference", "between_groups"): lambda: difference(by_group),
            ("difference", "to_overall"): lambda: difference_to(by_group, overall),
            ("ratio", "between_groups"): lambda: ratio(by_group),
            ("ratio", "to_overall"): lambda: ratio_to(by_group, overall),
        }
        return measure[self.kind, self.method]()


def share(part: Counts | Floats, whole: Counts | Floats) -> Floats:
    """`part / whole`, elementwise; NaN for 0/0."""
    unknown = np.full(np.shape(whole), np.nan)
    shares: Floats = np.divide(part, whole, out=unknown, where=np.asarray(whole) > 0)
    return shares


def difference(by_group: Floats) -> Floats:
    """Largest minus smallest along the last axis; NaN if fewer than two are known."""
    low, high = _range(by_group)
    return high - low


def ratio(by_group: Floats) -> Floats:
    """Smallest over largest along the last axis; NaN if fewer than two are known, or all are 0."""
    low, high = _range(by_group)
    return share(low, high)


def difference_to(by_group: Floats, overall: Floats) -> Floats:
    """Largest distance from `overall`, shape (...); NaN if fewer than two groups are known."""
    return _range(np.abs(by_group - np.asarray(overall)[..., None]))[1]


def ratio_to(by_group: Floats, overall: Floats) -> Floats:
    """Smallest ratio to `overall`, or of it where a group is above; NaN as `ratio`."""
    ratios = share(by_group, np.broadcast_to(np.asarray(overall)[..., None], by_group.shape))
    below_one = np.divide(1.0, ratios, out=ratios.copy(), where=ratios > 1)
    return _range(below_one)[0]


# Cells and groups are few and tables many: numpy is several times faster over whole columns than
# along so short an axis.


def _added(confusion: Counts, cells: tuple[int, ...]) -> Counts:
    """The sum of some cells, shape (...)."""
    total = confusion[..., cells[0]].copy()
    for cell in cells[1:]:
        total += confusion[..., cell]
    return total


def _range(by_group: Floats) -> tuple[Floats, Floats]:
    low = high = np.full(by_group.shape[:-1], np.nan)
    known = np.zeros(by_group.shape[:-1], np.int64)
    for group in np.moveaxis(by_group, -1, 0):
        # Of a number and NaN, both give the number.
        low, high = np.fmin(low, group), np.fmax(high, group)
        known += ~np.isnan(group)
    return np.where(known >= 2, low, np.nan), np.where(known >= 2, high, np.nan)


selection_rate = Rate("selection_rate", (FP, TP), (TN, FP, FN, TP), "rows")
true_positive_rate = Rate("true_positive_rate", (TP,), (FN, TP), "positives")
true_negative_rate = Rate("true_negative_rate", (TN,), (TN, FP), "negatives")
false_positive_rate = Rate("false_positive_rate", (FP,), (TN, FP), "negatives")
false_negative_rate = Rate("false_negative_rate", (FN,), (FN, TP), "positives")
precision = Rate("precision", (TP,), (FP, TP), "predicted positives")
accuracy = Rate("accuracy", (TN, TP), (TN, FP, FN, TP), "rows")
jaccard_score = Rate("jaccard_score", (TP,), (FP, FN, TP), "positives or predicted positives")
balanced_accuracy = MeanRate("balanced_accuracy", (true_positive_rate, true_negative_rate))
f1 = FScore("f1", (jaccard_score,))


def _difference(name: str, *metrics: Metric) -> Gap:
    return Gap(f"{name}_difference", "difference", metrics)


def _ratio(name: str, *metrics: Metric) -> Gap:
    return Gap(f"{name}_ratio", "ratio", metrics)


_ODDS = (true_positive_rate, false_positive_rate)

demographic_parity_difference = _difference("demographic_parity", selection_rate)
demographic_parity_ratio = _ratio("demographic_parity", selection_rate)
equalized_odds_difference = _difference("equalized_odds", *_ODDS)
equalized_odds_ratio = _ratio("equalized_odds", *_ODDS)
equal_opportunity_difference = _difference("equal_opportunity", true_positive_rate)
equal_opportunity_ratio = _ratio("equal_opportunity", true_positive_rate)
false_positive_rate_difference = _difference("false_positive_rate", false_positive_rate)
false_positive_rate_ratio = _ratio("false_positive_rate", false_positive_rate)
accuracy_difference = _difference("accuracy", accuracy)
accuracy_ratio = _ratio("accuracy", accuracy)
balanced_accuracy_difference = _difference("balanced_accuracy", balanced_accuracy)
balanced_accuracy_ratio = _ratio("balanced_accuracy", balanced_accuracy)
precision_difference = _difference("precision", precision)
precision_ratio = _ratio("precision", precision)
f1_difference = _difference("f1", f1)
f1_ratio = _ratio("f1", f1)
