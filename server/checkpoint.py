"""Model and optimizer state after a round, written whole or not at all."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from federation.durable_file import write_atomically
from federation.errors import IntegrityError
from federation.run_folder import RunFolder
from federation.task import Floats

_PARAMETERS = "parameters"
_MULTIPLIERS = "mitigation/multipliers"
_INTEGRAL = "mitigation/integral"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the next round starts from.

    Attributes:
        after_round: 0 before the first.
        parameters: shape (d,), float64.
        optimizer: the server optimizer's state.
        multipliers: of constrained training, as they travel, shape (m,), float64; else empty.
        integral: what they are made of from round to round, of the same shape.
    """

    after_round: int
    parameters: Floats
    optimizer: Mapping[str, Floats]
    multipliers: Floats = field(default_factory=lambda: np.zeros(0))
    integral: Floats = field(default_factory=lambda: np.zeros(0))

    def model_bytes(self) -> bytes:
        """The parameters and any multipliers as they travel: little-endian float32."""
        return np.concatenate([self.parameters, self.multipliers]).astype("<f4").tobytes()


def write_checkpoint(folder: RunFolder, checkpoint: Checkpoint) -> str:
    """Write durably; returns the SHA-256 of what was written, 64 hexadecimal digits."""
    arrays = {_PARAMETERS: checkpoint.parameters, **checkpoint.optimizer}
    if len(checkpoint.multipliers):
        arrays |= {_MULTIPLIERS: checkpoint.multipliers, _INTEGRAL: checkpoint.integral}
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_atomically(folder.checkpoint(checkpoint.after_round), content)
    return hashlib.sha256(content).hexdigest()


def read_checkpoint(folder: RunFolder, after_round: int, sha256: str) -> Checkpoint:
    """Read what `write_checkpoint` wrote.

    Raises:
        IntegrityError: it is missing or damaged.
    """
    path = folder.checkpoint(after_round)
    try:
        content = path.read_bytes()
        arrays = load(content)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"the checkpoint {path} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise IntegrityError(f"the checkpoint {path} is not the one that rounds.jsonl speaks of")
    if _PARAMETERS not in arrays:
        raise IntegrityError(f"the checkpoint {path} holds no parameters")
    multipliers, integral = (arrays.pop(name, np.zeros(0)) for name in (_MULTIPLIERS, _INTEGRAL))
    return Checkpoint(after_round, arrays.pop(_PARAMETERS), arrays, multipliers, integral)
