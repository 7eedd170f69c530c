"""The embedded backend beside Flower's Ray engine: the same run, the same apps, the same model.

    python benchmarks/backends.py [--repeats 3] [--rounds 20] [--json FILE]

Ours runs in the environment that runs this script; the peer in one of its own under .bench/, made
with the locked versions. Both play the default federation without yardsticks and are timed as whole
processes, turn about, each in a folder of its own.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PEER = ROOT / ".bench" / "ray"
GOAL = 2.0


def peer_python() -> Path:
    """The peer's interpreter, after its environment is there."""
    python = PEER / "bin" / "python"
    if not (PEER / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", PEER], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
        subprocess.run([*pip, "torch"], check=True)
        subprocess.run([*pip, "-e", f"{ROOT}[ray]"], check=True)
        (PEER / ".installed").touch()
    return python


def play(python: Path, backend: str, rounds: int) -> dict[str, float]:
    """One run: seconds and the processes' largest memory together, MiB."""
    with tempfile.TemporaryDirectory() as out:
        began = time.monotonic()
        process = subprocess.Popen(
            [
                python, "-m", "hedgerow", "simulate", "--rounds", str(rounds), "--quiet",
                "--out", out, "--set", "simulation.baselines=false",
                "--set", f"simulation.backend={backend}",
            ],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        first_round, memory = 0.0, 0.0
        while process.poll() is None:
            for recorded in Path(out).glob("*/rounds.jsonl"):
                if not first_round and '"event": "round"' in recorded.read_text():
                    first_round = time.monotonic() - began
            memory = max(memory, memory_of_descendants(process.pid))
            time.sleep(0.05)
        if process.returncode:
            raise SystemExit(f"{backend}: the run failed with exit code {process.returncode}")
        return {
            "whole run": time.monotonic() - began,
            "first round": first_round,
            "memory": memory,
            "model": hash(next(Path(out).glob("*/model.safetensors")).read_bytes()),
        }


def memory_of_descendants(root: int) -> float:
    """Proportional set size of a process and all below it, MiB."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
            except OSError:
                continue
    family = {root}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    total = 0.0
    for member in family:
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:
            continue
        found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        total += int(found[1]) / 1024 if found else 0.0
    return total


def main() -> None:
    """Time both, turn about; print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    ours_runs, peer_runs = [], []
    for _ in range(given.repeats):
        ours_runs.append(play(Path(sys.executable), "embedded", given.rounds))
        peer_runs.append(play(peer_python(), "ray", given.rounds))
    if len({run["model"] for run in (*ours_runs, *peer_runs)}) != 1:
        raise SystemExit("the two engines did not give the same model")
    rows = []
    for metric, unit in (("first round", "s"), ("whole run", "s"), ("memory", "MiB")):
        ours, theirs = (
            statistics.median(run[metric] for run in runs) for runs in (ours_runs, peer_runs)
        )
        rows.append({
            "case": f"heart, 4 sites, {given.rounds} rounds", "metric": metric,
            "ours": round(ours, 2), "peer": "Flower's Ray engine", "peer_value": round(theirs, 2),
            "unit": unit, "ratio": round(theirs / ours, 2), "goal": GOAL,
            "met": theirs / ours >= GOAL,
        })  # fmt: skip
    print("| case | metric | embedded | Ray | unit | ratio |\n|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['case']} | {row['metric']} | {row['ours']} | {row['peer_value']} "
            f"| {row['unit']} | {row['ratio']} |"
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
