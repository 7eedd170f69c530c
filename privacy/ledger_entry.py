"""A ledger's entries as a chain: how each is written, linked to the one before, and checked.

An entry names the SHA-256 of the hash and signature of the one before. So the last signature
vouches for every body and every signature before it, and a long ledger is verified by hashing.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation import canonical
from federation.errors import IntegrityError

VERSION = 2
GENESIS = "0" * 64
_SIGNING = b"hedgerow/ledger/v2\x00"

Kind = Literal["budget", "plan", "reserve", "commit", "void", "refuse", "audit", "identity"]
_KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
Row = tuple[int, str, str, str]
"""Number, body as canonical JSON, its SHA-256, signature: as the file holds them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `hash` covers the body, and the body names what came before."""

    seq: int
    kind: Kind
    body: dict[str, object]
    hash: str


def written(
    kind: Kind, facts: Mapping[str, object], at: str, last: Row | None, key: Ed25519PrivateKey
) -> Row:
    """The next row.

    Args:
        kind: of the entry.
        facts: of that kind.
        at: UTC now, ISO 8601.
        last: the row before; None for the first.
        key: the site's identity.
    """
    seq = last[0] + 1 if last else 1
    head = {"v": VERSION, "seq": seq, "kind": kind, "at": at, "before": link(last)}
    encoded = canonical.encode(head | dict(facts))
    digest = hashlib.sha256(encoded).hexdigest()
    return seq, encoded.decode(), digest, key.sign(_SIGNING + bytes.fromhex(digest)).hex()


def checked(
    rows: Iterable[Row], last: Row | None, public_key: Ed25519PublicKey, name: str
) -> tuple[Entry, ...]:
    """The entries of rows that follow `last`, after every link and the last signature is checked.

    Args:
        rows: in order.
        last: the row before the first of them, checked earlier; None at the start.
        public_key: the site's.
        name: of the ledger, for errors.

    Raises:
        IntegrityError: names the first bad entry and what it means.
    """
    entries: list[Entry] = []
    seen: list[Row] = []
    before = last
    for row in rows:
        entries.append(_followed(row, before, public_key, name))
        seen.append(row)
        before = row
    if seen and not _is_signed(seen[-1], public_key):
        # A forger can make every hash anew, and no signature: so the first without one is his.
        # Those before a handover that holds are another key's, and rightly.
        handed = [n for n, row in enumerate(seen) if _is_handover(row, public_key)]
        since = seen[handed[-1] :] if handed else seen
        forged = next(row for row in since if not _is_signed(row, public_key))
        raise _unsigned(name, forged[0])
    return tuple(entries)


def _followed(row: Row, before: Row | None, public_key: Ed25519PublicKey, name: str) -> Entry:
    seq, text, digest, _ = row
    place, expected = f"the ledger {name}, entry ", before[0] + 1 if before else 1
    if seq != expected:
        raise IntegrityError(
            f"{place}{expected}: it is missing; what it charged would not be counted"
        )
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise IntegrityError(
            f"{place}{seq}: its body was changed after it was written; it does not say what was "
            "charged"
        )
    body = _body(text, f"{place}{seq}")
    if body.get("before") != link(before) or body.get("seq") != seq:
        if before is not None and not _is_signed(before, public_key):
            raise _unsigned(name, before[0])
        raise IntegrityError(
            f"{place}{seq}: it does not follow the entry before it; entries were exchanged, put "
            "in, or taken from another ledger"
        )
    kind = _KINDS.get(str(body.get("kind")))
    if kind is None:
        raise IntegrityError(
            f"{place}{seq}: of a kind that this version does not know: {body.get('kind')!r}"
        )
    if before is None and kind != "budget":
        raise IntegrityError(f"the ledger {name}: it does not start with a budget")
    return Entry(seq, kind, body, digest)


def _body(text: str, place: str) -> dict[str, object]:
    try:
        body = json.loads(text)
    except ValueError as error:
        raise IntegrityError(f"{place}: it is no JSON") from error
    if not isinstance(body, dict) or body.get("v") != VERSION:
        raise IntegrityError(f"{place}: not of version {VERSION}, the one this software writes")
    return body


def link(row: Row | None) -> str:
    """How the entry after `row` names it; of None, how the first one begins."""
    if row is None:
        return GENESIS
    return hashlib.sha256(f"{row[2]}{row[3]}".encode()).hexdigest()


def _is_signed(row: Row, public_key: Ed25519PublicKey) -> bool:
    try:
        public_key.verify(bytes.fromhex(row[3]), _SIGNING + bytes.fromhex(row[2]))
    except (InvalidSignature, ValueError):
        return False
    return True


def _is_handover(row: Row, public_key: Ed25519PublicKey) -> bool:
    return _is_signed(row, public_key) and json.loads(row[1]).get("kind") == "identity"


def _unsigned(name: str, seq: int) -> IntegrityError:
    return IntegrityError(
        f"the ledger {name}, entry {seq}: it is not signed by the site; somebody else wrote it, or "
        "this is another site's ledger"
    )
