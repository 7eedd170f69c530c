"""How sure a rate or a gap is, from counts alone, and the same for the same counts."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from evaluation.group_metrics import Counts, Floats, Gap, Metric
from evaluation.resampling import Resamples, Values

Z95 = 1.959963984540054
"""Standard normal 97.5 % quantile."""

TAIL = 0.025

ALIKE_TAIL = 0.05
"""How often groups that are alike show a gap beyond the `null_95` of their sizes."""


class Interval(NamedTuple):
    """95 % intervals, both ends of shape (...)."""

    low: Floats
    high: Floats


class GapRange(NamedTuple):
    """95 % interval of a gap; its mean, and its 95 % point, if all groups had the pooled rate."""

    low: float
    high: float
    null_expectation: float
    null_95: float


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927; Brown, Cai and DasGupta 2001, section 3.1.1).

    Args:
        successes: 0 to `trials`.
        trials: >= 1.

    Raises:
        ValueError: a bound above is broken.

    >>> [round(end, 4) for end in wilson_interval(8, 10)]
    [0.4902, 0.9433]
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"need 0 <= successes <= trials >= 1, got {successes} of {trials}")
    low, high = wilson_intervals(np.array(successes), np.array(trials))
    return float(low), float(high)


def wilson_intervals(successes: Counts, trials: Counts) -> Interval:
    """`wilson_interval` elementwise; NaN where `trials` is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rate, weight = successes / trials, Z95**2 / trials
        centre = (rate + weight / 2) / (1 + weight)
        half = np.sqrt(rate * (1 - rate) * weight + weight**2 / 4) / (1 + weight)
    # The ends are exact at 0 and 1; rounding must not push them beyond the rate.
    low = np.minimum(np.maximum(0.0, centre - half), rate)
    return Interval(low, np.maximum(np.minimum(1.0, centre + half), rate))


def metric_intervals(metric: Metric, confusion: Counts) -> Interval:
    """95 % intervals of a metric, shape (...); NaN where a part of it is a rate of nothing.

    Of one part: Wilson's, and for F1, which grows with its part, Wilson's ends transformed. Of
    several: each part's distance to Wilson's end, squared and added, as variances of independent
    parts add (Zou and Donner 2008, Statistics in Medicine 27:1693).

    Args:
        metric: which.
        confusion: TN, FP, FN, TP, shape (..., 4).
    """
    counts = [part.counts(confusion) for part in metric.parts]
    ends = [wilson_intervals(*each) for each in counts]
    if len(ends) == 1:
        return Interval(metric.of([ends[0].low]), metric.of([ends[0].high]))
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = [part / whole for part, whole in counts]
    below = [rate - end.low for rate, end in zip(rates, ends, strict=True)]
    above = [end.high - rate for rate, end in zip(rates, ends, strict=True)]
    mean = metric.of(rates)
    return Interval(mean - _added(below) / len(ends), mean + _added(above) / len(ends))


def difference_interval(
    one: Floats, of_one: Interval, other: Floats, of_other: Interval
) -> Interval:
    """95 % interval of `one - other`, two independent estimates with intervals of their own.

    Newcombe 1998, Statistics in Medicine 17:873, method 10, if these are Wilson's.
    """
    below = _added([one - of_one.low, of_other.high - other])
    above = _added([of_one.high - one, other - of_other.low])
    return Interval(one - other - below, one - other + above)


def gap_range(gap: Gap, samples: Resamples) -> GapRange:
    """Interval of a gap that is known, and what it would be among groups that are alike.

    The interval is the percentile bootstrap's, moved so that the median draw is the gap itself:
    resampling adds noise to noise, and of many groups the largest minus the smallest only grows by
    it. It reaches to "alike" (0, or 1 for a ratio) unless a gap this large has a chance of at most
    2.5 % among groups that are alike: else groups that are alike would almost never be covered.

    Args:
        gap: which gap.
        samples: of its metrics; draws in which the gap is not known are left out.

    Raises:
        ValueError: the gap is not known for these counts.
    """
    value = float(gap_of(gap, samples.counted))
    if math.isnan(value):
        raise ValueError(f"{gap.name} is not known for these counts: no interval")
    drawn = _known(gap_of(gap, samples.drawn), value)
    alike = _known(gap_of(gap, samples.alike), 0.0 if gap.kind == "difference" else 1.0)
    low, middle, high = np.quantile(drawn, [TAIL, 0.5, 1 - TAIL]).tolist()
    low, high = low - middle + value, high - middle + value
    if gap.kind == "difference":
        low = 0.0 if np.mean(alike >= value) > TAIL else low
        limit = np.quantile(alike, 1 - ALIKE_TAIL)
    else:
        high = 1.0 if np.mean(alike <= value) > TAIL else high
        limit = np.quantile(alike, ALIKE_TAIL)
    return GapRange(max(low, 0.0), min(high, 1.0), float(np.mean(alike)), float(limit))


def gap_of(gap: Gap, values: Mapping[str, Values]) -> Floats:
    """The gap of metrics already known, shape (...)."""
    chosen = [values[metric.name] for metric in gap.metrics]
    return gap.of([one.by_group for one in chosen], [one.overall for one in chosen])


def _added(distances: list[Floats]) -> Floats:
    # An estimate may lie beyond an end of its interval if its counts carry noise.
    positive = np.maximum(np.stack(distances), 0.0)
    root: Floats = np.sqrt(np.sum(positive**2, axis=0))
    return root


def _known(gaps: Floats, otherwise: float) -> Floats:
    known = gaps[~np.isnan(gaps)]
    return known if len(known) else np.array([otherwise])
