"""Layers that compute many clients' rows at once, each client's with its own parameters.

The rows of K clients lie behind one another in the batch axis. A layer without parameters treats
rows one by one and needs no rule. A layer with parameters is computed by one of the functions below
with a client axis of its own: a product of matrices for each client instead of one for each client
and kernel call, which is what makes small models fast.

Backward, each notes what came back to its output and hands on what goes to its input: no gradient
of a parameter is computed here (`privacy.client_row_gradients` does that from what was noted).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, layer_norm, unfold
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from federation.errors import UsageError
from privacy.client_row_gradients import (
    ClientRowGradients,
    Factor,
    OuterProduct,
    OuterProducts,
    Scattered,
    WrittenOut,
)
from privacy.per_sample_gradients import RECURRENT

Parts = dict[str, ClientRowGradients]
"""By the name of a layer's parameter."""


@dataclass(slots=True)
class Use:
    """One pass of all clients through one layer.

    Attributes:
        clients: K.
        own: the layer's parameters by name, each of shape (K, *its own).
        anchor: zero numbers that require a gradient, so that what comes back is noted.
        returned: what came back, once it did, as the function below says.
    """

    clients: int
    own: dict[str, Tensor]
    anchor: Tensor
    returned: Tensor | None = field(default=None, init=False)


Rule = Callable[[nn.Module, Tensor, Use], tuple[Tensor, Callable[[Tensor], Parts]]]
"""Of a layer, its input and its use: the output, and how parts are made of what came back."""


class CannotBatch(UsageError):
    """Many clients' models cannot be trained at once; says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"clients cannot be trained many at once: the model {reason}; train them one by one"
        )


class _Product(torch.autograd.Function):
    """right (K, N, n), weight (K, m, n), bias (K, m) or None: right weight' + bias, (K, N, m)."""

    @staticmethod
    def forward(
        ctx: Any,
        right: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        use: Use,
        _anchor: Tensor,
    ) -> Tensor:
        ctx.use = use
        ctx.save_for_backward(weight)
        if bias is None:
            return torch.bmm(right, weight.transpose(1, 2))
        return torch.baddbmm(bias[:, None], right, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, *returned: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        ctx.use.returned = returned[0]
        into = torch.bmm(returned[0], weight) if ctx.needs_input_grad[0] else None
        return into, None, None, None, None


class _Affine(torch.autograd.Function):
    """normal (K, B, P, C, S), scale and shift (K, C) or None: normal scale + shift."""

    @staticmethod
    def forward(
        ctx: Any,
        normal: Tensor,
        scale: Tensor,
        shift: Tensor | None,
        use: Use,
        _anchor: Tensor,
    ) -> Tensor:
        ctx.use = use
        ctx.save_for_backward(scale)
        output = normal * scale[:, None, None, :, None]
        return output if shift is None else output.add_(shift[:, None, None, :, None])

    @staticmethod
    def backward(ctx: Any, *returned: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = ctx.saved_tensors
        ctx.use.returned = returned[0]
        into = returned[0] * scale[:, None, None, :, None] if ctx.needs_input_grad[0] else None
        return into, None, None, None, None


class _LookUp(torch.autograd.Function):
    """tokens (K, N), table (K, lines, m): (K, N, m)."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, table: Tensor, use: Use, _anchor: Tensor) -> Tensor:
        ctx.use = use
        return table.gather(1, tokens[:, :, None].expand(-1, -1, table.shape[2]))

    @staticmethod
    def backward(ctx: Any, *returned: Tensor) -> tuple[Tensor | None, ...]:
        ctx.use.returned = returned[0]
        return None, None, None, None


def _linear(
    _layer: nn.Module, inputs: Tensor, use: Use
) -> tuple[Tensor, Callable[[Tensor], Parts]]:
    right, output = _product(inputs.reshape(use.clients, -1, inputs.shape[-1]), use)
    rows = len(inputs) // use.clients
    return output.view(*inputs.shape[:-1], -1), lambda back: _product_parts(back, right, rows, use)


def _convolution(
    layer: nn.Module, inputs: Tensor, use: Use
) -> tuple[Tensor, Callable[[Tensor], Parts]]:
    assert isinstance(layer, nn.Conv2d)
    assert not isinstance(layer.padding, str)
    patches = unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    count, rows = patches.shape[2], len(inputs) // use.clients
    patches = patches.transpose(1, 2).reshape(use.clients, rows * count, -1)
    right, output = _product(patches, use)
    sides = [
        (size + 2 * around - spread * (kernel - 1) - 1) // step + 1
        for size, around, spread, kernel, step in zip(
            inputs.shape[2:],
            layer.padding,
            layer.dilation,
            layer.kernel_size,
            layer.stride,
            strict=True,
        )
    ]
    images = output.view(len(inputs), count, -1).transpose(1, 2).reshape(len(inputs), -1, *sides)
    return images, lambda back: _product_parts(back, right, rows, use)


def _product(right: Tensor, use: Use) -> tuple[Tensor, Tensor]:
    """What went in, and the product with bias, as precise as autocast has it."""
    weight, bias = use.own["weight"].flatten(2), use.own.get("bias")
    device = right.device.type
    if torch.is_autocast_enabled(device):
        short = torch.get_autocast_dtype(device)
        right, weight = right.to(short), weight.to(short)
        bias = None if bias is None else bias.to(short)
    return right.detach(), _Product.apply(right, weight, bias, use, use.anchor)  # type: ignore[no-untyped-call]


def _product_parts(back: Tensor, right: Tensor, rows: int, use: Use) -> Parts:
    positions = right.shape[1] // max(rows, 1)
    left, right = back.float(), right.float()
    if positions == 1:
        shared = Factor(left)
        return {"weight": OuterProduct(shared, Factor(right)), "bias": WrittenOut(shared)}
    left, right = (one.reshape(use.clients, rows, positions, -1) for one in (left, right))
    totals = Factor(left.sum(dim=2))
    return {"weight": OuterProducts(left, right), "bias": WrittenOut(totals)}


def _layer_norm(
    layer: nn.Module, inputs: Tensor, use: Use
) -> tuple[Tensor, Callable[[Tensor], Parts]]:
    assert isinstance(layer, nn.LayerNorm)
    normal = layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    width = use.own["weight"][0].numel()
    rows = len(inputs) // use.clients
    return _affine(normal.reshape(use.clients, rows, -1, width, 1), inputs.shape, use)


def _group_norm(
    layer: nn.Module, inputs: Tensor, use: Use
) -> tuple[Tensor, Callable[[Tensor], Parts]]:
    assert isinstance(layer, nn.GroupNorm)
    normal = group_norm(inputs, layer.num_groups, eps=layer.eps)
    rows = len(inputs) // use.clients
    shape = (use.clients, rows, 1, layer.num_channels, -1)
    return _affine(normal.reshape(shape), inputs.shape, use)


def _affine(
    normal: Tensor, shape: torch.Size, use: Use
) -> tuple[Tensor, Callable[[Tensor], Parts]]:
    scale, shift = use.own["weight"].flatten(1), use.own.get("bias")
    shift = None if shift is None else shift.flatten(1)
    output = _Affine.apply(normal, scale, shift, use, use.anchor)  # type: ignore[no-untyped-call]
    seen = normal.detach()

    def parts(back: Tensor) -> Parts:
        return {
            "weight": WrittenOut(Factor((back * seen).sum(dim=(2, 4)).float())),
            "bias": WrittenOut(Factor(back.sum(dim=(2, 4)).float())),
        }

    return output.view(shape), parts


def _embedding(
    layer: nn.Module, inputs: Tensor, use: Use
) -> tuple[Tensor, Callable[[Tensor], Parts]]:
    assert isinstance(layer, nn.Embedding)
    table, lines = use.own["weight"], layer.num_embeddings
    output = _LookUp.apply(inputs.reshape(use.clients, -1), table, use, use.anchor)  # type: ignore[no-untyped-call]
    rows = len(inputs) // use.clients
    tokens = inputs.reshape(use.clients, rows, -1)

    def parts(back: Tensor) -> Parts:
        left = back.float().view(*tokens.shape, -1)
        return {"weight": Scattered(tokens, left, lines)}

    return output.view(*inputs.shape, -1), parts


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.Embedding: _embedding,
}


def require_foldable(model: nn.Module) -> None:
    """Return if a rule covers each layer with trainable parameters, and no other mixes records.

    What no list of layers can know is probed by `privacy.batchable`.

    Raises:
        CannotBatch: names the layer and what is wrong with it.
    """
    for name, layer in model.named_modules():
        reason = _against(layer)
        if reason is not None:
            called = f"layer {name}" if name else "own class"
            raise CannotBatch(f"has a part that {reason}: its {called} ({type(layer).__name__})")


def _against(layer: nn.Module) -> str | None:
    """Why a layer cannot be folded."""
    if isinstance(layer, _BatchNorm):
        return "mixes the records of a batch"
    if isinstance(layer, _DropoutNd) and layer.p > 0:
        return "draws at random, which each client does from its own seed"
    if isinstance(layer, (nn.RNNBase, *RECURRENT)):
        return "is recurrent, and so passes a batch more than once"
    trainable = any(one.requires_grad for one in layer.parameters(recurse=False))
    return _without_rule(layer) if trainable else None


def _without_rule(layer: nn.Module) -> str | None:
    if type(layer) not in RULES:
        return f"has parameters, and is none of {', '.join(kind.__name__ for kind in RULES)}"
    if isinstance(layer, nn.Conv2d) and (
        layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str)
    ):
        return "convolves in groups, or pads with something else than a number of zeros"
    if isinstance(layer, nn.Embedding) and _is_special(layer):
        return "is an embedding with padding_idx, max_norm, scale_grad_by_freq or sparse"
    return None


def _is_special(layer: nn.Embedding) -> bool:
    limited = layer.padding_idx is not None or layer.max_norm is not None
    return limited or layer.scale_grad_by_freq or layer.sparse
