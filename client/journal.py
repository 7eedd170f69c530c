"""The journal of a site: what it has irrevocably said, durable before it says it.

It holds the agreements of running runs, one mark per irreversible answer, the one model a round is
about, the one contribution a site ever makes to it and what it keeps of that training for itself,
the one survivor set it helps to open for it, where it stands in a discovery of cohorts, and how far
other sites' ledgers had come. A retry of a
round therefore resends the stored contribution (no second noise on one charge), and never to a
second survivor set (two sums of the same vectors over different sets would differ by one site's
vector); and no round has held-out rows judged on model after model.
"""

import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from client.discovery_journal import SCHEMA as DISCOVERIES
from client.discovery_journal import DiscoveryJournal
from federation.errors import IntegrityError, ProtocolViolation
from federation.ring_vector import Bytes

_SCHEMA = """
CREATE TABLE IF NOT EXISTS agreements (run TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS marks (
    run TEXT, round INTEGER, attempt INTEGER, phase TEXT, PRIMARY KEY (run, round, attempt, phase)
) STRICT;
CREATE TABLE IF NOT EXISTS contributions (
    run TEXT, round INTEGER, charge INTEGER NOT NULL, model BLOB NOT NULL, layout BLOB NOT NULL,
    vector BLOB NOT NULL, noise_secret BLOB NOT NULL DEFAULT x'', PRIMARY KEY (run, round)
) STRICT;
CREATE TABLE IF NOT EXISTS states (
    run TEXT, round INTEGER, state BLOB NOT NULL, PRIMARY KEY (run, round)
) STRICT;
CREATE TABLE IF NOT EXISTS models (
    run TEXT, round INTEGER, model BLOB NOT NULL, PRIMARY KEY (run, round)
) STRICT;
CREATE TABLE IF NOT EXISTS ledger_head (
    only INTEGER PRIMARY KEY CHECK (only = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS witnessed (
    site TEXT, dataset TEXT, seq INTEGER NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (site, dataset)
) STRICT;
CREATE TABLE IF NOT EXISTS evaluations (
    question TEXT, run TEXT, PRIMARY KEY (question, run)
) STRICT;
CREATE TABLE IF NOT EXISTS survivors (
    run TEXT, round INTEGER, sites TEXT NOT NULL, PRIMARY KEY (run, round)
) STRICT;
"""

MOST_WITNESSED = 1000
"""Ledgers of other sites that a site speaks of."""

_ADDED_COLUMN = "ALTER TABLE contributions ADD COLUMN noise_secret BLOB NOT NULL DEFAULT x''"
"""To a journal that is older than surplus noise."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """The encoded vector of one round.

    Attributes:
        charge: which reservation in the ledger paid for it; 0 if nothing had to be paid.
        model_digest: of the model it was made on, 32 bytes.
        layout_digest: of the layout it is encoded in, 32 bytes.
        vector: buffer of the vector in the layout's rings, shape (bytes,), uint8, not masked: it
            never leaves the site like this.
        noise_secret: what its noise was drawn from, where the surplus may be removed; else empty.
    """

    charge: int
    model_digest: bytes
    layout_digest: bytes
    vector: Bytes
    noise_secret: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class StateAfter:
    """What a site keeps of its training in a round, beside the round's contribution.

    Attributes:
        since: the round that it was made from; 0: none.
        state: bytes of a `federation.site_state.SiteState`.
    """

    since: int
    state: bytes = field(repr=False)


class Journal:
    """One SQLite file per site, WAL with `synchronous=FULL`: what returned is on the disk."""

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(path)
            path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            # Unmasked vectors are deleted as soon as a round is over; overwrite them, too.
            self._db.execute("PRAGMA secure_delete=ON")
            self._db.executescript(_SCHEMA + DISCOVERIES)
            columns = self._db.execute("PRAGMA table_info(contributions)").fetchall()
            if all(name != "noise_secret" for _, name, *_ in columns):
                self._db.execute(_ADDED_COLUMN)
        except sqlite3.DatabaseError as error:
            raise IntegrityError(f"the journal {path} cannot be opened: {error}") from error
        self.discoveries = DiscoveryJournal(self._db)

    def remember_agreement(self, run: str, body: bytes) -> None:
        """Keep the agreement of a run.

        Raises:
            ProtocolViolation: another one is kept for the run already.
        """
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO agreements VALUES (?, ?)", (run, body))
        if self.agreement(run) != body:
            raise ProtocolViolation("agreement: this run was agreed on other terms before")

    def agreement(self, run: str) -> bytes | None:
        """The agreement kept for `run`."""
        row = self._db.execute("SELECT body FROM agreements WHERE run = ?", (run,)).fetchone()
        return row[0] if row else None

    def mark(self, run: str, round_: int, attempt: int, phase: str) -> None:
        """Record that an answer is about to be given.

        Raises:
            ProtocolViolation: it was given before.
        """
        try:
            with self._db:
                self._db.execute(
                    "INSERT INTO marks VALUES (?, ?, ?, ?)", (run, round_, attempt, phase)
                )
        except sqlite3.IntegrityError as error:
            raise ProtocolViolation(
                f"{phase}: already answered in round {round_}, attempt {attempt}"
            ) from error

    def is_marked(self, run: str, round_: int, phase: str) -> bool:
        """Whether an answer of this phase was given in any attempt of a round."""
        query = "SELECT 1 FROM marks WHERE run = ? AND round = ? AND phase = ?"
        return self._db.execute(query, (run, round_, phase)).fetchone() is not None

    def keep_contribution(
        self, run: str, round_: int, contribution: Contribution, after: StateAfter | None = None
    ) -> None:
        """Store the contribution of a round and forget those of earlier rounds of its sort.

        With it, and in the same transaction, what the site keeps of the round's training: so one
        is never there without the other. The state that it was made from stays, as the round's sum
        may yet fail; those of other rounds go: whoever says that `since` was the last round that
        counted has said that they did not.

        A run that stopped has its model evaluated in a round with a greater number than the one
        that failed, whose vector must still be there when the run goes on.
        """
        row = (
            run, round_, contribution.charge, contribution.model_digest,
            contribution.layout_digest, contribution.vector.tobytes(), contribution.noise_secret,
        )  # fmt: skip
        with self._db:
            self._db.execute(
                "DELETE FROM contributions WHERE run = ? AND round < ? AND (charge = 0) = ?",
                (run, round_, contribution.charge == 0),
            )
            self._db.execute(
                "INSERT OR REPLACE INTO contributions VALUES (?, ?, ?, ?, ?, ?, ?)", row
            )
            if after is not None:
                self._db.execute(
                    "DELETE FROM states WHERE run = ? AND round <> ?", (run, after.since)
                )
                self._db.execute(
                    "INSERT OR REPLACE INTO states VALUES (?, ?, ?)", (run, round_, after.state)
                )

    def contribution(self, run: str, round_: int) -> Contribution | None:
        """The stored contribution of a round."""
        row = self._db.execute(
            "SELECT charge, model, layout, vector, noise_secret FROM contributions "
            "WHERE run = ? AND round = ?",
            (run, round_),
        ).fetchone()
        if row is None:
            return None
        charge, model, layout, vector, secret = row
        return Contribution(charge, model, layout, np.frombuffer(vector, np.uint8), secret)

    def state_after(self, run: str, round_: int) -> bytes | None:
        """What the site kept of its training in a round, if it is still there."""
        row = self._db.execute(
            "SELECT state FROM states WHERE run = ? AND round = ?", (run, round_)
        ).fetchone()
        return row[0] if row else None

    def bind_model(self, run: str, round_: int, digest: bytes) -> None:
        """Record the one model that this round is about.

        Raises:
            ProtocolViolation: the round was about another model before.
        """
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO models VALUES (?, ?, ?)", (run, round_, digest))
        row = self._db.execute(
            "SELECT model FROM models WHERE run = ? AND round = ?", (run, round_)
        ).fetchone()
        if row[0] != digest:
            raise ProtocolViolation("model: this round was about another one before")

    def was_about(self, run: str, digest: bytes) -> bool:
        """Whether a round of `run` was about this model."""
        query = "SELECT 1 FROM models WHERE run = ? AND model = ?"
        return self._db.execute(query, (run, digest)).fetchone() is not None

    def admit_evaluation(self, question: str, run: str, most: int) -> bool:
        """Whether an evaluation may count for `question`; if so, durably one of the `most`.

        The same run may ask again: it is answered with the vector that it had.
        """
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            asked = self._db.execute("SELECT run FROM evaluations WHERE question = ?", (question,))
            runs = {row[0] for row in asked}
            if run not in runs and len(runs) >= most:
                return False
            self._db.execute("INSERT OR IGNORE INTO evaluations VALUES (?, ?)", (question, run))
        return True

    def bind_survivors(self, run: str, round_: int, sites: tuple[str, ...]) -> None:
        """Record the one survivor set that this round's contribution may be opened with.

        Raises:
            ProtocolViolation: another set was signed for the same contribution before.
        """
        text = json.dumps(sorted(sites))
        with self._db:
            self._db.execute(
                "INSERT OR IGNORE INTO survivors VALUES (?, ?, ?)", (run, round_, text)
            )
        row = self._db.execute(
            "SELECT sites FROM survivors WHERE run = ? AND round = ?", (run, round_)
        ).fetchone()
        if row[0] != text:
            raise ProtocolViolation(
                "survivors: another set was signed for this round's vector before; two sums over "
                "different sets would differ by one site's vector"
            )

    def remember_ledger(self, seq: int, digest: str) -> None:
        """Record how far the site's ledger had come: a tail cut off it shows."""
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO ledger_head VALUES (1, ?, ?)", (seq, digest))

    def ledger_head(self) -> tuple[int, str] | None:
        """What `remember_ledger` recorded last."""
        row = self._db.execute("SELECT seq, hash FROM ledger_head").fetchone()
        return (int(row[0]), str(row[1])) if row else None

    def witness_head(self, site: str, dataset: str, seq: int, digest: str) -> None:
        """Record how far another site's ledger had come."""
        with self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO witnessed VALUES (?, ?, ?, ?)", (site, dataset, seq, digest)
            )

    def witnessed_head(self, site: str, dataset: str) -> tuple[int, str] | None:
        """What `witness_head` recorded last of a ledger."""
        query = "SELECT seq, hash FROM witnessed WHERE site = ? AND dataset = ?"
        row = self._db.execute(query, (site, dataset)).fetchone()
        return (int(row[0]), str(row[1])) if row else None

    def witnessed_heads(self) -> list[tuple[str, str, int, str]]:
        """Site, dataset, number and hash of the ledgers that were recorded last."""
        # Recording again moves to the end; so a site that makes up datasets crowds nobody out of
        # a message's size.
        query = "SELECT site, dataset, seq, hash FROM witnessed ORDER BY rowid DESC LIMIT ?"
        return self._db.execute(query, (MOST_WITNESSED,)).fetchall()

    def forget(self, run: str) -> None:
        """Delete what a finished run no longer needs; marks and survivor sets stay."""
        with self._db:
            self._db.execute("DELETE FROM contributions WHERE run = ?", (run,))
            self._db.execute("DELETE FROM states WHERE run = ?", (run,))

    def close(self) -> None:
        """Close the file."""
        self._db.close()
