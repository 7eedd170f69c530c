"""What the ring of a noised sum must hold: rotated signals for certain, noise all but always."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol, TypeVar

from federation.errors import ConfigError
from privacy.mechanisms.hadamard import coordinate_bound

CUT_PROBABILITY = 1e-6
"""Of a round in which a coordinate of any site is cut, over the signs of the rotation."""
WRAP_PROBABILITY = 1e-6
"""Of a round in which any coordinate of the sum wraps around; it harms accuracy, not privacy."""

FINEST = 2.0**-30
"""Smallest granularity, in units of the clip: rounded norms stay within 31 bits."""

Plan = TypeVar("Plan")


class RotatedGrid(Protocol):
    """What is needed to read a noised sum: how many coordinates, in which steps."""

    @property
    def dimension(self) -> int:
        """Coordinates of the sum."""
        ...

    @property
    def granularity(self) -> float:
        """Of the integers, in the unit of the updates."""
        ...


def largest_code(dimension: int, norm: float, granularity: float, sites: int) -> int:
    """Where a site's rotated coordinates are cut, in whole units of the granularity.

    Args:
        dimension: of the rotated vector.
        norm: L2 norm of a site's vector, at most.
        granularity: > 0.
        sites: in the sum; none of them has a coordinate cut but for CUT_PROBABILITY a round.
    """
    return math.ceil(coordinate_bound(dimension, norm, CUT_PROBABILITY / sites) / granularity)


def noise_margin(dimension: int, variance: Fraction) -> int:
    """What no coordinate of a sum's noise exceeds, but for WRAP_PROBABILITY a round.

    Discrete Gaussians are sub-Gaussian, so their sum is (see `discrete_gaussian`); and the union
    over all coordinates.

    Args:
        dimension: of the sum.
        variance: of all its noise in one coordinate, in squared units.
    """
    spread = 2 * math.log(2 * dimension / WRAP_PROBABILITY)
    return math.ceil(math.sqrt(variance * Fraction(spread)))


def bits_needed(largest: int) -> int:
    """Fewest bits of a ring in which numbers up to `largest` keep their sign."""
    return largest.bit_length() + 1


def is_granularity(granularity: float, clip: float) -> bool:
    """Whether it is a power of two from clip / 2^30 to clip."""
    return FINEST <= granularity / clip <= 1 and math.frexp(granularity)[0] == 0.5


def finest(plan: Callable[[float], Plan], clip: float) -> Plan | None:
    """The plan of the smallest granularity that has one; None if none up to `clip` has.

    Args:
        plan: for a granularity, a power of two; raises ConfigError where there is none.
        clip: > 0; L2 norm of a site's vector.
    """
    granularity = 2.0 ** math.ceil(math.log2(clip * FINEST))
    while granularity <= clip:
        try:
            return plan(granularity)
        except ConfigError:
            granularity *= 2
    return None
