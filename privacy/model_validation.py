"""Which models may be trained: what is refused before anything is charged for it."""

import copy

import torch
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from federation.errors import PrivacyRefusal, UsageError
from federation.torch_seed import seed_torch
from privacy.flat_parameters import trainable
from privacy.per_sample_gradients import UNTRAINABLE, Loss, per_example, per_sample_gradients

PROBED_ROWS = 4

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
BATCH_NORM_REMEDY = (
    "replace it by torch.nn.GroupNorm (opacus.validators.ModuleValidator.fix(model) replaces all), "
    "or fold a frozen one into the layer before it"
)
MADE_OF_PRIVATE_LAYERS = {
    nn.MultiheadAttention: "DPMultiheadAttention",
    nn.RNN: "DPRNN",
    nn.GRU: "DPGRU",
    nn.LSTM: "DPLSTM",
}
"""Layers in one piece, and what Opacus has for them that is made of layers that it has samplers
for."""


def require_travelling_state(model: nn.Module) -> None:
    """Return if training changes parameters only: nothing else of a model leaves a site.

    Raises:
        UsageError: a layer keeps running statistics; names it and the remedy.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, _NormBase) and layer.track_running_stats:
            raise UsageError(
                f"the model's layer {name or type(layer).__name__} ({type(layer).__name__}) keeps "
                "running statistics, which stay at each site: replace it by GroupNorm, or set "
                "track_running_stats=False"
            )


def require_private_layers(model: nn.Module) -> None:
    """Return if no layer is known to mix records, and each has a gradient per record.

    Raises:
        PrivacyRefusal: one does, or has none; names it and the remedy.
    """
    trained = copy.deepcopy(model).train()
    for name, layer in trained.named_modules():
        called = f"the layer {name or 'that is the model'} ({type(layer).__name__})"
        if isinstance(layer, BATCH_NORMS):  # frozen or not: training gives it batches to look at
            raise PrivacyRefusal(f"{UNTRAINABLE}: {called} mixes records; {BATCH_NORM_REMEDY}")
        if type(layer) in MADE_OF_PRIVATE_LAYERS and any(
            parameter.requires_grad for parameter in layer.parameters()
        ):
            theirs = f"opacus.layers.{MADE_OF_PRIVATE_LAYERS[type(layer)]}"
            raise PrivacyRefusal(
                f"{UNTRAINABLE}: {called} has no gradient per record; replace it by {theirs}, "
                "which computes the same"
            )
    problems: list[Exception] = [
        *ModuleValidator.validate(trained, strict=False),
        *GradSampleModule.validate(trained, strict=False),
    ]
    if problems:
        raise PrivacyRefusal(f"{UNTRAINABLE}: {problems[0]}")


def require_records_apart(model: nn.Module, loss: Loss, rows: tuple[Tensor, Tensor]) -> None:
    """Return if no record's gradient depends on the others of its batch, and each is found whole.

    The clip bounds what one record adds; if a record could change the gradients of others, it would
    add more than the noise was made for. Layers without parameters and losses can do that, too, and
    no list of layers knows them: so this exchanges one record of a small batch after the other and
    looks at the gradients of the rest. Their sum is the gradient of the batch, unless a parameter
    is used behind its layer's back; that would train a model other than the one that was written.

    Args:
        model: that passed `require_private_layers`.
        loss: per example, shape (B,).
        rows: inputs, shape (N, ...), and targets, shape (N,), of which the probe takes the shapes,
            and the values only if the model cannot take random ones; nothing is done if N is 0.

    Raises:
        PrivacyRefusal: one does, or is not.
        ValueError: `loss` is not per example.
    """
    if not len(rows[1]):
        return
    probed = copy.deepcopy(model).train()
    with torch.random.fork_rng(devices=[]):
        seed_torch(0)
        pick = torch.arange(PROBED_ROWS + 1) % len(rows[1])
        targets = rows[1][pick]
        inputs = torch.randn((PROBED_ROWS + 1, *rows[0].shape[1:]))
        try:
            before = _gradients(probed, inputs[:-1], targets[:-1], loss)
        except (IndexError, RuntimeError):  # numbers that stand for something, such as tokens
            inputs = rows[0][pick]
            before = _gradients(probed, inputs[:-1], targets[:-1], loss)
        for exchanged in range(PROBED_ROWS):
            others = torch.arange(PROBED_ROWS) != exchanged
            chosen = torch.where(others, torch.arange(PROBED_ROWS), PROBED_ROWS)
            after = _gradients(probed, inputs[chosen], targets[chosen], loss)
            if not torch.allclose(before[others], after[others], rtol=1e-3, atol=1e-6):
                raise PrivacyRefusal(
                    f"{UNTRAINABLE}: exchanging one record of a batch changes the gradients of "
                    "others; neither a layer nor the loss may mix the records of a batch"
                )
        _require_whole_gradients(probed, (inputs[:-1], targets[:-1]), loss, before)


def _require_whole_gradients(
    model: nn.Module, rows: tuple[Tensor, Tensor], loss: Loss, found: Tensor
) -> None:
    seed_torch(1)
    parameters = trainable(model)
    losses = per_example(loss, model(rows[0]), rows[1]).sum()
    parts = torch.autograd.grad(losses, parameters, allow_unused=True)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    sizes = [parameter.numel() for parameter in parameters]
    for name, part, sampled in zip(names, parts, torch.split(found, sizes, dim=1), strict=True):
        whole = torch.zeros_like(sampled[0]) if part is None else torch.nan_to_num(part.flatten())
        longest = float(sampled.norm(dim=1).sum()) + float(whole.norm())
        if float((sampled.sum(dim=0) - whole).norm()) > 1e-3 * longest + 1e-6:
            raise PrivacyRefusal(
                f"{UNTRAINABLE}: the gradient of its parameter {name} is not the sum of those of "
                "the records; use each parameter through its own layer's forward pass only"
            )


def _gradients(model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    # Dropout draws anew in every forward pass; the same draws tell records apart from chance.
    seed_torch(1)
    gradients = per_sample_gradients(model, (inputs, targets), loss)
    return torch.nan_to_num(gradients)
