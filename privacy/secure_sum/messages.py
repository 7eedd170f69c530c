"""The messages of the secure sum, version 3; nothing else crosses the wire.

Tables are over the invited sites, `terms.sites`, which both ends know. Every `from_bytes` raises
`ProtocolViolation` for whatever its `to_bytes` could not have written.
"""

from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from federation.errors import ProtocolViolation
from federation.ring_vector import Stretch, packed_bytes
from privacy.secure_sum import wire
from privacy.secure_sum.dealing import COMMITMENTS_BYTES, PAIR_BYTES, Pledge
from privacy.secure_sum.keys import KEY_BYTES, SEALING_BYTES, SIGNATURE_BYTES, TAG_BYTES
from privacy.secure_sum.shamir import SHARE_BYTES
from privacy.secure_sum.table import Table
from privacy.secure_sum.transcript import DIGEST_BYTES

Sites = Sequence[str]

SEALED_BYTES = PAIR_BYTES + SEALING_BYTES


@dataclass(frozen=True, slots=True)
class Advert:
    """A site's two ephemeral public keys, signed by its identity for one session's terms."""

    sealing_key: bytes
    mask_key: bytes
    signature: bytes

    WIDTH: ClassVar = 2 * KEY_BYTES + SIGNATURE_BYTES

    @property
    def fields(self) -> bytes:
        """Both keys and the signature, `WIDTH` bytes."""
        return self.sealing_key + self.mask_key + self.signature

    @classmethod
    def from_fields(cls, fields: bytes) -> Self:
        """Undo `fields`."""
        return cls(fields[:KEY_BYTES], fields[KEY_BYTES : 2 * KEY_BYTES], fields[2 * KEY_BYTES :])


@dataclass(frozen=True, slots=True)
class VouchedAdvert:
    """A site's advert, and its vouchers for it: one for each peer that it knows."""

    advert: Advert
    vouchers: Table

    KIND: ClassVar = 1

    def to_bytes(self, sites: Sites) -> bytes:
        """The wire form."""
        return wire.frame(self.KIND, self.advert.fields, wire.table(self.vouchers, sites))

    @classmethod
    def from_bytes(cls, data: bytes, sites: Sites) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "advert")
        advert = Advert.from_fields(reader.exactly(Advert.WIDTH))
        vouched = cls(advert, reader.rows(TAG_BYTES, sites))
        reader.end()
        return vouched


@dataclass(frozen=True, slots=True)
class Bundle:
    """All adverts, and the vouchers that the others gave for the site that this goes to."""

    adverts: Mapping[str, Advert]
    vouchers: Mapping[str, bytes]

    KIND: ClassVar = 2

    def to_bytes(self, sites: Sites) -> bytes:
        """The wire form."""
        return self.head(self.adverts, sites) + wire.table(self.vouchers, sites)

    @classmethod
    def head(cls, adverts: Mapping[str, Advert], sites: Sites) -> bytes:
        """What the bundles of all sites begin with: everything but the vouchers."""
        fields = {site: advert.fields for site, advert in adverts.items()}
        return wire.frame(cls.KIND, wire.table(fields, sites))

    @classmethod
    def from_bytes(cls, data: bytes, sites: Sites) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "bundle of adverts")
        fields = reader.table(Advert.WIDTH, sites)
        vouchers = reader.table(TAG_BYTES, sites)
        reader.end()
        adverts = {site: Advert.from_fields(advert) for site, advert in fields.items()}
        return cls(adverts, vouchers)


@dataclass(frozen=True, slots=True, eq=False)
class Bundles(Mapping[str, bytes]):
    """Per site that advertised, its bundle on the wire.

    Each is put together when it is asked for: sites times adverts would be much to keep.
    """

    adverts: Mapping[str, Advert] = field(repr=False)
    vouchers: Mapping[str, Table] = field(repr=False)
    sites: Sites
    _head: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_head", Bundle.head(self.adverts, self.sites))

    def __getitem__(self, site: str) -> bytes:
        """The adverts, and the vouchers that others gave for `site`."""
        if site not in self.adverts:
            raise KeyError(site)
        return self._head + wire.table(self.vouchers.get(site, {}), self.sites)

    def __iter__(self) -> Iterator[str]:
        return iter(self.adverts)

    def __len__(self) -> int:
        return len(self.adverts)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One dealer's shares for one holder, with the commitments that they must fit."""

    sealed: bytes
    commitments: bytes

    WIDTH: ClassVar = SEALED_BYTES + COMMITMENTS_BYTES

    @property
    def fields(self) -> bytes:
        """Both, `WIDTH` bytes."""
        return self.sealed + self.commitments

    @classmethod
    def from_fields(cls, fields: bytes) -> Self:
        """Undo `fields`."""
        return cls(fields[:SEALED_BYTES], fields[SEALED_BYTES:])


@dataclass(frozen=True, slots=True)
class Dealt:
    """What a dealer gives away.

    Attributes:
        envelopes: per neighbour, the fields of its envelope.
        own_commitments: to the pair of shares that the dealer keeps.
        seed_commitment: to the seed that is shared.
        signature: the dealer's, on all the commitments.
    """

    envelopes: Table
    own_commitments: bytes
    seed_commitment: bytes
    signature: bytes

    KIND: ClassVar = 3

    def to_bytes(self, sites: Sites) -> bytes:
        """The wire form."""
        return wire.frame(
            self.KIND,
            wire.table(self.envelopes, sites),
            self.own_commitments,
            self.seed_commitment,
            self.signature,
        )

    @classmethod
    def from_bytes(cls, data: bytes, sites: Sites) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "dealt shares")
        dealt = cls(
            reader.rows(Envelope.WIDTH, sites),
            reader.exactly(COMMITMENTS_BYTES),
            reader.exactly(DIGEST_BYTES),
            reader.exactly(SIGNATURE_BYTES),
        )
        reader.end()
        return dealt

    def pledge(self, dealer: str) -> Pledge:
        """What is left of this once the envelopes are passed on."""
        others, to_others = self.envelopes.members, self.envelopes.rows[:, SEALED_BYTES:]
        at, own = bisect(others, dealer), np.frombuffer(self.own_commitments, np.uint8)
        holders = (*others[:at], dealer, *others[at:])
        commitments = np.vstack((to_others[:at], own, to_others[at:]))
        return Pledge(Table(holders, commitments), self.seed_commitment, self.signature)


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Per dealer, the fields of its envelope for the site that this goes to."""

    by_dealer: Mapping[str, bytes]

    KIND: ClassVar = 4

    def to_bytes(self, sites: Sites) -> bytes:
        """The wire form."""
        return wire.frame(self.KIND, wire.table(self.by_dealer, sites))

    @classmethod
    def from_bytes(cls, data: bytes, sites: Sites) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "envelopes")
        envelopes = cls(reader.table(Envelope.WIDTH, sites))
        reader.end()
        return envelopes


@dataclass(frozen=True, slots=True)
class MaskedInput:
    """A site's vector under its masks; the only message that a vector can leave in.

    Attributes:
        masks: digest that names them.
        packed: the words.
    """

    masks: bytes
    packed: bytes | memoryview

    KIND: ClassVar = 5

    def to_bytes(self) -> bytes:
        """The wire form."""
        return wire.frame(self.KIND, self.masks, self.packed)

    @classmethod
    def from_bytes(cls, data: bytes, stretches: Sequence[Stretch]) -> Self:
        """Parse a vector of these stretches; its words are not copied."""
        reader = wire.Reader(data, cls.KIND, "masked input")
        masks = reader.exactly(DIGEST_BYTES)
        packed, expected = reader.rest(), packed_bytes(stretches)
        if len(packed) != expected:
            raise ProtocolViolation(f"masked input: {len(packed)} bytes, expected {expected}")
        return cls(masks, packed)


@dataclass(frozen=True, slots=True)
class Survivors:
    """The sites whose masked input arrived, as the coordinator says."""

    members: tuple[str, ...]

    KIND: ClassVar = 6

    def to_bytes(self, sites: Sites) -> bytes:
        """The wire form."""
        return wire.frame(self.KIND, wire.members(self.members, sites))

    @classmethod
    def from_bytes(cls, data: bytes, sites: Sites) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "survivor set")
        survivors = cls(reader.members(sites))
        reader.end()
        return survivors


@dataclass(frozen=True, slots=True)
class Agreed:
    """One site's tags on the survivor set it was shown, one for each other survivor."""

    tags: Table

    KIND: ClassVar = 7

    def to_bytes(self, sites: Sites) -> bytes:
        """The wire form."""
        return wire.frame(self.KIND, wire.table(self.tags, sites))

    @classmethod
    def from_bytes(cls, data: bytes, sites: Sites) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "agreement on the survivor set")
        agreed = cls(reader.rows(TAG_BYTES, sites))
        reader.end()
        return agreed


@dataclass(frozen=True, slots=True)
class Agreements:
    """The tags that the other survivors gave for the site that this goes to."""

    by_site: Mapping[str, bytes]

    KIND: ClassVar = 8

    def to_bytes(self, sites: Sites) -> bytes:
        """The wire form."""
        return wire.frame(self.KIND, wire.table(self.by_site, sites))

    @classmethod
    def from_bytes(cls, data: bytes, sites: Sites) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "agreements")
        agreements = cls(reader.table(TAG_BYTES, sites))
        reader.end()
        return agreements


@dataclass(frozen=True, slots=True)
class OpenedShares:
    """Shares of survivors' self-mask seeds and of lost sites' mask keys; never both of one site."""

    seeds: Mapping[str, bytes]
    mask_keys: Mapping[str, bytes]

    KIND: ClassVar = 9

    def to_bytes(self, sites: Sites) -> bytes:
        """The wire form."""
        tables = wire.table(self.seeds, sites), wire.table(self.mask_keys, sites)
        return wire.frame(self.KIND, *tables)

    @classmethod
    def from_bytes(cls, data: bytes, sites: Sites) -> Self:
        """Parse."""
        reader = wire.Reader(data, cls.KIND, "opened shares")
        opened = cls(reader.table(SHARE_BYTES, sites), reader.table(SHARE_BYTES, sites))
        reader.end()
        if set(opened.seeds) & set(opened.mask_keys):
            raise ProtocolViolation("opened shares: both shares of one site")
        return opened
