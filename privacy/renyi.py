"""Renyi divergence of each mechanism at a fixed set of orders: what adds up over a history.

Mironov 2017, arXiv:1702.07476; conversion to epsilon by Canonne, Kamath and Steinke 2020,
arXiv:2004.00010, Proposition 12 (dp-accounting's). Rounded outwards.

Infinite where no bound is proven at these orders: sampled noise under replace-one, and sampled
shares of noise for several records of a person. A sampled Gaussian for up to k records of a person
is at most one whose single record, k times as large, joins with probability 1 - (1 - q)^k: the
bound in `privacy.gaussian_mixture` grows with j.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from dp_accounting.rdp import compute_epsilon
from dp_accounting.rdp.rdp_privacy_accountant import compute_delta

from privacy.discrete_gaussian_divergence import Sensitivity
from privacy.event import (
    DiscreteLaplace,
    Laplace,
    PoissonSampledDistributedGaussian,
    PoissonSampledGaussian,
)
from privacy.mechanism import Loss, Mechanism, SampledGroup, Selection, pure_epsilon, rounded_up
from privacy.neighbours import ADD_OR_REMOVE_ONE
from privacy.sampled_discrete_gaussian import renyi_divergence as sampled_renyi_divergence

Floats = npt.NDArray[np.float64]

RDP_ORDERS = (*range(2, 65), 72, 80, 96, 128, 192, 256, 384, 512, 1024)
"""Whole orders: any set of orders gives a bound, and at fractional ones the series of
Poisson-subsampled Gaussians fails to converge for small noise."""

LEAST_NOISE = 1e-3
"""What lies below it has no bound here: no epsilon that it has protects anybody."""

_OUTWARD = 1e-13
_FINE = 4**20
"""Squared units to a sensitivity: any that leaves the least noise above a unit."""
_ORDERS = np.array(RDP_ORDERS, np.float64)


def divergences(losses: Sequence[Loss]) -> Floats:
    """Of all together, shape (len(RDP_ORDERS),); zero for none."""
    total = np.zeros(len(RDP_ORDERS))
    for mechanism, count in losses:
        total += divergences_once(mechanism) * count
    return total


def epsilon(losses: Sequence[Loss], delta: float) -> float:
    """Of all together, at a delta in (0, 1)."""
    by_orders, _ = compute_epsilon(RDP_ORDERS, divergences(losses).tolist(), delta)
    return min(float(by_orders), sum_if_pure(losses))


def delta(losses: Sequence[Loss], epsilon: float) -> float:
    """Of all together, at an epsilon >= 0; at most 1."""
    by_orders, _ = compute_delta(RDP_ORDERS, divergences(losses).tolist(), epsilon)
    return min(float(by_orders), 1.0)


def deltas(losses: Sequence[Loss], epsilons: Floats) -> Floats:
    """Of all together, at many epsilons >= 0 at once; in [0, 1], of their shape."""
    total = divergences(losses)
    at_most = (_ORDERS - 1) * (total + np.log1p(-1 / _ORDERS) - epsilons[:, None]) - np.log(_ORDERS)
    by_orders = np.exp(np.minimum(at_most.min(axis=1), 0.0))
    bounds: Floats = np.where(epsilons >= sum_if_pure(losses), 0.0, by_orders)
    return bounds


@lru_cache(maxsize=4096)
def divergences_once(mechanism: Mechanism) -> Floats:
    """Shape (len(RDP_ORDERS),)."""
    if isinstance(mechanism, Selection):
        return _of_selection(mechanism)
    if isinstance(mechanism, SampledGroup):
        return _of_group(mechanism)
    if isinstance(mechanism, Laplace | DiscreteLaplace):
        return _of_pure(mechanism)
    if isinstance(mechanism, PoissonSampledDistributedGaussian):
        rate, sensitivity = mechanism.sampling_rate, mechanism.sensitivity
        bounds = [
            sampled_renyi_divergence(RDP_ORDERS, rate, sensitivity, noise)
            for noise in mechanism.honest_noise()
        ]
        worst: Floats = np.max(bounds, axis=0) + _OUTWARD
        return worst
    return _of_sampled_gaussian(mechanism)


def _of_sampled_gaussian(mechanism: PoissonSampledGaussian) -> Floats:
    """At whole orders that of a discrete Gaussian with the same ratio, however fine its steps."""
    if mechanism.noise_multiplier < LEAST_NOISE:
        return np.full(len(RDP_ORDERS), math.inf)
    fine = Sensitivity(1, _FINE)
    variance = Fraction(mechanism.noise_multiplier) ** 2 * _FINE
    exact = sampled_renyi_divergence(RDP_ORDERS, mechanism.sampling_rate, fine, [variance])
    # A divergence rounded to zero would cost nothing.
    rounded: Floats = exact + _OUTWARD
    return rounded


def _of_group(group: SampledGroup) -> Floats:
    neighbours, one = group.neighbours, group.one
    if neighbours.relation != ADD_OR_REMOVE_ONE or not isinstance(one, PoissonSampledGaussian):
        return np.full(len(RDP_ORDERS), math.inf)
    joins = -math.expm1(neighbours.records * math.log1p(-one.sampling_rate)) * (1 + 1e-12)
    noise = one.noise_multiplier / neighbours.records * (1 - 1e-12)
    return _of_sampled_gaussian(PoissonSampledGaussian(min(joins, 1.0), noise, 1))


def _of_pure(mechanism: Laplace | DiscreteLaplace) -> Floats:
    """Mironov 2017: Laplace noise, Table II; randomised response, section VI-A. At most epsilon.

    Randomised response is the worst of its epsilon, which discrete Laplace noise is costed as.
    """
    most = rounded_up(pure_epsilon(mechanism))
    if not math.isfinite(most):
        return np.full(len(RDP_ORDERS), math.inf)
    if isinstance(mechanism, Laplace):
        above = np.log(_ORDERS) + (_ORDERS - 1) * most
        below = np.log(_ORDERS - 1) - _ORDERS * most
        both = np.logaddexp(above, below) - np.log(2 * _ORDERS - 1)
    else:
        both = np.logaddexp(_ORDERS * most, (1 - _ORDERS) * most) - np.logaddexp(0, most)
    rounded: Floats = np.clip(both / (_ORDERS - 1), 0.0, most) + _OUTWARD
    return rounded


def _of_selection(selection: Selection) -> Floats:
    """Papernot and Steinke 2022, arXiv:2110.03620, Theorem 6 (Poisson) and Theorem 2."""
    once = divergences(selection.repeated)
    chosen = once + math.log(selection.mean) / (_ORDERS - 1)
    if math.isinf(selection.shape):
        epsilons = np.log1p(1 / (_ORDERS - 1))
        deltas = [delta(selection.repeated, epsilon) for epsilon in epsilons]
        return chosen + selection.mean * np.array(deltas) + _OUTWARD
    stop = stopping_probability(selection.mean, selection.shape)
    again = (1 + selection.shape) * np.min((1 - 1 / _ORDERS) * once - math.log(stop) / _ORDERS)
    # A divergence grows with its order: what bounds a higher one bounds the lower.
    least: Floats = np.minimum.accumulate((chosen + again)[::-1])[::-1] + _OUTWARD
    return least


def stopping_probability(mean: float, shape: float) -> float:
    """Parameter gamma in (0, 1] of the truncated negative binomial of this mean, rounded down.

    Args:
        mean: >= 1.
        shape: >= 0, finite; 0 is the logarithmic law, 1 the geometric.

    >>> round(stopping_probability(10.0, 1.0), 6)
    0.1
    """
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _mean(middle, shape) >= mean else (low, middle)
    return low * (1 - 1e-7)


def _mean(stop: float, shape: float) -> float:
    """Papernot and Steinke 2022, Definition 1."""
    if stop == 0:
        return math.inf
    if stop == 1:
        return 1.0
    if shape == 0:
        return (1 - 1 / stop) / math.log(stop)
    return shape * (1 - stop) / (stop * -math.expm1(shape * math.log(stop)))


def sum_if_pure(losses: Sequence[Loss]) -> float:
    """Renyi DP of infinite order: the sum of the epsilons, infinite where a Gaussian is among them.

    Added as fractions, and what they add up to is rounded up: never a hair above what was asked.
    """
    total = Fraction(0)
    for mechanism, count in losses:
        if not isinstance(mechanism, Laplace | DiscreteLaplace):
            return math.inf
        total += pure_epsilon(mechanism) * count
    return rounded_up(total)
