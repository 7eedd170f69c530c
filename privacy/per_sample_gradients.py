"""Each row's own gradient, by Opacus' hooks (Yousefpour et al. 2021, arXiv:2109.12298)."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from opacus import GradSampleModule
from torch import Tensor, nn

from privacy.flat_parameters import trainable

Loss = Callable[[Tensor, Tensor], Tensor]

GRAD_SAMPLE = "grad_sample"
"""The attribute Opacus' hooks set on each parameter."""


def per_sample_gradients(model: nn.Module, rows: tuple[Tensor, Tensor], loss: Loss) -> Tensor:
    """Gradient of each row's loss; the model keeps none of them.

    Args:
        model: of layers that treat rows one by one (`privacy.model_validation`).
        rows: inputs, shape (B, ...), and targets, shape (B,), B >= 1.
        loss: per example, shape (B,).

    Returns:
        shape (B, d), in `flat_parameters` order.

    Raises:
        ValueError: `loss` is not per example.
    """
    with _known_warnings_ignored():
        wrapped = GradSampleModule(model, loss_reduction="sum", strict=True)
        try:
            torch.autograd.backward(per_example(loss, wrapped(rows[0]), rows[1]).sum())
            parts = [_grad_sample(p, len(rows[1])) for p in trainable(model)]
        finally:
            wrapped.to_standard_module()
            model.zero_grad(set_to_none=True)
            for parameter in trainable(model):
                setattr(parameter, GRAD_SAMPLE, None)
    return torch.cat(parts, dim=1).detach()


def per_example(loss: Loss, output: Tensor, targets: Tensor) -> Tensor:
    """The losses of a batch, shape (B,).

    Raises:
        ValueError: `loss` returned something else, such as their mean.
    """
    losses = loss(output, targets)
    if losses.shape != (len(targets),):
        raise ValueError(
            f"task.loss returned shape {tuple(losses.shape)}: expected one loss per example, "
            f"({len(targets)},); use reduction='none'"
        )
    return losses


def _grad_sample(parameter: nn.Parameter, rows: int) -> Tensor:
    """What the hooks left on a parameter, flat per row; zero if the forward pass did not use it."""
    gradients = getattr(parameter, GRAD_SAMPLE, None)
    if gradients is None:
        return torch.zeros(rows, parameter.numel())
    assert isinstance(gradients, Tensor)
    return gradients.reshape(rows, -1)


@contextmanager
def _known_warnings_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        # The input needs no gradient, so torch tells each time that its hook sees outputs only.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        yield
