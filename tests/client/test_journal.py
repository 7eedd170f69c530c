"""The journal: said once, kept over a restart, one survivor set per vector."""

import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from client.journal import Contribution, Journal
from federation.errors import IntegrityError, ProtocolViolation


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


def kept(round_: int = 1) -> Contribution:
    return Contribution(1, b"m" * 32, b"l" * 32, np.arange(5, dtype=np.uint8) + round_)


def reopened(journal: Journal, path) -> Journal:
    journal.close()
    return Journal(path)


def test_an_answer_is_given_once_even_after_a_restart(path) -> None:
    journal = Journal(path)
    journal.mark("r", 1, 1, "train")
    journal.mark("r", 1, 2, "train")
    journal.mark("r", 1, 1, "sign")
    journal = reopened(journal, path)
    with pytest.raises(ProtocolViolation, match="train: already answered in round 1, attempt 1"):
        journal.mark("r", 1, 1, "train")


def test_one_vector_is_opened_with_one_survivor_set_only(path) -> None:
    journal = Journal(path)
    journal.bind_survivors("r", 1, ("a", "b", "c"))
    journal = reopened(journal, path)
    journal.bind_survivors("r", 1, ("c", "b", "a"))
    journal.bind_survivors("r", 2, ("a", "b", "d"))
    with pytest.raises(ProtocolViolation, match="another set was signed"):
        journal.bind_survivors("r", 1, ("a", "b"))


def test_a_contribution_survives_a_restart_and_goes_with_its_round(path) -> None:
    journal = Journal(path)
    journal.keep_contribution("r", 1, kept(1))
    journal.keep_contribution("other", 1, kept(9))
    journal = reopened(journal, path)
    stored = journal.contribution("r", 1)
    assert stored is not None
    np.testing.assert_array_equal(stored.vector, kept(1).vector)
    assert (stored.charge, stored.model_digest, stored.layout_digest) == (1, b"m" * 32, b"l" * 32)
    journal.keep_contribution("r", 2, kept(2))
    assert journal.contribution("r", 1) is None
    assert journal.contribution("r", 2) is not None
    journal.forget("r")
    assert journal.contribution("r", 2) is None
    assert journal.contribution("other", 1) is not None


def test_a_forgotten_vector_is_not_left_in_the_file(path) -> None:
    journal = Journal(path)
    secret = np.full(4000, 0xDEADBEEF, dtype=np.uint32)
    journal.keep_contribution("r", 1, Contribution(1, b"m" * 32, b"l" * 32, secret))
    journal.forget("r")
    journal.close()
    left = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"\xef\xbe\xad\xde" * 8 not in left


def test_a_run_has_one_agreement(path) -> None:
    journal = Journal(path)
    assert journal.agreement("r") is None
    journal.remember_agreement("r", b"terms")
    journal.remember_agreement("r", b"terms")
    with pytest.raises(ProtocolViolation, match="on other terms before"):
        journal.remember_agreement("r", b"other")
    assert reopened(journal, path).agreement("r") == b"terms"


def test_the_file_is_its_owners_alone(path) -> None:
    Journal(path).close()
    assert path.stat().st_mode & 0o077 == 0


def test_what_is_no_journal_is_an_integrity_error(path) -> None:
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(IntegrityError, match="cannot be opened"):
        Journal(path)


def test_every_write_is_flushed_before_it_returns(path) -> None:
    journal = Journal(path)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with sqlite3.connect(path) as other:  # another process sees a committed mark at once
        journal.mark("r", 1, 1, "open")
        assert other.execute("SELECT count(*) FROM marks").fetchone() == (1,)
    other.close()


def test_a_journal_older_than_surplus_noise_goes_on(path) -> None:
    journal = Journal(path)
    journal.keep_contribution("r", 1, kept())
    journal.close()
    with sqlite3.connect(path) as old:
        old.execute("ALTER TABLE contributions DROP COLUMN noise_secret")
    old.close()
    journal = Journal(path)
    assert journal.contribution("r", 1).noise_secret == b""
    journal.keep_contribution("r", 2, replace(kept(2), noise_secret=b"s" * 32))
    journal = reopened(journal, path)
    assert journal.contribution("r", 2).noise_secret == b"s" * 32
    assert "s" * 32 not in repr(journal.contribution("r", 2))
