"""What a site keeps of its own training from round to round, and in which runs it may.

A site keeps two things, each only where the agreement says so: its SCAFFOLD control (see
`federation.control_variates`), and the values of layers that stay at the site (see
`federation.local_layers`). Both are functions of the site's own steps, so whoever protects these
steps protects them; and of no use to anybody else, so they never leave the site.

`federation.training_choice` says in which runs a site may keep them.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from federation.errors import IntegrityError
from federation.task import Floats

NOTHING: Floats = np.zeros(0)
"""What is kept where nothing is."""


@dataclass(frozen=True, slots=True)
class SiteState:
    """What one site keeps after a round; both arrays are empty where nothing is kept.

    Attributes:
        control: the site's SCAFFOLD control, one number per shared parameter, float64.
        local: values of the parameters that stay at the site, in the model's order, float64.
    """

    control: Floats
    local: Floats

    def to_bytes(self) -> bytes:
        """Both arrays, little-endian float64."""
        return np.concatenate([self.control, self.local]).astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, controls: int, locals_: int) -> Self:
        """Undo `to_bytes`, for as many numbers of either sort.

        Raises:
            IntegrityError: it has another length.
        """
        if len(data) != 8 * (controls + locals_):
            raise IntegrityError(
                f"the state kept of a round has {len(data)} bytes, expected "
                f"{8 * (controls + locals_)}: it is of another model"
            )
        numbers = np.frombuffer(data, "<f8").astype(np.float64)
        return cls(numbers[:controls], numbers[controls:])
