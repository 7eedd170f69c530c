"""The product's own command on its two backends: the default federation, all of it, private."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import process_tree

ROOT = Path(__file__).parent.parent
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class CommandRun:
    """One `hedgerow simulate`.

    Attributes:
        first_round: seconds from the start of the process to the record of the first round.
        whole: seconds to its end.
        memory: highest proportional set size of the process and all below it, MiB.
        model: bytes of the final model.
    """

    first_round: float
    whole: float
    memory: float
    model: bytes


def simulate(python: Path, backend: str, rounds: int) -> CommandRun:
    """Run it, without yardsticks."""
    with tempfile.TemporaryDirectory() as out:
        began = time.monotonic()
        process = subprocess.Popen(
            [
                python, "-m", "hedgerow", "simulate", "--rounds", str(rounds), "--quiet",
                "--out", out, "--set", "simulation.baselines=false",
                "--set", f"simulation.backend={backend}",
            ],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        first_round, memory = 0.0, 0.0
        while process.poll() is None:
            for recorded in Path(out).glob("*/rounds.jsonl"):
                if not first_round and '"event": "round"' in recorded.read_text(encoding="utf-8"):
                    first_round = time.monotonic() - began
            memory = max(memory, process_tree.proportional_set_size(process.pid))
            time.sleep(POLL_SECONDS)
        if process.returncode:
            raise SystemExit(f"{backend}: the run failed with exit code {process.returncode}")
        model = next(Path(out).glob("*/model.safetensors")).read_bytes()
        return CommandRun(first_round, time.monotonic() - began, memory, model)


def turn_about(
    ours: Path, peer: Callable[[], Path], rounds: int, passes: int
) -> list[tuple[CommandRun, CommandRun]]:
    """Embedded and Ray, in turns.

    Raises:
        SystemExit: a run failed, or the two gave different models.
    """
    pairs = []
    for number in range(passes):
        order = ("embedded", "ray") if number % 2 == 0 else ("ray", "embedded")
        runs = {
            backend: simulate(ours if backend == "embedded" else peer(), backend, rounds)
            for backend in order
        }
        if runs["embedded"].model != runs["ray"].model:
            raise SystemExit("the two backends did not give the same model")
        pairs.append((runs["embedded"], runs["ray"]))
    return pairs
