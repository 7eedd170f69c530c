"""Stochastic rounding to a grid, without bias; and the same until the result is short enough.

Kairouz, Liu and Steinke 2021, arXiv:2102.06387: a vector of L2 norm up to c, rounded coordinate by
coordinate to the multiples of gamma, has at most the squared norm of their Theorem 1,

    min{ (c + gamma sqrt(d))^2,
         c^2 + gamma^2 d / 4 + sqrt(2 ln(1 / beta)) gamma (c + gamma sqrt(d) / 2) },

the first always, the second with a probability of at least 1 - beta. Rounding is repeated until it
holds (their Algorithm 1, "conditional rounding"). The bound is then a fact about the integers that
are sent, not an estimate: they are measured exactly, and floating point plays no part in privacy.

A repeated draw makes the mean of the result, given that it is short, differ a little from the
vector; at their beta = exp(-1/2) the second bound stands gamma (c + gamma sqrt(d) / 2) above the
largest mean of the squared norm.
"""

import math

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy
from privacy.mechanisms.keystream import KEY_BYTES, Keystream, Words64

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_CHUNK = 1 << 15
"""Coordinates at a time, so that what lies between stays in the cache; no part of the result."""

LARGEST_NORM = 2.0**31
"""In units of gamma: up to here squared norms fit 64 bits."""
MOST_DRAWS = 1_000
"""At the usual beta, exp(-1/2), all of them fail with a probability of at most exp(-500)."""


def stochastic_rounding(vector: Floats, granularity: float, keystream: Keystream) -> Integers:
    """`vector` in whole units of `granularity`, each up or down at random; shape (d,), int64.

    The mean of each coordinate is right to 2^-63 units.

    Args:
        vector: shape (d,), float64, finite, at most 2^52 units.
        granularity: gamma, a power of two.
        keystream: one word per coordinate is drawn.

    Raises:
        ValueError: a bound above is broken.
    """
    if not (granularity > 0 and math.frexp(granularity)[0] == 0.5):
        raise ValueError(f"granularity = {granularity}: expected a power of two")
    rounded = np.empty(len(vector), np.int64)
    for at in range(0, len(vector), _CHUNK):
        part = vector[at : at + _CHUNK]
        rounded[at : at + _CHUNK] = _rounded(part, granularity, keystream.words(len(part)))
    return rounded


def _rounded(vector: Floats, granularity: float, words: Words64) -> Integers:
    # Of magnitudes, whose fractions are exact: -1e-30 less its floor would be 1.0.
    magnitude = np.abs(vector) / granularity
    if not np.all(magnitude <= 2.0**52):  # also catches NaN
        raise ValueError("vector: a coordinate is not finite or beyond 2**52 units")
    whole = magnitude.astype(np.int64)
    magnitude -= whole
    # A fraction below 1 has at most 53 bits, so the product is below 2^63 and fits.
    magnitude *= 2.0**63
    whole += (words >> np.uint64(1)).view(np.int64) < magnitude.astype(np.int64)
    whole *= np.where(vector < 0, -1, 1)
    return whole


def conditional_rounding(
    vector: Floats, granularity: float, largest_squared_norm: int, entropy: Entropy
) -> Integers:
    """`vector` stochastically rounded, given that its squared norm is at most the bound.

    Args:
        vector: shape (d,), float64.
        granularity: gamma, a power of two; the unit of the result.
        largest_squared_norm: in units of gamma^2, see `rounded_squared_norm`.
        entropy: of one 32-byte key; the result is a function of it.

    Raises:
        ValueError: a bound above is broken, or the vector is so long that no draw was short.
    """
    norm = float(np.linalg.norm(vector)) / granularity
    if not norm + math.sqrt(len(vector)) < LARGEST_NORM:
        raise ValueError(f"vector: {norm:g} units long: expected less than 2**31 with rounding")
    keystream = Keystream(entropy.bytes(KEY_BYTES))
    for _ in range(MOST_DRAWS):
        rounded = stochastic_rounding(vector, granularity, keystream)
        if int(rounded @ rounded) <= largest_squared_norm:
            return rounded
    raise ValueError(
        f"vector: {norm:g} units long, and no rounding of it has the squared norm "
        f"{largest_squared_norm}: clip it first"
    )


def rounded_squared_norm(dimension: int, clip: float, granularity: float, beta: float) -> int:
    """The largest squared norm of a rounded vector, in units of gamma^2, rounded down.

    What is sent and what the accountant assumes are both this integer.

    Args:
        dimension: d >= 1.
        clip: c > 0, the L2 norm before rounding.
        granularity: gamma > 0.
        beta: largest probability of a repeated draw, in [0, 1); 0: none is, at the first bound.

    Raises:
        ValueError: a bound above is broken.
    """
    if not (dimension >= 1 and 0 < clip < math.inf and granularity > 0 and 0 <= beta < 1):
        raise ValueError(
            "need dimension >= 1, a finite clip > 0, granularity > 0 and 0 <= beta < 1: "
            f"{dimension=}, {clip=}, {granularity=}, {beta=}"
        )
    length, root = clip / granularity, math.sqrt(dimension)
    always = (length + root) ** 2
    if beta == 0:
        return math.floor(always)
    spread = math.sqrt(2 * math.log(1 / beta)) * (length + root / 2)
    return math.floor(min(always, length**2 + dimension / 4 + spread))
