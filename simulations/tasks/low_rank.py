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

    def joined(self) -> nn.Linear:
        """The one linear layer that computes the same."""
        frozen = self.frozen
        has_bias = frozen.bias is not None
        layer = nn.Linear(frozen.in_features, frozen.out_features, bias=has_bias)
        with torch.no_grad():
            layer.weight.copy_(frozen.weight + SCALE * self.up.weight @ self.down.weight)
            if has_bias:
                layer.bias.copy_(frozen.bias)
        return layer


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
