"""The messages of the secure sum, version 1; nothing else crosses the wire.

Every `from_bytes` raises `ProtocolViolation` for whatever its `to_bytes` could not have written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from federation.errors import ProtocolViolation
from federation.layout import Words
from privacy.secure_sum import wire
from privacy.secure_sum.dealing import COMMITMENTS_BYTES, PAIR_BYTES
from privacy.secure_sum.keys import KEY_BYTES, SEALING_BYTES, SIGNATURE_BYTES
from privacy.secure_sum.shamir import SHARE_BYTES

SEALED_BYTES = PAIR_BYTES + SEALING_BYTES


@dataclass(frozen=True, slots=True)
class Advert:
    """A site's two ephemeral public keys, signed by its identity for one session's terms."""

    sealing_key: bytes
    mask_key: bytes
    signature: bytes

    KIND: ClassVar = 1
    WIDTH: ClassVar = 2 * KEY_BYTES + SIGNATURE_BYTES

    @property
    def fields(self) -> bytes:
        """Both keys and the signature, `WIDTH` bytes."""
        return self.sealing_key + self.mask_key + self.signature

    @classmethod
    def from_fields(cls, fields: bytes) -> Self:
        """Undo `fields`."""
        return cls(fields[:KEY_BYTES], fields[KEY_BYTES : 2 * KEY_BYTES], fields[2 * KEY_BYTES :])

    def to_bytes(self) -> bytes:
        """The wire form."""
        return wire.frame(self.KIND, self.fields)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "advert")
        advert = cls.from_fields(reader.exactly(cls.WIDTH))
        reader.end()
        return advert


@dataclass(frozen=True, slots=True)
class Bundle:
    """All adverts, as the coordinator relays them."""

    adverts: Mapping[str, Advert]

    KIND: ClassVar = 2

    def to_bytes(self) -> bytes:
        """The wire form."""
        fields = {site: advert.fields for site, advert in self.adverts.items()}
        return wire.frame(self.KIND, wire.table(fields))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "bundle of adverts")
        fields = reader.table(Advert.WIDTH)
        reader.end()
        return cls({site: Advert.from_fields(advert) for site, advert in fields.items()})


@dataclass(frozen=True, slots=True)
class Dealt:
    """What a dealer gives away.

    Attributes:
        sealed: per peer, its pair of shares, sealed.
        commitments: per holder (the dealer too), to its pair of shares.
        signature: the dealer's, on all the commitments.
    """

    sealed: Mapping[str, bytes]
    commitments: Mapping[str, bytes]
    signature: bytes

    KIND: ClassVar = 3

    def to_bytes(self) -> bytes:
        """The wire form."""
        return wire.frame(
            self.KIND, wire.table(self.sealed), wire.table(self.commitments), self.signature
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "dealt shares")
        dealt = cls(
            reader.table(SEALED_BYTES),
            reader.table(COMMITMENTS_BYTES),
            reader.exactly(SIGNATURE_BYTES),
        )
        reader.end()
        return dealt


@dataclass(frozen=True, slots=True)
class Envelope:
    """One dealer's shares for one holder, with the commitments that they must fit."""

    sealed: bytes
    commitments: bytes

    WIDTH: ClassVar = SEALED_BYTES + COMMITMENTS_BYTES


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Per dealer, what it sealed for the site that this goes to."""

    by_dealer: Mapping[str, Envelope]

    KIND: ClassVar = 4

    def to_bytes(self) -> bytes:
        """The wire form."""
        fields = {site: each.sealed + each.commitments for site, each in self.by_dealer.items()}
        return wire.frame(self.KIND, wire.table(fields))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "envelopes")
        fields = reader.table(Envelope.WIDTH)
        reader.end()
        return cls({
            site: Envelope(each[:SEALED_BYTES], each[SEALED_BYTES:])
            for site, each in fields.items()
        })  # fmt: skip


@dataclass(frozen=True, slots=True)
class MaskedInput:
    """A site's vector under its masks; the only message that a vector can leave in.

    Words travel whole, little-endian; packing them into fewer bits would begin and end here.
    """

    words: Words

    KIND: ClassVar = 5

    def to_bytes(self) -> bytes:
        """The wire form."""
        return wire.frame(self.KIND, self.words.astype("<u4", copy=False).tobytes())

    @classmethod
    def from_bytes(cls, data: bytes, length: int) -> Self:
        """Parse a vector of `length` words."""
        reader = wire.Reader(data, cls.KIND, "masked input")
        words = np.frombuffer(reader.exactly(4 * length), "<u4")
        reader.end()
        return cls(words.astype(np.uint32, copy=False))


@dataclass(frozen=True, slots=True)
class Survivors:
    """The sites whose masked input arrived, as the coordinator says, in order."""

    sites: tuple[str, ...]

    KIND: ClassVar = 6

    def to_bytes(self) -> bytes:
        """The wire form."""
        return wire.frame(self.KIND, wire.names(self.sites))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "survivor set")
        survivors = cls(reader.names())
        reader.end()
        return survivors


@dataclass(frozen=True, slots=True)
class Agreed:
    """One site's signature on the survivor set it was shown."""

    signature: bytes

    KIND: ClassVar = 7

    def to_bytes(self) -> bytes:
        """The wire form."""
        return wire.frame(self.KIND, self.signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "signature on the survivor set")
        agreed = cls(reader.exactly(SIGNATURE_BYTES))
        reader.end()
        return agreed


@dataclass(frozen=True, slots=True)
class Signatures:
    """All signatures on the survivor set, as the coordinator relays them."""

    by_site: Mapping[str, bytes]

    KIND: ClassVar = 8

    def to_bytes(self) -> bytes:
        """The wire form."""
        return wire.frame(self.KIND, wire.table(self.by_site))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "signatures")
        signatures = cls(reader.table(SIGNATURE_BYTES))
        reader.end()
        return signatures


@dataclass(frozen=True, slots=True)
class OpenedShares:
    """Shares of survivors' self-mask seeds and of lost sites' mask keys; never both of one site."""

    seeds: Mapping[str, bytes]
    mask_keys: Mapping[str, bytes]

    KIND: ClassVar = 9

    def to_bytes(self) -> bytes:
        """The wire form."""
        return wire.frame(self.KIND, wire.table(self.seeds), wire.table(self.mask_keys))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "opened shares")
        opened = cls(reader.table(SHARE_BYTES), reader.table(SHARE_BYTES))
        reader.end()
        if set(opened.seeds) & set(opened.mask_keys):
            raise ProtocolViolation("opened shares: both shares of one site")
        return opened
