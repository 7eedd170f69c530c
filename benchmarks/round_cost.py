"""What one secure-sum round costs its two ends, in CPU seconds by stage."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RoundCost:
    """One round.

    Attributes:
        client: per stage, CPU seconds of a surviving client, the mean over them.
        first_client: the same of a run's first round, where it costs another; else as `client`.
        server: per stage, CPU seconds.
        upload: bytes that a surviving client sends in the whole round, the mean over them.
        vector_message: bytes of the one message of them that holds its vector.
        word_bits: bits a coordinate of the masked vector has on the wire.
        mean: shape (d,): the survivors' vectors, as the round gives their mean.
    """

    client: Mapping[str, float]
    first_client: Mapping[str, float]
    server: Mapping[str, float]
    upload: float
    vector_message: float
    word_bits: int
    mean: Floats

    @property
    def client_seconds(self) -> float:
        """CPU seconds of a surviving client, all stages."""
        return sum(self.client.values())

    @property
    def first_client_seconds(self) -> float:
        """CPU seconds of a surviving client in a run's first round, all stages."""
        return sum(self.first_client.values())

    @property
    def server_seconds(self) -> float:
        """CPU seconds of the server, all stages."""
        return sum(self.server.values())
