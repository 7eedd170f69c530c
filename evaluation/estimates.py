"""Values of a summary with their intervals, or with the reason why there is none."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.cell_noise import CellNoise
from evaluation.group_metrics import Counts, Gap, Metric
from evaluation.multiple_comparisons import FAMILY_WISE
from evaluation.noisy_rates import noisy_intervals
from evaluation.resampling import ComparedGroups, Resamples, generator, least_support, values_of
from evaluation.score_curves import auc
from evaluation.uncertainty import gap_of, gap_range, metric_intervals, wilson_interval
from federation.summary import Disparity, Estimate, GapVariant

NO_AUC = "not every class occurs"
NOISED_SCORES = "the score histogram carries noise"


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


def metric_estimates(
    metrics: Sequence[Metric], confusion: Counts, minimum_support: int, noise: CellNoise
) -> Mapping[str, Estimate]:
    """Metrics of one group by name, with 95 % intervals, or why they are not estimable.

    Args:
        metrics: which.
        confusion: TN, FP, FN, TP, shape (4,).
        minimum_support: fewest rows of a denominator; at least 1.
        noise: on each cell.
    """
    if noise:
        table = confusion[None]
        found = noisy_intervals(metrics, table, [noise], generator(table))
        intervals = {name: (one.low[0], one.high[0]) for name, one in found.items()}
    else:
        intervals = {metric.name: metric_intervals(metric, confusion) for metric in metrics}
    estimates = {}
    for metric in metrics:
        reason = not_estimable(metric, confusion, minimum_support, noise)
        if reason:
            estimates[metric.name] = Estimate(value=None, reason=reason)
            continue
        value, (low, high) = float(values_of(metric, confusion, noise)), intervals[metric.name]
        estimates[metric.name] = Estimate(
            value=value, low=min(value, float(low)), high=max(value, float(high))
        )
    return estimates


def not_estimable(metric: Metric, confusion: Counts, minimum_support: int, noise: CellNoise) -> str:
    """Why a group's metric is not known; empty if it is.

    Args:
        metric: which.
        confusion: TN, FP, FN, TP, shape (4,).
        minimum_support: fewest rows of a denominator; at least 1.
        noise: on each cell.
    """
    for part in metric.parts:
        rows = int(part.counts(confusion)[1])
        if rows == 0 and not noise:
            return f"no {part.denominator} in this group"
        least = least_support(max(minimum_support, 1), len(part.among), noise)
        if rows < least:
            drowned = ", which the noise drowns" if least > minimum_support else ""
            return f"fewer than {least} {part.denominator} in this group{drowned}"
    return ""


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


@dataclass(frozen=True, slots=True)
class NamedGroups:
    """Groups of an attribute that are compared, with what resampling says of their metrics.

    Attributes:
        attribute: whose groups they are.
        names: of the groups, at least two.
        compared: their counts.
        samples: of every metric that is compared.
    """

    attribute: str
    names: Sequence[str]
    compared: ComparedGroups
    samples: Resamples


def disparity(gap: Gap, groups: NamedGroups, p_value: float) -> Disparity:
    """A gap with interval, null expectation, variants, and the groups that it is between.

    Args:
        gap: which gap.
        groups: which groups.
        p_value: of them being alike, adjusted for all that is looked at.
    """
    main = gap_variant(gap, groups)
    if main.estimate.value is None:
        return no_disparity(gap, groups.attribute, main.estimate.reason)
    counted = [groups.samples.counted[metric.name] for metric in gap.metrics]
    lowest, highest = gap.extremes(
        [one.by_group for one in counted], [one.overall for one in counted]
    )
    return Disparity(
        attribute=groups.attribute,
        metric=gap.name,
        estimate=main.estimate,
        null_expectation=main.null_expectation,
        null_95=main.null_95,
        between=(groups.names[lowest], groups.names[highest]),
        p_value=p_value,
        significant=p_value <= FAMILY_WISE,
        variants=tuple(gap_variant(variant, groups) for variant in gap.variants),
    )


def gap_variant(gap: Gap, groups: NamedGroups) -> GapVariant:
    """A gap by its own method and aggregate, with interval and null expectation."""
    value = float(gap_of(gap, groups.samples.counted))
    if math.isnan(value):
        estimate = Estimate(value=None, reason=_unknown(gap, groups.compared))
        return GapVariant(method=gap.method, aggregate=gap.aggregate, estimate=estimate)
    low, high, by_chance, by_chance_95 = gap_range(gap, groups.samples)
    return GapVariant(
        method=gap.method,
        aggregate=gap.aggregate,
        estimate=Estimate(value=value, low=min(low, value), high=max(high, value)),
        null_expectation=by_chance,
        null_95=by_chance_95,
    )


def no_disparity(gap: Gap, attribute: str, reason: str) -> Disparity:
    """A gap that has no value, and why."""
    estimate = Estimate(value=None, reason=reason)
    return Disparity(attribute=attribute, metric=gap.name, estimate=estimate)


def _unknown(gap: Gap, compared: ComparedGroups) -> str:
    for metric in gap.metrics:
        if np.count_nonzero(~np.isnan(compared.supports(metric))) >= 2:
            continue
        for part in metric.parts:
            if np.count_nonzero(part.counts(compared.confusion)[1] > 0) < 2:
                return f"fewer than two groups with {part.denominator}"
        words = " and ".join(part.denominator for part in metric.parts)
        return f"fewer than two groups with enough {words}"
    return "the rate is 0 in every group"
