"""Flower's Array as one that came from another process: its numbers without a detour.

`Array.numpy` parses the header of the .npy format with Python's own parser and copies the numbers
twice; between the processes of one machine that was most of what a message cost. Here a header is
parsed once for all arrays that have the same one, and a large array is a view of the memory that
was written once for all nodes. What `numpy` returns is what Flower's returns: an array of one's
own, to write to at will.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Literal

import numpy as np
from flwr.app import Array
from numpy.typing import NDArray

from simulations.backends.sealed_memory import Octets, SealedMemory

NUMPY = "numpy.ndarray"
"""The serialization that Flower's arrays have, unless somebody chose another."""
MAGIC = b"\x93NUMPY\x01\x00"
PREFIX = len(MAGIC) + 2
"""Bytes before the header of version 1.0: the magic string and the header's length."""


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of memory that a message came with.

    Attributes:
        source: sealed memory; or, for reading only, what this process has mapped of it.
        offset, length: in bytes.
    """

    source: SealedMemory | Octets
    offset: int
    length: int

    def seen(self) -> Octets | None:
        """The bytes for reading only, if they are mapped."""
        if isinstance(self.source, SealedMemory):
            return None
        return self.source[self.offset : self.offset + self.length]

    def to_bytes(self) -> bytes:
        """A copy."""
        if isinstance(self.source, SealedMemory):
            return self.source.read(self.offset, self.length)
        return self.source[self.offset : self.offset + self.length].tobytes()

    def own(self) -> Octets:
        """The bytes for their only user, who may write to them."""
        if isinstance(self.source, SealedMemory):
            return self.source.copy_on_write()[self.offset : self.offset + self.length]
        return self.source[self.offset : self.offset + self.length].copy()


@dataclass(frozen=True, slots=True)
class Pieces:
    """Bytes that lie in several places."""

    parts: tuple[bytes | Region, ...]

    def to_bytes(self) -> bytes:
        """All of them."""
        return b"".join(one if isinstance(one, bytes) else one.to_bytes() for one in self.parts)


class ReceivedArray(Array):
    """An array whose bytes lie in a message, or in memory that several processes share."""

    def __init__(
        self, dtype: str, shape: tuple[int, ...], stype: str, at: bytes | Region | Pieces
    ) -> None:
        # Not through Flower's constructor: it insists on bytes, and asks for a while what it got.
        fields = {"dtype": dtype, "shape": shape, "stype": stype}
        self.__dict__.update(fields, **{"data" if isinstance(at, bytes) else "_region": at})

    def __getattr__(self, name: str) -> Any:
        """`data`, when it is asked for the first time."""
        if name != "data" or "_region" not in self.__dict__:
            raise AttributeError(name)
        self.__dict__["data"] = self.__dict__.pop("_region").to_bytes()
        return self.__dict__["data"]

    def __reduce__(self) -> tuple[type[Array], tuple[str, tuple[int, ...], str, bytes]]:
        return Array, (self.dtype, self.shape, self.stype, self.data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Array):
            return NotImplemented
        return _fields(self) == _fields(other)

    __hash__ = None  # type: ignore[assignment]  # as Flower's

    def deflate(self) -> bytes:
        """As Flower's, under Flower's name."""
        return Array(*_fields(self)).deflate()

    def numpy(self) -> NDArray[Any]:
        """The numbers; see `flwr.app.Array.numpy`."""
        region = _region(self)
        if self.stype != NUMPY or (region is None and not self.data.startswith(MAGIC)):
            return super().numpy()
        if region is not None:
            octets = region.own()
            head = octets[: PREFIX + 65535].tobytes()
            return super().numpy() if not head.startswith(MAGIC) else _view(octets, head)
        return _view(np.frombuffer(self.data, np.uint8), self.data).copy(order="K")


def read_only(array: Array) -> NDArray[Any]:
    """The numbers of an array without a copy, where there is none to be made; not to be written to.

    Raises:
        TypeError: it is not serialized as Flower serializes arrays.
    """
    region = _region(array)
    octets = region.seen() if region is not None else None
    if octets is not None and array.stype == NUMPY:
        head = octets[: PREFIX + 65535].tobytes()
        if head.startswith(MAGIC):
            return _view(octets, head)
    return array.numpy()


def _region(array: Array) -> Region | None:
    """Where its bytes are, if not in the array itself; `data` may have been asked for, or set."""
    at = None if "data" in array.__dict__ else array.__dict__.get("_region")
    return at if isinstance(at, Region) else None


def _fields(array: Array) -> tuple[str, tuple[int, ...], str, bytes]:
    return array.dtype, array.shape, array.stype, array.data


def _view(octets: Octets, head: bytes) -> NDArray[Any]:
    """The numbers after the header that `head` begins with."""
    end = PREFIX + int.from_bytes(head[PREFIX - 2 : PREFIX], "little")
    layout = _layout(head[:end])
    numbers = octets[end : end + layout.size].view(layout.dtype)
    return numbers.reshape(layout.shape, order=layout.order)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a header says; `size` is that of the numbers after it, in bytes."""

    size: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]


@lru_cache(maxsize=4096)
def _layout(header: bytes) -> _Layout:
    """What a .npy header of version 1.0 says, by numpy's own parser.

    Raises:
        ValueError: it is not one, or its numbers are Python objects.
    """
    stream = io.BytesIO(header[len(MAGIC) :])
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
    return _Layout(prod(shape) * dtype.itemsize, shape, dtype, "F" if is_fortran else "C")
