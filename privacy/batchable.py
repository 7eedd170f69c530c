"""Which models many clients can be trained with at once, and for which that is faster.

Layers are known by their kind; what a `forward` of somebody else's does between them is not. So two
clients with parameters of their own are computed both ways, once before a run, and a model for
which the two ways differ is refused. That also finds a parameter that is used behind its layer's
back, and a loss or a layer that mixes records.

Where training together is slower it is not done: the rule is on the model alone, so that a run
repeats bit for bit, and comes from measurements.
"""

import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from privacy.arithmetic import ON_CPU
from privacy.clipped_sum import clipped_gradient_sum
from privacy.dp_sgd import gradient_sum
from privacy.flat_parameters import flat_parameters, load_flat_parameters, trainable
from privacy.folded_layers import RULES, CannotBatch
from privacy.folded_model import FoldedModel
from privacy.model_validation import require_private_layers
from privacy.per_sample_gradients import Loss

PROBED_CLIENTS, PROBED_ROWS = 2, 3
TOLERANCE = 1e-4
"""Of a client's gradient: kernels of another shape round otherwise by some 1e-6."""

UNCLIPPED = 1e6

MOST_CONVOLVED = 80_000
"""Multiplications of convolutions a row; `benchmarks/batching_worth.py` prints what is faster."""
MOST_MULTIPLICATIONS = 2_000_000
"""A row; beyond what that benchmark measures, nothing is claimed."""

Floats = npt.NDArray[np.float64]


def cannot_batch(
    model: nn.Module, rows: tuple[Tensor, Tensor], loss: Loss, *, private: bool
) -> str | None:
    """Why clients cannot be trained together with this model, completing "the model ...".

    Args:
        model: global model; left as it was.
        rows: inputs, shape (N, ...), and targets, shape (N,), to compute both ways; a few will do.
        loss: per example, shape (B,).
        private: whether rows are clipped.

    Returns:
        None if they can be.

    Raises:
        PrivacyRefusal, ValueError: they cannot be trained one by one either.
    """
    if private:
        require_private_layers(model)
    if not trainable(model):
        return "has no parameter to train"
    try:
        return _differs(FoldedModel(model, ON_CPU), model, _few(rows), loss, private=private)
    except CannotBatch as error:
        return error.reason


@dataclass(frozen=True, slots=True)
class RowCost:
    """What one row costs in one forward pass.

    Attributes:
        multiplications: of layers that are products of matrices.
        convolved: those of them that convolutions make.
        numbers: that go into and come out of layers with parameters, patches of images included.
    """

    multiplications: int
    convolved: int
    numbers: int


def row_cost(model: nn.Module, rows: tuple[Tensor, Tensor]) -> RowCost:
    """Of a model that `cannot_batch` has no reason against; it is left as it was.

    Args:
        model: whose.
        rows: inputs, shape (N, ...), N >= 1, of which the first is passed through, and targets.
    """
    linear, convolved, numbers = 0, 0, 0

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal linear, convolved, numbers
        numbers += inputs[0].numel() + output.numel()
        if isinstance(layer, nn.Linear):
            linear += output.numel() * layer.in_features
        if isinstance(layer, nn.Conv2d):
            patch = layer.weight[0].numel()
            convolved += output.numel() * patch
            numbers += output[0, 0].numel() * patch

    probed = copy.deepcopy(model).train()
    for layer in probed.modules():
        if type(layer) in RULES:
            layer.register_forward_hook(note)
    with torch.no_grad():
        probed(rows[0][:1])
    return RowCost(linear + convolved, convolved, numbers)


def is_worth_batching(cost: RowCost) -> bool:
    """Whether clients are trained faster together than one by one, on a processor.

    Where a row alone keeps a core busy, handing it over costs little. Then convolutions lose: to
    have each client's own weights they are written as products of patches, which many clients' rows
    make too many for the caches. Those of 8 x 8 pixels gain, of 28 x 28 lose. Linear layers gain
    with privacy by cheap norms, and without it lose nothing.
    """
    few = cost.convolved <= MOST_CONVOLVED
    return few and cost.multiplications <= MOST_MULTIPLICATIONS


def _few(rows: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """As many as are probed of each client, one client after the other.

    Clients with the same rows would hide what mixes a batch: their means, for one, are the same. So
    where there are too few rows for both, those of the second are stretched; not if they are whole
    numbers, which may be the places of words.
    """
    inputs, targets = rows
    if inputs.is_floating_point():
        finite = torch.isfinite(inputs.flatten(1)).all(dim=1)
        inputs, targets = inputs[finite], targets[finite]
    if not len(targets):
        raise CannotBatch("has no row to be tried with")
    pick = torch.arange(PROBED_CLIENTS * PROBED_ROWS).clamp(max=len(targets) - 1)
    too_few = len(targets) < len(pick)
    inputs, targets = inputs[pick], targets[pick]
    if too_few and inputs.is_floating_point() and not torch.equal(inputs, inputs.round()):
        inputs[PROBED_ROWS:] *= 1.5
    return inputs, targets


def _differs(
    folded: FoldedModel,
    model: nn.Module,
    rows: tuple[Tensor, Tensor],
    loss: Loss,
    *,
    private: bool,
) -> str | None:
    """What is wrong with the gradients of many at once."""
    inputs, targets = (one.view(PROBED_CLIENTS, PROBED_ROWS, *one.shape[1:]) for one in rows)
    starts = _moved_apart(model)
    apart, clips = [], []
    for client, start in enumerate(starts):
        local, own = copy.deepcopy(model).train(), (inputs[client], targets[client])
        load_flat_parameters(local, start)
        if private:
            whole, _ = clipped_gradient_sum(local, own, loss, UNCLIPPED)
            clips.append(max(float(np.linalg.norm(whole)) / (2 * PROBED_ROWS), 1e-6))
            apart.append(clipped_gradient_sum(local, own, loss, clips[-1])[0])
        else:
            apart.append(gradient_sum(local, own, loss)[0])
    present = torch.ones(targets.shape[:2], dtype=torch.bool)
    bounds = torch.tensor(clips) if private else None
    with torch.random.fork_rng(devices=[]):
        before = torch.random.get_rng_state()
        parameters = torch.from_numpy(starts).float()
        try:
            found = folded.gradients(parameters, (inputs, targets), present, loss, bounds)
        except RuntimeError as error:
            return f"fails on the rows of several clients in one batch ({error})"
        if not torch.equal(before, torch.random.get_rng_state()):
            return "draws at random, which each client does from its own seed"
    for together, alone in zip(found.sums.double().numpy(), apart, strict=True):
        if not np.linalg.norm(together - alone) <= TOLERANCE * np.linalg.norm(alone) + 1e-9:
            return "computes something else for several clients at once than for each"
    return None


def _moved_apart(model: nn.Module) -> Floats:
    """Parameters of two clients, shape (2, d): neither the model's nor each other's."""
    flat = flat_parameters(model).astype(np.float64)
    moved = np.random.default_rng(0).standard_normal((PROBED_CLIENTS, len(flat)))
    return flat * (1 + 0.1 * moved) + 0.01 * moved
