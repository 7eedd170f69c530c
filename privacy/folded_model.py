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
        squared_norms: of each row's gradient if it was clipped, shape (K, B), float64.
    """

    sums: Tensor
    losses: Tensor
    squared_norms: Tensor | None


@dataclass(frozen=True, slots=True)
class _Segment:
    """Where a trainable parameter lies in the flat vector."""

    name: str
    begin: int
    end: int
    shape: torch.Size


@dataclass(slots=True)
class _Pass:
    """What one forward pass of all clients notes."""

    parameters: Tensor
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
        self._segments = _segments(self._model)
        self._pass: _Pass | None = None
        self.parameters = max((one.end for one in self._segments.values()), default=0)
        for name, layer in self._model.named_modules():
            if any(one.requires_grad for one in layer.parameters(recurse=False)):
                layer.forward = self._folded(name, layer)
        tied = set(_trainable_names(self._model, remove_duplicate=False)) - set(self._segments)
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
            clips: L2 bound of each client's rows' gradients, shape (K,), float64; None for no clip.

        Raises:
            CannotBatch: a layer was used in a way that no rule covers.
            ValueError: `loss` is not per example.
        """
        clients, count = present.shape
        inputs, targets = (one.flatten(0, 1) for one in rows)
        anchor = torch.zeros(0, device=parameters.device, requires_grad=True)
        noted = self._pass = _Pass(parameters, anchor)
        try:
            with torch.enable_grad():
                with self._arithmetic.forward_pass():
                    output = self._model(inputs)
                losses = per_example(loss, output.float(), targets).view(clients, count)
                losses = torch.where(present, losses, 0)
                if losses.requires_grad:
                    torch.autograd.grad(losses.sum(), [anchor], allow_unused=True)
        finally:
            self._pass = None
        with torch.no_grad():
            sums, squared = self._sums(noted, present, clips)
        return ClientGradients(sums, losses.detach(), squared)

    def _sums(
        self, noted: _Pass, present: Tensor, clips: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        found = self._parts(noted, once=clips is not None)
        weights = squared = None
        if clips is not None:
            squared = torch.zeros(present.shape, dtype=torch.float64, device=present.device)
            for part in chain.from_iterable(found.values()):
                squared += part.squared_norms()
            longest = torch.maximum(squared.sqrt(), clips[:, None])
            weights = (clips[:, None] / longest).float()
        sums = torch.empty_like(noted.parameters)
        for segment, of_uses in found.items():
            into = sums[:, segment.begin : segment.end]
            into.zero_() if not of_uses else of_uses[0].sums(weights, into)
            for part in of_uses[1:]:
                part.sums(weights, again := torch.empty_like(into))
                into += again
        return sums, squared

    def _parts(self, noted: _Pass, *, once: bool) -> dict[_Segment, list[ClientRowGradients]]:
        """By parameter, what each use of its layer adds to its gradients."""
        found: dict[_Segment, list[ClientRowGradients]] = {
            one: [] for one in self._segments.values()
        }
        for layer, use, parts_of in noted.uses:
            if use.returned is None:
                continue
            for key, part in parts_of(use.returned).items():
                segment = self._segments.get(_joined(layer, key))
                if segment is not None:
                    found[segment].append(part)
                    if once and len(found[segment]) > 1:
                        raise CannotBatch(
                            f"passes twice through its layer {layer}, and rows are clipped"
                        )
        return found

    def _folded(self, name: str, layer: nn.Module) -> Callable[[Tensor], Tensor]:
        rule, frozen = RULES[type(layer)], dict(layer.named_parameters(recurse=False))

        def forward(inputs: Tensor) -> Tensor:
            noted = self._pass
            assert noted is not None
            clients = len(noted.parameters)
            if len(inputs) % clients:
                raise CannotBatch(
                    f"gives its layer {name} {len(inputs)} records, which is no whole number for "
                    f"each of {clients} clients"
                )
            own = {key: self._own(name, key, one, noted) for key, one in frozen.items()}
            use = Use(clients, own, noted.anchor)
            output, parts_of = rule(layer, inputs, use)
            noted.uses.append((name, use, parts_of))
            return output

        return forward

    def _own(self, layer: str, key: str, frozen: Tensor, noted: _Pass) -> Tensor:
        """A parameter of each client: its part of the flat vector, or the one that all share."""
        clients = len(noted.parameters)
        segment = self._segments.get(_joined(layer, key))
        if segment is None:
            return frozen.detach().expand(clients, *frozen.shape)
        return noted.parameters[:, segment.begin : segment.end].view(clients, *segment.shape)


def _segments(model: nn.Module) -> dict[str, _Segment]:
    begin, found = 0, {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            if parameter.dtype != torch.float32:
                raise CannotBatch(f"has a parameter {name} of {parameter.dtype}, not float32")
            end = begin + parameter.numel()
            found[name] = _Segment(name, begin, end, parameter.shape)
            begin = end
    return found


def _trainable_names(model: nn.Module, *, remove_duplicate: bool) -> list[str]:
    named = model.named_parameters(remove_duplicate=remove_duplicate)
    return [name for name, parameter in named if parameter.requires_grad]


def _joined(layer: str, key: str) -> str:
    return f"{layer}.{key}" if layer else key
