"""Rates of groups and gaps between them, from TN, FP, FN, TP counts; fairlearn's names.

A rate of nothing (0/0) is NaN here: it was not measured. fairlearn calls it 0, which makes a group
without positives the worst of all; `fairlearn_compat` does as fairlearn does. Definitions:
Hardt, Price and Srebro 2016, arXiv:1610.02413, section 2; fairlearn 0.15 user guide, "Common
fairness metrics".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

TN, FP, FN, TP = range(4)


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of the rows of a group.

    Attributes:
        name: fairlearn's or sklearn's name.
        of: which counts are the numerator.
        among: which counts are the denominator.
        denominator: what the denominator counts, in words.
    """

    name: str
    of: tuple[int, ...]
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
        return confusion[..., self.of].sum(axis=-1), confusion[..., self.among].sum(axis=-1)


@dataclass(frozen=True, slots=True)
class Gap:
    """How far apart the groups of a family are, in the worst of some rates.

    Attributes:
        name: fairlearn's name.
        kind: a `difference` is 0 if groups are alike, a `ratio` 1.
        rates: what is compared; the worst one counts (fairlearn's `agg="worst_case"`).
    """

    name: str
    kind: Literal["difference", "ratio"]
    rates: tuple[Rate, ...]

    def __call__(self, confusion: Counts) -> Floats:
        """The gap, shape (...); NaN if it is not known for one of the rates.

        Args:
            confusion: TN, FP, FN, TP per group, shape (..., groups, 4).
        """
        return self.of([rate(confusion) for rate in self.rates])

    def of(self, rates: Sequence[Floats]) -> Floats:
        """The gap, shape (...), of rates already known, each of shape (..., groups)."""
        gaps = [_between(self.kind, by_group) for by_group in rates]
        worst: Floats = np.max(gaps, axis=0) if self.kind == "difference" else np.min(gaps, axis=0)
        return worst

    def extremes(self, confusion: Counts) -> tuple[int, int]:
        """Indices of the lowest and the highest group, in the rate that is worst.

        Args:
            confusion: shape (groups, 4), with a gap that is not NaN.
        """
        by_rate = [rate(confusion) for rate in self.rates]
        worst = self.of(by_rate)
        decisive = next(rate for rate in by_rate if _between(self.kind, rate) == worst)
        return int(np.nanargmin(decisive)), int(np.nanargmax(decisive))


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


def _between(kind: Literal["difference", "ratio"], by_group: Floats) -> Floats:
    return difference(by_group) if kind == "difference" else ratio(by_group)


def _range(by_group: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(by_group)
    enough = known.sum(axis=-1) >= 2
    low = np.min(by_group, axis=-1, initial=np.inf, where=known)
    high = np.max(by_group, axis=-1, initial=-np.inf, where=known)
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


selection_rate = Rate("selection_rate", (FP, TP), (TN, FP, FN, TP), "rows")
true_positive_rate = Rate("true_positive_rate", (TP,), (FN, TP), "positives")
true_negative_rate = Rate("true_negative_rate", (TN,), (TN, FP), "negatives")
false_positive_rate = Rate("false_positive_rate", (FP,), (TN, FP), "negatives")
precision = Rate("precision", (TP,), (FP, TP), "predicted positives")
accuracy = Rate("accuracy", (TN, TP), (TN, FP, FN, TP), "rows")


def balanced_accuracy(confusion: Counts) -> Floats:
    """Mean of the recalls of the classes that occur, shape (...); NaN without rows.

    Args:
        confusion: TN, FP, FN, TP, shape (..., 4).
    """
    recalls = np.stack([true_negative_rate(confusion), true_positive_rate(confusion)], axis=-1)
    known = ~np.isnan(recalls)
    total, count = np.sum(recalls, axis=-1, where=known), known.sum(axis=-1)
    return share(total, count)


def f1(confusion: Counts) -> Floats:
    """Harmonic mean of precision and recall, shape (...); NaN if nothing is or is called positive.

    Args:
        confusion: TN, FP, FN, TP, shape (..., 4).
    """
    hits = 2 * confusion[..., TP]
    return share(hits, hits + confusion[..., FP] + confusion[..., FN])


_SELECTION, _OPPORTUNITY = (selection_rate,), (true_positive_rate,)
_ODDS = (true_positive_rate, false_positive_rate)

demographic_parity_difference = Gap("demographic_parity_difference", "difference", _SELECTION)
demographic_parity_ratio = Gap("demographic_parity_ratio", "ratio", _SELECTION)
equal_opportunity_difference = Gap("equal_opportunity_difference", "difference", _OPPORTUNITY)
equal_opportunity_ratio = Gap("equal_opportunity_ratio", "ratio", _OPPORTUNITY)
equalized_odds_difference = Gap("equalized_odds_difference", "difference", _ODDS)
equalized_odds_ratio = Gap("equalized_odds_ratio", "ratio", _ODDS)
accuracy_difference = Gap("accuracy_difference", "difference", (accuracy,))
