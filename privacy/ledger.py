"""The ledger: one site's account of one dataset, over all runs, that no crash can make under-count.

One SQLite file, whole after every entry (rollback journal, `synchronous=EXTRA`): a write-ahead log
beside it could be lost, and with it what was spent. Append-only by triggers. Every entry is
hash-chained to the one before and signed with the site's Ed25519 key. A reservation is durable
before any work starts and counts as spent until it is voided; `reserve` decides and writes in one
transaction, so two processes cannot overspend together. The ledger holds events, never an epsilon
alone, and never anything about rows.
"""

import hashlib
import json
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation import canonical
from federation.errors import BudgetExhausted, IntegrityError, StorageError, UsageError
from privacy.accountant import Cost, cost, is_affordable
from privacy.event import DistributedDiscreteGaussian, PrivacyEvent, from_plain, to_plain

VERSION = 1
GENESIS = "0" * 64
_SIGNING = b"hedgerow/ledger/v1\x00"
_SCHEMA = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, body TEXT NOT NULL, hash TEXT NOT NULL, signature TEXT NOT NULL
) STRICT;
CREATE TRIGGER no_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'append-only'); END;
"""

Kind = Literal["budget", "reserve", "commit", "void", "refuse"]
Clock = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in all: epsilon at delta, in one unit of privacy.

    Attributes:
        epsilon: > 0; infinite where a site sets no bound.
        delta: in (0, 1).
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not (self.epsilon > 0 and 0 < self.delta < 1):
            raise ValueError(f"budget: expected epsilon > 0 and 0 < delta < 1, got {self}")


@dataclass(frozen=True, slots=True)
class Charge:
    """What one release costs: in records, and apart from that in sites, if it hides those, too."""

    event: PrivacyEvent
    site_level: DistributedDiscreteGaussian | None = None

    def to_plain(self) -> dict[str, object]:
        """As JSON values."""
        plain: dict[str, object] = {"event": to_plain(self.event)}
        return plain | ({"site_level": to_plain(self.site_level)} if self.site_level else {})


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `hash` covers the body, and the body names the hash before it."""

    seq: int
    kind: Kind
    body: dict[str, object]
    hash: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """A charge for one round, and what became of it."""

    seq: int
    event: PrivacyEvent
    released_sha256: str | None
    """Digest of what was released; None while the reservation is open."""

    @property
    def committed(self) -> bool:
        """Whether it was released."""
        return self.released_sha256 is not None


class Ledger:
    """An open ledger; every method that writes returns after the entry is on the disk."""

    def __init__(
        self, db: sqlite3.Connection, key: Ed25519PrivateKey, clock: Clock, path: Path
    ) -> None:
        """Use `create` or `open`."""
        self._db, self._key, self._clock, self._path = db, key, clock, path

    @classmethod
    def create(
        cls,
        path: Path,
        key: Ed25519PrivateKey,
        holder: tuple[str, str],
        budget: Budget,
        clock: Clock,
        site_level: Budget | None = None,
    ) -> "Ledger":
        """A new ledger whose first entry is the budget.

        Args:
            path: must not exist.
            key: the site's identity.
            holder: the site and the dataset.
            budget: of the dataset, per record, add or remove one.
            clock: UTC now, ISO 8601.
            site_level: of the site's updates as a whole, with or without one; None sets no bound.

        Raises:
            UsageError: `path` exists.
        """
        if path.exists():
            raise UsageError(f"{path} exists already; a ledger is never started over")
        ledger = cls(_connect(path), key, clock, path)
        with ledger._transaction():
            for statement in _SCHEMA.split(";\n"):
                if statement.strip():
                    ledger._db.execute(statement)
            site, dataset = holder
            ledger._append(
                "budget",
                site=site,
                dataset=dataset,
                epsilon=None if math.isinf(budget.epsilon) else budget.epsilon,
                delta=budget.delta,
                unit="record",
                neighbouring_relation="add-or-remove-one",
                public_key=key.public_key().public_bytes_raw().hex(),
                **_site_level_facts(site_level),
            )
        path.chmod(0o600)
        return ledger

    @classmethod
    def open(cls, path: Path, key: Ed25519PrivateKey, clock: Clock) -> "Ledger":
        """An existing ledger, after every entry's chain and signature is checked.

        Raises:
            UsageError: there is none at `path`.
            IntegrityError: it is damaged; names the entry.
        """
        if not path.is_file():
            raise UsageError(f"there is no ledger at {path}")
        ledger = cls(_connect(path), key, clock, path)
        ledger._checked_entries()
        return ledger

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def entries(self) -> tuple[Entry, ...]:
        """All entries in order, checked.

        Raises:
            IntegrityError: the ledger is damaged.
        """
        return self._checked_entries()

    def budget(self) -> Budget:
        """The budget in force."""
        return _budget(self._checked_entries())

    def site_level_budget(self) -> Budget | None:
        """The budget whose unit is the site, if it set one."""
        return _site_level_budget(self._checked_entries())

    def holder(self) -> tuple[str, str]:
        """The site and the dataset that the ledger is of."""
        body = self._checked_entries()[0].body
        return str(body["site"]), str(body["dataset"])

    def head(self) -> tuple[int, str]:
        """Number and hash of the last entry: printed or sent elsewhere, it shows a cut tail."""
        last = self._checked_entries()[-1]
        return last.seq, last.hash

    def spent(self) -> Cost:
        """What is reserved or committed costs, by the budget's delta."""
        entries = self._checked_entries()
        return cost(_counted(entries), _budget(entries).delta)

    def spent_site_level(self, delta: float) -> Cost:
        """What the site's updates as a whole cost: the other unit, never added to `spent`."""
        return cost(_counted_site_level(self._checked_entries()), delta)

    def require_affordable(self, charge: Charge) -> None:
        """Return if the charge would be admitted now; writes nothing.

        Raises:
            BudgetExhausted: it would not; the text has the numbers.
        """
        _require_affordable(self._checked_entries(), charge)

    def reservation(self, run: str, round_: int, charge: int) -> Reservation | None:
        """The standing reservation of a round, unless it was voided.

        Args:
            run: id of the run.
            round_: number of the round.
            charge: 1 for the round's first release, 2 if it had to be released anew, ...
        """
        entries = self._checked_entries()
        settled = {
            entry.body["reservation"]: entry
            for entry in entries
            if entry.kind in ("commit", "void")
        }
        for entry in entries:
            body = entry.body
            same = (body.get("run"), body.get("round"), body.get("charge")) == (run, round_, charge)
            end = settled.get(entry.seq)
            if entry.kind == "reserve" and same and (end is None or end.kind == "commit"):
                released = None if end is None else str(end.body["released_sha256"])
                return Reservation(entry.seq, from_plain(body["event"]), released)
        return None

    def reserved_for(self, run: str) -> int:
        """How many charges of a run stand, open or committed."""
        entries = self._checked_entries()
        voided = _voided(entries)
        return sum(
            entry.kind == "reserve" and entry.body["run"] == run and entry.seq not in voided
            for entry in entries
        )

    def reserve(self, run: str, round_: int, number: int, charge: Charge) -> int:
        """Charge a release, in both units, before the work starts; returns the entry's number.

        Raises:
            BudgetExhausted: the budget would be overspent; the first refusal of a charge is an
                entry, too. Later ones are not: else whoever keeps asking fills the disk.
            UsageError: this charge is reserved already.
        """
        if self.reservation(run, round_, number) is not None:
            raise UsageError(f"run {run}, round {round_}, charge {number}: reserved already")
        place: dict[str, object] = {"run": run, "round": round_, "charge": number}
        asked = place | charge.to_plain()
        refusal: BudgetExhausted | None = None
        with self._transaction():
            entries = self._checked_entries()
            try:
                _require_affordable(entries, charge)
            except BudgetExhausted as error:
                refusal = error
            if refusal is None:
                return self._append("reserve", **asked)
            if not _is_refused(entries, place):
                self._append("refuse", **asked)
        raise refusal

    def commit(self, reservation: int, released_sha256: str) -> None:
        """Note that the reserved work was released, by the digest of what left.

        Raises:
            UsageError: there is no such open reservation.
        """
        with self._transaction():
            self._require_open(reservation)
            self._append("commit", reservation=reservation, released_sha256=released_sha256)

    def void(self, reservation: int, proof: str) -> None:
        """Give a charge back because nothing was released; `proof` says how that is known.

        Raises:
            UsageError: there is no such open reservation, or no proof.
        """
        if not proof.strip():
            raise UsageError("void: expected a proof that nothing was released")
        with self._transaction():
            self._require_open(reservation)
            self._append("void", reservation=reservation, proof=proof)

    def _require_open(self, reservation: int) -> None:
        entries = self._checked_entries()
        exists = any(e.seq == reservation and e.kind == "reserve" for e in entries)
        settled = any(e.body.get("reservation") == reservation for e in entries)
        if not exists or settled:
            raise UsageError(f"entry {reservation} is no open reservation")

    def _append(self, kind: Kind, **facts: object) -> int:
        last = self._db.execute("SELECT seq, hash FROM entries ORDER BY seq DESC").fetchone()
        seq, before = (last[0] + 1, last[1]) if last else (1, GENESIS)
        body = {"v": VERSION, "seq": seq, "kind": kind, "at": self._clock(), "before": before}
        encoded = canonical.encode(body | facts)
        digest = hashlib.sha256(encoded).hexdigest()
        signature = self._key.sign(_SIGNING + bytes.fromhex(digest)).hex()
        self._db.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?)", (seq, encoded.decode(), digest, signature)
        )
        return seq

    def _checked_entries(self) -> tuple[Entry, ...]:
        return _check_chain(self._db, self._key.public_key(), self._path)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; the write lock is taken before anything is read."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise StorageError(
                f"the ledger {self._path} cannot be written ({error}); nothing was charged and "
                "nothing may be released"
            ) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")


def verify(path: Path, public_key: Ed25519PublicKey) -> tuple[Entry, ...]:
    """All entries of a ledger, read-only, after every chain link and signature is checked.

    Raises:
        UsageError: there is none at `path`.
        IntegrityError: it is damaged; names the entry and what is wrong with it.
    """
    if not path.is_file():
        raise UsageError(f"there is no ledger at {path}")
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return _check_chain(db, public_key, path)
    finally:
        db.close()


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level=None: transactions are begun and ended here, by name.
    db = sqlite3.connect(path, isolation_level=None, timeout=60)
    try:
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("PRAGMA synchronous=EXTRA")
    except sqlite3.DatabaseError as error:
        db.close()
        raise IntegrityError(f"the ledger {path} cannot be opened: {error}") from error
    return db


def _check_chain(
    db: sqlite3.Connection, public_key: Ed25519PublicKey, path: Path
) -> tuple[Entry, ...]:
    try:
        rows = db.execute("SELECT seq, body, hash, signature FROM entries ORDER BY seq").fetchall()
    except sqlite3.DatabaseError as error:
        raise IntegrityError(f"the ledger {path} cannot be read: {error}") from error
    entries: list[Entry] = []
    before = GENESIS
    for number, (seq, text, digest, signature) in enumerate(rows, start=1):
        place = f"the ledger {path}, entry {number}"
        if seq != number:
            raise IntegrityError(f"{place}: it is missing")
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise IntegrityError(f"{place}: its body was changed")
        body = json.loads(text)
        if body["before"] != before or body["seq"] != seq:
            raise IntegrityError(f"{place}: it does not follow the entry before it")
        try:
            public_key.verify(bytes.fromhex(signature), _SIGNING + bytes.fromhex(digest))
        except (InvalidSignature, ValueError) as error:
            raise IntegrityError(f"{place}: it is not signed by the site") from error
        entries.append(Entry(seq, body["kind"], body, digest))
        before = digest
    if not entries or entries[0].kind != "budget":
        raise IntegrityError(f"the ledger {path}: it does not start with a budget")
    return tuple(entries)


def _budget(entries: tuple[Entry, ...]) -> Budget:
    body = [entry.body for entry in entries if entry.kind == "budget"][-1]
    epsilon = body["epsilon"]
    return Budget(math.inf if epsilon is None else float(str(epsilon)), float(str(body["delta"])))


def _site_level_facts(budget: Budget | None) -> dict[str, object]:
    if budget is None:
        return {}
    return {"site_level_epsilon": budget.epsilon, "site_level_delta": budget.delta}


def _site_level_budget(entries: tuple[Entry, ...]) -> Budget | None:
    body = [entry.body for entry in entries if entry.kind == "budget"][-1]
    if "site_level_epsilon" not in body:
        return None
    return Budget(float(str(body["site_level_epsilon"])), float(str(body["site_level_delta"])))


def _voided(entries: tuple[Entry, ...]) -> set[object]:
    return {entry.body["reservation"] for entry in entries if entry.kind == "void"}


def _is_refused(entries: tuple[Entry, ...], place: dict[str, object]) -> bool:
    """Whether an entry says so of a charge, given by its run, round and number."""
    return any(entry.kind == "refuse" and place.items() <= entry.body.items() for entry in entries)


def _counted(entries: tuple[Entry, ...]) -> list[PrivacyEvent]:
    """Events of all reservations but the voided ones: an open one counts as spent."""
    voided = _voided(entries)
    return [
        from_plain(entry.body["event"])
        for entry in entries
        if entry.kind == "reserve" and entry.seq not in voided
    ]


def _counted_site_level(entries: tuple[Entry, ...]) -> list[PrivacyEvent]:
    """As `_counted`, of what hides whole sites."""
    voided = _voided(entries)
    return [
        from_plain(entry.body["site_level"])
        for entry in entries
        if entry.kind == "reserve" and entry.seq not in voided and "site_level" in entry.body
    ]


def _require_affordable(entries: tuple[Entry, ...], charge: Charge) -> None:
    _require_covered("the budget", _budget(entries), _counted(entries), charge.event)
    site_level = _site_level_budget(entries)
    if site_level is not None and charge.site_level is not None:
        counted = _counted_site_level(entries)
        _require_covered("the site-level budget", site_level, counted, charge.site_level)


def _require_covered(
    name: str, budget: Budget, counted: list[PrivacyEvent], event: PrivacyEvent
) -> None:
    if not is_affordable([*counted, event], budget.delta, budget.epsilon):
        before = cost(counted, budget.delta).epsilon
        after = cost([*counted, event], budget.delta).epsilon
        raise BudgetExhausted(
            f"{name} of epsilon {budget.epsilon:g} at delta {budget.delta:g} does not cover "
            f"this: {before:.4f} is spent, and with it {after:.4f} would be"
        )
