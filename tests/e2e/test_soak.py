"""The soak, bounded: a few rounds and kills; tests/e2e/soak.py by itself goes on for hours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_random_kills_lose_no_round_hide_no_budget_and_leave_nothing(tmp_path) -> None:
    path = os.pathsep.join([str(Path.cwd()), str(HERE)])
    done = subprocess.run(
        [
            sys.executable, str(HERE / "soak.py"), "--rounds", "6", "--sites", "5", "--kills", "3",
            "--minutes", "30", "--seed", "3", "--folder", str(tmp_path / "soak"),
        ],
        capture_output=True, text=True, check=False, timeout=2300,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    summary = json.loads(done.stdout[done.stdout.rindex("\n{\n") :])
    assert summary["faults"] == [], done.stdout[-3000:] + done.stderr[-3000:]
    assert summary["rounds_completed"] == 6
    assert summary["kills_in_all"] + sum(summary["kills_that_found_nothing"].values()) == 3
    assert summary["kills_in_all"] >= 1
    assert done.returncode == 0
