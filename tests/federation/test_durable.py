"""Files whole or not there, run folders, entropy and canonical JSON."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import canonical
from federation.durable_file import append_durably, write_atomically
from federation.entropy import SeededEntropy, SystemEntropy
from federation.errors import IntegrityError, UsageError
from federation.run_folder import RunFolder

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch) -> None:
    path = tmp_path / "x"
    write_atomically(path, b"old")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_secret_is_readable_by_its_owner_alone(tmp_path) -> None:
    write_atomically(tmp_path / "key", b"k", mode=0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_one_line_is_one_line(tmp_path) -> None:
    append_durably(tmp_path / "log", b"a")
    append_durably(tmp_path / "log", b"b")
    assert (tmp_path / "log").read_bytes() == b"a\nb\n"
    with pytest.raises(ValueError, match="one line"):
        append_durably(tmp_path / "log", b"a\nb")


def test_a_run_folder_is_made_named_and_found_again(tmp_path) -> None:
    folder = RunFolder.create(tmp_path, "heart", NOW)
    assert folder.id.startswith("20260102T030405Z-heart-")
    with pytest.raises(UsageError, match="is no run folder"):
        RunFolder.open(folder.path)
    folder.config.write_text("")
    assert RunFolder.open(folder.path) == folder
    assert folder.ledger("ulm").parent.is_dir()
    assert (folder.path / "ledgers").stat().st_mode & 0o077 == 0


def test_a_run_folder_that_cannot_be_made_is_a_usage_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose --out"):
        RunFolder.create(tmp_path / "file", "heart", NOW)


def test_a_torn_last_line_is_dropped_and_a_damaged_one_is_not(tmp_path) -> None:
    folder = RunFolder.create(tmp_path, "heart", NOW)
    assert folder.read_rounds() == []
    folder.append_round({"event": "start"})
    with folder.rounds.open("ab") as file:
        file.write(b'{"event": "rou')
    assert folder.read_rounds() == [{"event": "start"}]
    folder.rewrite_rounds(folder.read_rounds())
    assert folder.rounds.read_bytes() == b'{"event": "start"}\n'
    folder.rounds.write_bytes(b'{"event": "sta\n{"event": "round"}\n')
    with pytest.raises(IntegrityError, match="line 1"):
        folder.read_rounds()


def test_a_summary_that_is_missing_or_damaged_is_named(tmp_path) -> None:
    folder = RunFolder.create(tmp_path, "heart", NOW)
    with pytest.raises(UsageError, match="has not ended"):
        folder.read_summary()
    folder.summary.write_text(json.dumps({"schema_id": "hedgerow/summary/9"}))
    with pytest.raises(IntegrityError, match="schema_id"):
        folder.read_summary()
    assert folder.checkpoint(3).name == "round-0003.safetensors"
    assert folder.site_home("ulm").name == "ulm"
    assert {folder.model.name, folder.report.name} == {"model.safetensors", "report.html"}


@given(st.integers(0, 2**63), st.integers(0, 100))
def test_seeded_entropy_repeats_and_its_children_differ(seed: int, drawn: int) -> None:
    one, two = SeededEntropy(seed), SeededEntropy(seed)
    one.bytes(drawn)
    assert one.child("noise", 1).bytes(32) == two.child("noise", 1).bytes(32)
    streams = {
        two.child(*labels).bytes(16)
        for labels in [("a",), ("b",), ("a", "b"), ("ab",), (1,), ("1",)]
    }
    assert len(streams) == 6
    assert SeededEntropy(seed).bytes(16) != SeededEntropy(seed + 1).bytes(16)


def test_seeded_streams_do_not_change_between_releases() -> None:
    # A frozen vector: another value here means that recorded runs can no longer be repeated.
    assert (
        SeededEntropy(2026).child("training", "cleveland", 1).bytes(8).hex() == "c2aca1cfecbc135a"
    )


def test_system_entropy_does_not_repeat() -> None:
    source = SystemEntropy()
    assert source.bytes(16) != source.child("anything").bytes(16)


def test_canonical_json_ignores_order_and_refuses_nan() -> None:
    assert canonical.encode({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()
    assert canonical.digest({"a": 1, "b": 2}) == canonical.digest({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical.encode(float("nan"))
    with pytest.raises(TypeError):
        canonical.encode({1, 2})
