"""Discrete Laplace noise on the integers, exactly: whole numbers in, no float in between.

P[x] is proportional to exp(-|x| / scale): the two-sided geometric mechanism (Ghosh, Roughgarden and
Sundararajan 2012, doi:10.1137/09076828X), drawn by Canonne, Kamath and Steinke 2020,
arXiv:2004.00010, Algorithm 2, whose coins are Algorithm 1. A draw is exact as long as the words of
the keystream are uniform: nothing is rounded, and no tail is cut but by what an int64 holds, beyond
which lies less than exp(-2^10).

Added to whole numbers that one record moves by `sensitivity` in all (L1), the mechanism is
(sensitivity / scale)-DP. How long a draw takes depends on what is drawn; who could measure that to
the microsecond at a site would learn about the noise.
"""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy
from privacy.mechanisms.keystream import KEY_BYTES, Keystream

Integers = npt.NDArray[np.int64]

LEAST_SCALE, LARGEST_SCALE = 2.0**-20, 2.0**52

_WORD = 1 << 64
_BUFFER = 1 << 10


def discrete_laplace(size: int, scale: float, entropy: Entropy) -> Integers:
    """Independent values with P[x] proportional to exp(-|x| / scale), shape (size,), int64.

    Args:
        size: >= 0.
        scale: taken exactly; from 2^-20 to 2^52.
        entropy: of one 32-byte key; the values are a function of it.

    Raises:
        ValueError: a bound above is broken.
    """
    if size < 0 or not LEAST_SCALE <= scale <= LARGEST_SCALE:
        raise ValueError(f"need size >= 0 and scale from 2**-20 to 2**52: {size=}, {scale=}")
    coins, exact = _Coins(entropy.bytes(KEY_BYTES)), Fraction(scale)
    return np.array([_draw(coins, exact) for _ in range(size)], np.int64)


def variance(scale: float) -> float:
    """Of one value: 2 q / (1 - q)^2 with q = exp(-1 / scale).

    >>> round(variance(1.0), 4)
    1.8413
    """
    half = 1 / (2 * scale)
    return 0.0 if half > 350 else 1 / (2 * math.sinh(half) ** 2)


def _draw(coins: "_Coins", scale: Fraction) -> int:
    """Algorithm 2, with t / s the scale."""
    t, s = scale.numerator, scale.denominator
    while True:
        low = coins.below(t)
        if not coins.exp_of_minus(low, t):
            continue
        high = 0
        while coins.exp_of_minus(1, 1):
            high += 1
        magnitude, negative = (low + t * high) // s, coins.below(2)
        if magnitude or not negative:
            return -magnitude if negative else magnitude


class _Coins:
    """Exact draws from the words of one key."""

    def __init__(self, key: bytes) -> None:
        self._keystream = Keystream(key)
        self._words: list[int] = []

    def below(self, bound: int) -> int:
        """Uniform in [0, bound), by rejection."""
        bits = (bound - 1).bit_length()
        while True:
            drawn, got = 0, 0
            while got < bits:
                drawn, got = drawn * _WORD + self._word(), got + 64
            drawn >>= got - bits
            if drawn < bound:
                return drawn

    def exp_of_minus(self, numerator: int, denominator: int) -> bool:
        """True with probability exp(-numerator / denominator); Algorithm 1, for a ratio up to 1."""
        tries = 1
        while self.below(tries * denominator) < numerator:
            tries += 1
        return tries % 2 == 1

    def _word(self) -> int:
        if not self._words:
            self._words = [int(word) for word in self._keystream.words(_BUFFER)]
        return self._words.pop()
