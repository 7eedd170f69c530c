"""A model that computes many clients at once, by folding the client axis into the batch axis.

The model's own `forward` runs unchanged on the rows of all clients; only layers with trainable
parameters are replaced, in a copy, by `privacy.folded_layers`. One forward and one backward pass
then serve a chunk of clients, however small their batches.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor, nn

from privacy.arithmetic import Arithmetic
from privacy.client_row_gradients import ClientRowGradients
from privacy.folded_layers import RULES, CannotBatch, Parts, Use, require_foldable
from privacy.per_sample_gradients import Loss, per_example


@dataclass(frozen=True, slots=True)
class ClientGradients:
    """Of one step of K clients.

    Attributes:
        sums: per client the sum of its rows' gradients, clipped if so asked, shape (K, d), float32.
        losses: of each row, shape (K, B), zero where there is none.
        norms: of each row's gradient if it was clipped, shape (K, B), float32.
    """

    sums: Tensor
    losses: Tensor
    norms: Tensor | None


@dataclass(slots=True)
class _Pass:
    """What one forward pass of all clients needs and notes.

    Attributes:
        own: each client's trainable parameters by name, each of shape (K, *its own).
        anchor: zero numbers that require a gradient.
        uses: of its layers with parameters, and how gradients are made of what came back.
    """

    clients: int
    own: dict[str, Tensor]
    anchor: Tensor
    uses: list[tuple[str, Use, Callable[[Tensor], Parts]]] = field(default_factory=list)


class FoldedModel:
    """A model's copy, for `gradients` of many clients; not for two threads at once."""

    def __init__(self, model: nn.Module, arithmetic: Arithmetic) -> None:
        """Replace the layers.

        Raises:
            CannotBatch: a layer or parameter has no rule; says which.
        """
        require_foldable(model)
        self._model = copy.deepcopy(model).to(arithmetic.device).train()
        self._arithmetic = arithmetic
        self._shapes = _trainable_shapes(self._model)
        self._lengths = [shape.numel() for shape in self._shapes.values()]
        self._pass: _Pass | None = None
        for name, layer in self._model.named_modules():
            if any(one.requires_grad for one in layer.parameters(recurse=False)):
                layer.forward = self._folded(name, layer)
        tied = set(_trainable_names(self._model, remove_duplicate=False)) - set(self._shapes)
        if tied:
            raise CannotBatch(f"uses one parameter in two layers: {', '.join(sorted(tied))}")
        self._model.requires_grad_(requires_grad=False)

    def gradients(
        self,
        parameters: Tensor,
        rows: tuple[Tensor, Tensor],
        present: Tensor,
        loss: Loss,
        clips: Tensor | None,
    ) -> ClientGradients:
        """Of each client's rows at its own parameters.

        Args:
            parameters: shape (K, d), float32, in `flat_parameters` order.
            rows: inputs, shape (K, B, ...), and targets, shape (K, B, ...), B >= 1.
            present: which rows are not padding, shape (K, B), bool.
            loss: per example.
            clips: L2 bound of each client's rows' gradients, shape (K,), float32; None for no clip.

        Raises:
            CannotBatch: a layer was used in a way that no rule covers.
            ValueError: `loss` is not per example.
        """
        clients, count = present.shape
        inputs, targets = (one.flatten(0, 1) for one in rows)
        anchor = torch.zeros(0, device=parameters.device, requires_grad=True)
        noted = self._pass = _Pass(clients, self._own_of(parameters), anchor)
        try:
            with torch.enable_grad():
                with self._arithmetic.forward_pass():
                    output = self._model(inputs)
                losses = per_example(loss, output.float(), targets).view(clients, count)
                if losses.requires_grad:
                    counted = present.to(losses.dtype)
                    torch.autograd.grad(losses, [anchor], counted, allow_unused=True)
        finally:
            self._pass = None
        with torch.no_grad():
            sums = torch.empty_like(parameters)
            norms = self._sum(noted, clips, sums)
            losses = torch.where(present, losses.detach(), 0)
        return ClientGradients(sums, losses, norms)

    def _sum(self, noted: _Pass, clips: Tensor | None, into: Tensor) -> Tensor | None:
        """The norms of rows, if they are clipped; their sums are written to shape (K, d)."""
        found = self._parts(noted, once=clips is not None)
        weights = norms = None
        if clips is not None:
            of_parts = [part.norms() for part in chain.from_iterable(found.values())]
            norms = torch.linalg.vector_norm(torch.stack(of_parts), dim=0)
            weights = clips[:, None] / torch.maximum(norms, clips[:, None])
        parts_into = torch.split(into, self._lengths, dim=1)
        for sums, of_uses in zip(parts_into, found.values(), strict=True):
            if len(of_uses) == 1:
                of_uses[0].sums(weights, sums)
                continue
            sums.zero_()
            for part in of_uses:
                part.sums(weights, of_use := torch.empty_like(sums))
                sums.add_(of_use)
        return norms

    def _parts(self, noted: _Pass, *, once: bool) -> dict[str, list[ClientRowGradients]]:
        """By parameter, what each use of its layer adds to its gradients."""
        found: dict[str, list[ClientRowGradients]] = {name: [] for name in self._shapes}
        for layer, use, parts_of in noted.uses:
            if use.returned is None:
                continue
            for key, part in parts_of(use.returned).items():
                of_parameter = found.get(_joined(layer, key))
                if of_parameter is not None:
                    of_parameter.append(part)
                    if once and len(of_parameter) > 1:
                        raise CannotBatch(
                            f"passes twice through its layer {layer}, and rows are clipped"
                        )
        return found

    def _folded(self, name: str, layer: nn.Module) -> Callable[[Tensor], Tensor]:
        rule, frozen = RULES[type(layer)], dict(layer.named_parameters(recurse=False))
        names = [_joined(name, key) for key in frozen]

        def forward(inputs: Tensor) -> Tensor:
            noted = self._pass
            assert noted is not None
            if len(inputs) % noted.clients:
                raise CannotBatch(
                    f"gives its layer {name} {len(inputs)} records, which is no whole number for "
                    f"each of {noted.clients} clients"
                )
            own = {
                key: noted.own[full] if full in noted.own else _shared(one, noted.clients)
                for (key, one), full in zip(frozen.items(), names, strict=True)
            }
            use = Use(noted.clients, own, noted.anchor)
            output, parts_of = rule(layer, inputs, use)
            noted.uses.append((name, use, parts_of))
            return output

        return forward

    def _own_of(self, parameters: Tensor) -> dict[str, Tensor]:
        """Each client's part of the flat vectors by name."""
        parts = torch.split(parameters, self._lengths, dim=1)
        return {
            name: part.view(len(parameters), *shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }


def _shared(frozen: Tensor, clients: int) -> Tensor:
    """A parameter that is not trained: the same for all clients."""
    return frozen.detach().expand(clients, *frozen.shape)


def _trainable_shapes(model: nn.Module) -> dict[str, torch.Size]:
    """By name, in `flat_parameters` order."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            if parameter.dtype != torch.float32:
                raise CannotBatch(f"has a parameter {name} of {parameter.dtype}, not float32")
            found[name] = parameter.shape
    return found


def _trainable_names(model: nn.Module, *, remove_duplicate: bool) -> list[str]:
    named = model.named_parameters(remove_duplicate=remove_duplicate)
    return [name for name, parameter in named if parameter.requires_grad]


def _joined(layer: str, key: str) -> str:
    return f"{layer}.{key}" if layer else key
