"""Where a model is computed, and how precisely its forward pass is."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

from federation.errors import ConfigError

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How gradients are computed; noise is drawn elsewhere, and from nothing that is here.

    Attributes:
        device: of the model and of each batch.
        forward: type that the forward pass is computed in, by autocast, where torch holds that safe
            for an operation; None for the parameters' own. The loss is computed in float32,
            gradients per row are float32 and their norms and sums float64, whatever it is.
    """

    device: torch.device
    forward: torch.dtype | None = None

    def forward_pass(self) -> AbstractContextManager[object]:
        """A context in which the model is called."""
        return torch.autocast(self.device.type, self.forward, enabled=self.forward is not None)


ON_CPU = Arithmetic(torch.device("cpu"))
"""In float32, which is the same on every run."""


def arithmetic_on(device: Device) -> Arithmetic:
    """What a site trains with on its processor, or on its GPU with a forward pass in bfloat16.

    Raises:
        ConfigError: torch sees no GPU.
    """
    if device == "cpu":
        return ON_CPU
    if not torch.cuda.is_available():
        raise ConfigError(
            "device",
            device,
            '"cpu" where torch sees no GPU',
            "install a driver and a build of torch for CUDA, or train on the processor",
        )
    return Arithmetic(torch.device("cuda"), torch.bfloat16)
