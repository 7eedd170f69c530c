"""A round of local training of many clients at once, for simulations on one machine.

Each client gets what `train_privately` or `train_without_privacy` would give it, from the same
batches and the same noise: the same steps of the same plan, with gradients that differ in the last
bits of float32 (`tests/privacy/test_batched_training.py` holds them together within 1e-5). What
is gained is that a step of a chunk of clients costs a handful of kernel calls, not a handful for
each client (`privacy.folded_model`).

**Ragged clients.** Batches are padded to the longest of a step; padding counts for nothing. A
client whose plan has fewer steps drops out of the chunk when it is done.

**Numbers that are not finite**, or so large that float32 may have lost them, send that one client
through the code that trains it alone: under privacy for that step, without it for the round. So
rows without a finite gradient contribute zero under privacy, and spoil their own client's model
without it, as they do there; never another client's.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from federation.entropy import Entropy
from privacy.arithmetic import ON_CPU, Arithmetic
from privacy.clipped_sum import clipped_gradient_sum
from privacy.dp_sgd import BATCHES, NOISE, Descent, LocalUpdate, train_without_privacy
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.folded_model import FoldedModel
from privacy.mechanisms.gaussian_noise import gaussian_noise
from privacy.mechanisms.rehearsal_noise import NoiseSampler, noise_rows
from privacy.padded_batches import PaddedBatches, padded_batches
from privacy.per_sample_gradients import Loss
from privacy.plan import DpSgdPlan, NonPrivatePlan
from privacy.poisson_sampling import Draws

Floats = npt.NDArray[np.float64]

Plan = DpSgdPlan | NonPrivatePlan

NUMBERS_IN_CACHE = 2**19
LARGEST_NORM = 1e15
"""Beyond it a row's client is trained alone for that step: float32 might not hold its square."""


@dataclass(frozen=True, slots=True)
class ClientWork:
    """One client's round of training.

    Attributes:
        rows: inputs, shape (N, ...), and targets, shape (N,); N may be 0.
        plan: of this client; those of a chunk are all private or all not.
        entropy: of its batches and noise.
        start: its own initial parameters, shape (d,); None for those of the model.
        correction: added to the gradient of each of its steps, shape (d,), as
            `Descent.correction`, which is the same for all clients; None adds nothing.
    """

    rows: tuple[Tensor, Tensor]
    plan: Plan
    entropy: Entropy
    start: Floats | None = None
    correction: Floats | None = None


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
        self._moved = torch.zeros_like(self._here)
        self._corrections = _corrections(clients, self._here)
        plans = [one.plan for one in clients]
        self._divisors = self._here.new_tensor([[one.expected_batch_size] for one in plans])
        private = [one for one in plans if isinstance(one, DpSgdPlan)]
        clips = [one.max_grad_norm for one in private]
        self._clips = self._here.new_tensor(clips) if clips else None
        self._deviations = [one.noise_multiplier * one.max_grad_norm for one in private]
        self._noises = [one.entropy.child(NOISE) for one in clients] if private else []
        inputs, targets = (_pooled([one.rows[side] for one in clients]) for side in (0, 1))
        self._pool = inputs.to(arithmetic.device), targets.to(arithmetic.device)
        self._losses = self._here.new_zeros(len(clients), dtype=torch.float64)
        self._seen = torch.zeros(len(clients))

    @cached_property
    def _alone(self) -> nn.Module:
        """A model for one client's step on its own."""
        return copy.deepcopy(self._model).to(self._arithmetic.device).train()

    def train(self, descent: Descent) -> list[LocalUpdate]:
        """All steps of all clients."""
        velocity = torch.zeros_like(self._moved) if descent.momentum else self._moved.new_zeros(0)
        for batches in padded_batches([_draws(one) for one in self._clients]):
            sums = self._summed(batches)
            for few in _slices(*sums.shape):
                self._descend(few, sums[few], velocity[few], descent)
        if self._clips is not None:
            return [LocalUpdate(delta, None) for delta in self._moved.double().cpu().numpy()]
        spoilt = set(_places(~torch.isfinite(self._moved.sum(dim=1))))
        means = (self._losses.cpu() / self._seen.clamp(min=1)).tolist()
        return [
            self._trained_alone(at, descent) if at in spoilt else LocalUpdate(delta, mean)
            for at, (delta, mean) in enumerate(
                zip(self._moved.double().cpu().numpy(), means, strict=True)
            )
        ]

    def _descend(self, few: slice, gradient: Tensor, velocity: Tensor, descent: Descent) -> None:
        """One step of some clients, from the sums of their gradients, which are used up."""
        if self._clips is not None:
            noise = noise_rows(
                self._noise_of, gradient.shape[1], self._deviations[few], self._noises[few]
            )
            gradient += torch.from_numpy(noise).to(gradient.device)
        gradient /= self._divisors[few]
        if self._corrections is not None:
            gradient += self._corrections[few]
        moved = self._moved[few]
        descent.step(moved, velocity, gradient)
        torch.add(self._start[few], moved, out=self._here[few])

    def _summed(self, batches: PaddedBatches) -> Tensor:
        """Of each client's batch the gradients, clipped where its plan says so, shape (K, d)."""
        clients, longest = batches.rows.shape
        here = self._here[:clients]
        if not longest:
            return torch.zeros_like(here)
        index, present = batches.rows.to(here.device), batches.present.to(here.device)
        rows = _taken(self._pool[0], index), _taken(self._pool[1], index)
        clips = None if self._clips is None else self._clips[:clients]
        found = self._folded.gradients(here, rows, present, self._loss, clips)
        if found.norms is None:
            self._losses[:clients] += found.losses.sum(dim=1)
            self._seen[:clients] += batches.sizes
            return found.sums
        for at in _places(~(found.norms.amax(dim=1) <= LARGEST_NORM)):  # true for NaN
            found.sums[at] = self._clipped_alone(at, index[at, : batches.sizes[at]])
        return found.sums

    def _clipped_alone(self, at: int, batch: Tensor) -> Tensor:
        """Sum of one client's clipped gradients, by the code that trains it alone."""
        plan = self._clients[at].plan
        assert isinstance(plan, DpSgdPlan)
        load_flat_parameters(self._alone, self._here[at].cpu().numpy())
        rows = self._pool[0][batch], self._pool[1][batch]
        summed, _ = clipped_gradient_sum(
            self._alone, rows, self._loss, plan.max_grad_norm, arithmetic=self._arithmetic
        )
        return torch.from_numpy(summed)

    def _trained_alone(self, at: int, descent: Descent) -> LocalUpdate:
        """The whole round of one client without privacy, by the code that trains it alone."""
        work = self._clients[at]
        assert isinstance(work.plan, NonPrivatePlan)
        load_flat_parameters(self._alone, self._start[at].cpu().numpy())
        if work.correction is not None:
            descent = replace(descent, correction=work.correction)
        return train_without_privacy(
            self._alone, work.rows, self._loss, work.plan, descent, work.entropy, self._arithmetic
        )


def _draws(client: ClientWork) -> Draws:
    plan, coins = client.plan, client.entropy.child(BATCHES)
    return Draws(len(client.rows[1]), plan.sampling_rate, plan.steps, coins)


def _starts(model: nn.Module, clients: Sequence[ClientWork]) -> Tensor:
    """Each client's initial parameters, shape (K, d), float32."""
    shared = torch.from_numpy(flat_parameters(model))
    if all(one.start is None for one in clients):
        return shared.expand(len(clients), -1)
    return torch.stack(
        [
            shared if one.start is None else torch.from_numpy(one.start.astype(np.float32))
            for one in clients
        ]
    )


def _corrections(clients: Sequence[ClientWork], like: Tensor) -> Tensor | None:
    """What is added to each client's gradients, shape (K, d); None if nothing is."""
    if all(one.correction is None for one in clients):
        return None
    table = torch.zeros_like(like)
    for row, one in zip(table, clients, strict=True):
        if one.correction is not None:
            row.copy_(torch.from_numpy(one.correction))
    return table


def _slices(clients: int, parameters: int) -> list[slice]:
    """Clients whose steps are taken together: as many as a processor's caches have room for."""
    few = max(1, NUMBERS_IN_CACHE // max(1, parameters))
    return [slice(at, min(at + few, clients)) for at in range(0, clients, few)]


def _pooled(parts: Sequence[Tensor]) -> Tensor:
    """The rows of all clients, one client's after the other's, without a copy if they lie so."""
    filled = [part for part in parts if part.numel()]
    if not all(map(_follows, filled, filled[1:])):
        return torch.cat(list(parts))
    if not filled:
        return parts[0]
    first, rows = filled[0], sum(map(len, filled))
    return first.as_strided((rows, *first.shape[1:]), first.stride(), first.storage_offset())


def _follows(one: Tensor, other: Tensor) -> bool:
    """Whether the second begins in memory where the first ends, as parts of one tensor do."""
    return (
        one.is_contiguous()
        and other.is_contiguous()
        and one.dtype == other.dtype
        and one.shape[1:] == other.shape[1:]
        and one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
        and one.data_ptr() + one.nbytes == other.data_ptr()
    )


def _taken(pool: Tensor, index: Tensor) -> Tensor:
    """The rows of the pool at `index`, shape (K, B); several times as fast as `pool[index]`."""
    return pool.index_select(0, index.flatten()).view(*index.shape, *pool.shape[1:])


def _places(marked: Tensor) -> list[int]:
    """Where true, shape (K,)."""
    places: list[int] = torch.nonzero(marked).flatten().tolist()
    return places
