"""A small residual network whose layers treat images one by one.

He et al. 2016, arXiv:1512.03385, with group normalisation (Wu and He 2018, arXiv:1803.08494) in the
place of batch normalisation, whose statistics mix the records of a batch, so that clipping could
not bound what one of them does. Means are taken over the quarters of an image and not over the
whole: with the few steps that privacy allows, that learns far sooner. Weight standardisation, which
De et al. 2022 (arXiv:2204.13650) put beside it, is left out: a weight that is computed from a
parameter is none that Opacus' rule for convolutions knows, and every image would be differentiated
through the whole layer by itself.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

CHANNELS_PER_GROUP = 4


def residual_network(colours: int, classes: int, widths: tuple[int, ...]) -> nn.Module:
    """One residual block per width, each after the first at half the resolution.

    Args:
        colours: of the images, shape (B, colours, height, width).
        classes: outputs.
        widths: channels of each block, multiples of CHANNELS_PER_GROUP.
    """
    first = widths[0]
    blocks = [
        ResidualBlock(before, width, stride=1 if place == 0 else 2)
        for place, (before, width) in enumerate(zip((first, *widths), widths, strict=False))
    ]
    return nn.Sequential(
        _convolution(colours, first, 1), _norm(first), nn.ReLU(), *blocks,
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * widths[-1], classes),
    )  # fmt: skip


class ResidualBlock(nn.Module):
    """Two convolutions, added to what went in."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.first, self.norm_first = _convolution(before, width, stride), _norm(width)
        self.second, self.norm_second = _convolution(width, width, 1), _norm(width)
        same = before == width and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(before, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """From (B, before, H, W) to (B, width, H / stride, W / stride)."""
        hidden = relu(self.norm_first(self.first(x)))
        return relu(self.norm_second(self.second(hidden)) + self.skip(x))


def _convolution(before: int, width: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(before, width, 3, stride, padding=1, bias=False)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(width // CHANNELS_PER_GROUP, width)
