"""Whole numbers too large for one ring, in limbs, and numbers of a column on a public grid."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from federation.task import Floats

Integers = npt.NDArray[np.int64]

LIMB_BITS = 20
"""Up to 2,047 sites add limbs of as many bits in a ring of 32."""
GRID_BITS = 20
"""A range has at least 2**19 steps, so rounding a value to one moves it by 1e-6 of the range."""
LARGEST_TOTAL = 2**62
LARGEST_EXACT = 2**53
"""Steps from zero up to which a float holds every whole number."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Multiples of a step around the middle of a public range.

    Attributes:
        low: of the range.
        high: of the range, above `low`.
    """

    low: float
    high: float

    @property
    def step(self) -> float:
        """A power of two: a whole number is on the grid of any range narrower than 2**20."""
        return float(2.0 ** (math.ceil(math.log2(self.high - self.low)) - GRID_BITS))

    @property
    def origin(self) -> int:
        """The middle, in steps from zero."""
        return round((self.low + self.high) / 2 / self.step)

    @property
    def half_width(self) -> int:
        """Largest distance of a code from zero."""
        ends = (round(self.low / self.step), round(self.high / self.step))
        return max(abs(end - self.origin) for end in ends)

    def codes(self, values: Floats) -> Integers:
        """Steps from the middle, rounded to nearest, of values clipped to the range."""
        clipped = np.clip(values, self.low, self.high)
        return np.rint(clipped / self.step).astype(np.int64) - self.origin


def limbs(bound: int) -> int:
    """How many limbs hold every whole number up to `bound`, either sign.

    >>> limbs(2**20 - 1), limbs(2**20)
    (1, 2)
    """
    return max(1, -(-bound.bit_length() // LIMB_BITS))


def split(values: Integers, count: int) -> tuple[Floats, ...]:
    """Limbs, low ones first, each of the shape of `values`; only the last one has a sign."""
    parts, rest = [], values
    for _ in range(count - 1):
        parts.append((rest & ((1 << LIMB_BITS) - 1)).astype(np.float64))
        rest = rest >> LIMB_BITS
    return (*parts, rest.astype(np.float64))


def join(parts: tuple[Floats, ...]) -> list[int]:
    """Undo `split` on sums of limbs, exactly."""
    columns = [part.astype(np.int64).tolist() for part in parts]
    return [
        sum(limb << (LIMB_BITS * place) for place, limb in enumerate(row))
        for row in zip(*columns, strict=True)
    ]
