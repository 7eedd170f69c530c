"""What Laplace noise in shares still hides where fewer shares are unknown than were planned for.

Of m < honest shares the noise is A - B, both negative binomial of shape r = m / honest < 1 and
q = exp(-1 / scale): p(k + 1) / p(k) = q (k + r) / (k + 1), which grows with k, so p is log-convex.
f(x) = sum over k of p(k) p(k + x), for x >= 0, is a sum of log-convex functions of x and so is one
itself: f(x) / f(x + 1) falls with x, and is at most f(0) / f(1). As f is even and falls from 0 on,
numbers that a record moves by D in all (L1), each cell having noise of its own, are
D log(f(0) / f(1))-differentially private, delta 0: each unit costs at most the first. It is what
noise of one hand would cost of the scale 1 / log(f(0) / f(1)), as which it is charged.

As p(k + 1) >= q r p(k), that is never above D (1 / scale + log(honest / m)).
"""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from privacy.event import DistributedDiscreteLaplace

MOST_SUMMED = 2.0**14
"""Largest scale for which f is summed up; beyond it the simple bound stands."""
_OUTWARD = 1 + 1e-9
"""More than what rounding adds up to in products and sums of a million terms."""


def with_laplace_shares(
    event: DistributedDiscreteLaplace, shares: int
) -> DistributedDiscreteLaplace:
    """The event to whoever does not know so many shares of its noise, >= 1: never under-stated."""
    if shares >= event.honest:
        return event
    return replace(event, scale=_scale_of_fewer(event.scale, shares / event.honest), honest=shares)


@lru_cache(maxsize=64)
def _scale_of_fewer(scale: float, part: float) -> float:
    """Of noise from one hand that hides no more, where a `part` in (0, 1) of shares is unknown."""
    epsilon = 1 / scale - math.log(part)
    if scale <= MOST_SUMMED:
        epsilon = min(epsilon, _log_ratio(scale, part))
    return 1 / (epsilon * _OUTWARD)


def _log_ratio(scale: float, part: float) -> float:
    """log(f(0) / f(1)), rounded up; the sums' tails are bounded by a geometric series."""
    q = math.exp(-1 / scale)
    k = np.arange(math.ceil(20 * scale) + 60, dtype=np.float64)
    weights = np.concatenate(([1.0], np.cumprod(q * (k + part) / (k + 1))))
    tail = weights[-1] ** 2 / -math.expm1(-2 / scale)
    at_zero, at_one = float(np.sum(weights**2)) + tail, float(np.sum(weights[:-1] * weights[1:]))
    # The ratio is above 1 by 1 / scale at least: rounding is of the ratio, so it is added.
    return math.log(at_zero / at_one) + 1e-9
