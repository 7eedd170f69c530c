"""Each row's own gradient, by Opacus' rules for each layer (Yousefpour et al. 2021, 2109.12298).

A forward hook on every layer with parameters notes what goes into it; one backward pass gives what
comes back to its output, and no more: the gradients of the batch as a whole are nobody's business.
From these two Opacus' samplers make a gradient per row, as its `GradSampleModule` would; that
attaches itself to the model and to autograd, and computes the whole batch's gradient on the way.

A linear layer's gradient for one row is the outer product of what came back and what went in. For
the layers that the caller names, these two vectors are kept instead of their product.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from opacus import GradSampleModule
from opacus.grad_sample.functorch import ft_compute_per_sample_gradient
from opacus.layers.dp_rnn import DPGRU, DPLSTM, DPRNN, RNNLinear
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from federation.errors import PrivacyRefusal
from privacy.arithmetic import ON_CPU, Arithmetic
from privacy.flat_parameters import trainable
from privacy.row_gradients import OuterProducts, RowGradients, WrittenOut

Loss = Callable[[Tensor, Tensor], Tensor]

RECURRENT = (DPRNN, DPGRU, DPLSTM)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
CONVOLVED_AT_ONCE = 32
"""Rows for which Opacus' sampler unfolds what went into a convolution: more only cost memory."""

_Pass = tuple[list[Tensor], Tensor]
"""What went into a layer, and what came back to its output."""

UNTRAINABLE = "the model cannot be trained with record-level privacy"


@dataclass(frozen=True, slots=True)
class _Use:
    """A layer in the forward pass: what went in, and where its output is in the graph."""

    layer: nn.Module
    inputs: list[Tensor]
    output: GradientEdge


def per_sample_gradients(model: nn.Module, rows: tuple[Tensor, Tensor], loss: Loss) -> Tensor:
    """Gradient of each row's loss, written out; the model keeps none of them.

    Args:
        model: of layers that treat rows one by one (`privacy.model_validation`).
        rows: inputs, shape (B, ...), and targets, shape (B,), B >= 1.
        loss: per example, shape (B,).

    Returns:
        shape (B, d), in `flat_parameters` order.

    Raises:
        PrivacyRefusal, ValueError: as `row_gradients`.
    """
    parts = row_gradients(model, rows, loss)
    return torch.cat([part.written_out() for part in parts], dim=1)


def row_gradients(
    model: nn.Module,
    rows: tuple[Tensor, Tensor],
    loss: Loss,
    factored: Collection[nn.Linear] = (),
    arithmetic: Arithmetic = ON_CPU,
) -> list[RowGradients]:
    """Gradient of each row's loss: one part per trainable parameter, in their order.

    Args:
        model: of layers that treat rows one by one (`privacy.model_validation`); left as it was.
        rows: inputs, shape (B, ...), and targets, shape (B,), B >= 1.
        loss: per example, shape (B,).
        factored: layers of the model whose weight is no other layer's; their gradients are kept as
            outer products where each row goes through them once, as one vector.
        arithmetic: on whose device the model is.

    Returns:
        parts of float32 on that device.

    Raises:
        PrivacyRefusal: the gradients of a layer cannot be told apart by row.
        ValueError: `loss` is not per example.
    """
    inputs, targets = (one.to(arithmetic.device) for one in rows)
    with _uses_noted(model) as uses, arithmetic.forward_pass():
        output = model(inputs)
    losses = per_example(loss, _at_least_float32(output), targets)
    edges = [use.output for use in uses]
    returned = torch.autograd.grad(losses.sum(), edges, allow_unused=True) if edges else ()
    by_layer: dict[nn.Module, list[_Pass]] = defaultdict(list)
    for use, back in zip(uses, returned, strict=True):
        if back is not None:
            into = [_at_least_float32(one.detach()) for one in use.inputs]
            by_layer[use.layer].append((into, _at_least_float32(back)))
    found: dict[Tensor, list[RowGradients]] = defaultdict(list)
    for layer, passes in by_layer.items():
        for parameter, part in _of_layer(layer, passes, len(rows[1]), factored):
            found[parameter].append(part)
    return [_part(found[parameter], parameter, len(rows[1])) for parameter in trainable(model)]


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


@contextmanager
def _uses_noted(model: nn.Module) -> Iterator[list[_Use]]:
    """While it is open, every use of a layer with trainable parameters is added to the list."""
    uses: list[_Use] = []

    def note(layer: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        tensors = [one for one in inputs if isinstance(one, Tensor)]
        if not isinstance(output, Tensor) or not tensors or len(tensors) != len(inputs):
            raise PrivacyRefusal(
                f"{UNTRAINABLE}: the layer {type(layer).__name__} has parameters of its own and "
                "takes or gives something else than tensors; make it of layers that do"
            )
        if output.requires_grad:
            uses.append(_Use(layer, tensors, get_gradient_edge(output)))

    handles = [layer.register_forward_hook(note) for layer in _sampled_layers(model)]
    try:
        yield uses
    finally:
        for handle in handles:
            handle.remove()


def _sampled_layers(model: nn.Module) -> Iterator[nn.Module]:
    """The layers with trainable parameters of their own.

    Where Opacus has no sampler for one, its whole forward pass is differentiated row by row, and so
    the layers inside it with it. A recurrent layer's parameters are those of the cells inside it.
    """
    own = () if type(model) in RECURRENT else model.parameters(recurse=False)
    has_own = any(parameter.requires_grad for parameter in own)
    if has_own:
        yield model
    if not has_own or type(model) in GradSampleModule.GRAD_SAMPLERS:
        for layer in model.children():
            yield from _sampled_layers(layer)


def _of_layer(
    layer: nn.Module, passes: list[_Pass], rows: int, factored: Collection[nn.Module]
) -> Iterator[tuple[Tensor, RowGradients]]:
    """By parameter: what each pass through the layer adds to its gradients."""
    (into, back), *others = passes
    if layer in factored and not others and back.dim() == 2:
        assert isinstance(layer, nn.Linear)
        yield layer.weight, OuterProducts(back, into[0])
        if layer.bias is not None:
            yield layer.bias, WrittenOut(back)
        return
    at_once = CONVOLVED_AT_ONCE if isinstance(layer, CONVOLUTIONS) else rows
    for into, back in passes:
        few = [_sampled(layer, one) for one in _split((into, back), at_once)]
        for parameter in few[0]:
            gradients = torch.cat([found[parameter].detach().flatten(1) for found in few])
            yield parameter, WrittenOut(_padded(gradients, layer, rows))


def _split(through: _Pass, rows: int) -> list[_Pass]:
    """A pass, so many rows at a time."""
    into, back = through
    if len(back) <= rows:
        return [through]
    inputs = (torch.split(one, rows) for one in into)
    return [(list(few), part) for *few, part in zip(*inputs, torch.split(back, rows), strict=True)]


def _sampled(layer: nn.Module, through: _Pass) -> dict[nn.Parameter, Tensor]:
    """By parameter, each row's gradient, shape (B, ...), as Opacus computes it for such a layer."""
    sampler = GradSampleModule.GRAD_SAMPLERS.get(type(layer), ft_compute_per_sample_gradient)
    try:
        found: dict[nn.Parameter, Tensor] = sampler(layer, *through)
        return found
    finally:
        layer.__dict__.pop("ft_compute_sample_grad", None)


def _padded(gradients: Tensor, layer: nn.Module, rows: int) -> Tensor:
    """As many rows as the batch has, where of packed sequences some have ended; else as it is."""
    ended = rows - len(gradients) if type(layer) is RNNLinear else 0
    return nn.functional.pad(gradients, (0, 0, 0, ended)) if ended > 0 else gradients


def _part(found: list[RowGradients], parameter: nn.Parameter, rows: int) -> RowGradients:
    """A parameter's part: the sum over its uses, zero if the loss does not depend on it."""
    if not found:
        return WrittenOut(torch.zeros(rows, parameter.numel(), device=parameter.device))
    for part in found:
        if len(part) != rows:
            raise PrivacyRefusal(
                f"{UNTRAINABLE}: a layer has gradients for {len(part)} records of a batch of "
                f"{rows}; records must be the first dimension of what every layer is given (for "
                "attention and recurrent layers: batch_first=True)"
            )
    if len(found) == 1:
        return found[0]
    return WrittenOut(torch.stack([part.written_out() for part in found]).sum(dim=0))


def _at_least_float32(tensor: Tensor) -> Tensor:
    is_short = tensor.is_floating_point() and tensor.element_size() < 4
    return tensor.float() if is_short else tensor
