"""How messages are framed: two bytes "HS", a version, a kind, then fields in a fixed order.

A text of variable length follows its length, a list its count (four bytes each, big endian). A set
of sites is one bit for each invited site, in their order; a table is such a set and then one field
of a fixed width for each of its sites. There is one encoding of each value, and a message with a
wrong kind, length or order, or a byte too many, is a `ProtocolViolation`.
"""

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from federation.errors import ProtocolViolation
from privacy.secure_sum.table import Table

MAGIC = b"HS"
VERSION = 3
HEADER_BYTES = 4
LARGEST_NAME = 200
LARGEST_NUMBER = 2**32 - 1


def frame(kind: int, *fields: bytes | memoryview) -> bytes:
    """A message of `kind` with these encoded fields."""
    return b"".join((MAGIC, bytes([VERSION, kind]), *fields))


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


def members(some: Collection[str], sites: Sequence[str]) -> bytes:
    """Which of the invited `sites` are among `some`: bit i % 8 of byte i // 8 is site number i.

    >>> members({"a", "c"}, ("a", "b", "c")).hex()
    '05'
    """
    meant = frozenset(some)
    # As binary digits: to shift a bit for each site takes twice as long.
    digits = "".join(["1" if site in meant else "0" for site in reversed(sites)])
    return int(digits, 2).to_bytes(-(-len(sites) // 8), "little")


def table(values: Mapping[str, bytes], sites: Sequence[str]) -> bytes:
    """Which of the invited sites have a field, and their fields, all of one width, in order."""
    if isinstance(values, Table):
        return members(values.members, sites) + values.rows.tobytes()
    return members(values, sites) + b"".join(values[site] for site in sites if site in values)


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

    def members(self, sites: Sequence[str]) -> tuple[str, ...]:
        """A set of the invited `sites`, in their order."""
        bits = int.from_bytes(self.exactly(-(-len(sites) // 8)), "little")
        if bits >> len(sites):
            raise ProtocolViolation(f"{self._what}: a bit of no invited site is set")
        digits = reversed(f"{bits:0{len(sites)}b}")
        return tuple([site for site, digit in zip(sites, digits, strict=True) if digit == "1"])

    def table(self, width: int, sites: Sequence[str]) -> dict[str, bytes]:
        """`width` bytes for each of some of the invited `sites`."""
        some = self.members(sites)
        fields = self.exactly(width * len(some))
        return {site: fields[at * width : at * width + width] for at, site in enumerate(some)}

    def rows(self, width: int, sites: Sequence[str]) -> Table:
        """The same as `table`, to be passed on; its rows are the message's memory."""
        some = self.members(sites)
        fields = np.frombuffer(self.exactly(width * len(some)), np.uint8)
        return Table(some, fields.reshape(len(some), width))

    def rest(self) -> memoryview:
        """All that is left, not copied."""
        start, self._at = self._at, len(self._data)
        return memoryview(self._data)[start:]

    def end(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._data):
            raise ProtocolViolation(f"{self._what}: {len(self._data) - self._at} bytes too many")

    def _sorted(self, sites: list[str]) -> list[str]:
        if sites != sorted(set(sites)):
            raise ProtocolViolation(f"{self._what}: sites out of order, or one twice")
        return sites
