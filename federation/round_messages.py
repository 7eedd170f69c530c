"""Bodies of the phases that are not the secure sum's own messages, with every length checked."""

from dataclasses import dataclass
from typing import Self

from pydantic import ValidationError

from federation import canonical
from federation.canonical import Digest
from federation.errors import ProtocolViolation
from federation.ledger_head import HeadStatement
from federation.round_layout import RoundKind
from federation.section import Name, PublicRows, Section

MODEL_LENGTH_BYTES = 8
"""Before the model in the body of `train`."""
COMPLETED = b"completed"
"""The body of `close` when no round is left to retry; else it is empty."""


class Body(Section):
    """A small JSON body."""

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.encode(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse and check.

        Raises:
            ProtocolViolation: names the field that is wrong.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            raise ProtocolViolation(f"{cls.__name__}.{where}: {first['msg']}") from error


class Enlistment(Body):
    """A site's public facts, in answer to `enlist`."""

    public_rows: PublicRows
    roster_digest: Digest
    rules_digest: Digest
    delta: float
    epsilon_budget: float | None
    epsilon_spent: float | None
    ledger: HeadStatement
    """How far the site's ledger has come."""
    remembered: tuple[HeadStatement, ...]
    """How far the site saw others' ledgers to have come."""
    names_itself: bool = False
    """Whether the site may be named with what it finds to have changed in its own rows."""


class Heads(Body):
    """The body of `witness`: what sites claim of their ledgers, and what others saw of yours."""

    claims: tuple[HeadStatement, ...]
    about_you: tuple[HeadStatement, ...]


class Setback(Section):
    """A ledger that is shown with less, or with something else, than was shown before."""

    site: Name
    shown: int
    """Number of the last entry now."""
    remembered: int
    """Number of the last entry then."""


class Witnessed(Body):
    """The answer to `witness`: what this site saw, signed, and what does not fit what it saw."""

    statements: tuple[HeadStatement, ...]
    setbacks: tuple[Setback, ...]


class Invitation(Body):
    """What a round will sum: the body of `advertise`. The model comes later, with `train`."""

    kind: RoundKind
    agreement_digest: Digest
    layout_digest: Digest


class Spending(Body):
    """What a site has spent; facts of its budget, not of its rows.

    Every epsilon is at `delta`, which is the ledger's, and of what the ledger's budget hides: a
    record, or a person with up to `records_per_person`.
    """

    delta: float
    epsilon_spent: float | None
    epsilon_pld: float | None
    epsilon_rdp: float | None
    epsilon_budget: float | None
    reserved: int
    committed: int
    voided: int
    refused: int
    ledger_head: str
    noise_source: str
    records_per_person: int
    neighbouring_relation: str
    site_level_delta: float | None = None
    site_level_epsilon_spent: float | None = None
    site_level_epsilon_budget: float | None = None


class Statement(Spending):
    """What a site's ledger says, in answer to `close`."""

    ledger: HeadStatement


SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class Disclosure:
    """The body of the answer to `open`: shares of masks, and seeds of noise that is surplus."""

    shares: bytes
    noise_seeds: tuple[bytes, ...] = ()

    def to_bytes(self) -> bytes:
        """The shares, then the seeds, 32 bytes each."""
        return b"".join((self.shares, *self.noise_seeds))

    @classmethod
    def from_bytes(cls, data: bytes, seeds: int) -> "Disclosure":
        """Parse; how many seeds there are follows from who survived.

        Raises:
            ProtocolViolation: it is shorter than so many seeds.
        """
        shares = len(data) - SEED_BYTES * seeds
        if shares < 0:
            raise ProtocolViolation("open body: shorter than its seeds")
        at = range(shares, len(data), SEED_BYTES)
        return cls(data[:shares], tuple(data[start : start + SEED_BYTES] for start in at))


@dataclass(frozen=True, slots=True)
class Work:
    """The body of `train`: the global model and the shares that the other sites dealt."""

    model: bytes
    envelopes: bytes

    def to_bytes(self) -> bytes:
        """Eight bytes of model length (big endian), the model, the envelopes."""
        return b"".join(self.pieces())

    def pieces(self) -> tuple[bytes, ...]:
        """The same in pieces, of which the model, which all sites are sent, is not copied."""
        length = len(self.model).to_bytes(MODEL_LENGTH_BYTES, "big")
        return length, self.model, self.envelopes

    @classmethod
    def from_bytes(cls, data: bytes) -> "Work":
        """Parse.

        Raises:
            ProtocolViolation: a length is wrong.
        """
        start = MODEL_LENGTH_BYTES
        length = int.from_bytes(data[:start], "big")
        if len(data) < start or len(data) - start < length:
            raise ProtocolViolation("train body: shorter than its model")
        return cls(data[start : start + length], data[start + length :])
