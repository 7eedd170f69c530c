"""A run's layers that stay at the site, as a file; with the run's model they make a whole one."""

from collections.abc import Callable

from safetensors.torch import save
from torch import Tensor

KeepLayers = Callable[[str, bytes], None]
"""Takes a run's id, and the layers as a safetensors file."""


def layers_file(tensors: dict[str, Tensor]) -> bytes:
    """A safetensors file of the layers, every tensor under the name that it has in the model."""
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def no_layers_kept(_run: str, _layers: bytes) -> None:
    """Keep nothing: no run of this agent has layers that stay."""
