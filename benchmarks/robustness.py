"""What malicious sites do to a mean, and to a median or trimmed mean over random groups.

    python benchmarks/robustness.py [--task acs-employment] [--json FILE]

On real records, without noise, with the same seed for every rule and attacker. Accuracy is that of
the final model on all sites' held-out rows, which attackers count honestly.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation import config_file
from simulations.simulate import run
from simulations.sites import prepare, read_config

MARGIN = 0.05
"""Accuracy that a robust rule may lose, with or without an attack, against the honest mean."""


@dataclass(frozen=True)
class Case:
    """A federation on real data, its groups, and who attacks it."""

    table: dict[str, Any]
    sites: int
    groups: int
    trim: float
    attackers: tuple[str, ...]


CASES = {
    "acs-employment": Case(
        {
            "run": {"rounds": 6},
            "task": {"name": "acs-employment", "options": {"regions": 15}},
            "training": {"local_steps": 10, "sampling_rate": 0.05, "learning_rate": 0.5},
            "privacy": {"mode": "off"},
        },
        sites=15,
        groups=5,
        trim=0.2,
        attackers=("region-05",),
    ),
    "digits": Case(
        {
            "run": {"rounds": 10},
            "task": {"name": "digits", "options": {"clients": 21, "concentration": 1.0}},
            "training": {
                "local_steps": 5, "sampling_rate": 0.2, "learning_rate": 0.4, "update_clip": 2.0
            },
            "privacy": {"mode": "off"},
        },
        sites=21,
        groups=7,
        trim=0.3,
        attackers=("site-03", "site-10"),
    ),
}  # fmt: skip
RULES = ("mean", "median", "trimmed_mean")
ATTACKS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "label flip": {"kind": "label_flip"},
    "sign flip": {"kind": "sign_flip"},
    "scaled by -20": {"kind": "scaled_update", "factor": -20.0},
    "scaled by 1000": {"kind": "scaled_update", "factor": 1000.0},
}


def accuracy(case: Case, rule: str, attack: dict[str, Any] | None) -> float:
    """Of the final model of one run."""
    robustness: dict[str, Any] = {"aggregate": rule}
    if rule != "mean":
        robustness |= {"groups": case.groups, "trim": case.trim}
    attackers = [{"site": site, **attack} for site in case.attackers] if attack else []
    simulation = {"baselines": False, "attackers": attackers}
    table = case.table | {"robustness": robustness, "simulation": simulation}
    with tempfile.TemporaryDirectory() as out:
        folder = prepare(config_file.parse(table), Path(out))
        summary = run(folder, read_config(folder.path), lambda _: None)
    value = summary.utility[-1].overall.accuracy.value
    if summary.run.status != "completed" or value is None:
        raise SystemExit(f"{rule}: the run did not complete: {summary.run.stopped_because}")
    return value


def main() -> None:
    """Play every rule against every attacker; print accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=tuple(CASES), action="append")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    print("| task | attack | by | mean | median | trimmed mean |\n|---|---|---|---|---|---|")
    for name in given.task or CASES:
        case = CASES[name]
        honest = 0.0
        for attack, settings in ATTACKS.items():
            by = f"{len(case.attackers) if settings else 0} of {case.sites}"
            found = {rule: accuracy(case, rule, settings) for rule in RULES}
            honest = honest or found["mean"]
            told = " | ".join(f"{found[rule]:.3f}" for rule in RULES)
            print(f"| {name} | {attack} | {by} | {told} |", flush=True)
            rows += [{
                "case": f"{name}, {case.groups} groups, {attack} by {by}", "metric": "accuracy",
                "ours": round(found[rule], 4), "peer": "mean",
                "peer_value": round(found["mean"], 4), "unit": rule,
                "ratio": round(found[rule] / found["mean"], 3),
                "goal": round(honest - MARGIN, 4), "met": found[rule] >= honest - MARGIN,
            } for rule in RULES[1:]]  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
