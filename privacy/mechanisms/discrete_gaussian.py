"""Discrete Gaussian noise on the integers, from cryptographic bytes and exact integer tables.

N_Z(0, s^2) takes x with a probability proportional to exp(-x^2 / (2 s^2)) (Canonne, Kamath and
Steinke 2020, arXiv:2004.00010, Definition 1). Nothing here is a float: tables are made of
integers, so the same key gives the same values on every machine.

**Table.** Of the cumulative distribution, for |i| <= T (`privacy.mechanisms.cumulative_table`).
Error of one draw, in total variation:

- Weights are fixed-point with 256 bits. w(x + 1) = w(x) g(x), g(x + 1) = g(x) q^2, q =
  exp(-1 / (2 s^2)); a product of numbers up to 1 adds up the errors of its factors and at most
  2^-256. With q right to 4 units, g(x) is off by at most 16 (x + 1) units, w(x) by 8 (x + 1)^2, and
  the sum of all weights by 6 (T + 2)^3 units: below 2^-198 for T <= 2^18.
- Rounding thresholds down costs at most 2^-192 each: (2 T + 1) 2^-192 <= 2^-173 in all.
- The tails beyond T >= 16.5 s hold less than 2 exp(-16.5^2 / 2) < 2^-195: N_Z(0, s^2) is
  sub-Gaussian, as E[exp(t X)] is exp(t^2 s^2 / 2) times the theta below, shifted, over unshifted.

**Two layers.** Above s = 128 a draw is X + k Y, where k = floor(sqrt(s / 4)), X ~ N_Z(0, 16 k^2)
and Y ~ N_Z(0, (s^2 - 16 k^2) / k^2). Completing the square, P[X + k Y = z] is exp(-z^2 / (2 s^2))
times a constant times theta(z) = sum over y of exp(-(y - c(z))^2 / (2 r^2)), where 1 / r^2 =
1/16 + 1 / var(Y) <= 1/8. By Poisson summation theta(z) is a constant times 1 + 2 sum over j >= 1
of exp(-2 pi^2 r^2 j^2) cos(2 pi j c(z)): no probability is off by more than a factor
1 + 5 exp(-16 pi^2) < 1 + 2^-225. (Kairouz, Liu and Steinke 2021, arXiv:2102.06387, bound sums of
discrete Gaussians by the same argument.)

Together, a draw is within 2^-171 of N_Z(0, s^2) in total variation, and a vector of up to 2^40
coordinates within 2^-131, apart from what tells AES-256 from a random function.
"""

import math
from fractions import Fraction
from functools import lru_cache
from itertools import takewhile

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy
from privacy.mechanisms.cumulative_table import CumulativeTable, table_of_weights
from privacy.mechanisms.fixed_point_exponential import WORKING_BITS, exp_of_minus
from privacy.mechanisms.keystream import KEY_BYTES, Keystream

Integers = npt.NDArray[np.int64]

LARGEST_DEVIATION = 2**24
"""Above this the tables of both layers would leave the cache; no plan comes near."""

_TAIL = 16.5
_ONE_LAYER = 128


def discrete_gaussian(size: int, variance: Fraction | float, entropy: Entropy) -> Integers:
    """Independent values of N_Z(0, variance), shape (size,), int64.

    Args:
        size: >= 0.
        variance: s^2, taken exactly; 0 < s^2 <= 2^48. It is the law's parameter; the variance of
            the values is the same within 1e-6 from s = 1 on, and less below.
        entropy: of three 32-byte keys; the values are a function of them.

    Raises:
        ValueError: a bound above is broken.
    """
    if size < 0 or not 0 < variance <= LARGEST_DEVIATION**2:
        raise ValueError(f"need size >= 0 and 0 < variance <= 2**48: {size=}, {variance=}")
    exact = Fraction(variance)
    near, far, ties = (Keystream(entropy.bytes(KEY_BYTES)) for _ in range(3))
    if exact <= _ONE_LAYER**2:
        return _table(exact).draw(size, near, ties)
    step = math.isqrt(math.isqrt(exact.numerator // exact.denominator) // 4)
    values = _table(Fraction(16 * step**2)).draw(size, near, ties)
    values += step * _table(exact / step**2 - 16).draw(size, far, ties)
    return values


@lru_cache(maxsize=64)
def _table(variance: Fraction) -> CumulativeTable:
    weights = _weights(variance)
    both_sides = (*reversed(weights), *weights[1:])
    return table_of_weights(-(len(weights) - 1), both_sides)


def _weights(variance: Fraction) -> list[int]:
    """exp(-x^2 / (2 variance)) in units of 2^-256, for x from 0 to T or the last above zero."""
    reach = math.ceil(_TAIL * math.sqrt(variance)) + 1
    factor = exp_of_minus(1 / (2 * variance))
    squared = factor * factor >> WORKING_BITS
    weights = [1 << WORKING_BITS]
    for _ in range(reach):
        weights.append(weights[-1] * factor >> WORKING_BITS)
        factor = factor * squared >> WORKING_BITS
    return list(takewhile(bool, weights))
