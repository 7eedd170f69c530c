"""Whole sweeps in processes of their own: in one go, killed and resumed, with a crash."""

import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from command_in_process import hedgerow
from interruptible_process import started

from federation.run_folder import RunFolder

SMALL = ("--set", "run.rounds=2", "--set", "training.local_steps=1", "--no-reference")
VARY = ("--vary", "privacy.noise_multiplier=2,4")
SWEEP = ("-m", "hedgerow", "sweep", *VARY, *SMALL, "--seeds", "2", "--quiet")

FRAGILE = '''"""The heart task; its coordinator dies over a run that has begun."""

import os
import signal
import sys
from pathlib import Path

from simulations.tasks.heart import HeartTask


class Fragile(HeartTask):
    def __init__(self, sweep: str, fragile: bool) -> None:
        super().__init__()
        self._runs, self._fragile = Path(sweep), fragile

    def build_model(self):
        dies = self._fragile and (self._runs.parent / "dies").exists()
        if dies and any(self._runs.glob("*/runs/002-*/*/rounds.jsonl")):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().build_model()
'''


def table(sweep: Path) -> list[dict[str, str]]:
    """Without what no two sweeps share."""
    rows = list(csv.DictReader((sweep / "results.csv").read_text(encoding="utf-8").splitlines()))
    return [{name: cell for name, cell in row.items() if name != "seconds"} for row in rows]


def the_sweep(folder: Path) -> Path:
    (found,) = (folder / "sweeps").iterdir()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two trials with two seeds in one go, two runs at a time."""
    folder = tmp_path_factory.mktemp("whole")
    hedgerow(folder, "sweep", *VARY, *SMALL, "--seeds", "2", "--jobs", "2", "--quiet")
    return the_sweep(folder)


def test_a_sweep_gives_the_models_that_simulate_gives(whole: Path, tmp_path: Path) -> None:
    rows = table(whole)
    assert [row["status"] for row in rows] == ["completed"] * 4
    assert [(row["trial"], row["seed"]) for row in rows] == [
        (trial, seed) for trial in "12" for seed in ("2026", "2027")
    ]
    (run,) = (whole / "runs" / "002-s2027").iterdir()
    shutil.copy(run / "config.toml", tmp_path)
    hedgerow(tmp_path, "simulate", "config.toml", "--workers", "2", "--quiet")
    (alone,) = (tmp_path / "runs").iterdir()
    summary = RunFolder(alone).read_summary()
    assert rows[3]["model_sha256"] == summary.run.model_sha256
    spent = max(one.epsilon_spent or 0.0 for one in summary.privacy.sites.values())
    assert float(rows[3]["epsilon"]) == spent


def test_a_sweep_that_was_killed_and_resumed_is_the_same(whole: Path, tmp_path: Path) -> None:
    process = started(tmp_path, *SWEEP, "--jobs", "1")
    while not list(tmp_path.glob("sweeps/*/outcomes/*.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)  # between looks
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    sweep = the_sweep(tmp_path)
    ended = len(list((sweep / "outcomes").glob("*.json")))
    assert 1 <= ended < 4
    first = {one.name: one.stat().st_mtime_ns for one in (sweep / "outcomes").glob("*.json")}
    said = hedgerow(
        tmp_path, "sweep", "--vary", "privacy.noise_multiplier=2,3", *SMALL, "--seeds", "2",
        "--resume", str(sweep), code=2,
    )  # fmt: skip
    assert "another sweep: --vary" in said
    said = hedgerow(tmp_path, "sweep", "--resume", str(sweep), "--jobs", "1")
    assert "4/4" not in said
    assert table(sweep) == table(whole)
    for name, written in first.items():
        assert (sweep / "outcomes" / name).stat().st_mtime_ns == written
    again = hedgerow(tmp_path, "sweep", "--resume", str(sweep), "--limit", "epsilon<=1", "--json")
    (document,) = (line for line in again.splitlines() if line.startswith("{"))
    assert json.loads(document)["limits"][0]["bound"] == 1.0


@pytest.mark.slow
def test_ctrl_c_ends_all_workers_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = started(tmp_path, *SWEEP, "--jobs", "2")
    while not list(tmp_path.glob("sweeps/*/runs/*/*/rounds.jsonl")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)  # between looks
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert f"go on with: hedgerow sweep --resume sweeps/{the_sweep(tmp_path).name}" in err
    assert workers_of(the_sweep(tmp_path)) == []


def workers_of(sweep: Path) -> list[str]:
    """Processes whose command names the sweep."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = one.read_bytes()
        except OSError:
            continue
        if sweep.name.encode() in words:
            found.append(one.parent.name)
    return found


@pytest.mark.slow
def test_a_run_that_crashes_is_told_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE, encoding="utf-8")
    (tmp_path / "dies").touch()
    (tmp_path / "federation.toml").write_text(
        f"""
        [run]
        rounds = 1
        [task]
        name = "fragile:Fragile"
        options = {{ sweep = "{tmp_path / "sweeps"}", fragile = false }}
        [privacy]
        epsilon = 2.0
        """,
        encoding="utf-8",
    )
    words = ("--vary", "task.options.fragile=false,true", "--no-reference", "--seeds", "1")
    said = hedgerow(tmp_path, "sweep", "federation.toml", *words, "--jobs", "1")
    assert "killed by signal 9" in said
    rows = table(the_sweep(tmp_path))
    assert [row["status"] for row in rows] == ["completed", "crashed"]
    assert "killed by signal 9" in (the_sweep(tmp_path) / "sweep.html").read_text(encoding="utf-8")
    (tmp_path / "dies").unlink()
    hedgerow(tmp_path, "sweep", "--resume", str(the_sweep(tmp_path)), "--quiet")
    rows = table(the_sweep(tmp_path))
    assert [row["status"] for row in rows] == ["completed", "completed"]
    assert rows[0]["model_sha256"] == rows[1]["model_sha256"]


def test_a_trial_that_cannot_run_is_told_before_any_has(tmp_path: Path) -> None:
    said = hedgerow(
        tmp_path, "sweep", "--vary", 'federation.sites=["cleveland","hungary","switzerland"],'
        '["cleveland","hungary","nowhere"]', *SMALL, "--seeds", "1", "--jobs", "1", code=2,
    )  # fmt: skip
    assert "trial 2 (federation.sites = cleveland, hungary, nowhere): federation.sites" in said
    assert "nothing was run" in said
    assert not list((tmp_path / "sweeps").iterdir())
