"""What it is worth that sites share the noise that hides records, on real records.

    python benchmarks/shared_noise.py [--quick] [--json FILE]

Twelve sites, one step a round, the same epsilon for every record. Each site adds the whole noise
itself; or the sites share it; or they share it and what proves surplus is removed. Beside them
DP-SGD with all rows in one place, which nobody may do: there is no less noise to be had. Log loss
of the final model on all sites' held-out rows, mean over seeds: less is better.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from federation import config_file
from federation.summary import Summary
from simulations.simulate import run
from simulations.sites import prepare, read_config

TABLE: dict[str, Any] = {
    "run": {"rounds": 40},
    # Convex, so that noise can only do harm: a network may find a better place by it.
    "task": {"name": "acs-employment", "options": {"hidden": ()}},
    "training": {
        "local_steps": 1, "sampling_rate": 0.1, "learning_rate": 2.0, "update_clip": 2.0
    },
}  # fmt: skip
DELTA = 1e-4
EPSILONS = (0.1, 0.3, 1.0)
SEEDS = (1, 2, 3)
OWN = "each site's own"
NOISES: dict[str, dict[str, Any]] = {
    OWN: {},
    "shared": {"shared_noise": {}},
    "shared, surplus removed": {"shared_noise": {"remove_surplus": True}},
}
CENTRAL = "centralized with the same DP"


def played(privacy: dict[str, Any], seed: int, *, baselines: bool = False) -> Summary:
    """One run.

    Raises:
        SystemExit: it did not complete.
    """
    table = TABLE | {
        "run": TABLE["run"] | {"seed": seed},
        "privacy": privacy,
        "simulation": {"baselines": baselines},
    }
    with tempfile.TemporaryDirectory() as out:
        folder = prepare(config_file.parse(table), Path(out))
        summary = run(folder, read_config(folder.path), lambda _: None)
    if summary.run.status != "completed":
        raise SystemExit(f"the run did not complete: {summary.run.stopped_because}")
    return summary


def log_loss(summary: Summary) -> float:
    """Of the final model."""
    value = summary.utility[-1].overall.log_loss
    assert value is not None
    return value


def main() -> None:
    """Play every noise at every epsilon; print log losses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one epsilon, one seed")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    seeds = SEEDS[:1] if given.quick else SEEDS
    rows = []
    print(f"| epsilon | {' | '.join(NOISES)} | {CENTRAL} |\n|---|---|---|---|---|")
    for epsilon in EPSILONS[1:2] if given.quick else EPSILONS:
        found: dict[str, list[float]] = {noise: [] for noise in (*NOISES, CENTRAL)}
        for seed in seeds:
            for noise, settings in NOISES.items():
                privacy = {"epsilon": epsilon, "delta": DELTA} | settings
                summary = played(privacy, seed, baselines=noise == OWN)
                found[noise].append(log_loss(summary))
                beside = {one.name: one.utility.log_loss for one in summary.baselines}
                found[CENTRAL] += [beside[CENTRAL]] if beside.get(CENTRAL) else []
        means = {noise: statistics.fmean(values) for noise, values in found.items()}
        told = " | ".join(f"{mean:.3f}" for mean in means.values())
        print(f"| {epsilon:g} | {told} |", flush=True)
        rows += [{
            "case": f"acs-employment, epsilon {epsilon:g}", "metric": f"log loss, {noise}",
            "ours": round(means[noise], 4), "peer": OWN, "peer_value": round(means[OWN], 4),
            "unit": "nats", "ratio": round(means[OWN] / means[noise], 3), "goal": 1.0,
            "met": means[noise] <= means[OWN],
        } for noise in list(NOISES)[1:]]  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
