"""Values of a summary with their intervals, or with the reason why there is none."""

from collections.abc import Sequence

import numpy as np

from evaluation.group_metrics import Counts, Gap
from evaluation.score_curves import auc
from evaluation.uncertainty import gap_range, generator, wilson_interval
from federation.summary import Disparity, Estimate

NO_AUC = "not every class occurs"


def rate_estimate(successes: int, trials: int, without: str) -> Estimate:
    """A proportion with its Wilson 95 % interval.

    Args:
        successes: numerator, 0 to `trials`.
        trials: denominator.
        without: the reason given if `trials` is 0.
    """
    if trials == 0:
        return Estimate(value=None, reason=without)
    low, high = wilson_interval(successes, trials)
    return Estimate(value=successes / trials, low=low, high=high)


def auc_estimate(tables: Sequence[Counts]) -> Estimate:
    """Mean AUC of one or more tables with the mean of their bounds (one-vs-rest macro average).

    Args:
        tables: rows per label and score bin, each of shape (2, bins).
    """
    bounds = [auc(scores) for scores in tables]
    known = [one for one in bounds if one is not None]
    if len(known) < len(bounds):
        return Estimate(value=None, kind="exact_bounds", reason=NO_AUC)
    value, low, high = np.mean(known, axis=0).tolist()
    return Estimate(value=value, low=low, high=high, kind="exact_bounds")


def disparity(gap: Gap, attribute: str, names: Sequence[str], confusion: Counts) -> Disparity:
    """A gap between groups with interval, null expectation, and the groups that it is between.

    Args:
        gap: which gap.
        attribute: whose groups they are.
        names: of the groups, at least one.
        confusion: TN, FP, FN, TP per group, shape (len(names), 4).
    """
    value = float(gap(confusion))
    if np.isnan(value):
        return no_disparity(gap, attribute, _unknown(gap, confusion))
    low, high, by_chance = gap_range(gap, confusion, generator(confusion))
    lowest, highest = gap.extremes(confusion)
    return Disparity(
        attribute=attribute,
        metric=gap.name,
        estimate=Estimate(value=value, low=low, high=high),
        null_expectation=by_chance,
        between=(names[lowest], names[highest]),
    )


def no_disparity(gap: Gap, attribute: str, reason: str) -> Disparity:
    """A gap that has no value, and why."""
    estimate = Estimate(value=None, reason=reason)
    return Disparity(attribute=attribute, metric=gap.name, estimate=estimate)


def _unknown(gap: Gap, confusion: Counts) -> str:
    for rate in gap.rates:
        if np.count_nonzero(rate.counts(confusion)[1]) < 2:
            return f"fewer than two groups with {rate.denominator}"
    return "the rate is 0 in every group"
