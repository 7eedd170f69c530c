"""The ledger: one site's account of one dataset, over all runs, that no crash can make under-count.

One SQLite file, whole after every entry (rollback journal, `synchronous=EXTRA`): a write-ahead log
beside it could be lost, and with it what was spent. Append-only by triggers; a chain of signed
entries (`privacy.ledger_entry`). A run's plan is registered before its first charge. A reservation
is durable before any work starts and counts as spent until it is voided; `reserve` decides and
writes in one transaction, so two processes cannot overspend together. The ledger holds events,
never an epsilon alone, and never anything about rows.

An open ledger has checked every entry once; after that it reads what is new, and that what it read
last still stands where it stood.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.errors import (
    BudgetExhausted,
    IntegrityError,
    PrivacyRefusal,
    StorageError,
    UsageError,
)
from privacy.account import (
    Account,
    ChargePlan,
    Standing,
    policy_to_plain,
    require_allowed,
)
from privacy.accountant import Cost
from privacy.budget import DatasetPolicy
from privacy.identity_handover import handover_facts
from privacy.ledger_entry import Entry, Kind, Row, checked, link, written

_SCHEMA = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, body TEXT NOT NULL, hash TEXT NOT NULL, signature TEXT NOT NULL
) STRICT;
CREATE TRIGGER no_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'append-only'); END;
"""
_ROWS = "SELECT seq, body, hash, signature FROM entries"

Clock = Callable[[], str]


class Ledger:
    """An open ledger; every method that writes returns after the entry is on the disk."""

    def __init__(
        self, db: sqlite3.Connection, key: Ed25519PrivateKey, clock: Clock, path: Path
    ) -> None:
        """Use `create` or `open`."""
        self._db, self._key, self._clock, self._path = db, key, clock, path
        self._known = _Known(path, key.public_key())

    @classmethod
    def create(  # noqa: PLR0913 - what a ledger is opened with
        cls,
        path: Path,
        key: Ed25519PrivateKey,
        holder: tuple[str, str],
        policy: DatasetPolicy,
        clock: Clock,
        public_rows: int | None = None,
        *,
        order: int | None = None,
    ) -> "Ledger":
        """A new ledger whose first entry is the budget.

        Args:
            path: must not exist.
            key: the site's identity.
            holder: the site and the dataset.
            policy: what may be spent on the dataset, and on what.
            clock: UTC now, ISO 8601.
            public_rows: the number of rows that the site declares in public, if it does.
            order: Renyi order that charges per record are added up at; that which suits the first
                plan if None. Any is sound that was chosen before anything was released.

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
            facts: dict[str, object] = {
                "site": holder[0],
                "dataset": holder[1],
                "public_rows": public_rows,
                "public_key": key.public_key().public_bytes_raw().hex(),
            }
            if order is not None:
                facts["orders"] = {"record": str(float(order))}
            ledger._append("budget", policy_to_plain(policy) | facts)
        path.chmod(0o600)
        return ledger

    @classmethod
    def open(cls, path: Path, key: Ed25519PrivateKey, clock: Clock) -> "Ledger":
        """An existing ledger, after every entry is checked.

        Raises:
            UsageError: there is none at `path`.
            IntegrityError: it is damaged; names the entry.
        """
        if not path.is_file():
            raise UsageError(f"there is no ledger at {path}")
        ledger = cls(_connect(path), key, clock, path)
        ledger.account()
        return ledger

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def entries(self) -> tuple[Entry, ...]:
        """All entries in order, checked.

        Raises:
            IntegrityError: the ledger is damaged.
        """
        self.account()
        return tuple(self._known.entries)

    def account(self) -> Account:
        """What all entries come to, now; to be looked at and not to be changed.

        Raises:
            IntegrityError: the ledger is damaged.
        """
        return self._known.caught_up(self._db)

    def head(self) -> tuple[int, str]:
        """Number and hash of the last entry: printed or sent elsewhere, it shows a cut tail."""
        last = self.entries()[-1]
        return last.seq, last.hash

    def spent(self) -> Cost:
        """What is reserved or committed costs a record, by the budget's delta."""
        account = self.account()
        return account.spent("record", account.in_force().record.delta)

    def reservation(self, run: str, round_: int, number: int) -> Standing | None:
        """The standing reservation of a release, unless it was voided.

        Args:
            run: id of the run.
            round_: number of the round.
            number: 1 for the round's first release, 2 if it had to be released anew, ...
        """
        return self.account().at(run, round_, number)

    def register(self, plan: ChargePlan) -> None:
        """Fix what a run will be charged, before its first charge; again is allowed, if the same.

        Raises:
            PrivacyRefusal: the dataset's policy does not allow the plan.
            UsageError: the run has another plan.
        """
        with self._transaction():
            account = self.account()
            known = account.plans.get(plan.run)
            if known is not None:
                if known.plan != plan:
                    raise UsageError(f"run {plan.run} has registered another plan in this ledger")
                return
            self.require_allowed(plan)
            self._append("plan", account.registration(plan))

    def require_allowed(self, plan: ChargePlan) -> None:
        """Return if the dataset's policy allows a plan, whatever it costs; writes nothing.

        Raises:
            PrivacyRefusal: it does not.
        """
        account = self.account()
        require_allowed(account.in_force(), plan, max(self._clock(), account.latest))

    def require_admitted(self, run: str) -> None:
        """Return if the next charge of a run's plan would be admitted now; writes nothing.

        Raises:
            PrivacyRefusal: the policy does not allow it.
            BudgetExhausted: a budget does not cover it; the text has the numbers.
            UsageError: the run has registered no plan.
        """
        self.account().require_admitted(run, self._clock())

    def reserve(self, run: str, round_: int, number: int) -> int:
        """Charge a release as the run's plan says, before the work starts; returns the entry.

        Raises:
            PrivacyRefusal, BudgetExhausted: as `require_admitted`; the first refusal of a charge is
                an entry, too. Later ones are not: else whoever keeps asking fills the disk.
            UsageError: this charge is reserved already, or the run has registered no plan.
        """
        place: dict[str, object] = {"run": run, "round": round_, "charge": number}
        refusal: PrivacyRefusal | None = None
        with self._transaction():
            account = self.account()
            if account.at(run, round_, number) is not None:
                raise UsageError(f"run {run}, round {round_}, charge {number}: reserved already")
            try:
                charge = account.require_admitted(run, self._clock())
                return self._append("reserve", place | charge.to_plain())
            except PrivacyRefusal as error:
                refusal = error
            if not account.is_refused(run, round_, number):
                over = isinstance(refusal, BudgetExhausted)
                self._append("refuse", place | {"reason": "budget" if over else "policy"})
        raise refusal

    def commit(self, reservation: int, released_sha256: str) -> None:
        """Note that the reserved work was released, by the digest of what left.

        Raises:
            UsageError: there is no such open reservation.
        """
        with self._transaction():
            self._require_open(reservation)
            facts = {"reservation": reservation, "released_sha256": released_sha256}
            self._append("commit", facts)

    def void(self, reservation: int, proof: str) -> None:
        """Give a charge back because nothing was released; `proof` says how that is known.

        Raises:
            UsageError: there is no such open reservation, or no proof.
        """
        if not proof.strip():
            raise UsageError("void: expected a proof that nothing was released")
        with self._transaction():
            self._require_open(reservation)
            self._append("void", {"reservation": reservation, "proof": proof})

    def amend(self, policy: DatasetPolicy, reason: str, role: str) -> None:
        """Put another policy in force from now on; what was spent stays spent.

        Args:
            policy: whole, not what changes in it.
            reason: why, in words.
            role: of whoever decided, such as `data protection officer`.

        Raises:
            UsageError: reason or role is empty, or nothing changes.
        """
        for name, text in (("reason", reason), ("role", role)):
            if not text.strip():
                raise UsageError(f"{name}: expected words that a reader of the ledger will want")
        with self._transaction():
            account = self.account()
            if policy == account.in_force():
                raise UsageError("the ledger holds this budget already; nothing was written")
            facts = {"reason": reason, "role": role}
            self._append("budget", account.amendment(policy) | facts)

    def record_audit(self, result: Mapping[str, object]) -> int:
        """Keep the result of an audit, which costs nothing; returns the entry's number."""
        with self._transaction():
            return self._append("audit", {"result": dict(result)})

    def hand_over(self, successor: Ed25519PrivateKey) -> None:
        """Have this and all further entries signed by another identity key of the site.

        What was spent stays spent. Whoever opens or verifies the ledger from now on needs the new
        key; the chain shows that the old one agreed.

        Raises:
            UsageError: it is the key in force.
        """
        if successor.public_key() == self._key.public_key():
            raise UsageError("the ledger is signed by this key already; nothing was written")
        before = self._key, self._known
        try:
            with self._transaction():
                at = max(self._clock(), self.account().latest)
                last: Row = self._db.execute(f"{_ROWS} ORDER BY seq DESC LIMIT 1").fetchone()
                facts = handover_facts(self._key, successor, link(last))
                row = written("identity", facts, at, last, successor)
                self._db.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", row)
                self._key, self._known = successor, _Known(self._path, successor.public_key())
        except BaseException:
            self._key, self._known = before
            raise

    def _require_open(self, reservation: int) -> None:
        standing = self.account().standing.get(reservation)
        if standing is None or standing.committed:
            raise UsageError(f"entry {reservation} is no open reservation")

    def _append(self, kind: Kind, facts: Mapping[str, object]) -> int:
        last: Row | None = self._db.execute(f"{_ROWS} ORDER BY seq DESC LIMIT 1").fetchone()
        # A clock that was set back would make a budget last beyond its end.
        at = max(self._clock(), self._known.account.latest)
        row = written(kind, facts, at, last, self._key)
        self._db.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", row)
        return row[0]

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
        # So that a cut shows that takes away what this ledger itself wrote.
        self.account()

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")


def verify(path: Path, public_key: Ed25519PublicKey) -> tuple[Entry, ...]:
    """All entries of a ledger, read-only, after the whole chain is checked.

    Raises:
        UsageError: there is none at `path`.
        IntegrityError: it is damaged; names the entry and what is wrong with it.
    """
    if not path.is_file():
        raise UsageError(f"there is no ledger at {path}")
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        known = _Known(path, public_key)
        known.caught_up(db)
        return tuple(known.entries)
    finally:
        db.close()


def first_body(path: Path) -> Mapping[str, object]:
    """What the first entry of a ledger says of itself, unchecked: whose it is, and which key.

    Raises:
        UsageError: there is none at `path`.
        IntegrityError: it cannot be read, or does not start with a budget.
    """
    if not path.is_file():
        raise UsageError(f"there is no ledger at {path}")
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        row: tuple[int, str] | None = db.execute(
            "SELECT seq, body FROM entries ORDER BY seq LIMIT 1"
        ).fetchone()
        body = json.loads(row[1]) if row else None
    except (sqlite3.DatabaseError, ValueError) as error:
        raise IntegrityError(f"the ledger {path} cannot be read: {error}") from error
    finally:
        db.close()
    if row is not None and row[0] != 1:
        raise IntegrityError(
            f"the ledger {path}, entry 1: it is missing; what it charged would not be counted"
        )
    if not isinstance(body, dict):
        raise IntegrityError(f"the ledger {path}: it does not start with a budget")
    return body


def stated_public_key(path: Path) -> str:
    """The key that a ledger says its last entries are signed by, unchecked.

    Raises:
        UsageError, IntegrityError: as `first_body`.
    """
    stated = first_body(path)
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        for (text,) in db.execute("SELECT body FROM entries ORDER BY seq"):
            body = json.loads(text)
            if body.get("kind") == "identity":
                stated = body
    except (sqlite3.DatabaseError, ValueError, AttributeError) as error:
        raise IntegrityError(f"the ledger {path} cannot be read: {error}") from error
    finally:
        db.close()
    return str(stated.get("public_key"))


class _Known:
    """What was read and checked of a ledger so far."""

    def __init__(self, path: Path, public_key: Ed25519PublicKey) -> None:
        self._path, self._public_key = path, public_key
        self._last: Row | None = None
        self.entries: list[Entry] = []
        self.account = Account()

    def caught_up(self, db: sqlite3.Connection) -> Account:
        """The account, after whatever is new was read and checked.

        Raises:
            IntegrityError: something is not what was written.
        """
        since = self._last[0] if self._last else 0
        try:
            rows: list[Row] = db.execute(
                f"{_ROWS} WHERE seq >= ? ORDER BY seq", (since,)
            ).fetchall()
        except sqlite3.DatabaseError as error:
            raise IntegrityError(f"the ledger {self._path} cannot be read: {error}") from error
        if self._last is not None:
            if not rows or rows[0] != self._last:
                raise IntegrityError(
                    f"the ledger {self._path}, entry {since}: it is not what stood there before; "
                    "the file was exchanged or cut while it was open"
                )
            del rows[0]
        elif not rows:
            raise IntegrityError(f"the ledger {self._path}: it does not start with a budget")
        for entry in checked(rows, self._last, self._public_key, str(self._path)):
            self._take(entry)
        self._last = rows[-1] if rows else self._last
        return self.account

    def _take(self, entry: Entry) -> None:
        try:
            self.account.apply(entry)
        except (KeyError, PrivacyRefusal, UsageError, ValueError) as error:
            # Signed by the site and yet not an entry: other software wrote it with the site's key.
            why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise IntegrityError(
                f"the ledger {self._path}, entry {entry.seq}: {entry.kind} makes no sense to this "
                f"version of hedgerow: {why}"
            ) from error
        self.entries.append(entry)


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
