"""The clients of the simulation benchmark, trained together by `privacy.batched_training`.

As many Poisson batches as an epoch has, of 32 rows on average, with the divisor, clip and noise of
the peers. Noise is the rehearsal's, which, like the peers', is no more than float32 of a seed;
`exact` takes what a deployed site adds.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from simulation_work import (
    BATCH,
    CLIP,
    LEARNING_RATE,
    NOISE_MULTIPLIER,
    SEED,
    Work,
    initial_model,
    row_count,
    rows_of,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from federation.entropy import SeededEntropy
from privacy.arithmetic import ON_CPU, Arithmetic
from privacy.batched_training import ClientWork, train_together
from privacy.dp_sgd import Descent
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.mechanisms.gaussian_noise import gaussian_noise
from privacy.mechanisms.rehearsal_noise import rehearsal_noise
from privacy.plan import DpSgdPlan, NonPrivatePlan

Floats = npt.NDArray[np.float64]

CHUNK = 64
"""Clients that are trained together; research found more to gain nothing on a processor."""

NEVER_ACCOUNTED = 1e-5


def per_row(output: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy per row."""
    return cross_entropy(output, targets, reduction="none")


def weighted_mean(rows: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """Of vectors, shape (d,), float64."""
    total, weighted = np.zeros_like(rows[0]), np.empty_like(rows[0])
    for row, weight in zip(rows, weights, strict=True):
        total += np.multiply(row, weight, out=weighted)
    return total / sum(weights)


class Cohort:
    """All clients and the model that they train."""

    def __init__(self, work: Work, arithmetic: Arithmetic = ON_CPU, chunk: int = CHUNK) -> None:
        """Nothing is trained yet; clients with as many steps are trained together."""
        self._work, self._arithmetic = work, arithmetic
        self._model: nn.Module = initial_model(work)
        # The order of the parameters is that of the model's state: it has no buffers.
        self.parameters = torch.from_numpy(flat_parameters(self._model))
        order = sorted(range(work.clients), key=row_count, reverse=True)
        # In one place, in the order in which they are trained: so no round has to put them there.
        parts = zip(*(rows_of(work.model, client) for client in order), strict=True)
        sides = [torch.cat(part).split([*map(row_count, order)]) for part in parts]
        self._rows = dict(zip(order, zip(*sides, strict=True), strict=True))
        self.chunks = [order[at : at + chunk] for at in range(0, len(order), chunk)]
        exact = work.mode == "dp-exact"
        self._noise_of = gaussian_noise if exact else rehearsal_noise

    @property
    def steps_per_round(self) -> int:
        """Steps of SGD of all clients."""
        return sum(-(-row_count(client) // BATCH) for client in range(self._work.clients))

    def updates(self, round_: int, clients: Sequence[int]) -> list[Floats]:
        """Per client of a chunk, local minus global parameters, shape (d,)."""
        seed = SeededEntropy(SEED).child("round", round_)
        asked = [
            ClientWork(rows, self._plan(len(rows[1])), seed.child("client", client))
            for client, rows in ((k, self._rows[k]) for k in clients)
        ]
        load_flat_parameters(self._model, self.parameters.numpy())
        descent = Descent(LEARNING_RATE)
        trained = train_together(
            self._model, asked, per_row, descent, self._arithmetic, self._noise_of
        )
        return [update.delta for update in trained]

    def step(self, round_: int) -> None:
        """A round of FedAvg: the mean of the clients' parameters, weighted by their rows."""
        total, rows = np.zeros(len(self.parameters)), 0
        for chunk in self.chunks:
            weights = [row_count(client) for client in chunk]
            total += sum(weights) * weighted_mean(self.updates(round_, chunk), weights)
            rows += sum(weights)
        self.parameters = (self.parameters.double() + torch.from_numpy(total / rows)).float()

    def _plan(self, rows: int) -> DpSgdPlan | NonPrivatePlan:
        steps = -(-rows // BATCH)
        if self._work.mode == "plain":
            return NonPrivatePlan(1 / steps, steps, rows / steps)
        return DpSgdPlan(1 / steps, steps, NOISE_MULTIPLIER, CLIP, rows / steps, NEVER_ACCOUNTED)
