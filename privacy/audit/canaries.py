"""Canaries: records whose clipped gradient is one coordinate that no other record touches.

Nasr et al. 2023, arXiv:2302.07956, call them Dirac gradients; they are the worst case that DP-SGD
is proven for. Here they come out of a model and a loss, by the same hooks as every gradient.
"""

import torch
from torch import Tensor, nn

from privacy.per_sample_gradients import Loss

OVERSHOOT = 100.0
"""How many times longer than the clip a canary's gradient is: without clipping it stands out."""
IS_CANARY = -1
"""The target of a canary; classes of real rows are numbered from 0."""


class CanaryCoordinates(nn.Module):
    """A model of canaries only: d parameters, each of them a canary's own; they start at zero."""

    def __init__(self, coordinates: int) -> None:
        super().__init__()
        self.coordinates = nn.Embedding(coordinates, 1)
        nn.init.zeros_(self.coordinates.weight)

    def forward(self, canaries: Tensor) -> Tensor:
        """Each canary's own parameter, shape (B,), for indices of shape (B, 1)."""
        own: Tensor = self.coordinates(canaries)
        return own.reshape(len(canaries))


def steep_loss(slope: float) -> Loss:
    """Of `CanaryCoordinates`: falls by `slope` per unit of the canary's parameter."""

    def loss(output: Tensor, _: Tensor) -> Tensor:
        return -slope * output

    return loss


class WithCanaries(nn.Module):
    """A task's model beside canaries' coordinates, which it neither reads nor changes.

    An input row is a task's row, flattened, and one more number: a canary's index.
    """

    def __init__(self, model: nn.Module, row_shape: torch.Size, canaries: int) -> None:
        super().__init__()
        self.model = model
        self.canaries = CanaryCoordinates(canaries)
        self._row_shape = row_shape

    def forward(self, rows: Tensor) -> Tensor:
        """The model's outputs and, as a last column, the canaries' parameters; (B, classes + 1)."""
        outputs: Tensor = self.model(rows[:, :-1].reshape(len(rows), *self._row_shape))
        own = self.canaries(rows[:, -1:].long())
        return torch.cat([outputs, own[:, None]], dim=1)


def loss_with_canaries(task_loss: Loss, slope: float) -> Loss:
    """Of `WithCanaries`: the task's for real rows; for a row with target IS_CANARY the canary's."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        of_task = task_loss(output[:, :-1], target.clamp(min=0))
        return torch.where(target == IS_CANARY, -slope * output[:, -1], of_task)

    return loss


def canary_rows(inputs: Tensor, targets: Tensor, included: Tensor) -> tuple[Tensor, Tensor]:
    """A site's rows and its canaries, as `WithCanaries` takes them.

    Args:
        inputs: shape (N, ...).
        targets: classes, shape (N,).
        included: indices of the canaries that are in, shape (M,).

    Returns:
        inputs, shape (N + M, features + 1), and targets, shape (N + M,).
    """
    flat = inputs.reshape(len(inputs), -1)
    real = torch.cat([flat, torch.zeros(len(flat), 1)], dim=1)
    own = torch.zeros(len(included), flat.shape[1] + 1)
    own[:, -1] = included
    return (
        torch.cat([real, own]),
        torch.cat([targets, torch.full((len(included),), IS_CANARY, dtype=targets.dtype)]),
    )
