"""What a site must not answer twice in two ways while cohorts are discovered.

Which of its rows are compared, where it stands, and what it was asked in each step; durable before
a vector is made of it. So a kill between moves and counts goes on with the same answer, and a site
that said where it would go does not go anywhere else.
"""

import json
import sqlite3
from collections.abc import Mapping

from federation.errors import ProtocolViolation

SCHEMA = """
CREATE TABLE IF NOT EXISTS discoveries (discovery TEXT PRIMARY KEY, counts TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS discovery_steps (
    discovery TEXT, step INTEGER, centres TEXT NOT NULL, admitted TEXT, cluster INTEGER,
    PRIMARY KEY (discovery, step)
) STRICT;
"""

OwnCounts = dict[str, tuple[int, ...]]
"""Per feature, rows per quantile bin."""


class DiscoveryJournal:
    """The tables of a site's journal that discoveries are in."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Tables of `SCHEMA`, which `db` has."""
        self._db = db

    def bind_counts(self, discovery: str, counts: Mapping[str, tuple[int, ...]]) -> OwnCounts:
        """The counts that the whole discovery is about: these, unless it began with others."""
        text = json.dumps(counts)
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO discoveries VALUES (?, ?)", (discovery, text))
        row = self._db.execute(
            "SELECT counts FROM discoveries WHERE discovery = ?", (discovery,)
        ).fetchone()
        return {name: tuple(each) for name, each in json.loads(row[0]).items()}

    def bind_centres(self, discovery: str, step: int, centres: str) -> None:
        """Record the centres of a step, before a move is told.

        Args:
            discovery: which.
            step: later than all that were before, or one of them again.
            centres: digest.

        Raises:
            ProtocolViolation: this step was about other centres, or a later one was answered.
        """
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            latest = self._db.execute(
                "SELECT max(step) FROM discovery_steps WHERE discovery = ?", (discovery,)
            ).fetchone()[0]
            if latest is None or step > latest:
                self._db.execute(
                    "INSERT INTO discovery_steps VALUES (?, ?, ?, NULL, NULL)",
                    (discovery, step, centres),
                )
        self._require_centres(discovery, step, centres)

    def standing(self, discovery: str, step: int) -> int | None:
        """The cluster of the site before a step; None if it stood in none yet."""
        row = self._db.execute(
            "SELECT cluster FROM discovery_steps WHERE discovery = ? AND step < ? "
            "AND admitted IS NOT NULL ORDER BY step DESC LIMIT 1",
            (discovery, step),
        ).fetchone()
        return None if row is None else row[0]

    def settle(
        self, discovery: str, step: int, centres: str, admitted: str, cluster: int | None
    ) -> None:
        """Record where the site stands after a step, before it counts there.

        Raises:
            ProtocolViolation: no move was told in this step, it was about other centres, other
                moves were admitted in it, or it was left behind without any.
        """
        self._require_centres(discovery, step, centres)
        with self._db:
            self._db.execute(
                "UPDATE discovery_steps SET admitted = ?, cluster = ? "
                "WHERE discovery = ? AND step = ? AND admitted IS NULL AND step = "
                "(SELECT max(step) FROM discovery_steps WHERE discovery = ?)",
                (admitted, cluster, discovery, step, discovery),
            )
        row = self._db.execute(
            "SELECT admitted FROM discovery_steps WHERE discovery = ? AND step = ?",
            (discovery, step),
        ).fetchone()
        if row[0] is None:
            raise ProtocolViolation(f"clusters.step {step}: out of order at this site")
        if row[0] != admitted:
            raise ProtocolViolation("clusters.admitted: other moves were admitted in this step")

    def _require_centres(self, discovery: str, step: int, centres: str) -> None:
        row = self._db.execute(
            "SELECT centres FROM discovery_steps WHERE discovery = ? AND step = ?",
            (discovery, step),
        ).fetchone()
        if row is None:
            raise ProtocolViolation(f"clusters.step {step}: out of order at this site")
        if row[0] != centres:
            raise ProtocolViolation("clusters.centres: this step was about other ones before")
