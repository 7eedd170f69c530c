"""A round of local training of many clients at once, for simulations on one machine.

Each client gets what `train_privately` or `train_without_privacy` would give it, from the same
batches and the same noise: the same steps of the same plan, with gradients that differ in the last
bits of float32 (`tests/privacy/test_batched_training.py` holds them together within 1e-5). What
is gained is that a step of a chunk of clients costs a handful of kernel calls, not a handful for
each client (`privacy.folded_model`).

**Ragged clients.** Batches are padded to the longest of a step; padding counts for nothing. A
client whose plan has fewer steps drops out of the chunk when it is done.

**Numbers that are not finite**, or so large that float32 may have lost them, send that one client
through the code that trains it alone, for that step. So rows without a finite gradient contribute
zero under privacy, and spoil their own client's model without it, as they do there; never another
client's.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from federation.entropy import Entropy
from privacy.arithmetic import ON_CPU, Arithmetic
from privacy.clipped_sum import clipped_gradient_sum
from privacy.dp_sgd import Descent, LocalUpdate, gradient_sum
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.folded_model import ClientGradients, FoldedModel
from privacy.mechanisms.gaussian_noise import gaussian_noise
from privacy.mechanisms.rehearsal_noise import NoiseSampler
from privacy.per_sample_gradients import Loss
from privacy.plan import DpSgdPlan, NonPrivatePlan
from privacy.poisson_sampling import poisson_sample

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

Plan = DpSgdPlan | NonPrivatePlan

NUMBERS_IN_CACHE = 2**17
LARGEST_SQUARED_NORM = 1e30
"""Beyond it a row's client is trained alone for that step: factors of float32 could overflow."""


@dataclass(frozen=True, slots=True)
class ClientWork:
    """One client's round of training.

    Attributes:
        rows: inputs, shape (N, ...), and targets, shape (N,); N may be 0.
        plan: of this client; those of a chunk are all private or all not.
        entropy: of its batches and noise.
        start: its own initial parameters, shape (d,); None for those of the model.
    """

    rows: tuple[Tensor, Tensor]
    plan: Plan
    entropy: Entropy
    start: Floats | None = None


def train_together(
    model: nn.Module,
    clients: Sequence[ClientWork],
    loss: Loss,
    descent: Descent,
    arithmetic: Arithmetic = ON_CPU,
    noise_of: NoiseSampler = gaussian_noise,
) -> list[LocalUpdate]:
    """Train one chunk of clients; the model is left as it was.

    Last bits of a client's update depend on which clients are trained with it: chunks must be the
    same from run to run (`privacy.client_chunks`).

    Args:
        model: global model, which `privacy.batchable.cannot_batch` has no reason against.
        clients: whom to train.
        loss: per example, shape (B,).
        descent: learning rate and the like.
        arithmetic: of gradients and, on its device, of steps in float64; noise is drawn on the
            processor.
        noise_of: the sampler of noise; the one `train_privately` is given gives the same values.

    Returns:
        the clients' updates, in their order.

    Raises:
        CannotBatch: the model cannot be trained like this.
        ValueError: private and other plans are mixed, or `loss` is not per example.
    """
    if not clients:
        return []
    if len({type(one.plan) for one in clients}) > 1:
        raise ValueError("one chunk has plans with and without privacy: train them apart")
    order = sorted(range(len(clients)), key=lambda at: -clients[at].plan.steps)
    chunk = _Chunk(model, [clients[at] for at in order], loss, arithmetic, noise_of)
    updates = chunk.train(descent)
    return [
        update for _, update in sorted(zip(order, updates, strict=True), key=lambda one: one[0])
    ]


class _Chunk:
    """Clients in training, those with most steps first."""

    def __init__(
        self,
        model: nn.Module,
        clients: list[ClientWork],
        loss: Loss,
        arithmetic: Arithmetic,
        noise_of: NoiseSampler,
    ) -> None:
        self._model, self._clients, self._loss = model, clients, loss
        self._arithmetic, self._noise_of = arithmetic, noise_of
        self._folded = FoldedModel(model, arithmetic)
        self._start = _starts(model, clients).to(arithmetic.device)
        self._here = self._start.clone(memory_format=torch.contiguous_format)
        self._rounded = self._here.float()
        self._velocity = torch.zeros_like(self._here)
        self._lengths = [len(one.rows[1]) for one in clients]
        self._offsets = np.concatenate([[0], np.cumsum(self._lengths)])
        plans = [one.plan for one in clients]
        self._divisors = self._here.new_tensor([[one.expected_batch_size] for one in plans])
        clips = [one.max_grad_norm for one in plans if isinstance(one, DpSgdPlan)]
        self._clips = self._here.new_tensor(clips) if clips else None
        inputs, targets = (torch.cat([one.rows[side] for one in clients]) for side in (0, 1))
        self._pool = inputs.to(arithmetic.device), targets.to(arithmetic.device)
        self._losses, self._seen = np.zeros(len(clients)), np.zeros(len(clients), np.int64)

    @cached_property
    def _alone(self) -> nn.Module:
        """A model for one client's step on its own."""
        return copy.deepcopy(self._model).to(self._arithmetic.device).train()

    def train(self, descent: Descent) -> list[LocalUpdate]:
        """All steps of all clients."""
        for number in range(self._clients[0].plan.steps):
            active = [one for one in self._clients if one.plan.steps > number]
            steps = [one.entropy.child("step", number) for one in active]
            batches = [
                poisson_sample(length, one.plan.sampling_rate, step.child("batch"))
                for length, one, step in zip(self._lengths, active, steps, strict=False)
            ]
            sums = self._summed(batches)
            for few in _slices(len(active), self._folded.parameters, self._arithmetic.device):
                self._descend(few, sums[few], steps[few], descent)
        private = isinstance(self._clients[0].plan, DpSgdPlan)
        means = self._losses / np.maximum(self._seen, 1)
        deltas = self._here.sub_(self._start).cpu().numpy()
        return [
            LocalUpdate(delta, None if private else float(mean))
            for delta, mean in zip(deltas, means, strict=True)
        ]

    def _descend(
        self, few: slice, sums: Tensor, steps: Sequence[Entropy], descent: Descent
    ) -> None:
        """One step of some clients, from the sums of their gradients."""
        plans = [one.plan for one in self._clients[few]]
        gradient = sums.double()
        if isinstance(plans[0], DpSgdPlan):
            gradient += self._noise(plans, steps).to(gradient.device)
        gradient /= self._divisors[few]
        here, velocity = descent.step(
            self._here[few], self._start[few], self._velocity[few], gradient
        )
        self._here[few] = here
        self._rounded[few] = here
        if descent.momentum:
            self._velocity[few] = velocity

    def _noise(self, plans: Sequence[Plan], steps: Sequence[Entropy]) -> Tensor:
        noise = np.empty((len(plans), self._folded.parameters))
        for plan, step, row in zip(plans, steps, noise, strict=True):
            assert isinstance(plan, DpSgdPlan)
            deviation = plan.noise_multiplier * plan.max_grad_norm
            row[:] = self._noise_of(len(row), deviation, step.child("noise"))
        return torch.from_numpy(noise)

    def _summed(self, batches: Sequence[Indices]) -> Tensor:
        """Of each client's batch the gradients, clipped where its plan says so, shape (K, d)."""
        here, longest = self._rounded[: len(batches)], max(len(batch) for batch in batches)
        if not longest:
            return torch.zeros_like(here)
        index, present = _padded(batches, self._offsets, longest)
        index, present = index.to(here.device), present.to(here.device)
        rows = _taken(self._pool[0], index), _taken(self._pool[1], index)
        clips = None if self._clips is None else self._clips[: len(batches)]
        found = self._folded.gradients(here, rows, present, self._loss, clips)
        sums, losses = found.sums, found.losses.sum(dim=1).cpu().numpy()
        apart = _lost(found)
        if apart:
            sums = sums.double()
        for at in apart:
            sums[at], losses[at] = self._trained_alone(at, here[at], batches[at])
        self._losses[: len(here)] += losses
        self._seen[: len(here)] += [len(batch) for batch in batches]
        return sums

    def _trained_alone(self, at: int, here: Tensor, batch: Indices) -> tuple[Tensor, float]:
        """Sum of gradients and of losses of one client, by the code that trains it alone."""
        work, chosen = self._clients[at], torch.from_numpy(batch)
        rows = work.rows[0][chosen], work.rows[1][chosen]
        load_flat_parameters(self._alone, here.cpu().numpy())
        if isinstance(work.plan, DpSgdPlan):
            clip = work.plan.max_grad_norm
            summed, _ = clipped_gradient_sum(
                self._alone, rows, self._loss, clip, arithmetic=self._arithmetic
            )
            return torch.from_numpy(summed), 0.0
        summed, losses = gradient_sum(self._alone, rows, self._loss, self._arithmetic)
        return torch.from_numpy(summed), losses


def _starts(model: nn.Module, clients: Sequence[ClientWork]) -> Tensor:
    """Each client's initial parameters, shape (K, d), float64."""
    shared = torch.from_numpy(flat_parameters(model).astype(np.float64))
    if all(one.start is None for one in clients):
        return shared.expand(len(clients), -1)
    # Through float32, which the parameters of a model are.
    own = [
        shared if one.start is None else torch.from_numpy(one.start.astype(np.float32)).double()
        for one in clients
    ]
    return torch.stack(own)


def _slices(clients: int, parameters: int, device: torch.device) -> list[slice]:
    """Clients whose steps are taken together: on a processor, as many as its caches have room for.

    Each number is its own client's, so that this changes no bit.
    """
    few = clients if device.type != "cpu" else max(1, NUMBERS_IN_CACHE // max(1, parameters))
    return [slice(at, min(at + few, clients)) for at in range(0, clients, few)]


def _taken(pool: Tensor, index: Tensor) -> Tensor:
    """The rows of the pool at `index`, shape (K, B); several times as fast as `pool[index]`."""
    return pool.index_select(0, index.flatten()).view(*index.shape, *pool.shape[1:])


def _lost(found: ClientGradients) -> list[int]:
    """Clients with a number that is not finite, or may not have been computed well."""
    if found.squared_norms is None:
        kept = torch.isfinite(found.sums.sum(dim=1))
    else:
        kept = found.squared_norms.amax(dim=1) <= LARGEST_SQUARED_NORM  # false for NaN
    lost: list[int] = torch.nonzero(~kept).flatten().tolist()
    return lost


def _padded(batches: Sequence[Indices], offsets: Indices, longest: int) -> tuple[Tensor, Tensor]:
    """Where each client's batch lies in the pool of all rows, and which of it is no padding.

    A client's padding is its own first row of the batch, so that numbers that are not finite stay
    with the client that has them; without a row in the batch, any row.

    Returns:
        shape (K, B), int64; and shape (K, B), bool.
    """
    index = np.zeros((len(batches), longest), np.int64)
    present = np.zeros((len(batches), longest), np.bool_)
    for line, real, batch, offset in zip(index, present, batches, offsets, strict=False):
        if len(batch):
            line[:] = batch[0] + offset
            line[: len(batch)] = batch + offset
            real[: len(batch)] = True
    return torch.from_numpy(index), torch.from_numpy(present)
