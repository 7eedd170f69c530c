"""How time and memory of a whole simulated run grow with its sites and with its model.

    python benchmarks/simulation_scale.py                        # both curves
    python benchmarks/simulation_scale.py --sites 10000 --rounds 100 --hidden 32

Each run is `hedgerow simulate` in a process of its own: census records handed out again as often as
it takes (30 a site), record-level DP, every site in every round, sums by arithmetic, sites trained
many at once where that is faster, rehearsal noise. Seconds of a round are the median over the run's
rounds but the first, in which rows are loaded; memory is the highest proportional set size of the
command and its workers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import process_tree

ROOT = Path(__file__).parent.parent
CLIENTS = (10, 100, 1_000, 10_000)
WIDTHS: tuple[tuple[int, ...], ...] = ((12,), (128,), (240, 240), (960, 960), (3_000, 3_000))
"""Hidden layers of about 10^3, 10^4, 10^5, 10^6 and 10^7 parameters over the census' columns."""
SITES_OF_LARGE_MODELS = 10
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Scale:
    """One run.

    Attributes:
        sites: of the run, all of them in every round.
        parameters: of the model.
        rounds: training rounds.
        engine: how its sites were trained.
        prepared: seconds from the start of the command to the first round's start.
        seconds: of a round, the median without the first.
        per_site: the same over the sites, milliseconds.
        evaluation: seconds of the evaluation round.
        whole: seconds of the command.
        memory: MiB.
    """

    sites: int
    parameters: int
    rounds: int
    engine: str
    prepared: float
    seconds: float
    per_site: float
    evaluation: float
    whole: float
    memory: float


def played(sites: int, hidden: tuple[int, ...], rounds: int, workers: int) -> Scale:
    """A run by the command, to its end.

    Raises:
        SystemExit: it failed.
    """
    with tempfile.TemporaryDirectory() as out:
        settings = [
            f"run.rounds={rounds}",
            f"federation.sites={sites}",
            f"task.options.hidden={list(hidden)}",
            "privacy.noise_multiplier=1.0",
            "site_policy.epsilon_budget=1000.0",
            "simulation.partition.kind=iid",
            "simulation.partition.rows_per_site=30",
            "simulation.partition.resample=true",
            "simulation.secure_aggregation=arithmetic",
            "simulation.engine=batched",
            "simulation.noise=rehearsal",
            "simulation.baselines=false",
            f"simulation.workers={workers}",
        ]
        chosen = [word for setting in settings for word in ("--set", setting)]
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "hedgerow", "simulate", "--task", "acs-employment", "--quiet",
             "--out", out, *chosen],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        memory = 0.0
        while process.poll() is None:
            memory = max(memory, process_tree.proportional_set_size(process.pid))
            time.sleep(POLL_SECONDS)
        whole = time.monotonic() - began
        if process.returncode:
            raise SystemExit(f"{sites} sites, {hidden}: exit code {process.returncode}")
        (summary,) = (json.loads(path.read_text()) for path in Path(out).glob("*/summary.json"))
    took = [one["seconds"] for one in summary["rounds"] if one["kind"] == "train"]
    (evaluation,) = [one["seconds"] for one in summary["rounds"] if one["kind"] == "evaluate"]
    seconds = statistics.median(took[1:])
    return Scale(
        sites,
        summary["run"]["model_parameters"],
        rounds,
        summary["run"]["engine"],
        whole - sum(took) - evaluation,
        seconds,
        1e3 * seconds / sites,
        evaluation,
        whole,
        memory,
    )


def main() -> None:
    """Print a table, a line per run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sites", type=int, help="one run of so many sites")
    parser.add_argument("--hidden", type=int, nargs="*", default=[32], help="widths, of one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="the same as a list")
    asked = parser.parse_args()
    plans = [(sites, (32,)) for sites in CLIENTS]
    plans += [(SITES_OF_LARGE_MODELS, widths) for widths in WIDTHS]
    if asked.sites is not None:
        plans = [(asked.sites, tuple(asked.hidden))]
    print("| sites | parameters | rounds | trained | s before round 1 and after the last "
          "| s a round | ms a site | s evaluation | s in all | MiB |")  # fmt: skip
    print("|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|")
    done = []
    for sites, widths in plans:
        one = played(sites, widths, asked.rounds, asked.workers)
        done.append(asdict(one))
        print(
            f"| {one.sites:,} | {one.parameters:,} | {one.rounds} | {one.engine} "
            f"| {one.prepared:.1f} | {one.seconds:.2f} | {one.per_site:.2f} "
            f"| {one.evaluation:.1f} | {one.whole:.0f} | {one.memory:.0f} |",
            flush=True,
        )
    if asked.json is not None:
        asked.json.write_text(json.dumps(done, indent=1))


if __name__ == "__main__":
    main()
