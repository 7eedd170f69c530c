"""A small transformer that reads a text character by character and says of which class it is.

Vaswani et al. 2017, arXiv:1706.03762, with the norms before the layers (Xiong et al. 2020,
arXiv:2002.04745), learned places, and the mean over characters in place of a class token. Made of
`Linear`, `LayerNorm` and `Embedding` alone, each of which has a gradient per record; the batch
stays the first axis from end to end, and nothing is folded into it.
"""

import math

import torch
from torch import Tensor, nn

PADDING = 0
"""The character that stands where a text has ended: it is neither attended to nor averaged."""


class Attention(nn.Module):
    """Every character looks at every other of its own text (multi-head, scaled dot products).

    Opacus' `DPMultiheadAttention` computes the same, and folds heads and batch into one axis.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, is_text: Tensor) -> Tensor:
        """From (B, T, width) to the same, looking only where `is_text`, shape (B, T)."""
        queries, keys, values = (
            self._heads(layer(x)) for layer in (self.query, self.key, self.value)
        )
        likeness = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
        seen = likeness.masked_fill(~is_text[:, None, None, :], -torch.inf).softmax(dim=-1)
        mixed: Tensor = self.out((seen @ values).transpose(-3, -2).flatten(-2))
        return mixed

    def _heads(self, x: Tensor) -> Tensor:
        """From (B, T, width) to (B, heads, T, width / heads)."""
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(-3, -2)


class Block(nn.Module):
    """Attention, then two linear layers, each added to what went in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before_attention, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.before_layers = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, is_text: Tensor) -> Tensor:
        """From (B, T, width) to the same."""
        x = x + self.attention(self.before_attention(x), is_text)
        wide = torch.nn.functional.gelu(self.wide(self.before_layers(x)))
        summed: Tensor = x + self.narrow(wide)
        return summed


class CharacterTransformer(nn.Module):
    """Texts as character codes to one output per class."""

    def __init__(
        self, characters: int, places: int, classes: int, width: int, heads: int, blocks: int
    ) -> None:
        """Draw the initial parameters.

        Args:
            characters: how many codes there are, PADDING among them.
            places: the longest text.
            classes: outputs.
            width: of what is known of a character; a multiple of `heads`.
            heads: of each attention.
            blocks: how many.
        """
        super().__init__()
        self.characters, self.places = nn.Embedding(characters, width), nn.Embedding(places, width)
        # Drawn as wide as the characters, the places would drown them and take far more steps.
        nn.init.normal_(self.places.weight, std=0.1)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """From codes, shape (B, T), whole numbers of any dtype, to (B, classes).

        The first character of a text is never PADDING: there is always something to look at.
        """
        codes = x.long()
        is_text = codes != PADDING
        places = torch.arange(codes.shape[-1], device=codes.device).expand_as(codes)
        known = self.characters(codes) + self.places(places)
        for block in self.blocks:
            known = block(known, is_text)
        weight = is_text[..., None].to(known.dtype)
        mean = (self.norm(known) * weight).sum(dim=-2) / weight.sum(dim=-2)
        output: Tensor = self.head(mean)
        return output
