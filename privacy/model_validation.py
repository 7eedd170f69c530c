"""Which models may be trained: what is refused before anything is charged for it."""

import copy

import torch
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from federation.errors import PrivacyRefusal, UsageError
from privacy.per_sample_gradients import Loss, per_sample_gradients

PROBED_ROWS = 4


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
    """Return if Opacus knows a gradient per record for every layer.

    Raises:
        PrivacyRefusal: it does not for one; names it and the remedy.
    """
    problems = ModuleValidator.validate(copy.deepcopy(model).train(), strict=False)
    if problems:
        raise PrivacyRefusal(
            f"the model cannot be trained with record-level privacy: {problems[0]} "
            "(for instance, replace BatchNorm by GroupNorm)"
        )


def require_records_apart(model: nn.Module, loss: Loss, rows: tuple[Tensor, Tensor]) -> None:
    """Return if no record's gradient depends on the other records of its batch.

    The clip bounds what one record adds; if a record could change the gradients of others, it would
    add more than the noise was made for. Layers without parameters and losses can do that, too, and
    no list of layers knows them: so this exchanges one record of a small batch after the other and
    looks at the gradients of the rest.

    Args:
        model: that passed `require_private_layers`.
        loss: per example, shape (B,).
        rows: inputs, shape (N, ...), and targets, shape (N,), of which the probe takes the shapes,
            and the values only if the model cannot take random ones; nothing is done if N is 0.

    Raises:
        PrivacyRefusal: one does.
        ValueError: `loss` is not per example.
    """
    if not len(rows[1]):
        return
    probed = copy.deepcopy(model).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
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
                    "the model cannot be trained with record-level privacy: exchanging one record "
                    "of a batch changes the gradients of others; neither a layer nor the loss may "
                    "mix the records of a batch"
                )


def _gradients(model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    # Dropout draws anew in every forward pass; the same draws tell records apart from chance.
    torch.manual_seed(1)
    gradients = per_sample_gradients(model, (inputs, targets), loss)
    return torch.nan_to_num(gradients)
