"""What travels to every site with a round: the model, and what the round's training needs besides.

One vector of float32, in this order: the parameters; the multipliers of constrained training; the
coordinator's SCAFFOLD control; and per site the round of its last update that is in the model.

The last part is there for sites that keep a state of their own. A site cannot know by itself
whether a sum it took part in was ever opened, nor whether the model was stepped by it; so it is
told, and goes on from what it kept of that very round (0: from the beginning).
"""

from dataclasses import dataclass, field

import numpy as np

from federation.agreement import Agreement
from federation.mitigated_task import multiplier_count
from federation.round_layout import RoundKind
from federation.site_state import NOTHING
from federation.task import Floats, Task


@dataclass(frozen=True, slots=True)
class Broadcast:
    """The parts, float64; each is empty where the round needs none.

    Attributes:
        parameters: that are shared, shape (d,).
        multipliers: of constrained training.
        control: of SCAFFOLD, shape (d,).
        counted: per site of the agreement, in its order: the round of its last update that is in
            the parameters; 0 if there is none.
    """

    parameters: Floats
    multipliers: Floats = field(default_factory=NOTHING.copy)
    control: Floats = field(default_factory=NOTHING.copy)
    counted: Floats = field(default_factory=NOTHING.copy)

    def to_bytes(self) -> bytes:
        """As it travels: little-endian float32."""
        parts = [self.parameters, self.multipliers, self.control, self.counted]
        return np.concatenate(parts).astype("<f4").tobytes()


@dataclass(frozen=True, slots=True)
class BroadcastShape:
    """How many numbers each part of a broadcast has."""

    parameters: int
    multipliers: int = 0
    control: int = 0
    counted: int = 0

    @property
    def length(self) -> int:
        """Of the whole vector."""
        return self.parameters + self.multipliers + self.control + self.counted

    def split(self, numbers: Floats) -> Broadcast:
        """The parts of a vector as it arrived.

        Raises:
            ValueError: it has another length.
        """
        if numbers.shape != (self.length,):
            raise ValueError(f"expected ({self.length},) numbers, got {numbers.shape}")
        lengths = [self.parameters, self.multipliers, self.control, self.counted]
        return Broadcast(*np.split(numbers, np.cumsum(lengths)[:-1]))


def broadcast_shape(
    agreement: Agreement, task: Task, parameters: int, kind: RoundKind
) -> BroadcastShape:
    """What travels in a round of a run.

    Args:
        agreement: of the run.
        task: as it is trained.
        parameters: of the model that are shared.
        kind: of the round; only training needs a control, and judging only what stays at the sites.
    """
    training, trains = agreement.training, kind is RoundKind.TRAIN
    is_told = training.keeps_state if trains else bool(training.local_layers)
    return BroadcastShape(
        parameters=parameters,
        multipliers=multiplier_count(task),
        control=parameters if training.is_scaffold and trains else 0,
        counted=len(agreement.sites) if is_told else 0,
    )
