"""One holder at a time; the end of a process ends its hold."""

import os
import subprocess
import sys

import pytest

from federation import file_lock
from federation.errors import UsageError

HOLDER = "import sys; from federation.file_lock import hold; from pathlib import Path; "


def test_a_second_holder_is_turned_away_until_the_first_lets_go(tmp_path) -> None:
    path = tmp_path / ".lock"
    first = file_lock.hold(path)
    with pytest.raises(BlockingIOError):
        file_lock.hold(path)
    os.close(first)
    os.close(file_lock.hold(path))


def test_the_patient_get_it_when_the_holding_process_dies(tmp_path) -> None:
    path = tmp_path / ".lock"
    code = HOLDER + f"hold(Path({str(path)!r})); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            file_lock.hold(path)
        holder.kill()
        os.close(file_lock.hold(path, patience=60))


def test_a_lock_that_cannot_be_opened_is_named(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"cannot open .*nowhere/\.lock: No such file"):
        file_lock.hold(tmp_path / "nowhere" / ".lock")


def test_a_look_tells_of_a_holder_and_leaves_nothing_behind(tmp_path) -> None:
    path = tmp_path / ".lock"
    assert not file_lock.is_held(path)
    assert not path.exists()
    held = file_lock.hold(path)
    assert file_lock.is_held(path)
    os.close(held)
    assert not file_lock.is_held(path)
    os.close(file_lock.hold(path))  # the look holds nothing either
