"""In what runs differ: settings, what they reached, what they cost, and on what they ran."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.report import comparison, verdicts
from evaluation.worst_gap import worst_gap
from federation import config_file
from federation.errors import HedgerowError, UsageError
from federation.run_folder import RunFolder
from federation.summary import Summary

Fact = str | int | float | bool | None
Facts = Mapping[str, Fact]

OWN = frozenset({"config_digest", "roster_digest", "seed"})
"""Of environment.json: what differs between any two runs, or stands among the settings."""

PARTS = ("settings", "results", "environment")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What can be compared of a run.

    Attributes:
        name: of its folder.
        settings: by their keys.
        results: measures and costs; empty before its first end.
        environment: versions and what else it ran on.
        damage: what could not be read.
    """

    name: str
    settings: Facts
    results: Facts
    environment: Facts
    damage: tuple[str, ...] = ()

    def part(self, name: str) -> Facts:
        """One of `PARTS`."""
        found: Facts = getattr(self, name)
        return found


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that is not the same in all runs.

    Attributes:
        part: of `PARTS`.
        values: per run; None where a run has no such fact.
        changes: per run, by how much its number differs from the first run's; None where one of
            the two is no number.
    """

    part: str
    name: str
    values: tuple[Fact, ...]
    changes: tuple[float | None, ...]


def run_facts(path: Path) -> RunFacts:
    """What can be compared of a run folder.

    Raises:
        UsageError: it is no run folder, or its configuration cannot be read.
    """
    folder, damage = RunFolder.open(path), []
    settings = flat(config_file.read(folder.config).model_dump(mode="json", exclude_none=True))
    results: Facts = {}
    try:
        results = _results(folder.read_summary())
    except HedgerowError as error:
        damage.append(str(error))
    environment: Facts = {}
    try:
        told = json.loads(folder.environment.read_bytes())
        environment = flat({name: value for name, value in told.items() if name not in OWN})
    except (OSError, ValueError, AttributeError):
        damage.append(f"{folder.environment} cannot be read")
    return RunFacts(folder.id, settings, results, environment, tuple(damage))


def differences(runs: Sequence[RunFacts]) -> list[Difference]:
    """What is not the same in all runs, in the order of `PARTS` and of the first run that has it.

    Raises:
        UsageError: there are fewer than two.
    """
    if len(runs) < 2:
        raise UsageError("give two runs at least: hedgerow runs compare RUN RUN")
    found = []
    for part in PARTS:
        facts = [run.part(part) for run in runs]
        for name in dict.fromkeys(name for one in facts for name in one):
            values = tuple(one.get(name) for one in facts)
            if any(not _same(value, values[0]) for value in values):
                changes = tuple(_change(value, values[0]) for value in values)
                found.append(Difference(part, name, values, changes))
    return found


def flat(table: Mapping[str, object], prefix: str = "") -> dict[str, Fact]:
    """A nested table by dotted names; a list is one fact, as JSON.

    >>> flat({"run": {"seed": 1}, "sites": ["a"]})
    {'run.seed': 1, 'sites': '["a"]'}
    """
    facts: dict[str, Fact] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            facts |= flat(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, str | int | float | bool):
            facts[f"{prefix}{name}"] = value
        else:
            facts[f"{prefix}{name}"] = json.dumps(value)
    return facts


def _results(summary: Summary) -> dict[str, Fact]:
    run, privacy = summary.run, summary.privacy
    final, gap = comparison.final_utility(summary), worst_gap(summary.fairness)
    is_private = privacy.mode == "record"
    return {
        "status": run.status,
        "sites": len(run.sites),
        "rounds": run.rounds_completed,
        "accuracy": final.accuracy.value if final else None,
        "balanced accuracy": final.balanced_accuracy if final else None,
        "auc": final.auc.value if final else None,
        "log loss": final.log_loss if final else None,
        "brier": final.brier if final else None,
        "worst-group gap": gap.value if gap else None,
        "its attribute": gap.attribute if gap else None,
        "its metric": gap.metric if gap else None,
        "drifted features": len(
            {one.feature for one in summary.drift if one.verdict in {"watch", "act"}}
        ),
        "epsilon": verdicts.largest_epsilon(summary) if is_private else None,
        "delta": verdicts.largest_delta(summary) if is_private else None,
        "noise multiplier": privacy.noise_multiplier,
        "noise source": privacy.noise_source,
        "seconds": run.seconds,
        "model parameters": run.model_parameters,
        "model sha256": run.model_sha256,
    }


def _same(one: Fact, other: Fact) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _change(value: Fact, first: Fact) -> float | None:
    numbers = [
        one for one in (value, first) if isinstance(one, int | float) and not isinstance(one, bool)
    ]
    return float(numbers[0] - numbers[1]) if len(numbers) == 2 else None
