"""A model's trainable parameters as one flat vector, in `model.parameters()` order."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Floats32 = npt.NDArray[np.float32]


def flat_parameters(model: nn.Module) -> Floats32:
    """A copy of all trainable parameters, shape (d,), float32."""
    parts = [p.detach().reshape(-1).float().cpu() for p in trainable(model)]
    if not parts:
        return np.zeros(0, np.float32)
    vector: Floats32 = torch.cat(parts).numpy().copy()
    return vector


def load_flat_parameters(model: nn.Module, vector: npt.NDArray[np.floating]) -> None:
    """Write a flat vector, shape (d,), into the model's trainable parameters.

    Raises:
        ValueError: the vector has another length.
    """
    parameters = trainable(model)
    length = sum(p.numel() for p in parameters)
    if vector.shape != (length,):
        raise ValueError(f"expected ({length},) parameters, got {vector.shape}")
    source = torch.from_numpy(np.array(vector, dtype=np.float32))
    with torch.no_grad():
        for parameter, part in zip(
            parameters, torch.split(source, [p.numel() for p in parameters]), strict=True
        ):
            parameter.copy_(part.reshape(parameter.shape))


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training may change."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
