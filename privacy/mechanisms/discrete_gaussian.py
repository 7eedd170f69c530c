"""Discrete Gaussian noise on the integers, from cryptographic bytes and exact integer tables.

N_Z(0, s^2) takes x with a probability proportional to exp(-x^2 / (2 s^2)) (Canonne, Kamath and
Steinke 2020, arXiv:2004.00010, Definition 1). Nothing here is a float: tables are made of
integers, so the same key gives the same values on every machine.

**Table.** Thresholds C_i = floor(2^192 F(i)) of the cumulative distribution, for |i| <= T. A draw
is the number of thresholds at most U, for U uniform in [0, 2^192). The first 64 bits of U decide,
unless they equal those of a threshold; only then are the other 128 drawn. So no draw rests on 64
bits alone. Error of one draw, in total variation:

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
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate, takewhile

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy
from privacy.mechanisms.keystream import KEY_BYTES, Keystream, Words64

Integers = npt.NDArray[np.int64]

LARGEST_DEVIATION = 2**24
"""Above this the tables of both layers would leave the cache; no plan comes near."""

_THRESHOLD_BITS, _FURTHER_BITS = 192, 128
_WORKING_BITS = 256
_TAIL = 16.5
_ONE_LAYER = 128
_GUIDE_BITS = 16
_UNDECIDED = np.iinfo(np.int32).min
_CHUNK = 1 << 16


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
        return _draw(_table(exact), size, near, ties)
    step = math.isqrt(math.isqrt(exact.numerator // exact.denominator) // 4)
    values = _draw(_table(Fraction(16 * step**2)), size, near, ties)
    values += step * _draw(_table(exact / step**2 - 16), size, far, ties)
    return values


def _draw(table: "CumulativeTable", size: int, stream: Keystream, ties: Keystream) -> Integers:
    values = np.empty(size, np.int64)
    for at in range(0, size, _CHUNK):
        part = values[at : at + _CHUNK]
        part[:] = table.look_up(stream.words(len(part)), lambda: _further(ties))
    return values


def _further(ties: Keystream) -> int:
    high, low = ties.words(2).tolist()
    return (int(high) << 64) | int(low)


@dataclass(frozen=True, slots=True)
class CumulativeTable:
    """The cumulative distribution of an integer in [least, -least], for look-up by random words.

    Attributes:
        least: smallest value.
        thresholds: ascending integers of 192 bits; a draw is `least` plus how many are <= U.
        heads: their first 64 bits, shape (len(thresholds),), uint64.
        guide: the draw for each choice of the first 16 bits, where these decide; int32.
    """

    least: int
    thresholds: tuple[int, ...]
    heads: Words64
    guide: npt.NDArray[np.int32]

    def look_up(self, words: Words64, further: Callable[[], int]) -> Integers:
        """One draw per word, shape of `words`.

        Args:
            words: the first 64 bits of each U.
            further: the next 128 bits of a U whose first 64 do not decide.
        """
        values: Integers = self.guide[words >> np.uint64(64 - _GUIDE_BITS)].astype(np.int64)
        (open_at,) = np.nonzero(values == _UNDECIDED)
        undecided = words[open_at]
        below = np.searchsorted(self.heads, undecided, side="left")
        values[open_at] = self.least + below
        for tie in np.nonzero(below < np.searchsorted(self.heads, undecided, side="right"))[0]:
            uniform = (int(undecided[tie]) << _FURTHER_BITS) | further()
            values[open_at[tie]] = self.least + bisect_right(self.thresholds, uniform)
        return values


@lru_cache(maxsize=64)
def _table(variance: Fraction) -> CumulativeTable:
    weights = _weights(variance)
    total = 2 * sum(weights) - weights[0]
    # All but the last, which is 2^192: no draw lies beyond it.
    both_sides = accumulate((*reversed(weights), *weights[1:]))
    thresholds = [(below << _THRESHOLD_BITS) // total for below in both_sides][:-1]
    heads = np.array([threshold >> _FURTHER_BITS for threshold in thresholds], np.uint64)
    least = -(len(weights) - 1)
    return CumulativeTable(least, tuple(thresholds), heads, _guide(least, heads))


def _guide(least: int, heads: Words64) -> npt.NDArray[np.int32]:
    starts = np.arange(1 << _GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - _GUIDE_BITS)
    before = np.searchsorted(heads, starts, side="left")
    after = np.append(before[1:], len(heads))
    return np.where(before == after, least + before, _UNDECIDED).astype(np.int32)


def _weights(variance: Fraction) -> list[int]:
    """exp(-x^2 / (2 variance)) in units of 2^-256, for x from 0 to T or the last above zero."""
    reach = math.ceil(_TAIL * math.sqrt(variance)) + 1
    factor = _exp_of_minus(1 / (2 * variance))
    squared = factor * factor >> _WORKING_BITS
    weights = [1 << _WORKING_BITS]
    for _ in range(reach):
        weights.append(weights[-1] * factor >> _WORKING_BITS)
        factor = factor * squared >> _WORKING_BITS
    return list(takewhile(bool, weights))


def _exp_of_minus(exponent: Fraction) -> int:
    """exp(-exponent) in units of 2^-256, right to 4 units.

    Taylor's series of a number up to 1/2 with 64 guard bits, then squared as often as it was
    halved: each squaring at most doubles the error, and adds a unit of the guarded precision.
    """
    halvings = max(0, math.ceil(exponent).bit_length() + 1)
    bits = _WORKING_BITS + 64 + halvings
    small = (exponent.numerator << bits) // (exponent.denominator << halvings)
    term, total, order = 1 << bits, 1 << bits, 0
    while term:
        order += 1
        term = (term * small >> bits) // order
        total += -term if order % 2 else term
    for _ in range(halvings):
        total = total * total >> bits
    return total >> (bits - _WORKING_BITS)
