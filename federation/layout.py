"""The one flat integer vector of a site: named segments whose sums modulo their rings are exact.

Everything a site contributes goes through it, an update and a count alike, so that nothing
site-level ever travels beside the secure sum.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from federation import canonical
from federation.entropy import Entropy, keystream
from federation.errors import ConfigError
from federation.ring_vector import RING_BITS, RingVector, Stretch, Words

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Rounding = Literal["nearest", "stochastic"]

WIDEST = max(RING_BITS)
_CHUNK = 1 << 15
"""Coordinates that are encoded at a time, so that they stay in the cache."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A named stretch of the vector with a fixed-point code of its own.

    Attributes:
        name: what it holds, for instance `update` or `overall/confusion`.
        length: number of coordinates, >= 1.
        bound: largest absolute value of a coordinate at one site.
        step: resolution, a power of two.
        bits: of the ring that it is summed in, one of `RING_BITS`.
        rounding: `nearest` moves a value by at most step / 2; `stochastic` by less than a step, up
            or down with the probabilities that keep its expectation.
    """

    name: str
    length: int
    bound: float
    step: float
    bits: int = WIDEST
    rounding: Rounding = "nearest"

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ConfigError(f"segment {self.name}.length", self.length, "a whole number > 0")
        if not (self.bound > 0 and math.isfinite(self.bound)):
            raise ConfigError(f"segment {self.name}.bound", self.bound, "a finite number > 0")
        if not (self.step > 0 and math.frexp(self.step)[0] == 0.5):
            raise ConfigError(f"segment {self.name}.step", self.step, "a power of two")
        if self.bits not in RING_BITS:
            raise ConfigError(f"segment {self.name}.bits", self.bits, f"one of {RING_BITS}")

    @property
    def largest_code(self) -> int:
        """Largest absolute integer that a coordinate within the bound encodes to."""
        largest = self.bound / self.step
        return math.ceil(largest) if self.rounding == "stochastic" else math.floor(largest + 0.5)

    def fits(self, summands: int) -> bool:
        """Whether the sum of as many values stays within its ring, whatever they are."""
        return summands * self.largest_code < 1 << (self.bits - 1)


def finest_segment(
    name: str,
    length: int,
    bound: float,
    summands: int,
    bits: int = WIDEST,
    rounding: Rounding = "nearest",
) -> Segment:
    """The segment with the smallest step at which `summands` values cannot overflow the ring.

    Raises:
        ConfigError: a bound or length out of range.

    >>> finest_segment("update", 3, bound=1.0, summands=4).step == 2.0**-28
    True
    """
    exponent = math.ceil(math.log2(bound * summands)) - (bits - 1)
    segment = Segment(name, length, bound, 2.0**exponent, bits, rounding)
    while not segment.fits(summands):
        exponent += 1
        segment = Segment(name, length, bound, 2.0**exponent, bits, rounding)
    return segment


def count_segment(name: str, length: int, most: int, summands: int) -> Segment:
    """A segment of whole numbers from 0 to `most`, summed exactly, in the narrowest ring.

    >>> count_segment("rows", 1, most=1000, summands=4).bits
    16
    """
    candidates = (Segment(name, length, float(most), 1.0, bits) for bits in RING_BITS)
    return next(
        (segment for segment in candidates if segment.fits(summands)),
        Segment(name, length, float(most), 1.0),
    )


@dataclass(frozen=True, slots=True)
class VectorLayout:
    """The segments in order, for a sum of at most `summands` sites.

    In the vector, segments of one ring stand together, narrow rings first.

    Raises:
        ConfigError: names repeat, or the sum of a segment could overflow its ring.
    """

    segments: tuple[Segment, ...]
    summands: int

    def __post_init__(self) -> None:
        names = [segment.name for segment in self.segments]
        if len(set(names)) != len(names):
            raise ConfigError("layout.segments", names, "distinct names")
        for segment in self.segments:
            if not segment.fits(self.summands):
                raise ConfigError(
                    f"segment {segment.name}.bound",
                    segment.bound,
                    f"a bound whose sum over {self.summands} sites fits {segment.bits} bits "
                    f"at step {segment.step:g}",
                    "lower the bound (of counts: evaluation.maximum_rows), or have fewer sites",
                )

    @property
    def length(self) -> int:
        """Number of words of the whole vector."""
        return sum(segment.length for segment in self.segments)

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """What the vector is made of: a stretch per ring that a segment is in."""
        lengths = {bits: sum(s.length for s in self._in_ring(bits)) for bits in RING_BITS}
        return tuple(Stretch(bits, length) for bits, length in lengths.items() if length)

    def digest(self) -> bytes:
        """SHA-256 that binds every name, length, bound, step, ring and rounding; 32 bytes."""
        described = [asdict(segment) for segment in self.segments]
        return bytes.fromhex(canonical.digest({"summands": self.summands, "segments": described}))

    def encode(self, values: Mapping[str, Floats], entropy: Entropy | None = None) -> RingVector:
        """One site's vector, in two's complement.

        Args:
            values: per segment name, shape (segment.length,); exactly the layout's names.
            entropy: of stochastic rounding; not needed where every segment is rounded to nearest.

        Raises:
            ValueError: a name too many or missing, a wrong shape, a coordinate that is NaN or out
                of bound, or no entropy for a segment that needs it. Nothing is clipped here: a
                silent clip would change what the mechanism promised.
        """
        expected = {segment.name for segment in self.segments}
        if set(values) != expected:
            raise ValueError(f"segments {sorted(expected ^ set(values))} are missing or unknown")
        vector = RingVector.zeros(self.stretches)
        for stretch, words in zip(vector.stretches, vector.parts(), strict=True):
            start = 0
            for segment in self._in_ring(stretch.bits):
                out = words[start : start + segment.length]
                _encode(segment, values[segment.name], entropy, out)
                start += segment.length
        return vector

    def encoded_sum(
        self,
        vectors: Iterable[tuple[Mapping[str, Floats], Entropy | None]],
        counts: Mapping[str, Floats],
    ) -> RingVector:
        """The sum of many sites' vectors, bit for bit what adding up `encode` of each would give.

        Args:
            vectors: per site, values of all segments that are not in `counts`, and the entropy of
                stochastic rounding, as for `encode`.
            counts: of the other segments, all rounded to nearest: the sum over all sites, shape
                (segment.length,), or what each site has, shape (sites, segment.length).

        Raises:
            ValueError: as `encode`; or a count is not a whole number of steps, so that a sum of
                what sites encode could be another.
        """
        total = RingVector.zeros(self.stretches)
        starts = dict.fromkeys(RING_BITS, 0)
        parts = dict(zip((s.bits for s in total.stretches), total.parts(), strict=True))
        own: list[tuple[Segment, Words, Words]] = []
        for segment in (each for bits in parts for each in self._in_ring(bits)):
            start = starts[segment.bits]
            out = parts[segment.bits][start : start + segment.length]
            starts[segment.bits] += segment.length
            if segment.name in counts:
                out[:] = _whole_steps(segment, counts[segment.name]).astype(out.dtype)
            else:
                own.append((segment, out, np.empty_like(out)))
        expected = {segment.name for segment, _, _ in own}
        for values, entropy in vectors:
            if set(values) != expected:
                raise ValueError(f"segments {sorted(expected ^ set(values))} missing or unknown")
            for segment, out, code in own:
                _encode(segment, values[segment.name], entropy, code)
                np.add(out, code, out=out)
        return total

    def add(self, vector: RingVector, name: str, integers: Integers) -> None:
        """Add whole steps to a segment's words, modulo its ring, in place: noise, for instance.

        Args:
            vector: of this layout.
            name: of the segment.
            integers: shape (segment.length,), int64.

        Raises:
            KeyError: there is no such segment.
            ValueError: another shape or dtype.
        """
        segment = {each.name: each for each in self.segments}[name]
        if integers.shape != (segment.length,) or integers.dtype != np.int64:
            raise ValueError(f"expected ({segment.length},) int64, got {integers.shape}")
        for stretch, words in zip(vector.stretches, vector.parts(), strict=True):
            if stretch.bits == segment.bits:
                start = 0
                for each in self._in_ring(stretch.bits):
                    if each is segment:
                        words[start : start + segment.length] += integers.astype(words.dtype)
                    start += each.length

    def decode(self, total: RingVector) -> dict[str, Floats]:
        """Undo `encode` on a modular sum of at most `summands` vectors.

        Raises:
            ValueError: `total` has other stretches.
        """
        if total.stretches != self.stretches:
            raise ValueError(f"expected {self.stretches}, got {total.stretches}")
        sums = {}
        for stretch, signed in zip(total.stretches, total.signed(), strict=True):
            start = 0
            for segment in self._in_ring(stretch.bits):
                own = signed[start : start + segment.length]
                sums[segment.name] = np.multiply(own, segment.step, dtype=np.float64)
                start += segment.length
        return {segment.name: sums[segment.name] for segment in self.segments}

    def _in_ring(self, bits: int) -> tuple[Segment, ...]:
        return tuple(segment for segment in self.segments if segment.bits == bits)


def _encode(segment: Segment, values: Floats, entropy: Entropy | None, out: Words) -> None:
    """Write a segment's codes into `out`, shape (segment.length,)."""
    if values.shape != (segment.length,):
        raise ValueError(f"{segment.name}: expected ({segment.length},), got {values.shape}")
    # A power of two: the product is exact, as the quotient would be.
    scale, signed = 1.0 / segment.step, out.view(f"<i{out.dtype.itemsize}")
    for at in range(0, segment.length, _CHUNK):
        chunk = values[at : at + _CHUNK]
        if not (chunk.min() >= -segment.bound and chunk.max() <= segment.bound):  # also catches NaN
            raise ValueError(f"{segment.name}: a coordinate is NaN or beyond {segment.bound:g}")
        codes = chunk * scale
        if segment.rounding == "stochastic":
            codes += _uniforms(segment, len(chunk), entropy)
            np.floor(codes, out=codes)
        else:
            np.rint(codes, out=codes)
        signed[at : at + _CHUNK] = codes


def _whole_steps(segment: Segment, sums: Floats) -> Integers:
    """What the sites' codes of a segment add up to, shape (segment.length,)."""
    if sums.shape[-1:] != (segment.length,) or sums.ndim > 2 or segment.rounding != "nearest":
        raise ValueError(f"{segment.name}: expected ({segment.length},), got {sums.shape}")
    steps = sums / segment.step
    whole = np.rint(steps)
    if sums.ndim == 2:
        if not np.all(np.abs(sums) <= segment.bound):
            raise ValueError(f"{segment.name}: a coordinate is NaN or beyond {segment.bound:g}")
        return np.asarray(whole.sum(axis=0).astype(np.int64))
    if not np.array_equal(steps, whole):  # also catches NaN
        raise ValueError(f"{segment.name}: a sum is not a whole number of steps")
    return np.asarray(steps.astype(np.int64))


def _uniforms(segment: Segment, count: int, entropy: Entropy | None) -> Floats:
    """In [0, 1), multiples of 2**-32: the probability of rounding up is off by at most as much."""
    if entropy is None:
        raise ValueError(f"{segment.name}: stochastic rounding needs entropy")
    return np.frombuffer(keystream(entropy, 4 * count), "<u4") * 2.0**-32
