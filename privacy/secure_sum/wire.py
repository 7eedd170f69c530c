"""How messages are framed: two bytes "HS", a version, a kind, then fields in a fixed order.

A text or byte string of variable length follows its length, a list its count (four bytes each, big
endian). Tables are sorted by site and name no site twice. There is one encoding of each value, and
a message with a wrong kind, length or order, or a byte too many, is a `ProtocolViolation`.
"""

import struct
from collections.abc import Iterable, Mapping

from federation.errors import ProtocolViolation

MAGIC = b"HS"
VERSION = 1
HEADER_BYTES = 4
LARGEST_NAME = 200
LARGEST_NUMBER = 2**32 - 1


def frame(kind: int, *fields: bytes) -> bytes:
    """A message of `kind` with these encoded fields."""
    return MAGIC + bytes([VERSION, kind]) + b"".join(fields)


def number(value: int) -> bytes:
    """A whole number from 0 to 2**32 - 1, four bytes."""
    return struct.pack(">I", value)


def text(value: str) -> bytes:
    """UTF-8 after its length."""
    encoded = value.encode()
    return number(len(encoded)) + encoded


def names(values: Iterable[str]) -> bytes:
    """Sites in order, after their count."""
    encoded = [text(value) for value in sorted(values)]
    return number(len(encoded)) + b"".join(encoded)


def table(values: Mapping[str, bytes]) -> bytes:
    """Per site, in order, a byte string whose length both ends know."""
    entries = [text(site) + values[site] for site in sorted(values)]
    return number(len(entries)) + b"".join(entries)


class Reader:
    """Reads fields off a message and refuses whatever does not fit.

    Raises:
        ProtocolViolation: from the constructor and every method: the message is malformed.
    """

    def __init__(self, data: bytes, kind: int, what: str) -> None:
        self._data, self._at, self._what = data, HEADER_BYTES, what
        if data[:HEADER_BYTES] != frame(kind):
            raise ProtocolViolation(f"{what}: not a message of this kind and version")

    def exactly(self, length: int) -> bytes:
        """The next `length` bytes."""
        if len(self._data) - self._at < length:
            raise ProtocolViolation(f"{self._what}: too short")
        self._at += length
        return self._data[self._at - length : self._at]

    def number(self) -> int:
        """A whole number."""
        return int.from_bytes(self.exactly(4), "big")

    def text(self) -> str:
        """A text of at most `LARGEST_NAME` bytes."""
        length = self.number()
        if length > LARGEST_NAME:
            raise ProtocolViolation(f"{self._what}: a name of {length} > {LARGEST_NAME} bytes")
        try:
            return self.exactly(length).decode()
        except UnicodeDecodeError as error:
            raise ProtocolViolation(f"{self._what}: a name is not UTF-8") from error

    def names(self) -> tuple[str, ...]:
        """Sites, sorted and distinct."""
        return tuple(self._sorted([self.text() for _ in range(self.number())]))

    def table(self, width: int) -> dict[str, bytes]:
        """Per site, sorted and distinct, `width` bytes."""
        entries = [(self.text(), self.exactly(width)) for _ in range(self.number())]
        self._sorted([site for site, _ in entries])
        return dict(entries)

    def end(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._data):
            raise ProtocolViolation(f"{self._what}: {len(self._data) - self._at} bytes too many")

    def _sorted(self, sites: list[str]) -> list[str]:
        if sites != sorted(set(sites)):
            raise ProtocolViolation(f"{self._what}: sites out of order, or one twice")
        return sites
