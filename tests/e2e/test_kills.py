"""Whenever sites are killed, ledgers count at least what left; the run comes out the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from federation_in_process import Federation

from federation.run_folder import RunFolder

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> bytes:
    federation = Federation(tmp_path_factory.mktemp("undisturbed"))
    federation.play()
    return federation.model


def killed_run(folder: Path, step: int) -> list[dict]:
    done = subprocess.run(
        [sys.executable, HERE / "killed_run.py", folder, str(step)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def assert_counted(lines: list[dict], model: bytes) -> int:
    """Returns how often the run was killed."""
    assert [line["killed"] for line in lines] == [True] * (len(lines) - 1) + [False]
    assert lines[-1]["status"] == 0
    for line in lines:
        for site in line["sites"].values():
            assert site["sent"] <= site["committed"] <= site["reserved"] <= 3
    assert {site["sent"] for site in lines[-1]["sites"].values()} == {3}
    assert {site["committed"] for site in lines[-1]["sites"].values()} == {3}
    # Noise drawn anew for a charge would show: the model is the undisturbed run's, bit for bit.
    assert RunFolder.open(Path(lines[-1]["folder"])).model.read_bytes() == model
    return len(lines) - 1


def test_sites_that_are_killed_again_and_again_count_what_left(tmp_path, undisturbed) -> None:
    assert assert_counted(killed_run(tmp_path, 60), undisturbed) >= 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_kills_at_other_places_each_lose_nothing(tmp_path, undisturbed) -> None:
    kills = 0
    for step in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29):
        folder = tmp_path / str(step)
        folder.mkdir()
        kills += assert_counted(killed_run(folder, step), undisturbed)
    assert kills >= 100
