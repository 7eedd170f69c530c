"""Gradient inversion in closed form: a row read off the update that it left.

In a linear layer y = W x + b the gradient of W is the gradient of b times x, so that one divided by
the other is the row itself (Geiping et al. 2020, arXiv:2003.14053, Proposition 3.1; first in Phong
et al. 2018). With several rows it is a mean of them, weighted by how wrong the model is about each.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from federation.entropy import Entropy
from federation.initial_model import initial_model
from privacy.audit.shadow import Shadow
from privacy.dp_sgd import Descent, train_privately, train_without_privacy
from privacy.flat_parameters import trainable
from privacy.plan import DpSgdPlan, NonPrivatePlan

Floats = npt.NDArray[np.float64]

BATCHES = (1, 4, 32)
REPETITIONS = 20
"""Batches of each size."""


@dataclass(frozen=True, slots=True)
class Inversion:
    """How near the best reconstruction comes to a row of the batch, on average over batches.

    Nearness is the cosine after the site's average row is taken off, which takes no attack to know:
    1 is the row itself up to its distance from the average.

    Attributes:
        batch: rows in it.
        without_privacy: from the plain update.
        with_privacy: from the update of the same rows under DP-SGD.
        by_chance: of the plain update's reconstructions to as many rows that were not in the batch.
    """

    batch: int
    without_privacy: float
    with_privacy: float
    by_chance: float


def first_layer(model: nn.Module, width: int) -> slice | None:
    """Where the first linear layer's weights and bias stand in a flat update.

    Args:
        model: whose first trainable layer is looked at.
        width: of a flattened row.

    Returns:
        None if it is no linear layer of that width with a bias: then this attack does not apply.
    """
    layer = next((each for each in model.modules() if isinstance(each, nn.Linear)), None)
    parameters = trainable(model)
    if layer is None or layer.in_features != width or layer.bias is None:
        return None
    if len(parameters) < 2 or parameters[0] is not layer.weight or parameters[1] is not layer.bias:
        return None
    return slice(0, layer.weight.numel() + layer.bias.numel())


def invert(update: Floats, width: int) -> Floats:
    """A candidate row per output of the layer, shape (outputs, width).

    Args:
        update: of the layer's weights and bias, shape (outputs * (width + 1),).
        width: of a row.
    """
    outputs = len(update) // (width + 1)
    weights, bias = update[: outputs * width].reshape(outputs, width), update[outputs * width :]
    safe = np.where(bias == 0, np.finfo(np.float64).tiny, bias)
    with np.errstate(over="ignore"):
        candidates: Floats = weights / safe[:, None]
    return np.nan_to_num(candidates)


def best_cosine(candidates: Floats, rows: Floats, average: Floats) -> float:
    """The largest cosine of a candidate with a row, both less the average; shapes (n, width)."""
    directions, own = _directions(candidates - average), _directions(rows - average)
    return float((own @ directions.T).max())


def _directions(vectors: Floats) -> Floats:
    """Vectors of length 1, or 0 where there is no direction."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    scaled = vectors / np.where(largest > 0, largest, 1.0)
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit: Floats = scaled / np.where(norms > 0, norms, 1.0)
    return unit


def inversions(shadow: Shadow, rows: tuple[Tensor, Tensor], entropy: Entropy) -> list[Inversion]:
    """The attack on one step's update, for batches of several sizes; none where it does not apply.

    Args:
        shadow: model, loss, clip and noise.
        rows: a site's inputs and targets.
        entropy: of the choice of batches, and of noise.
    """
    model = initial_model(shadow.task, shadow.config.run.seed)
    flat = rows[0].reshape(len(rows[0]), -1).double().numpy()
    layer = first_layer(model, flat.shape[1])
    if layer is None:
        return []
    return [
        _of_batches(shadow, model, rows, (batch, layer), entropy.child(batch))
        for batch in BATCHES
        if 2 * batch <= len(flat)
    ]


def _of_batches(
    shadow: Shadow,
    model: nn.Module,
    rows: tuple[Tensor, Tensor],
    what: tuple[int, slice],
    entropy: Entropy,
) -> Inversion:
    batch, layer = what
    flat = rows[0].reshape(len(rows[0]), -1).double().numpy()
    average = flat.mean(axis=0)
    plain = NonPrivatePlan(1.0, 1, float(batch))
    private = DpSgdPlan(
        1.0,
        1,
        shadow.noise_multiplier,
        shadow.config.privacy.max_grad_norm,
        float(batch),
        shadow.config.privacy.delta,
    )
    found = []
    for number in range(REPETITIONS):
        own = entropy.child(number)
        generator = np.random.default_rng(list(own.child("rows").bytes(32)))
        chosen, others = np.split(generator.choice(len(flat), 2 * batch, replace=False), 2)
        index = torch.from_numpy(chosen)
        some, loss, step = (rows[0][index], rows[1][index]), shadow.task.loss, Descent(1.0)
        bare = train_without_privacy(model, some, loss, plain, step, own).delta[layer]
        noised = train_privately(model, some, loss, private, step, own).delta[layer]
        guessed = invert(bare, flat.shape[1])
        hidden = invert(noised, flat.shape[1])
        found.append(
            (
                best_cosine(guessed, flat[chosen], average),
                best_cosine(hidden, flat[chosen], average),
                best_cosine(guessed, flat[others], average),
            )
        )
    return Inversion(batch, *(float(mean) for mean in np.mean(found, axis=0)))
