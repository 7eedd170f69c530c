"""A vector of integers modulo powers of two, and how it is packed tightly for the wire.

Coordinates stand in stretches, one per ring: modulo 2**16, 2**20, 2**24 or 2**32. In memory a
16-bit ring takes two bytes a word and the others four; the bits above a ring are arbitrary until
they are dropped, because 2**bits divides the modulus of the machine word. On the wire a word takes
exactly its bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from federation.errors import ConfigError

Words = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
Signed = npt.NDArray[np.int16] | npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]

RING_BITS = (16, 20, 24, 32)
"""Bits per word on the wire; what a layout may choose from."""
LONGEST = 2**32 - 1
ALIGNMENT = 16
"""Bytes: a stretch begins at a whole cipher block, so that one keystream covers all of them."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """`length` words modulo 2**bits.

    Raises:
        ConfigError: bits that are no ring's, or a length that is not from 1 to 2**32 - 1.
    """

    bits: int
    length: int

    def __post_init__(self) -> None:
        if self.bits not in RING_BITS:
            raise ConfigError("stretch.bits", self.bits, f"one of {RING_BITS}")
        if not 1 <= self.length <= LONGEST:
            raise ConfigError("stretch.length", self.length, "from 1 to 2**32 - 1")

    @property
    def dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
        """Of a word in memory, little-endian."""
        return np.dtype("<u2") if self.bits == 16 else np.dtype("<u4")

    @property
    def packed_bytes(self) -> int:
        """On the wire."""
        return -(-self.length * self.bits // 8)

    @property
    def room(self) -> int:
        """Bytes in memory, up to the next whole block."""
        return -(-self.length * self.dtype.itemsize // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class RingVector:
    """Stretches one after the other in one buffer.

    Attributes:
        stretches: at least one; their order is part of what both ends agree on.
        buffer: shape (room of all stretches,), uint8, C-contiguous.

    Raises:
        ValueError: a buffer of another shape or dtype.
    """

    stretches: tuple[Stretch, ...]
    buffer: Bytes

    def __post_init__(self) -> None:
        room = buffer_bytes(self.stretches)
        fits = self.buffer.shape == (room,) and self.buffer.dtype == np.uint8
        if not fits or not self.buffer.flags.c_contiguous:
            raise ValueError(
                f"expected contiguous ({room},) uint8, got {self.buffer.shape} {self.buffer.dtype}"
            )

    @classmethod
    def zeros(cls, stretches: Sequence[Stretch]) -> Self:
        """The neutral element of adding."""
        return cls(tuple(stretches), np.zeros(buffer_bytes(stretches), np.uint8))

    @classmethod
    def of(cls, stretches: Sequence[Stretch], words: Sequence[Words]) -> Self:
        """A vector of these words, copied; one array per stretch, of its dtype and length.

        Raises:
            ValueError: another number of arrays, another shape or dtype.
        """
        vector = cls.zeros(stretches)
        for stretch, part, given in zip(vector.stretches, vector.parts(), words, strict=True):
            if given.shape != (stretch.length,) or given.dtype != stretch.dtype:
                raise ValueError(
                    f"expected ({stretch.length},) {stretch.dtype}, got {given.shape} {given.dtype}"
                )
            part[:] = given
        return vector

    def parts(self) -> tuple[Words, ...]:
        """The words of each stretch, as views: shape (length,), uint16 or uint32."""
        views, start = [], 0
        for stretch in self.stretches:
            end = start + stretch.length * stretch.dtype.itemsize
            views.append(self.buffer[start:end].view(stretch.dtype))
            start += stretch.room
        return tuple(views)

    def copy(self) -> Self:
        """One that shares no memory."""
        return type(self)(self.stretches, self.buffer.copy())

    def add(self, other: "RingVector") -> None:
        """Add another vector of the same stretches, in place."""
        if other.stretches != self.stretches:
            raise ValueError("expected a vector of the same stretches")
        for mine, theirs in zip(self.parts(), other.parts(), strict=True):
            np.add(mine, theirs, out=mine)

    def add_packed(self, data: bytes | memoryview) -> None:
        """Add what `pack` wrote, in place; the same as `add(unpack(...))`, in less memory.

        Raises:
            ValueError: as `unpack`; nothing is added then.
        """
        pieces = _pieces(self.stretches, data)
        for stretch, mine, piece in zip(self.stretches, self.parts(), pieces, strict=True):
            # What need not be unpacked is added in one go.
            step = stretch.length if stretch.bits in _WHOLE else _CHUNK
            for at in range(0, stretch.length, step):
                part = mine[at : at + step]
                np.add(part, _unpacked(piece, stretch.bits, at, len(part)), out=part)

    def pack(self) -> bytes:
        """Every word's low bits, stretch by stretch, little-endian; a half byte left over is zero.

        Two 20-bit words share five bytes, the first in the low bits.
        """
        return b"".join(
            _packed(part, stretch.bits)
            for stretch, part in zip(self.stretches, self.parts(), strict=True)
        )

    @classmethod
    def unpack(cls, stretches: Sequence[Stretch], data: bytes | memoryview) -> Self:
        """Undo `pack`.

        Raises:
            ValueError: another number of bytes than these stretches take, or a half byte left over
                that is not zero.
        """
        vector = cls.zeros(stretches)
        vector.add_packed(data)
        return vector

    def signed(self) -> tuple[Signed, ...]:
        """Each stretch as two's complement in its ring: shape (length,), int16 or int32."""
        values = []
        for stretch, part in zip(self.stretches, self.parts(), strict=True):
            above = 8 * stretch.dtype.itemsize - stretch.bits
            signed = part.view(f"<i{stretch.dtype.itemsize}")
            values.append((signed << above) >> above if above else signed)
        return tuple(values)


_WHOLE = (16, 32)
"""Rings whose words travel as they lie in memory."""
_CHUNK = 1 << 16
"""Words that are unpacked at a time; even, so that two 20-bit words are never parted."""


def buffer_bytes(stretches: Sequence[Stretch]) -> int:
    """What a vector of these stretches takes in memory."""
    return sum(stretch.room for stretch in stretches)


def packed_bytes(stretches: Sequence[Stretch]) -> int:
    """What a vector of these stretches takes on the wire."""
    return sum(stretch.packed_bytes for stretch in stretches)


def _pieces(stretches: Sequence[Stretch], data: bytes | memoryview) -> list[Bytes]:
    expected = packed_bytes(stretches)
    if len(data) != expected:
        raise ValueError(f"packed vector of {len(data)} bytes: expected {expected}")
    raw, pieces, start = np.frombuffer(data, np.uint8), [], 0
    for stretch in stretches:
        piece = raw[start : start + stretch.packed_bytes]
        if stretch.bits * stretch.length % 8 and piece[-1] >> 4:
            raise ValueError("packed vector: the half byte left over is not zero")
        pieces.append(piece)
        start += stretch.packed_bytes
    return pieces


def _packed(words: Words, bits: int) -> bytes:
    if bits in _WHOLE:
        return words.tobytes()
    if bits == 24:
        return np.ascontiguousarray(words.view(np.uint8).reshape(-1, 4)[:, :3]).tobytes()
    padded = words if len(words) % 2 == 0 else np.append(words, words.dtype.type(0))
    pairs = padded.astype(np.uint64) & np.uint64(0xFFFFF)
    joined = pairs[0::2] | (pairs[1::2] << np.uint64(20))
    packed = np.ascontiguousarray(joined.view(np.uint8).reshape(-1, 8)[:, :5]).tobytes()
    return packed[: -(-20 * len(words) // 8)]


def _unpacked(piece: Bytes, bits: int, at: int, count: int) -> Words:
    """Words number `at` to `at + count` of a packed stretch; `at` is even."""
    if bits == 16:
        return np.frombuffer(piece, "<u2", count, 2 * at)
    if bits == 32:
        return np.frombuffer(piece, "<u4", count, 4 * at)
    if bits == 24:
        wide = np.zeros((count, 4), np.uint8)
        wide[:, :3] = piece[3 * at : 3 * (at + count)].reshape(count, 3)
        return wide.view("<u4").reshape(-1)
    raw = np.zeros(5 * (-(-count // 2)), np.uint8)
    own = piece[5 * at // 2 : 5 * at // 2 + len(raw)]
    raw[: len(own)] = own
    wide = np.zeros((len(raw) // 5, 8), np.uint8)
    wide[:, :5] = raw.reshape(-1, 5)
    joined = wide.view("<u8").reshape(-1)
    words = np.empty(2 * len(joined), "<u4")
    words[0::2] = joined & np.uint64(0xFFFFF)
    words[1::2] = joined >> np.uint64(20)
    return words[:count]
