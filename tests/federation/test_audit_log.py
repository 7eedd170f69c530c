import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.audit_log import BEGINNING, LONGEST_LINE, AuditLog
from federation.canonical import digest
from federation.errors import IntegrityError, StorageError, UsageError


def noted(path: Path, count: int = 3) -> AuditLog:
    log = AuditLog(path, clock=lambda: "2026-03-01T00:00:00+00:00")
    for number in range(count):
        log.append("bundle_approved", bundle="ab" * 32, number=number, files=["a.py", "ä.py"])
    return log


def test_an_entry_is_hashed_over_all_it_says_and_the_one_before(tmp_path):
    log = noted(tmp_path / "audit.jsonl", 2)
    first, second = (json.loads(line) for line in log.path.read_bytes().splitlines())
    for line, previous in ((first, BEGINNING), (second, first["hash"])):
        hashed = {key: line[key] for key in ("seq", "time", "event", "details")}
        assert line["hash"] == digest(hashed | {"previous": previous})
        assert line["previous"] == previous
    assert log.verify() == (2, second["hash"])


def test_only_its_owner_reads_it(tmp_path):
    assert noted(tmp_path / "audit.jsonl").path.stat().st_mode & 0o777 == 0o600


def test_a_log_that_was_not_begun_is_empty(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    assert log.entries() == ()
    with pytest.raises(IntegrityError, match="holds no entry: what was noted here is lost"):
        log.verify()


def test_a_log_that_cannot_be_read_is_not_an_empty_one(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        AuditLog(tmp_path).verify()


@given(st.data())
def test_any_altered_byte_shows_with_its_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("log") / "audit.jsonl"
    log = noted(path)
    content = bytearray(path.read_bytes())
    # The last newline may go: the line is whole without it.
    place = data.draw(st.integers(0, len(content) - 2))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    line = bytes(content[:place]).count(b"\n") + 1
    with pytest.raises(IntegrityError, match=rf"audit.jsonl, line [{line}-{line + 1}]"):
        log.verify()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_line_shows(tmp_path, lost):
    log = noted(tmp_path / "audit.jsonl")
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(lines[:lost] + lines[lost + 1 :]))
    with pytest.raises(IntegrityError, match=f"line {lost + 1}: entry {lost + 2} does not follow"):
        log.entries()


def test_lines_that_changed_places_show(tmp_path):
    log = noted(tmp_path / "audit.jsonl")
    first, second, third = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(first + third + second)
    with pytest.raises(IntegrityError, match="line 2"):
        log.verify()


def test_a_line_that_a_crash_cut_off_anywhere_is_dropped_and_the_chain_goes_on(tmp_path):
    log = noted(tmp_path / "audit.jsonl")
    whole = log.path.read_bytes()
    begin = whole.rstrip(b"\n").rindex(b"\n") + 1
    for end in range(begin, len(whole) - 1):
        log.path.write_bytes(whole[:end])
        assert len(log.entries()) == 2
        log.append("after_crash")
        assert [entry.event for entry in log.entries()][1:] == ["bundle_approved", "after_crash"]


def test_a_line_that_lost_its_newline_only_is_kept(tmp_path):
    log = noted(tmp_path / "audit.jsonl")
    log.path.write_bytes(log.path.read_bytes()[:-1])
    assert len(log.entries()) == 3
    assert log.append("after_crash").seq == 4
    assert log.verify()[0] == 4


def test_a_first_line_that_was_cut_off_is_dropped(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    log.path.write_bytes(b'{"details":{},"ev')
    assert log.append("begun").seq == 1
    assert log.verify()[0] == 1


def test_nothing_is_chained_to_a_line_that_was_altered(tmp_path):
    log = noted(tmp_path / "audit.jsonl")
    log.path.write_bytes(log.path.read_bytes().replace(b'"number":2', b'"number":3'))
    with pytest.raises(IntegrityError, match="last line"):
        log.append("more")


def test_a_line_of_any_length_fills_no_memory(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    log.path.write_bytes(b"1" * (3 * LONGEST_LINE))
    with pytest.raises(IntegrityError, match="line 1: longer than"):
        log.verify()


def test_an_entry_has_a_bounded_length_and_the_bound_is_tight(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl", clock=lambda: "2026-03-01T00:00:00+00:00")
    short = len(log.append("note", text="").model_dump_json()) + 1
    fits = "x" * (LONGEST_LINE - short)
    log.append("note", text=fits)
    assert len(log.path.read_bytes().splitlines(keepends=True)[1]) == LONGEST_LINE
    with pytest.raises(ValueError, match="65536 bytes at most"):
        log.append("note", text=fits + "x")
    assert log.append("note").seq == 3
    assert log.verify()[0] == 3


@pytest.mark.parametrize("details", [{"value": float("nan")}, {"value": object()}])
def test_what_json_cannot_say_is_refused_before_anything_is_written(tmp_path, details):
    log = noted(tmp_path / "audit.jsonl", 1)
    with pytest.raises((ValueError, TypeError)):
        log.append("note", **details)
    assert log.verify()[0] == 1


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path, monkeypatch):
    log = noted(tmp_path / "audit.jsonl")
    before = log.path.read_bytes()

    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("federation.audit_log.os.fsync", refuse)
    with pytest.raises(StorageError, match="No space left"):
        log.append("note")
    assert log.path.read_bytes() == before


def _append_many(path: Path) -> None:
    log = AuditLog(path)
    for number in range(25):
        log.append("from_process", number=number)


def test_processes_that_append_at_once_make_one_chain(tmp_path):
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append_many, args=(path,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert AuditLog(path).verify()[0] == 100
