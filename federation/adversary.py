"""A model with an adversary behind it that guesses a row's group from the model's score.

Zhang, Lemoine and Mitchell 2018, arXiv:1801.07593, with the gradient reversal of Ganin et al. 2016,
arXiv:1505.07818, in place of their projection: one backward pass makes the adversary better and the
model worse for it, so that each example has one gradient, which DP-SGD can clip.

The adversary is made of linear layers, and the reversal of plain arithmetic: both have a gradient
per example by the rules for any other model.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from federation.errors import ConfigError

WIDTH = 8
"""Of the adversary's one hidden layer: a curve of the score is all that it can make use of."""

SPREAD = 4.0
"""A score in [0, 1] is stretched to twice this width about zero, where tanh bends."""


class Score:
    """The probability of the positive class; copied with a model, its task is not."""

    def __init__(self, probabilities: Callable[[Tensor], Tensor]) -> None:
        self._probabilities = probabilities

    def __deepcopy__(self, _: dict[int, Any]) -> "Score":
        return self  # a task holds whole tables of rows

    def __call__(self, output: Tensor) -> Tensor:
        """Of each row, shape (B,), in the dtype of `output`.

        Raises:
            ConfigError: no gradient leads back to `output`.
        """
        score = self._probabilities(output)[:, 1].to(output.dtype)
        if output.requires_grad and not score.requires_grad:
            raise ConfigError(
                "mitigation.method",
                "adversarial or constrained",
                "a task whose `probabilities` have a gradient",
                "make them of torch operations, without detach, numpy or no_grad",
            )
        return score


class WithAdversary(nn.Module):
    """A model whose output has the adversary's logits beside its own.

    Args:
        predictor: the task's model, whose output has shape (B, K).
        score: of its output.
        logits: how many the adversary gives per row.
        strength: factor of the gradient that is reversed.
    """

    def __init__(self, predictor: nn.Module, score: Score, logits: int, strength: float) -> None:
        super().__init__()
        self.predictor = predictor
        self.adversary = nn.Sequential(nn.Linear(1, WIDTH), nn.Tanh(), nn.Linear(WIDTH, logits))
        self._score, self._strength = score, strength

    def forward(self, inputs: Tensor) -> Tensor:
        """The model's output and the adversary's logits, shape (B, K + logits).

        Raises:
            ConfigError: the model's output has another shape.
        """
        output: Tensor = self.predictor(inputs)
        if output.dim() != 2:
            raise ConfigError(
                "mitigation.method",
                "adversarial",
                f"a model whose output has shape (rows, outputs), not {tuple(output.shape)}",
                "or choose 'reweighing' or 'constrained'",
            )
        score = SPREAD * (2 * self._score(output) - 1)
        seen = reversed_gradient(score, self._strength)
        return torch.cat([output, self.adversary(seen[:, None])], dim=1)


def reversed_gradient(values: Tensor, strength: float) -> Tensor:
    """The values themselves, but for rounding; their gradient is multiplied by minus `strength`."""
    return values.detach() * (1 + strength) - values * strength


def predictor_of(model: nn.Module) -> nn.Module:
    """The task's own model, without an adversary."""
    if isinstance(model, WithAdversary):
        return model.predictor
    return model
