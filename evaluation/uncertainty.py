"""How sure a rate or a gap is, from counts alone, and the same for the same counts.

Resampling N rows and tabulating them is a multinomial draw from the counts, so the bootstrap of
rows (Efron and Tibshirani 1993, chapter 13) needs no row. Draws come from a generator seeded by the
counts: a report can be made again, to the digit, from the same sums (with the same numpy, whose
generators may change between versions).
"""

import math
from typing import NamedTuple

import numpy as np

from evaluation.group_metrics import Counts, Floats, Gap, share
from federation import canonical

Z95 = 1.959963984540054
"""Standard normal 97.5 % quantile."""

TAIL = 0.025
RESAMPLES = 2_000


class GapRange(NamedTuple):
    """95 % interval of a gap, and its mean if all groups had the pooled rate."""

    low: float
    high: float
    null_expectation: float


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
    rate, weight = successes / trials, Z95**2 / trials
    centre = (rate + weight / 2) / (1 + weight)
    half = math.sqrt(rate * (1 - rate) * weight + weight**2 / 4) / (1 + weight)
    # The ends are exact at 0 and 1; rounding must not push them beyond the rate.
    return min(max(0.0, centre - half), rate), max(min(1.0, centre + half), rate)


def generator(counts: Counts) -> np.random.Generator:
    """A generator seeded by the counts themselves."""
    return np.random.default_rng(int(canonical.digest(counts.tolist()), 16))


def gap_range(
    gap: Gap, confusion: Counts, draws: np.random.Generator, resamples: int = RESAMPLES
) -> GapRange:
    """Interval and null expectation of a gap that is known.

    The interval is the percentile bootstrap's, moved so that the median draw is the gap itself:
    resampling adds noise to noise, and of many groups the largest minus the smallest only grows by
    it. It reaches to "alike" (0, or 1 for a ratio) unless a gap this large has a chance of at most
    2.5 % among groups that are alike: else groups that are alike would almost never be covered.

    Args:
        gap: which gap.
        confusion: TN, FP, FN, TP per group, shape (groups, 4).
        draws: where the draws come from.
        resamples: how many; those in which the gap is not known are left out.

    Raises:
        ValueError: the gap is not known for these counts.
    """
    value = float(gap(confusion))
    if math.isnan(value):
        raise ValueError(f"{gap.name} is not known for these counts: no interval")
    drawn = _known(gap(resampled(confusion, draws, resamples)))
    bias = float(np.median(drawn)) - value
    low, high = (float(np.quantile(drawn, q)) - bias for q in (0.025, 0.975))
    alike = _known(gap.of(_alike_rates(gap, confusion, draws, resamples)))
    if gap.kind == "difference":
        low = 0.0 if np.mean(alike >= value) > TAIL else low
    else:
        high = 1.0 if np.mean(alike <= value) > TAIL else high
    return GapRange(max(low, 0.0), min(high, 1.0), float(np.mean(alike)))


def resampled(confusion: Counts, draws: np.random.Generator, resamples: int) -> Counts:
    """Confusions of resampled rows, shape (resamples, groups, 4).

    Args:
        confusion: TN, FP, FN, TP per group, shape (groups, 4), with at least one row.
        draws: where the draws come from.
        resamples: how many.
    """
    total = int(confusion.sum())
    flat = draws.multinomial(total, confusion.ravel() / total, size=resamples)
    return flat.reshape(resamples, *confusion.shape)


def _alike_rates(
    gap: Gap, confusion: Counts, draws: np.random.Generator, resamples: int
) -> list[Floats]:
    """Rates, each (resamples, groups), of groups of these sizes if all had the pooled rate."""
    rates = []
    for rate in gap.rates:
        part, whole = rate.counts(confusion)
        size = (resamples, len(whole))
        drawn = draws.binomial(whole, part.sum() / whole.sum(), size=size)
        rates.append(share(drawn, np.broadcast_to(whole, size)))
    return rates


def _known(gaps: Floats) -> Floats:
    return gaps[~np.isnan(gaps)]
