"""What each mitigation does to accuracy and to the gaps between groups, on real records.

    python benchmarks/mitigation.py [--task acs-employment] [--seeds 3] [--json FILE]

Whole federations, one per method, criterion and seed; thresholds are made afterwards from the
unmitigated runs' summed score histograms. Every number is a mean over seeds, on all sites' held-out
rows, with the standard deviation over seeds of the gap that the method is after. The weights of
reweighing are computed here from the pooled train rows.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load

from client.observation import outcome_tallies
from evaluation.group_metrics import (
    demographic_parity_difference,
    equal_opportunity_difference,
    equalized_odds_difference,
)
from evaluation.mitigation.reweighing import reweighing_weights
from evaluation.tally_spec import TallySpec
from federation import config_file
from federation.task import SiteRequest, Task
from federation.task_loading import load_task
from simulations.simulate import run
from simulations.sites import prepare, read_config

GAPS = {
    "DPD": demographic_parity_difference,
    "EOppD": equal_opportunity_difference,
    "EOD": equalized_odds_difference,
}
AFTER = {
    "demographic_parity": "DPD",
    "equal_opportunity": "EOppD",
    "equalized_odds": "EOD",
}
TASKS: dict[str, dict[str, Any]] = {
    "heart": {
        "run": {"rounds": 20},
        "task": {"name": "heart"},
        "training": {"local_steps": 3, "sampling_rate": 0.25, "learning_rate": 0.5},
    },
    "acs-employment": {
        "run": {"rounds": 20},
        "task": {"name": "acs-employment", "options": {"regions": 5}},
        "training": {"local_steps": 10, "sampling_rate": 0.02, "learning_rate": 0.5},
    },
}
OFF = {"mode": "off"}
PRIVATE = {
    "heart": {"epsilon": 3.0, "delta": 1e-3},
    "acs-employment": {"epsilon": 2.0, "delta": 1e-5},
}


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    name: str
    mitigation: dict[str, Any]

    @property
    def target(self) -> str:
        """The gap that it is after; of the unmitigated, the first."""
        return AFTER[self.mitigation.get("criterion", "demographic_parity")]


def arms() -> Iterator[Arm]:
    """All of them, the unmitigated one first."""
    yield Arm("none", {})
    yield Arm("reweighing", {"method": "reweighing", "criterion": "demographic_parity"})
    for strength in (1.0, 4.0):
        for criterion in AFTER:
            yield Arm(
                f"adversarial {strength:g}, {criterion}",
                {"method": "adversarial", "criterion": criterion, "strength": strength},
            )
    for criterion in AFTER:
        yield Arm(f"constrained, {criterion}", {"method": "constrained", "criterion": criterion})


@dataclass(frozen=True)
class Found:
    """Of one model on all held-out rows."""

    accuracy: float
    gaps: dict[str, float]


def pooled_weights(task: Task, seed: int) -> list[list[float]]:
    """Of reweighing, from all sites' train rows in one place: what a simulation can do."""
    (attribute,) = (one for one in task.schema.attributes if one.name == "sex")
    counts = np.zeros((len(attribute.groups), 2))
    for site in task.sites:
        train = task.load(SiteRequest(site, seed)).train
        np.add.at(counts, (train.groups["sex"], train.targets.numpy()), 1)
    return reweighing_weights(counts[: len(attribute.levels)]).tolist()


def played(name: str, arm: Arm, privacy: dict[str, Any], seed: int) -> Found:
    """The final model of one run, judged on every site's held-out rows."""
    table = TASKS[name] | {"privacy": privacy, "simulation": {"baselines": False}}
    table["run"] = TASKS[name]["run"] | {"seed": seed}
    task = load_task(name, TASKS[name]["task"].get("options", {}))
    if arm.mitigation:
        table["mitigation"] = arm.mitigation | {"attribute": "sex"}
        if arm.mitigation["method"] == "reweighing":
            table["mitigation"]["weights"] = pooled_weights(task, seed)
    with tempfile.TemporaryDirectory() as out:
        folder = prepare(config_file.parse(table), Path(out))
        summary = run(folder, read_config(folder.path), lambda _: None)
        if summary.run.status != "completed":
            raise SystemExit(f"{name}, {arm.name}: {summary.run.stopped_because}")
        model = task.build_model()
        model.load_state_dict(load(folder.model.read_bytes()))
    spec = TallySpec(task.schema)
    counted = [
        outcome_tallies(task, model, task.load(SiteRequest(site, seed)), spec)
        for site in task.sites
    ]
    family = next(one for one in spec.families if one[0].attribute == "sex")[:-1]
    confusion = np.array([
        sum(one[f"confusion/{group.label}"] for one in counted) for group in family
    ]).astype(np.int64)  # fmt: skip
    return _found(confusion)


def _found(confusion: np.ndarray) -> Found:
    gaps = {name: float(gap(confusion)) for name, gap in GAPS.items()}
    return Found(float(confusion[:, [0, 3]].sum() / confusion.sum()), gaps)


def _row(name: str, label: str, target: str, found: list[Found]) -> str:
    means = {gap: statistics.mean(one.gaps[gap] for one in found) for gap in GAPS}
    told = [
        f"{mean:.3f}" + (f" ± {statistics.pstdev(one.gaps[gap] for one in found):.3f}"
                         if gap == target else "")
        for gap, mean in means.items()
    ]  # fmt: skip
    accuracy = statistics.mean(one.accuracy for one in found)
    return f"| {name} | {label} | {accuracy:.3f} | {' | '.join(told)} |"


def main() -> None:
    """Play every arm; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=tuple(TASKS), action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arm", action="append")
    given = parser.parse_args()
    print(f"| task | method | accuracy | {' | '.join(GAPS)} |\n|---|---|---|---|---|---|")
    for name in given.task or TASKS:
        for arm in arms():
            if given.arm and not any(arm.name.startswith(one) for one in given.arm):
                continue
            found = [played(name, arm, OFF, 2026 + k) for k in range(given.seeds)]
            print(_row(name, arm.name, arm.target, found), flush=True)


if __name__ == "__main__":
    main()
