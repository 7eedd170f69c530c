"""What each mitigation does to accuracy and to the gaps between groups, on real records.

    python benchmarks/mitigation.py [--case heart] [--method constrained] [--seeds 3]

Whole federations, one per method, criterion and seed. Thresholds are made afterwards, from the
summed score histograms of the runs without mitigation, and measured on rows that they were not
fitted on (five folds). Every number is a mean over seeds, on all sites' held-out rows; the gap that
a method is after has its standard deviation over seeds beside it. Weights of reweighing are
computed here, from the pooled train rows.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load

from client.observation import outcome_tallies
from evaluation.mitigation.figures import figures
from evaluation.mitigation.reweighing import reweighing_weights
from evaluation.mitigation.thresholds import threshold_outcomes
from evaluation.tally_spec import TallySpec
from federation import config_file
from federation.mitigation_summary import Figures, Gaps
from federation.task import Floats, SiteRequest, Task
from federation.task_loading import load_task
from simulations.simulate import run
from simulations.sites import prepare, read_config

GAPS = {
    "DPD": "demographic_parity_difference",
    "EOppD": "equal_opportunity_difference",
    "EOD": "equalized_odds_difference",
}
AFTER = {
    "demographic_parity": "DPD",
    "equal_opportunity": "EOppD",
    "equalized_odds": "EOD",
}


@dataclass(frozen=True)
class Case:
    """A federation on real records, whose groups are to fare alike, and how.

    Attributes:
        attribute: whose groups.
        table: of the configuration.
        arms: mitigations without their attribute; the first, without any, is the one to compare to.
    """

    attribute: str
    table: Mapping[str, Any]
    arms: Sequence[Mapping[str, Any]]


NONE: Mapping[str, Any] = {}
REWEIGHING = {"method": "reweighing", "criterion": "demographic_parity"}
ADVERSARIAL = [
    {"method": "adversarial", "criterion": criterion, "strength": 4.0} for criterion in AFTER
]
CONSTRAINED = [{"method": "constrained", "criterion": criterion} for criterion in AFTER]
EVERY_ARM = (NONE, REWEIGHING, *ADVERSARIAL, *CONSTRAINED)
SOME_ARMS = (NONE, REWEIGHING, CONSTRAINED[0], CONSTRAINED[2])

HEART = {
    "run": {"rounds": 20},
    "task": {"name": "heart"},
    "training": {"local_steps": 3, "sampling_rate": 0.25, "learning_rate": 0.5},
    "privacy": {"mode": "off"},
}
ACS = {
    "run": {"rounds": 20},
    "task": {"name": "acs-employment", "options": {"regions": 5}},
    "training": {"local_steps": 10, "sampling_rate": 0.02, "learning_rate": 0.5},
    "privacy": {"mode": "off"},
}
CASES = {
    "heart": Case("sex", HEART, EVERY_ARM),
    "heart, epsilon 3": Case(
        "sex", HEART | {"privacy": {"epsilon": 3.0, "delta": 1e-3}}, SOME_ARMS[:3]
    ),
    "acs-employment": Case("sex", ACS, SOME_ARMS),
    "acs-employment by disability": Case("disability", ACS, EVERY_ARM),
    "acs-employment by disability, epsilon 2": Case(
        "disability", ACS | {"privacy": {"epsilon": 2.0, "delta": 1e-5}}, SOME_ARMS[:3]
    ),
}


def pooled_weights(task: Task, attribute: str, seed: int) -> list[list[float]]:
    """Of reweighing, from all sites' train rows in one place: what a simulation can do."""
    (groups,) = (one.groups for one in task.schema.attributes if one.name == attribute)
    counts = np.zeros((len(groups), 2))
    for site in task.sites:
        train = task.load(SiteRequest(site, seed)).train
        np.add.at(counts, (train.groups[attribute], train.targets.numpy()), 1)
    return reweighing_weights(counts[:-1]).tolist()


def played(case: Case, arm: Mapping[str, Any], seed: int) -> dict[str, Floats]:
    """Tallies of the final model of one run, summed over every site's held-out rows."""
    choice = case.table["task"]
    task = load_task(choice["name"], choice.get("options", {}))
    mitigation = dict(arm)
    if arm:
        mitigation["attribute"] = case.attribute
    if arm.get("method") == "reweighing":
        mitigation["weights"] = pooled_weights(task, case.attribute, seed)
    table = {
        **case.table,
        "run": case.table["run"] | {"seed": seed},
        "mitigation": mitigation,
        "simulation": {"baselines": False},
    }
    with tempfile.TemporaryDirectory() as out:
        folder = prepare(config_file.parse(table), Path(out))
        summary = run(folder, read_config(folder.path), lambda _: None)
        if summary.run.status != "completed":
            raise SystemExit(f"{arm}: {summary.run.stopped_because}")
        model = task.build_model()
        model.load_state_dict(load(folder.model.read_bytes()))
    spec = TallySpec(task.schema)
    counted = [
        outcome_tallies(task, model, task.load(SiteRequest(site, seed)), spec)
        for site in task.sites
    ]
    return {name: np.sum([one[name] for one in counted], axis=0) for name in counted[0]}


def of_groups(case: Case, sums: Mapping[str, Floats], kind: str) -> dict[str, Any]:
    """Confusions or score tables of the attribute's groups, those of unknown group left out."""
    prefix = f"{kind}/{case.attribute}="
    named = {name.removeprefix(prefix): v for name, v in sums.items() if name.startswith(prefix)}
    counts = {name: v.astype(np.int64) for name, v in named.items() if name != "unknown"}
    return {name: v.reshape(2, -1) if kind == "scores" else v for name, v in counts.items()}


def row(case: str, method: str, after: str, found: Sequence[Figures]) -> str:
    """One line of the table."""
    told = []
    for short, name in GAPS.items():
        gaps = [value(one.gaps, name) for one in found]
        spread = f" ± {statistics.pstdev(gaps):.3f}" if short == after else ""
        told.append(f"{statistics.mean(gaps):.3f}{spread}")
    accuracy = statistics.mean(one.accuracy for one in found)
    return f"| {case} | {method} | {accuracy:.3f} | {' | '.join(told)} |"


def value(gaps: Gaps, name: str) -> float:
    """A gap that is known on these rows."""
    found: float = getattr(gaps, name)
    return found


def told(arm: Mapping[str, Any]) -> str:
    """An arm in words."""
    return f"{arm['method']}, {arm['criterion'].replace('_', ' ')}" if arm else "none"


def main() -> None:
    """Play every arm of every case; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=tuple(CASES), action="append")
    parser.add_argument("--method", choices=("none", "reweighing", "adversarial", "constrained"))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    seeds = [2026 + number for number in range(given.seeds)]
    print(f"| records | method | accuracy | {' | '.join(GAPS)} |\n|---|---|---|---|---|---|")
    for name in given.case or CASES:
        case = CASES[name]
        for arm in case.arms:
            if given.method not in (None, arm.get("method", "none")):
                continue
            runs = [played(case, arm, seed) for seed in seeds]
            tables = [np.stack(list(of_groups(case, one, "confusion").values())) for one in runs]
            after = AFTER.get(arm.get("criterion", ""), "")
            print(row(name, told(arm), after, [figures(one) for one in tables]), flush=True)
            if not arm:
                thresholds(name, case, runs)


def thresholds(name: str, case: Case, runs: Sequence[Mapping[str, Floats]]) -> None:
    """The lines of thresholds that make the groups of unmitigated runs alike."""
    found: dict[str, list[Figures]] = {}
    for one in runs:
        scores, confusions = of_groups(case, one, "scores"), of_groups(case, one, "confusion")
        for outcome in threshold_outcomes(scores, confusions, case.attribute):
            assert outcome.cross_fitted is not None
            found.setdefault(outcome.criterion, []).append(outcome.cross_fitted)
    for criterion, after in AFTER.items():
        words = f"thresholds, {criterion.replace('_', ' ')}"
        print(row(name, words, after, found[criterion]), flush=True)


if __name__ == "__main__":
    main()
