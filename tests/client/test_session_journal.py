"""The journal of sessions: each entry once, each round once, in order, in memory and on disk."""

import os

import pytest

from client.session_journal import FolderJournal, MemoryJournal
from federation.errors import ProtocolViolation, StorageError


@pytest.fixture(params=["memory", "folder"])
def journal(request, tmp_path):
    return MemoryJournal() if request.param == "memory" else FolderJournal(tmp_path / "new")


def test_what_is_recorded_is_read(journal) -> None:
    journal.begin("a", 1, {"seed": b"s"})
    journal.record("a", 1, "share", b"x")
    assert journal.read("a", 1, "seed") == b"s"
    assert journal.read("a", 1, "share") == b"x"


def test_an_entry_is_written_once(journal) -> None:
    journal.begin("a", 1, {"seed": b"s"})
    with pytest.raises(ProtocolViolation, match="seed: answered before"):
        journal.record("a", 1, "seed", b"t")
    assert journal.read("a", 1, "seed") == b"s"


def test_a_round_is_begun_once_and_never_an_earlier_one(journal) -> None:
    journal.begin("a", 2, {"seed": b"s"})
    for round_ in (2, 1):
        with pytest.raises(ProtocolViolation, match=f"round {round_}: it or a later one"):
            journal.begin("a", round_, {"seed": b"t"})
    journal.end("a", 2)
    with pytest.raises(ProtocolViolation, match="round 2: it or a later one"):
        journal.begin("a", 2, {"seed": b"t"})


def test_lines_do_not_know_each_other(journal) -> None:
    journal.begin("a", 2, {"seed": b"s"})
    journal.begin("../a", 1, {"seed": b"t"})
    assert journal.read("a", 2, "seed") == b"s"


def test_a_later_round_ends_the_earlier_ones(journal) -> None:
    journal.begin("a", 9, {"seed": b"s"})
    journal.begin("a", 10, {"seed": b"t"})
    with pytest.raises(ProtocolViolation):
        journal.read("a", 9, "seed")
    assert journal.read("a", 10, "seed") == b"t"


def test_an_ended_round_says_nothing(journal) -> None:
    journal.begin("a", 1, {"seed": b"s"})
    journal.end("a", 1)
    journal.end("a", 1)
    journal.end("b", 1)
    with pytest.raises(ProtocolViolation):
        journal.read("a", 1, "seed")


def test_nothing_is_recorded_in_a_round_that_was_not_begun(journal) -> None:
    with pytest.raises(ProtocolViolation, match="no session is open"):
        journal.record("a", 1, "share", b"x")


def test_an_entry_that_is_not_there_is_out_of_order(journal) -> None:
    journal.begin("a", 1, {"seed": b"s"})
    with pytest.raises(ProtocolViolation, match="share: not answered yet"):
        journal.read("a", 1, "share")


def test_another_process_finds_the_marks_and_nobody_else_can_read_them(tmp_path) -> None:
    FolderJournal(tmp_path).begin("a", 1, {"seed": b"s"})
    other = FolderJournal(tmp_path)
    assert other.read("a", 1, "seed") == b"s"
    with pytest.raises(ProtocolViolation):
        other.begin("a", 1, {"seed": b"t"})
    modes = {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*")}
    assert modes == {0}


def test_a_folder_that_cannot_be_used_is_named(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=f"{tmp_path}{os.sep}file"):
        FolderJournal(tmp_path / "file").begin("a", 1, {"seed": b"s"})
