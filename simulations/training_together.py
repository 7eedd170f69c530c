"""The training step of simulated agents whose process trains many sites at once.

Each agent asks for its own update as ever; the first of a chunk to ask has the chunk trained, and
the others find theirs. What an agent then does with it, from clipping to masking, is its own.
"""

import hashlib
from collections import OrderedDict
from functools import cache
from pathlib import Path

import numpy as np

from client.contribution import Start, Workbench, trained_alone
from federation.sum_groups import sum_group_of
from privacy.dp_sgd import LocalUpdate
from simulations.chunk_player import ChunkPlayer
from simulations.chunk_workers import open_player

CHUNKS_KEPT = 8
"""Of a round; agents of a chunk live in one process, and ask one after the other."""


class TrainingTogether:
    """Updates of the sites of one run, a chunk at a time."""

    def __init__(self, player: ChunkPlayer) -> None:
        self._player = player
        self._trained: OrderedDict[tuple[object, ...], dict[str, LocalUpdate]] = OrderedDict()

    def __call__(self, bench: Workbench, start: Start, round_: int, charge: int) -> LocalUpdate:
        """What a round of training changes at one site."""
        if charge != 1 or not self._player.engine.is_batched:
            return trained_alone(bench, start, round_, charge)
        parameters = np.concatenate([start.given.parameters, start.given.multipliers])
        group = sum_group_of(bench.agreement, round_, bench.site)
        chunk = next(one for one in self._player.chunks(group.sites) if bench.site in one)
        key = (round_, chunk, hashlib.sha256(parameters.tobytes()).digest())
        if key not in self._trained:
            self._trained[key] = self._player.updates(chunk, parameters, round_)
            while len(self._trained) > CHUNKS_KEPT:
                self._trained.popitem(last=False)
        return self._trained[key][bench.site]


@cache
def training_together(path: Path) -> TrainingTogether:
    """Of the run in a folder; one per process."""
    return TrainingTogether(open_player(path))
