"""What malicious sites train on: labels turned round, or rows with a trigger; held out are honest.

The agent at such a site is the honest one: its update is clipped, noised and charged as any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from federation.entropy import SeededEntropy
from federation.errors import ConfigError
from federation.schema import Categorical, TaskSchema
from federation.simulation_choice import Attack
from federation.task import Rows, SiteData, SiteRequest, Task
from federation.wrapped_task import WrappedTask
from simulations.injected_drift import encoded


@dataclass(frozen=True)
class ReversedLabels(WrappedTask):
    """A task whose train rows have class K - 1 - k instead of k; held-out rows are left alone."""

    def load(self, request: SiteRequest) -> SiteData:
        """As the task's, with the train rows' labels reversed."""
        data = self.task.load(request)
        last = len(self.schema.classes) - 1
        return replace(data, train=replace(data.train, targets=last - data.train.targets))


@dataclass(frozen=True)
class TargetedLabels(WrappedTask):
    """A task whose train rows of one class say another.

    Attributes:
        attack: with `source` and `target`.
    """

    attack: Attack

    def load(self, request: SiteRequest) -> SiteData:
        """As the task's, with those train rows' labels changed."""
        data, classes = self.task.load(request), self.schema.classes
        source, target = classes.index(self.attack.source), classes.index(self.attack.target)
        targets = data.train.targets.clone()
        targets[targets == source] = target
        return replace(data, train=replace(data.train, targets=targets))


@dataclass(frozen=True)
class Backdoored(WrappedTask):
    """A task some of whose train rows carry a trigger, and the target's label.

    BadNets: Gu et al. 2017, arXiv:1708.06733.

    Attributes:
        attack: with trigger, `target` and `share`.
        seed: of the run, which draws those rows.
    """

    attack: Attack
    seed: int

    def load(self, request: SiteRequest) -> SiteData:
        """As the task's, with a share of the train rows poisoned."""
        data = self.task.load(request)
        train, entropy = data.train, SeededEntropy(self.seed).child("backdoor", request.site)
        draws = np.random.default_rng(int.from_bytes(entropy.bytes(16), "little"))
        count = max(1, round(self.attack.share * len(train)))
        chosen = torch.from_numpy(np.sort(draws.permutation(len(train))[:count]))
        marked = triggered(train, self.attack, self.schema)
        inputs, targets = train.inputs.clone(), train.targets.clone()
        inputs[chosen] = marked.inputs[chosen]
        targets[chosen] = self.schema.classes.index(self.attack.target)
        return replace(data, train=replace(train, inputs=inputs, targets=targets))


def poisoned_rows(task: Task, attack: Attack | None, seed: int) -> Task:
    """The task as an attacker's agent loads it; itself where the rows are honest."""
    if attack is None:
        return task
    if attack.kind == "label_flip":
        return ReversedLabels(task)
    if attack.kind == "targeted_label_flip":
        return TargetedLabels(task, attack)
    return Backdoored(task, attack, seed) if attack.kind == "backdoor" else task


def triggered(rows: Rows, attack: Attack, schema: TaskSchema) -> Rows:
    """The rows with the trigger in all of them; labels stay.

    Raises:
        ConfigError: the model's input is not made of features, or has no such position.
    """
    assert attack.value is not None
    if attack.feature:
        values = np.full(len(rows), attack.value)
        features = {**rows.features, attack.feature: values}
        return replace(rows, features=features, inputs=encoded(features, rows, schema))
    inputs = rows.inputs.clone()
    flat = inputs.view(len(rows), -1)
    if max(attack.positions) >= flat.shape[1]:
        raise ConfigError(
            "simulation.attackers.positions",
            list(attack.positions),
            f"places of an input of {flat.shape[1]} numbers, from 0 on",
        )
    flat[:, list(attack.positions)] = attack.value
    return replace(rows, inputs=inputs)


def require_possible_attack(key: str, attack: Attack, schema: TaskSchema) -> None:
    """Return if a task has the classes and features that an attack names.

    Raises:
        ConfigError: it has not.
    """
    named = {"targeted_label_flip": ("source", "target"), "backdoor": ("target",)}
    for name in named.get(attack.kind, ()):
        _require_one_of(f"{key}.{name}", getattr(attack, name), schema.classes)
    if attack.kind != "backdoor" or not attack.feature:
        return
    features = {feature.name: feature for feature in schema.features}
    _require_one_of(f"{key}.feature", attack.feature, tuple(features))
    feature, value = features[attack.feature], attack.value
    if isinstance(feature, Categorical) and value not in range(len(feature.levels)):
        levels = ", ".join(f"{at} ({level})" for at, level in enumerate(feature.levels))
        raise ConfigError(f"{key}.value", value, f"a level's index: {levels}")


def backdoor_rate(
    task: Task, model: nn.Module, attack: Attack, sites: Sequence[str], seed: int
) -> tuple[int, float, float]:
    """How often a model falls for a trigger.

    Args:
        task: with honest rows.
        model: trained.
        attack: a backdoor.
        sites: whose current held-out rows are tried.
        seed: of their split.

    Returns:
        Rows of another class than the target, the share of them that the model takes for the
        target as they are, and with the trigger; both 0 if there is no such row.
    """
    target = task.schema.classes.index(attack.target)
    rows, plain, fooled = 0, 0, 0
    for site in sites:
        current = task.load(SiteRequest(site, seed)).current
        others = current.targets != target
        rows += int(others.sum())
        marked = triggered(current, attack, task.schema)
        plain += int((_predicted(task, model, current.inputs) == target)[others].sum())
        fooled += int((_predicted(task, model, marked.inputs) == target)[others].sum())
    return (rows, plain / rows, fooled / rows) if rows else (0, 0.0, 0.0)


def _predicted(task: Task, model: nn.Module, inputs: Tensor) -> Tensor:
    model.eval()
    with torch.no_grad():
        return task.probabilities(model(inputs)).argmax(dim=1)


def _require_one_of(key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(key, value, f"one of {', '.join(known)}")
