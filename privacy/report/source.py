"""A ledger as it is read for a report: every entry checked, under a key whose origin is known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from federation import canonical
from federation.consortium_files import ConsortiumFiles
from federation.errors import IntegrityError, ProtocolViolation, UsageError
from federation.ledger_head import HeadStatement, dataset_digest, verify_head
from federation.roster import Roster
from federation.section import Section
from privacy.ledger import first_body, stated_public_key, verify
from privacy.ledger_entry import Entry

KeySource = Literal["given", "roster", "ledger"]


@dataclass(frozen=True, slots=True)
class CheckedLedger:
    """The entries of a ledger that passed every check.

    Attributes:
        entries: all, in order.
        public_key: that the last entry is signed with, 64 hexadecimal digits.
        key_source: where the key is from.
        witnesses: statements about this ledger that it bears out.
    """

    entries: tuple[Entry, ...]
    public_key: str
    key_source: KeySource
    witnesses: tuple[HeadStatement, ...] = ()


@dataclass(frozen=True, slots=True)
class Trust:
    """What ledgers are held against; all of it may be missing.

    Attributes:
        public_key: of the ledgers' site.
        roster: keys of all sites, and the federation's name.
        statements: what sites saw of ledgers; their signatures are checked with the roster.

    Raises:
        UsageError: both a key and a roster, or statements without a roster.
    """

    public_key: Ed25519PublicKey | None = None
    roster: Roster | None = None
    statements: tuple[HeadStatement, ...] = ()

    def __post_init__(self) -> None:
        if self.public_key is not None and self.roster is not None:
            raise UsageError("--public-key and --roster: expected one of them, not both")
        if self.statements and self.roster is None:
            raise UsageError(
                "--witness: expected --roster with it, whose keys its statements are signed with"
            )


class _WitnessFile(Section):
    v: Literal[1]
    statements: tuple[HeadStatement, ...]


def read_ledger(path: Path, trust: Trust) -> CheckedLedger:
    """A ledger's entries, checked.

    Raises:
        UsageError: there is none at `path`.
        IntegrityError: it is damaged, signed with another key, or behind a witness; names the
            entry and what that means.
    """
    body = first_body(path)
    site = str(body.get("site", ""))
    key, source = _key(path, site, trust)
    entries = verify(path, key)
    seen = () if trust.roster is None else _seen(path, site, entries, trust, trust.roster)
    return CheckedLedger(entries, key.public_bytes_raw().hex(), source, seen)


def public_key_from(text: str) -> Ed25519PublicKey:
    """A key out of its 64 hexadecimal digits.

    Raises:
        UsageError: it is none.
    """
    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    except ValueError as error:
        raise UsageError(
            f"--public-key = {text!r}: expected 64 hexadecimal digits (the ledger's first entry, "
            "and the roster, have it)"
        ) from error


def read_roster(path: Path) -> Roster:
    """A roster, with the consortium's key that lies beside it, whatever the time is.

    Raises:
        UsageError: one of the files cannot be read.
        IntegrityError: it is not what the consortium certified.
    """
    files = ConsortiumFiles(path.parent)
    if path.name != files.roster.name:
        raise UsageError(f"--roster = {path}: expected a roster.json beside a consortium.pub")
    return files.read_roster_of_any_time()


def read_witness(path: Path) -> tuple[HeadStatement, ...]:
    """The statements of a `witness.json`, unchecked.

    Raises:
        UsageError: the file cannot be read.
        IntegrityError: it is not what a coordinator wrote.
    """
    try:
        return canonical.decode_line(_WitnessFile, path.read_bytes()).statements
    except OSError as error:
        raise UsageError(f"cannot read the witness {path}: {error.strerror}") from error
    except ValueError as error:
        raise IntegrityError(f"{path}: it is no witness file: {error}") from error


def _key(path: Path, site: str, trust: Trust) -> tuple[Ed25519PublicKey, KeySource]:
    if trust.public_key is not None:
        return trust.public_key, "given"
    if trust.roster is not None:
        keys = trust.roster.public_keys()
        if site not in keys:
            raise IntegrityError(
                f"the ledger {path} says that it is of {site!r}, which is not in the roster"
            )
        return keys[site], "roster"
    try:
        return public_key_from(stated_public_key(path)), "ledger"
    except UsageError as error:
        raise IntegrityError(f"the ledger {path}, entry 1: it states no public key") from error


def _seen(
    path: Path, site: str, entries: tuple[Entry, ...], trust: Trust, roster: Roster
) -> tuple[HeadStatement, ...]:
    """The statements about this ledger, all of which it bears out."""
    dataset = dataset_digest(roster.federation, site, str(entries[0].body.get("dataset")))
    keys, found = roster.public_keys(), []
    for statement in trust.statements:
        head = statement.head
        try:
            verify_head(statement, roster.federation, keys)
        except ProtocolViolation as error:
            raise IntegrityError(f"a statement of the witness is forged: {error}") from error
        if (head.site, head.dataset) != (site, dataset):
            continue
        if head.seq > len(entries):
            raise IntegrityError(
                f"the ledger {path} ends at entry {len(entries)}, and {statement.signer} saw entry "
                f"{head.seq}: it is behind its witness; it was cut or rolled back, and what it "
                "lacks was spent"
            )
        if entries[head.seq - 1].hash != head.hash:
            raise IntegrityError(
                f"the ledger {path}, entry {head.seq}: {statement.signer} saw another entry "
                f"there ({head.hash[:16]}...): it was exchanged for another history"
            )
        found.append(statement)
    return tuple(found)
