"""Model and optimizer state after a round, written whole or not at all."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from federation.broadcast import Broadcast
from federation.durable_file import write_atomically
from federation.errors import IntegrityError
from federation.run_folder import RunFolder
from federation.site_state import NOTHING
from federation.task import Floats
from federation.training_choice import Training

_PARAMETERS = "parameters"
_MULTIPLIERS = "mitigation/multipliers"
_INTEGRAL = "mitigation/integral"
_CONTROL = "scaffold/control"
_COUNTED = "sites/counted"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the next round starts from.

    Attributes:
        after_round: 0 before the first.
        parameters: shape (d,), float64.
        optimizer: the server optimizer's state.
        multipliers: of constrained training, as they travel, shape (m,), float64; else empty.
        integral: what they are made of from round to round, of the same shape.
        control: of SCAFFOLD, shape (d,), float64; else empty.
        counted: where sites keep a state: per site the round of its last update that is in the
            parameters, 0 if there is none, float64; else empty.
    """

    after_round: int
    parameters: Floats
    optimizer: Mapping[str, Floats]
    multipliers: Floats = field(default_factory=NOTHING.copy)
    integral: Floats = field(default_factory=NOTHING.copy)
    control: Floats = field(default_factory=NOTHING.copy)
    counted: Floats = field(default_factory=NOTHING.copy)

    def model_bytes(self) -> bytes:
        """What travels to the sites with a round, as `federation.broadcast` has it."""
        return Broadcast(self.parameters, self.multipliers, self.control, self.counted).to_bytes()

    def to_be_judged(self, training: Training) -> "Checkpoint":
        """Without what only training needs: a round that judges the model is sent no control."""
        counted = self.counted if training.local_layers else NOTHING
        return replace(self, control=NOTHING, counted=counted)


def write_checkpoint(folder: RunFolder, checkpoint: Checkpoint) -> str:
    """Write durably; returns the SHA-256 of what was written, 64 hexadecimal digits."""
    arrays = {_PARAMETERS: checkpoint.parameters, **checkpoint.optimizer}
    if len(checkpoint.multipliers):
        arrays |= {_MULTIPLIERS: checkpoint.multipliers, _INTEGRAL: checkpoint.integral}
    kept = {_CONTROL: checkpoint.control, _COUNTED: checkpoint.counted}
    arrays |= {name: array for name, array in kept.items() if len(array)}
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
    multipliers, integral, control, counted = (
        arrays.pop(name, np.zeros(0)) for name in (_MULTIPLIERS, _INTEGRAL, _CONTROL, _COUNTED)
    )
    parameters = arrays.pop(_PARAMETERS)
    return Checkpoint(after_round, parameters, arrays, multipliers, integral, control, counted)
