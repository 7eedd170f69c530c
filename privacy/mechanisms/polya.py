"""Shares of discrete Laplace noise: differences of Polya variables, without a float in between.

A Polya variable (negative binomial of a real shape r, 0 < q < 1) is k with a probability of
Gamma(k + r) / (k! Gamma(r)) (1 - q)^r q^k. Shapes add up, and the difference of two of shape 1 is
the discrete Laplace, P[x] proportional to q^|x|. So with r = 1 / honest and q = exp(-1 / scale) the
differences that `honest` sites add make a discrete Laplace of that scale, exactly (Goryczka and
Xiong 2017, IEEE TDSC 14(5), section 4); those of n sites have n / honest times its variance.

**Jumps.** A Polya variable is a Poisson number, of mean -r log(1 - q), of jumps that are k >= 1
with a probability proportional to q^k / k (Quenouille 1949, doi:10.2307/3001938). So a share is a
Poisson number, of mean lambda = -2 r log(1 - q), of such jumps, each up or down by a fair coin. The
number comes from a table (`privacy.mechanisms.cumulative_table`).

**One jump.** k >= 1 is cut into blocks: from a, of a length that is a power of two and at most a. A
block is drawn from a table, with a weight of its length times q^a / a; k is uniform in it; it is
kept with probability a / k, and then with q^(k - a), else all is drawn anew. That is q^k / k
exactly, whatever the blocks are. Up to a scale of 256 they have length 1, so every draw is kept;
beyond it their length grows to W, the largest power of two that is at most the scale, and stays.
At least 0.46 of the draws are kept: the integral of exp(-x) / (1 + x) from 0 to 1. The coin of
a / k compares integers. That of q^(k - a) is one coin per digit of k - a, of 10 bits each, against
thresholds of 192 bits.

**Error**, in total variation, of a coordinate of what `honest` sites add together:

- lambda is right to 2^-250, and so is the law of the number of jumps but for its table: 2^-184 a
  share, 2^-167 for up to 10^5 shares.
- A block's table has up to 2^16 thresholds of 2^-192, and the jumps beyond it hold less than
  2^-192; a coin is right to 2^-191. So a jump is right to 2^-174, drawn anew or not; and all shares
  of a coordinate have 2 log(scale + 1) <= 56 jumps in the mean.

Together below 2^-165; for a vector of up to 2^40 coordinates t = 2^-125. A mechanism that is
(epsilon, delta)-DP with the exact law is (epsilon, delta + (1 + exp(epsilon)) t)-DP with this one:
below epsilon = 15 that is less than 2^-100 more, which is not charged. What tells AES-256 from a
random function comes on top, as for all noise here.

How long a vector takes depends on what is drawn; who could measure that at a site would learn about
the sum of its jumps.
"""

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from itertools import takewhile

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy
from privacy.mechanisms.cumulative_table import (
    FURTHER_BITS,
    THRESHOLD_BITS,
    CumulativeTable,
    further_bits,
    table_of_weights,
)
from privacy.mechanisms.fixed_point_exponential import WORKING_BITS, exp_of_minus
from privacy.mechanisms.keystream import KEY_BYTES, Keystream, Words64

Integers = npt.NDArray[np.int64]
Decisions = npt.NDArray[np.bool_]

LEAST_SCALE, LARGEST_SCALE = 2.0**-5, 2.0**40
"""Of what `honest` shares make: an epsilon of 32 per unit, and more than any count has digits."""
MOST_SHARES = 10**5

_REACH = 134
"""Scales: q^(134 scale) is below 2^-193."""
_SINGLE = 256
"""Largest scale whose blocks all have length 1: their table still fits the cache."""
_DIGIT_BITS = 10
_DIGITS = 120
"""Of decimal arithmetic, which rounds exponentials and logarithms correctly."""
_CHUNK = 1 << 16


def polya_difference(size: int, scale: float, honest: int, entropy: Entropy) -> Integers:
    """One site's share of noise in each coordinate, shape (size,), int64.

    The sum of the shares of `honest` sites has P[x] proportional to exp(-|x| / scale).

    Args:
        size: >= 0.
        scale: of what `honest` shares make, taken exactly; from 2^-5 to 2^40.
        honest: 1 to 10^5.
        entropy: of two 32-byte keys; the values are a function of them and of the size.

    Raises:
        ValueError: a bound above is broken.
    """
    if size < 0 or not LEAST_SCALE <= scale <= LARGEST_SCALE or not 1 <= honest <= MOST_SHARES:
        raise ValueError(
            "need size >= 0, scale from 2**-5 to 2**40 and honest from 1 to 10**5: "
            f"{size=}, {scale=}, {honest=}"
        )
    stream, ties = (Keystream(entropy.bytes(KEY_BYTES)) for _ in range(2))
    numbers, jumps = _number_of_jumps(Fraction(scale), honest), _jumps(Fraction(scale))
    values = np.empty(size, np.int64)
    for at in range(0, size, _CHUNK):
        part = values[at : at + _CHUNK]
        ends = np.cumsum(numbers.draw(len(part), stream, ties))
        total = int(ends[-1])
        signed = np.where(_coins(total, stream), 1, -1) * jumps.draw(total, stream, ties)
        part[:] = np.diff(np.concatenate(([0], np.cumsum(signed)))[np.append(0, ends)])
    return values


def _coins(size: int, stream: Keystream) -> Decisions:
    return np.unpackbits(stream.words(-(-size // 64)).view(np.uint8), count=size).astype(np.bool_)


@dataclass(frozen=True, slots=True)
class _Decay:
    """Coins that fall on heads with probability exp(-digit * rate), by digit.

    Attributes:
        thresholds: floor(2^192 times that); of digit 0, whose coin need not be thrown, 2^192 - 1.
        heads: their first 64 bits, shape (len(thresholds),), uint64.
    """

    thresholds: tuple[int, ...]
    heads: Words64

    def throw(self, digits: Integers, stream: Keystream, ties: Keystream) -> Decisions:
        """Whether each falls on heads, shape of `digits`."""
        words, heads = stream.words(len(digits)), self.heads[digits]
        fallen: Decisions = words < heads
        for tie in np.nonzero(words == heads)[0]:
            uniform = (int(words[tie]) << FURTHER_BITS) | further_bits(ties)
            fallen[tie] = uniform < self.thresholds[digits[tie]]
        return fallen


@dataclass(frozen=True, slots=True)
class _Jumps:
    """The law of one jump, as a table of blocks and what keeps a draw.

    Attributes:
        blocks: number of a block, from 0.
        starts: smallest jump of each block, int64.
        bits: logarithm to base 2 of each block's length, uint64.
        decays: coins of each digit of the distance from a block's start, least digit first; none
            where every block has length 1.
    """

    blocks: CumulativeTable
    starts: Integers
    bits: Words64
    decays: tuple[_Decay, ...]

    def draw(self, size: int, stream: Keystream, ties: Keystream) -> Integers:
        """Independent jumps, shape (size,)."""
        if not self.decays:
            return self.starts[self.blocks.draw(size, stream, ties)]
        kept: list[Integers] = []
        missing = size
        while missing > 0:
            jumps = self._kept(min(2 * missing + 16, _CHUNK), stream, ties)[:missing]
            kept.append(jumps)
            missing -= len(jumps)
        return np.concatenate(kept) if kept else np.empty(0, np.int64)

    def _kept(self, draws: int, stream: Keystream, ties: Keystream) -> Integers:
        """What is kept of so many draws, in order."""
        block = self.blocks.draw(draws, stream, ties)
        start, words = self.starts[block], stream.words(draws)
        offset = (words & ((np.uint64(1) << self.bits[block]) - np.uint64(1))).astype(np.int64)
        # The offset takes low bits of the word, the coin of a / k high ones, and they never meet.
        at = np.nonzero(self._is_harmonic(words, start, start + offset, ties))[0]
        for place, decay in enumerate(self.decays):
            digits = offset[at] >> (place * _DIGIT_BITS) & ((1 << _DIGIT_BITS) - 1)
            thrown = np.nonzero(digits)[0]
            lost = thrown[~decay.throw(digits[thrown], stream, ties)]
            at = np.delete(at, lost)
        return start[at] + offset[at]

    def _is_harmonic(
        self, words: Words64, start: Integers, jump: Integers, ties: Keystream
    ) -> Decisions:
        """Coins of probability start / jump: whether uniform * jump < start, by bits as needed."""
        # No jump reaches twice the last start; no product below leaves 62 bits.
        bits = 62 - int(2 * self.starts[-1]).bit_length()
        high = (words >> np.uint64(64 - bits)).astype(np.int64)
        bound = start << bits
        decided: Decisions = (high + 1) * jump <= bound
        for tie in np.nonzero(~decided & (high * jump < bound))[0]:
            further = further_bits(ties) << FURTHER_BITS | further_bits(ties)
            uniform = int(high[tie]) << 2 * FURTHER_BITS | further
            decided[tie] = uniform * int(jump[tie]) < int(start[tie]) << bits + 2 * FURTHER_BITS
        return decided


@lru_cache(maxsize=64)
def _number_of_jumps(scale: Fraction, honest: int) -> CumulativeTable:
    """The Poisson law of the number of jumps of one share."""
    mean = _mean_jumps(scale) // honest
    weights = [1 << WORKING_BITS]
    while weights[-1]:
        weights.append((weights[-1] * mean >> WORKING_BITS) // len(weights))
    return table_of_weights(0, weights[:-1])


def _mean_jumps(scale: Fraction) -> int:
    """-2 log(1 - exp(-1 / scale)) in units of 2^-256, right to 64 units."""
    with localcontext(prec=_DIGITS):
        exponent = Decimal(scale.denominator) / Decimal(scale.numerator)
        mean = -2 * (1 - (-exponent).exp()).ln()
        return int(mean * (1 << WORKING_BITS))


@lru_cache(maxsize=16)
def _jumps(scale: Fraction) -> _Jumps:
    reach = math.ceil(_REACH * scale) + 2
    if scale <= _SINGLE:
        starts = np.arange(1, reach + 1)
        blocks = table_of_weights(0, _single_weights(scale, reach))
        return _Jumps(blocks, starts[: len(blocks.thresholds) + 1], np.zeros(reach, np.uint64), ())
    most = math.floor(scale).bit_length() - 1
    of_growing = [(1 << bits, bits) for bits in range(most)]
    of_one_length = [(i << most, most) for i in range(1, (reach >> most) + 2)]
    weights = [
        (exp_of_minus(start / scale) << bits) // start
        for start, bits in (*of_growing, *of_one_length)
    ]
    starts, bits = np.array([*of_growing, *of_one_length]).T
    decays = tuple(_decay((1 << place) / scale) for place in range(0, most, _DIGIT_BITS))
    return _Jumps(table_of_weights(0, weights), starts, bits.astype(np.uint64), decays)


def _single_weights(scale: Fraction, reach: int) -> list[int]:
    """exp(-k / scale) / k in units of 2^-256 for k from 1, as long as they are above zero."""
    factor = power = exp_of_minus(1 / scale)
    weights = []
    for jump in range(1, reach + 1):
        weights.append(power // jump)
        power = power * factor >> WORKING_BITS
    return list(takewhile(bool, weights))


def _decay(rate: Fraction) -> _Decay:
    factor, power = exp_of_minus(rate), (1 << WORKING_BITS) - 1
    thresholds = []
    for _ in range(1 << _DIGIT_BITS):
        thresholds.append(power >> WORKING_BITS - THRESHOLD_BITS)
        power = power * factor >> WORKING_BITS
    heads = np.array([threshold >> FURTHER_BITS for threshold in thresholds], np.uint64)
    return _Decay(tuple(thresholds), heads)
