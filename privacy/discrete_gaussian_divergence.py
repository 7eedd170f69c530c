"""Renyi divergence of a vector hidden by a sum of discrete Gaussians: an upper bound.

Kairouz, Liu and Steinke 2021, arXiv:2102.06387, Theorem 1 and Proposition 14 with its equation
(17). A sum of discrete Gaussians is not one, but near: its logarithm differs from that of
N_Z(0, total variance) by a function whose values lie within tau / 2 of each other. Proof, since the
release rests on it: for two summands the ratio is a constant times theta(c(z)) as in
`privacy.mechanisms.discrete_gaussian`, with 1 / r^2 = 1 / v + 1 / w; with rho = sum over k >= 1 of
exp(-2 pi^2 r^2 k^2) the logarithm of theta ranges over log((1 + 2 rho) / (1 - 2 rho)) <=
5 exp(-2 pi^2 r^2) for r^2 >= 1/8. A further summand averages what was there, which widens no range,
and adds its own theta. So tau = 10 sum over k of exp(-2 pi^2 r_k^2), where r_k joins summand k + 1
to the sum of those before.

Per coordinate moved by a, with t = tau / 2 and total variance V, at any order >= 2:

- the privacy loss of the sum is at most t more than that of N_Z(0, V), and weighing by the one
  law rather than the other costs a factor exp(t): t + t / (order - 1) <= tau more than
  order a^2 / (2 V), the divergence of N_Z(0, V) (Canonne, Kamath and Steinke 2020,
  arXiv:2004.00010, Theorem 5);
- or two steps of at most t each in maximum divergence and one of |a| / sqrt(V) in concentrated DP,
  which add up: order / 2 (|a| / sqrt(V) + tau)^2 (Bun and Steinke 2016, arXiv:1605.02065,
  Proposition 1.4 and the triangle inequality behind their Proposition 1.9).

Summed over coordinates these are the three terms of equation (17). Below order 2 nothing is
claimed. Theorem 1 has tau d / 2 where the first term gives tau d; the larger is used.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEAST_VARIANCE = Fraction(1, 4)
"""Of a summand: below it the paper's bound does not hold (Theorem 1: sigma >= gamma / 2)."""

_OUTWARD = 1 + 1e-12
"""Far more than the roundings of the arithmetic below."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How far one site moves the sum, in whole units.

    Attributes:
        dimension: d, number of coordinates, >= 1.
        squared_l2: largest squared L2 norm of a site's integers.
    """

    dimension: int
    squared_l2: int

    @property
    def l2(self) -> float:
        """Largest L2 norm."""
        return math.sqrt(self.squared_l2) * _OUTWARD

    @property
    def l1(self) -> float:
        """Largest L1 norm: by Cauchy and Schwarz, or as |x| <= x^2 for integers."""
        return min(math.sqrt(self.dimension) * self.l2, self.squared_l2 * _OUTWARD)


def tau(variances: Iterable[Fraction]) -> float:
    """Twice the range of the logarithm of the sum's law over the one discrete Gaussian's.

    For n equal variances s^2 the paper's 10 sum_{k=1}^{n-1} exp(-2 pi^2 s^2 k / (k + 1)). Infinite
    if a variance is below 1/4.

    >>> f"{tau([Fraction(1)] * 2):.3e}"
    '5.172e-04'
    """
    total, gap = 0.0, 0.0
    for variance in sorted(variances, reverse=True):
        if variance < LEAST_VARIANCE:
            return math.inf
        value = float(variance)
        if total:
            gap += 10 * math.exp(-2 * math.pi**2 * total * value / (total + value) / _OUTWARD)
        total += value
    return gap * _OUTWARD


def renyi_divergence(
    orders: Sequence[float], sensitivity: Sensitivity, variances: Sequence[Fraction]
) -> Floats:
    """Bound at each order, shape (len(orders),): equation (17).

    Args:
        orders: each >= 2.
        sensitivity: of the integer sum.
        variances: of the independent discrete Gaussians in each coordinate; at least one.

    Raises:
        ValueError: an order below 2, or no noise.
    """
    if not variances or min(orders) < 2:
        raise ValueError(f"need a variance and orders >= 2: {len(variances)=}, {min(orders)=}")
    order = np.array(orders, np.float64)
    gap, deviation = tau(variances), math.sqrt(sum(variances)) / _OUTWARD
    if math.isinf(gap):
        return np.full(len(order), math.inf)
    d, l1, l2 = sensitivity.dimension, sensitivity.l1 / deviation, sensitivity.l2 / deviation
    within_loss = order / 2 * l2**2 + gap * d
    by_coordinate = order / 2 * (l2**2 + 2 * gap * l1 + gap**2 * d)
    by_norm = order / 2 * (l2 + gap * math.sqrt(d)) ** 2
    bound: Floats = np.minimum(np.minimum(within_loss, by_coordinate), by_norm) * _OUTWARD
    return bound
