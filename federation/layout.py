"""The one flat integer vector of a site: named segments whose sums modulo 2**32 are exact.

Everything a site contributes goes through it, an update and a count alike, so that nothing
site-level ever travels beside the secure sum.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from federation import canonical
from federation.errors import ConfigError

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint32]

RING_BITS = 32


@dataclass(frozen=True, slots=True)
class Segment:
    """A named stretch of the vector with a fixed-point code of its own.

    Attributes:
        name: what it holds, for instance `update` or `overall/confusion`.
        length: number of coordinates, >= 1.
        bound: largest absolute value of a coordinate at one site.
        step: resolution, a power of two; encoding moves a value by at most step / 2.
    """

    name: str
    length: int
    bound: float
    step: float

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ConfigError(f"segment {self.name}.length", self.length, "a whole number > 0")
        if not (self.bound > 0 and math.isfinite(self.bound)):
            raise ConfigError(f"segment {self.name}.bound", self.bound, "a finite number > 0")
        if not (self.step > 0 and math.frexp(self.step)[0] == 0.5):
            raise ConfigError(f"segment {self.name}.step", self.step, "a power of two")

    @property
    def largest_code(self) -> int:
        """Largest absolute integer that a coordinate within the bound encodes to."""
        return math.floor(self.bound / self.step + 0.5)


def finest_segment(name: str, length: int, bound: float, summands: int) -> Segment:
    """The segment with the smallest step at which `summands` values cannot overflow the ring.

    Raises:
        ConfigError: a bound or length out of range.

    >>> finest_segment("update", 3, bound=1.0, summands=4).step == 2.0**-28
    True
    """
    exponent = math.ceil(math.log2(bound * summands)) - (RING_BITS - 1)
    while summands * Segment(name, length, bound, 2.0**exponent).largest_code >= 2 ** (
        RING_BITS - 1
    ):
        exponent += 1
    return Segment(name, length, bound, 2.0**exponent)


def count_segment(name: str, length: int, most: int) -> Segment:
    """A segment of whole numbers from 0 to `most`, summed exactly."""
    return Segment(name, length, bound=float(most), step=1.0)


@dataclass(frozen=True, slots=True)
class VectorLayout:
    """The segments in order, for a sum of at most `summands` sites.

    Raises:
        ConfigError: names repeat, or the sum of a segment could overflow the ring.
    """

    segments: tuple[Segment, ...]
    summands: int

    def __post_init__(self) -> None:
        names = [segment.name for segment in self.segments]
        if len(set(names)) != len(names):
            raise ConfigError("layout.segments", names, "distinct names")
        for segment in self.segments:
            if self.summands * segment.largest_code >= 2 ** (RING_BITS - 1):
                raise ConfigError(
                    f"segment {segment.name}.bound",
                    segment.bound,
                    f"a bound whose sum over {self.summands} sites fits {RING_BITS} bits "
                    f"at step {segment.step:g}",
                    "lower the bound or the number of sites, or raise the step",
                )

    @property
    def length(self) -> int:
        """Number of words of the whole vector."""
        return sum(segment.length for segment in self.segments)

    def digest(self) -> bytes:
        """SHA-256 that binds every name, length, bound and step; 32 bytes."""
        described = [asdict(segment) for segment in self.segments]
        return bytes.fromhex(canonical.digest({"summands": self.summands, "segments": described}))

    def encode(self, values: Mapping[str, Floats]) -> Words:
        """One site's vector, shape (length,), uint32, two's complement.

        Args:
            values: per segment name, shape (segment.length,); exactly the layout's names.

        Raises:
            ValueError: a name too many or missing, a wrong shape, or a coordinate that is NaN or
                out of bound. Nothing is clipped here: a silent clip would change what the
                mechanism promised.
        """
        expected = {segment.name for segment in self.segments}
        if set(values) != expected:
            raise ValueError(f"segments {sorted(expected ^ set(values))} are missing or unknown")
        return np.concatenate([_encode(segment, values[segment.name]) for segment in self.segments])

    def decode(self, total: Words) -> dict[str, Floats]:
        """Undo `encode` on a modular sum, shape (length,), of at most `summands` vectors.

        Raises:
            ValueError: `total` has another shape or dtype.
        """
        if total.shape != (self.length,) or total.dtype != np.uint32:
            raise ValueError(f"expected ({self.length},) uint32, got {total.shape} {total.dtype}")
        signed = total.view(np.int32).astype(np.float64)
        ends = list(accumulate(segment.length for segment in self.segments))
        return {
            segment.name: signed[end - segment.length : end] * segment.step
            for segment, end in zip(self.segments, ends, strict=True)
        }


def _encode(segment: Segment, values: Floats) -> Words:
    if values.shape != (segment.length,):
        raise ValueError(f"{segment.name}: expected ({segment.length},), got {values.shape}")
    if not np.all(np.abs(values) <= segment.bound):  # also catches NaN
        raise ValueError(f"{segment.name}: a coordinate is NaN or beyond {segment.bound:g}")
    return np.rint(values / segment.step).astype(np.int64).astype(np.uint32)
