"""The messages of the secure sum and their wire format, version 1; nothing else crosses the wire.

Each message is: two bytes "HS", version, kind, then its fields in order. A byte string of variable
length is preceded by its length, a list by its count (four bytes, big endian). Keys, digests and
signatures have the one length they can have. A message with a wrong kind, length, order or a byte
too many is a `ProtocolViolation`.
"""

import struct
from dataclasses import dataclass
from typing import Self

import numpy as np

from federation.errors import ProtocolViolation
from federation.layout import Words
from privacy.secure_sum.shamir import SHARE_BYTES

MAGIC = b"HS"
VERSION = 1
KEY, SIGNATURE, COMMITMENT = 32, 64, 16
SEALED_SHARES = 2 * SHARE_BYTES + 16
LARGEST_NAME = 200
LARGEST_COUNT = 100_000


class _Reader:
    """Reads fields off a message and refuses whatever does not fit."""

    def __init__(self, data: bytes, kind: int, name: str) -> None:
        self._data, self._at, self._name = data, 4, name
        if data[:4] != MAGIC + bytes([VERSION, kind]):
            raise ProtocolViolation(f"{name}: not a message of this kind and version")

    def exactly(self, length: int) -> bytes:
        if len(self._data) - self._at < length:
            raise ProtocolViolation(f"{self._name}: too short")
        self._at += length
        return self._data[self._at - length : self._at]

    def number(self, most: int) -> int:
        (value,) = struct.unpack(">I", self.exactly(4))
        if value > most:
            raise ProtocolViolation(f"{self._name}: a length or count beyond {most}")
        return int(value)

    def name(self) -> str:
        try:
            return self.exactly(self.number(LARGEST_NAME)).decode()
        except UnicodeDecodeError as error:
            raise ProtocolViolation(f"{self._name}: a site's name is not UTF-8") from error

    def count(self) -> int:
        return self.number(LARGEST_COUNT)

    def rest(self) -> bytes:
        return self.exactly(len(self._data) - self._at)

    def end(self) -> None:
        if self._at != len(self._data):
            raise ProtocolViolation(f"{self._name}: bytes after its end")

    def sorted_names(self, names: list[str]) -> None:
        if names != sorted(set(names)):
            raise ProtocolViolation(f"{self._name}: sites not in order, or one twice")


def _start(kind: int) -> bytes:
    return MAGIC + bytes([VERSION, kind])


def _number(value: int) -> bytes:
    return struct.pack(">I", value)


def _name(site: str) -> bytes:
    encoded = site.encode()
    return _number(len(encoded)) + encoded


@dataclass(frozen=True, slots=True)
class Advert:
    """A site's two ephemeral public keys, signed by its identity for one session's terms."""

    sealing_key: bytes
    mask_key: bytes
    signature: bytes

    KIND = 1

    def to_bytes(self) -> bytes:
        """The wire form."""
        return _start(self.KIND) + self.sealing_key + self.mask_key + self.signature

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse.

        Raises:
            ProtocolViolation: malformed.
        """
        reader = _Reader(data, cls.KIND, "advert")
        advert = cls(reader.exactly(KEY), reader.exactly(KEY), reader.exactly(SIGNATURE))
        reader.end()
        return advert


@dataclass(frozen=True, slots=True)
class Bundle:
    """All adverts, as the coordinator relays them."""

    adverts: dict[str, Advert]

    KIND = 2

    def to_bytes(self) -> bytes:
        """The wire form."""
        entries = [_name(site) + self.adverts[site].to_bytes()[4:] for site in sorted(self.adverts)]
        return _start(self.KIND) + _number(len(entries)) + b"".join(entries)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse.

        Raises:
            ProtocolViolation: malformed.
        """
        reader = _Reader(data, cls.KIND, "bundle of adverts")
        pairs = [
            (
                reader.name(),
                Advert(reader.exactly(KEY), reader.exactly(KEY), reader.exactly(SIGNATURE)),
            )
            for _ in range(reader.count())
        ]
        reader.end()
        reader.sorted_names([site for site, _ in pairs])
        return cls(dict(pairs))


@dataclass(frozen=True, slots=True)
class Dealt:
    """Sealed shares for the other sites, and signed commitments to every share.

    Attributes:
        sealed: per receiver, its shares of seed and mask key, sealed.
        commitments: per holder (the dealer too), commitments to both shares.
        signature: the dealer's, over the commitments.
    """

    sealed: dict[str, bytes]
    commitments: dict[str, tuple[bytes, bytes]]
    signature: bytes

    KIND = 3

    def to_bytes(self) -> bytes:
        """The wire form."""
        sealed = [_name(site) + self.sealed[site] for site in sorted(self.sealed)]
        committed = [
            _name(site) + b"".join(self.commitments[site]) for site in sorted(self.commitments)
        ]
        return b"".join([
            _start(self.KIND), self.signature, _number(len(sealed)), *sealed,
            _number(len(committed)), *committed,
        ])  # fmt: skip

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse.

        Raises:
            ProtocolViolation: malformed.
        """
        reader = _Reader(data, cls.KIND, "dealt shares")
        signature = reader.exactly(SIGNATURE)
        sealed = [(reader.name(), reader.exactly(SEALED_SHARES)) for _ in range(reader.count())]
        committed = [
            (reader.name(), (reader.exactly(COMMITMENT), reader.exactly(COMMITMENT)))
            for _ in range(reader.count())
        ]
        reader.end()
        reader.sorted_names([site for site, _ in sealed])
        reader.sorted_names([site for site, _ in committed])
        return cls(dict(sealed), dict(committed), signature)


@dataclass(frozen=True, slots=True)
class Envelopes:
    """The shares that the other sites sealed for one site."""

    sealed: dict[str, bytes]

    KIND = 4

    def to_bytes(self) -> bytes:
        """The wire form."""
        entries = [_name(site) + self.sealed[site] for site in sorted(self.sealed)]
        return _start(self.KIND) + _number(len(entries)) + b"".join(entries)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse.

        Raises:
            ProtocolViolation: malformed.
        """
        reader = _Reader(data, cls.KIND, "envelopes")
        pairs = [(reader.name(), reader.exactly(SEALED_SHARES)) for _ in range(reader.count())]
        reader.end()
        reader.sorted_names([site for site, _ in pairs])
        return cls(dict(pairs))


@dataclass(frozen=True, slots=True)
class MaskedInput:
    """A site's vector under its masks; the only message that a vector can leave in."""

    words: Words

    KIND = 5

    def to_bytes(self) -> bytes:
        """The wire form: little-endian words."""
        return _start(self.KIND) + self.words.astype("<u4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, length: int) -> Self:
        """Parse a vector of `length` words.

        Raises:
            ProtocolViolation: malformed, or of another length.
        """
        body = _Reader(data, cls.KIND, "masked input").rest()
        if len(body) != 4 * length:
            raise ProtocolViolation(f"masked input: {len(body)} bytes, expected {4 * length}")
        return cls(np.frombuffer(body, "<u4").astype(np.uint32))


@dataclass(frozen=True, slots=True)
class Survivors:
    """The sites whose masked input arrived, as the coordinator says."""

    sites: tuple[str, ...]

    KIND = 6

    def to_bytes(self) -> bytes:
        """The wire form."""
        names = [_name(site) for site in sorted(self.sites)]
        return _start(self.KIND) + _number(len(names)) + b"".join(names)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse.

        Raises:
            ProtocolViolation: malformed.
        """
        reader = _Reader(data, cls.KIND, "survivor set")
        names = [reader.name() for _ in range(reader.count())]
        reader.end()
        reader.sorted_names(names)
        return cls(tuple(names))


@dataclass(frozen=True, slots=True)
class Agreed:
    """One site's signature on the survivor set it was shown."""

    signature: bytes

    KIND = 7

    def to_bytes(self) -> bytes:
        """The wire form."""
        return _start(self.KIND) + self.signature

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse.

        Raises:
            ProtocolViolation: malformed.
        """
        reader = _Reader(data, cls.KIND, "signature on the survivor set")
        signature = reader.exactly(SIGNATURE)
        reader.end()
        return cls(signature)


@dataclass(frozen=True, slots=True)
class Signatures:
    """All signatures on the survivor set, as the coordinator relays them."""

    by_site: dict[str, bytes]

    KIND = 8

    def to_bytes(self) -> bytes:
        """The wire form."""
        entries = [_name(site) + self.by_site[site] for site in sorted(self.by_site)]
        return _start(self.KIND) + _number(len(entries)) + b"".join(entries)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse.

        Raises:
            ProtocolViolation: malformed.
        """
        reader = _Reader(data, cls.KIND, "signatures")
        pairs = [(reader.name(), reader.exactly(SIGNATURE)) for _ in range(reader.count())]
        reader.end()
        reader.sorted_names([site for site, _ in pairs])
        return cls(dict(pairs))


@dataclass(frozen=True, slots=True)
class OpenedShares:
    """Shares of survivors' self-mask seeds and of lost sites' mask keys; never both of one site."""

    seeds: dict[str, bytes]
    mask_keys: dict[str, bytes]

    KIND = 9

    def to_bytes(self) -> bytes:
        """The wire form."""
        parts = [_start(self.KIND)]
        for shares in (self.seeds, self.mask_keys):
            parts += [_number(len(shares))]
            parts += [_name(site) + shares[site] for site in sorted(shares)]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse.

        Raises:
            ProtocolViolation: malformed, or both shares of one site.
        """
        reader = _Reader(data, cls.KIND, "opened shares")
        tables = []
        for _ in range(2):
            pairs = [(reader.name(), reader.exactly(SHARE_BYTES)) for _ in range(reader.count())]
            reader.sorted_names([site for site, _ in pairs])
            tables.append(dict(pairs))
        reader.end()
        if set(tables[0]) & set(tables[1]):
            raise ProtocolViolation("opened shares: both shares of one site")
        return cls(*tables)
