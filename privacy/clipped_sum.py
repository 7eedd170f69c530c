"""The sum of clipped gradients over a batch: what DP-SGD adds its noise to.

Abadi et al. 2016, arXiv:1607.00133, Algorithm 1, lines "compute gradient" and "clip gradient".
"""

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from privacy.arithmetic import ON_CPU, Arithmetic
from privacy.flat_parameters import trainable
from privacy.ghost_clipping import linear_layers
from privacy.mechanisms.clipping import norm_rounding
from privacy.per_sample_gradients import Loss, row_gradients
from privacy.row_gradients import RowGradients

Floats = npt.NDArray[np.float64]

LARGEST_PHYSICAL_BATCH = 512
"""Rows whose gradients are held at once; bounds memory, changes no guarantee."""


def clipped_gradient_sum(
    model: nn.Module,
    rows: tuple[Tensor, Tensor],
    loss: Loss,
    max_grad_norm: float,
    largest_batch: int = LARGEST_PHYSICAL_BATCH,
    arithmetic: Arithmetic = ON_CPU,
) -> tuple[Floats, int]:
    """Sum of per-sample gradients, each clipped to L2 norm `max_grad_norm` over all parameters.

    Adding or removing one row changes it by at most `max_grad_norm`: also a row whose gradient is
    not finite, which contributes zero.

    Args:
        model: of layers that treat rows one by one (`privacy.model_validation`); left as it was.
        rows: inputs, shape (N, ...), and targets, shape (N,); N may be 0.
        loss: per example, shape (B,).
        max_grad_norm: > 0.
        largest_batch: rows whose gradients are held at once.
        arithmetic: on whose device the model is; the bound holds in any.

    Returns:
        the sum, shape (d,), float64; and how many rows contributed zero for not being finite.

    Raises:
        PrivacyRefusal: a layer's gradients are not one per row.
        ValueError: `loss` is not per example.
    """
    factored = linear_layers(model)
    return clipped_gradient_sum_by(
        factored, model, rows, loss, max_grad_norm, largest_batch, arithmetic
    )


def clipped_gradient_sum_by(  # noqa: PLR0913, PLR0917 - those of the other, and how
    factored: Collection[nn.Linear],
    model: nn.Module,
    rows: tuple[Tensor, Tensor],
    loss: Loss,
    max_grad_norm: float,
    largest_batch: int = LARGEST_PHYSICAL_BATCH,
    arithmetic: Arithmetic = ON_CPU,
) -> tuple[Floats, int]:
    """`clipped_gradient_sum`, with ghost clipping in the layers that are `factored`."""
    total = np.zeros(sum(p.numel() for p in trainable(model)))
    not_finite = 0
    for inputs, targets in zip(
        torch.split(rows[0], largest_batch), torch.split(rows[1], largest_batch), strict=True
    ):
        if not len(targets):
            continue
        gradients = row_gradients(model, (inputs, targets), loss, factored, arithmetic)
        clipped, left_out = _clipped_sum(gradients, len(total), max_grad_norm)
        total += clipped.cpu().numpy()
        not_finite += left_out
    return total, not_finite


def _clipped_sum(
    parts: Sequence[RowGradients], parameters: int, max_grad_norm: float
) -> tuple[Tensor, int]:
    """Of one physical batch, shape (d,), float64; and how many rows were left out of it."""
    squared = torch.stack([part.squared_norms() for part in parts]).sum(dim=0)
    finite = torch.isfinite(squared)
    left_out = int((~finite).sum())
    if left_out:  # a weight of zero would not do: zero times infinity is no number
        parts, squared = [part.only(finite) for part in parts], squared[finite]
    norms = squared.sqrt() * (1 + norm_rounding(parameters))
    # Eight roundings' worth below, for the four of this line and of weighing a row.
    factors = (max_grad_norm / norms.clamp(min=max_grad_norm)) * (1 - 2**-50)
    return torch.cat([part.weighted_sum(factors) for part in parts]), left_out
