"""A task whose training treats groups more alike: the same model and rows, another loss.

    reweighing    w[a, y] * loss                        Kamiran and Calders 2012
    adversarial   loss + the adversary's, reversed      `federation.adversary`
    constrained   loss + multiplier[a] * score          Cotter et al. 2019, arXiv:1809.04198, in
                                                        which the multipliers see the rates
                                                        themselves and the model a smooth proxy

A loss is given a row's target only, so train rows carry their group in it: class + 2 * group. Rows
of unknown group have weight 1 and no penalty. Held-out rows keep plain targets, and probabilities
are the task's own: whoever evaluates sees no difference.

**The privacy guarantee is unchanged.** Each example's loss depends on that example, the parameters,
and numbers that all sites know (weights, multipliers). DP-SGD clips each example's gradient to
max_grad_norm whatever the loss is, so one record moves a sum by no more than without mitigation.
Multipliers are made of counts of held-out rows and of models released before: for train rows they
are post-processing. What they say of held-out rows is not covered, as those counts never are.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from federation.adversary import Score, WithAdversary
from federation.config import Mitigation
from federation.errors import ConfigError
from federation.multipliers import mitigated_attribute, multipliers
from federation.task import Floats, Rows, SiteData, SiteRequest, Task
from federation.wrapped_task import WrappedTask

LABELS = 2


def mitigated(task: Task, mitigation: Mitigation | None) -> Task:
    """The task as a run trains it; itself without mitigation.

    Args:
        task: a task of two classes.
        mitigation: as agreed: with weights, for reweighing.

    Raises:
        ConfigError: the mitigation is impossible for this task.
    """
    if mitigation is None or mitigation.method == "none":
        return task
    attribute = mitigated_attribute(mitigation, task.schema)
    if mitigation.method == "reweighing":
        return _Reweighed(task, attribute.name, _checked_weights(mitigation, attribute.levels))
    if mitigation.method == "adversarial":
        return _Adversarial(task, attribute.name, mitigation, len(attribute.levels))
    count = len(multipliers(mitigation, task.schema))
    return _Constrained(task, attribute.name, mitigation, np.zeros(count))


def multiplier_count(task: Task) -> int:
    """How many multipliers travel with the model of a task; 0 unless it is constrained."""
    return len(task.values) if isinstance(task, _Constrained) else 0


def under(task: Task, values: Floats) -> Task:
    """The task with these multipliers in its loss, shape (multiplier_count(task),)."""
    if not isinstance(task, _Constrained):
        return task
    if values.shape != task.values.shape:
        raise ValueError(f"expected {task.values.shape} multipliers, got {values.shape}")
    return replace(task, values=values)


def at_its_strongest(task: Task) -> Task:
    """The task with every multiplier as large as it may be: for probes of its loss."""
    if not isinstance(task, _Constrained):
        return task
    return under(task, np.full(len(task.values), task.mitigation.largest_multiplier))


@dataclass(frozen=True)
class _Mitigated(WrappedTask):
    """A task that looks at a row's group in training.

    Attributes:
        attribute: whose groups they are.
    """

    attribute: str

    def load(self, request: SiteRequest) -> SiteData:
        """As the task's, with the group in the targets of train rows."""
        data = self.task.load(request)
        return replace(data, train=self._with_groups(data.train))

    def _with_groups(self, rows: Rows) -> Rows:
        codes = torch.from_numpy(np.ascontiguousarray(rows.groups[self.attribute]))
        return replace(rows, targets=rows.targets + LABELS * codes.to(rows.targets.dtype))


def _group_and_label(target: Tensor) -> tuple[Tensor, Tensor]:
    return target // LABELS, target % LABELS


@dataclass(frozen=True)
class _Reweighed(_Mitigated):
    """Attributes: `weights` per group and label, the last row that of unknown groups."""

    weights: Tensor

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The task's, times the weight of the row's group and label."""
        group, label = _group_and_label(target)
        losses = self.task.loss(output, label)
        return losses * self.weights.to(losses)[group, label]


@dataclass(frozen=True)
class _Adversarial(_Mitigated):
    """Attributes: `levels`, the groups that the adversary tells apart."""

    mitigation: Mitigation
    levels: int

    def build_model(self) -> nn.Module:
        """The task's, made first and so of the same initial parameters, and the adversary."""
        predictor, score = self.task.build_model(), Score(self.task.probabilities)
        return WithAdversary(predictor, score, self._logits, self.mitigation.strength)

    def probabilities(self, output: Tensor) -> Tensor:
        """The task's; the adversary has no say."""
        return self.task.probabilities(output[:, : -self._logits])

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The task's, and the adversary's cross-entropy for the row's group where it is known.

        With equalized odds the adversary knows the label, by having logits for each; with equal
        opportunity it sees positive rows only.
        """
        group, label = _group_and_label(target)
        losses = self.task.loss(output[:, : -self._logits], label)
        guesses = output[:, -self._logits :].reshape(len(output), -1, self.levels)
        seen = label if self._sees_labels else torch.zeros_like(label)
        chosen = guesses.gather(1, seen[:, None, None].expand(-1, 1, self.levels)).squeeze(1)
        known = group < self.levels
        if self.mitigation.criterion == "equal_opportunity":
            known = known & (label == 1)
        told = cross_entropy(chosen, group.clamp(max=self.levels - 1), reduction="none")
        return losses + told.to(losses) * known

    @property
    def _sees_labels(self) -> bool:
        return self.mitigation.criterion == "equalized_odds"

    @property
    def _logits(self) -> int:
        return self.levels * (LABELS if self._sees_labels else 1)


@dataclass(frozen=True)
class _Constrained(_Mitigated):
    """Attributes: `values` of the multipliers, in the order in which they travel."""

    mitigation: Mitigation
    values: Floats

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The task's, and the score times the multiplier of the row's group and label."""
        group, label = _group_and_label(target)
        losses = self.task.loss(output, label)
        score = Score(self.task.probabilities)(output)
        return losses + self._prices.to(losses)[group, label] * score.to(losses)

    @property
    def _prices(self) -> Tensor:
        """What a row's score costs, by group and label; nothing for unknown groups."""
        levels = len(mitigated_attribute(self.mitigation, self.schema).levels)
        prices = torch.zeros(levels + 1, LABELS, dtype=torch.float64)
        values = torch.from_numpy(self.values.astype(np.float64)).reshape(-1, levels)
        if self.mitigation.criterion == "demographic_parity":
            prices[:levels] = values[0][:, None]
        else:
            prices[:levels, 1] = values[0]
        if self.mitigation.criterion == "equalized_odds":
            prices[:levels, 0] = values[1]
        return prices


def _checked_weights(mitigation: Mitigation, levels: tuple[str, ...]) -> Tensor:
    if len(mitigation.weights) != len(levels):
        raise ConfigError(
            "mitigation.weights",
            [list(pair) for pair in mitigation.weights],
            f"two weights for each of {', '.join(levels)}",
        )
    return torch.tensor([*mitigation.weights, (1.0, 1.0)], dtype=torch.float64)
