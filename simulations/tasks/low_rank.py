"""Low-rank adapters (LoRA; Hu et al. 2021, arXiv:2106.09685): few parameters train, few travel."""

import math

import torch
from torch import Tensor, nn

SCALE = 2.0
"""alpha / rank of the paper: what the adapters' product is multiplied by."""


class LowRank(nn.Module):
    """A frozen linear layer and, beside it, two small ones whose product starts at zero."""

    def __init__(self, frozen: nn.Linear, rank: int) -> None:
        super().__init__()
        self.frozen = frozen.requires_grad_(requires_grad=False)
        self.down = nn.Linear(frozen.in_features, rank, bias=False)
        self.up = nn.Linear(rank, frozen.out_features, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """What the frozen layer says, and what was learned since."""
        adapted: Tensor = self.frozen(x) + SCALE * self.up(self.down(x))
        return adapted


def adapt(model: nn.Module, rank: int) -> None:
    """Freeze all of a model, and put an adapter of this rank beside each of its linear layers."""
    model.requires_grad_(requires_grad=False)
    _adapt_layers(model, rank)


def _adapt_layers(parent: nn.Module, rank: int) -> None:
    for name, layer in parent.named_children():
        if isinstance(layer, nn.Linear):
            setattr(parent, name, LowRank(layer, rank))
        else:
            _adapt_layers(layer, rank)


def adapters(model: nn.Module) -> dict[str, Tensor]:
    """What travels of an adapted model, by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def merged(layer: LowRank) -> Tensor:
    """The weight of the one linear layer that computes the same."""
    return torch.add(layer.frozen.weight, layer.up.weight @ layer.down.weight, alpha=SCALE)
