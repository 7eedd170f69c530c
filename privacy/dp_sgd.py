"""One round of local training: DP-SGD with Opacus' per-sample gradients, or plain SGD.

Abadi et al. 2016, arXiv:1607.00133, Algorithm 1, with Poisson batches, and with the fixed public
divisor of the plan. Opacus supplies the per-sample gradients and says which layers cannot have
them; sampler, clip, noise and divisor are built here from the one plan, because Opacus takes the
sampling rate and the divisor from the private number of rows (Opacus issues 571 and 819).
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from federation.entropy import Entropy
from federation.errors import PrivacyRefusal
from federation.torch_seed import seed_torch
from privacy.arithmetic import ON_CPU, Arithmetic
from privacy.clipped_sum import clipped_gradient_sum
from privacy.flat_parameters import flat_parameters, load_flat_parameters, trainable
from privacy.mechanisms.gaussian_noise import gaussian_noise
from privacy.mechanisms.rehearsal_noise import NoiseSampler
from privacy.model_validation import require_private_layers
from privacy.per_sample_gradients import Loss, per_example
from privacy.plan import MOST_SUMMED_ROWS, ClippedStepPlan, DpSgdPlan, NonPrivatePlan
from privacy.poisson_sampling import poisson_sample

Floats = npt.NDArray[np.float64]
Vectors = TypeVar("Vectors", Floats, Tensor)

BATCHES, NOISE = "batches", "noise"
"""Streams of a round that its steps read one after the other: a stream for each step would cost
more to derive than a small model's step takes."""


@dataclass(frozen=True, slots=True)
class Descent:
    """How a gradient becomes a step; nothing in it touches privacy.

    Attributes:
        learning_rate: > 0.
        momentum: in [0, 1); the buffer starts at zero each round and stays at the site.
        proximal_mu: >= 0; pulls towards the global model (Li et al. 2020, arXiv:1812.06127).
        correction: added to the gradient of every step, shape (d,), the same in all steps of a
            round, such as SCAFFOLD's; None adds nothing.
    """

    learning_rate: float
    momentum: float = 0.0
    proximal_mu: float = 0.0
    correction: Floats | None = field(default=None, compare=False)

    def step(self, moved: Vectors, velocity: Vectors, gradient: Vectors) -> None:
        """One step, in place: of one model, or of many in rows.

        Args:
            moved: local minus global parameters, shape (..., d).
            velocity: of the step before, alike, zero at first; unused without momentum.
            gradient: at the local parameters, alike, noised where that is agreed; used up.
        """
        if self.proximal_mu:
            gradient += self.proximal_mu * moved
        if self.correction is not None:
            gradient += _alike(self.correction, gradient)
        if self.momentum:
            velocity *= self.momentum
            velocity += gradient
            gradient = velocity
        if isinstance(moved, Tensor):
            moved.sub_(gradient, alpha=self.learning_rate)
        else:
            moved -= self.learning_rate * gradient


def _alike(correction: Floats, gradient: Vectors) -> Vectors:
    """The correction where the gradient is, and of its type."""
    if isinstance(gradient, Tensor):
        return torch.from_numpy(correction).to(gradient)
    return correction


@dataclass(frozen=True, slots=True)
class LocalUpdate:
    """What one round of training changed.

    Attributes:
        delta: local minus global parameters, shape (d,), float64, in `flat_parameters` order.
        mean_loss: mean training loss per sampled row in nats; None under DP, where it would be a
            second release of the same rows that no event accounts for.
    """

    delta: Floats
    mean_loss: float | None


def train_privately(  # noqa: PLR0913, PLR0917 - what a round of training is made of
    model: nn.Module,
    rows: tuple[Tensor, Tensor],
    loss: Loss,
    plan: DpSgdPlan,
    descent: Descent,
    entropy: Entropy,
    arithmetic: Arithmetic = ON_CPU,
    noise_of: NoiseSampler | None = None,
) -> LocalUpdate:
    """Run `plan.steps` steps of DP-SGD from the model's parameters; the model is left as it was.

    Args:
        model: global model.
        rows: inputs, shape (N, ...), and targets, shape (N,).
        loss: per example, shape (B,).
        plan: sampling rate, steps, clip, noise and divisor.
        descent: learning rate and the like.
        entropy: of batches, noise and dropout layers.
        arithmetic: of gradients; noise and steps are computed on the processor in float64.
        noise_of: None for `gaussian_noise`; only a simulation, which releases nothing, may name
            another.

    Raises:
        PrivacyRefusal: the model has a layer that mixes records, such as BatchNorm.
        ValueError: `loss` is not per example.
    """
    require_private_layers(model)
    noise_of, noises = noise_of or gaussian_noise, entropy.child(NOISE)

    def noised_gradient(local: nn.Module, batch: Tensor) -> Floats:
        taken = rows[0][batch], rows[1][batch]
        clipped, _ = clipped_gradient_sum(
            local, taken, loss, plan.max_grad_norm, arithmetic=arithmetic
        )
        deviation = plan.noise_multiplier * plan.max_grad_norm
        noise = noise_of(len(clipped), deviation, noises)
        noised: Floats = (clipped + noise) / plan.expected_batch_size
        return noised

    there = copy.deepcopy(model).to(arithmetic.device)
    delta = _descend(there, len(rows[1]), plan, descent, entropy, noised_gradient)
    return LocalUpdate(delta, None)


def train_for_shared_noise(
    model: nn.Module,
    rows: tuple[Tensor, Tensor],
    loss: Loss,
    plan: ClippedStepPlan,
    entropy: Entropy,
    arithmetic: Arithmetic = ON_CPU,
) -> LocalUpdate:
    """The one step of `train_privately` WITHOUT its noise: for `shared_record_noise`, nobody else.

    The update is weighted already, by the divisor that is the same at all sites. One record of the
    batch moves it by at most `plan.record_norm`, if the gradient of each other record is what it
    would be without that one. (A kernel may block a batch of another size in another way, which
    changes last bits of float32; no sum of gradients escapes that.)

    Args:
        model: global model; left as it was.
        rows: inputs, shape (N, ...), and targets, shape (N,), N <= MOST_SUMMED_ROWS.
        loss: per example, shape (B,).
        plan: sampling rate, learning rate, clip and divisor.
        entropy: of the batch and dropout layers.
        arithmetic: of gradients.

    Raises:
        PrivacyRefusal: the model has a layer that mixes records; or too many rows.
        ValueError: `loss` is not per example.
    """
    require_private_layers(model)
    require_summable(len(rows[1]))
    local = copy.deepcopy(model).to(arithmetic.device).train()
    with _torch_seeded(entropy.child("torch"), local):
        coins = entropy.child(BATCHES)
        batch = torch.from_numpy(poisson_sample(len(rows[1]), plan.sampling_rate, coins))
        taken = rows[0][batch], rows[1][batch]
        clipped, _ = clipped_gradient_sum(
            local, taken, loss, plan.max_grad_norm, arithmetic=arithmetic
        )
    return LocalUpdate(-plan.learning_rate / plan.expected_batch_size * clipped, None)


def require_summable(rows: int) -> None:
    """Return if it is bounded how floating point rounds a sum over so many rows.

    Raises:
        PrivacyRefusal: there are more than MOST_SUMMED_ROWS.
    """
    if rows > MOST_SUMMED_ROWS:
        raise PrivacyRefusal(
            f"{rows} rows: the rounding of a sum is bounded for {MOST_SUMMED_ROWS} at most"
        )


def train_without_privacy(  # noqa: PLR0913, PLR0917 - as above
    model: nn.Module,
    rows: tuple[Tensor, Tensor],
    loss: Loss,
    plan: NonPrivatePlan,
    descent: Descent,
    entropy: Entropy,
    arithmetic: Arithmetic = ON_CPU,
) -> LocalUpdate:
    """The same steps on the same Poisson batches, without clip and noise: no guarantee at all.

    Raises:
        ValueError: `loss` is not per example.
    """
    total, seen = 0.0, 0

    def gradient(local: nn.Module, batch: Tensor) -> Floats:
        nonlocal total, seen
        summed, losses = gradient_sum(local, (rows[0][batch], rows[1][batch]), loss, arithmetic)
        total, seen = total + losses, seen + len(batch)
        mean: Floats = summed / plan.expected_batch_size
        return mean

    there = copy.deepcopy(model).to(arithmetic.device)
    delta = _descend(there, len(rows[1]), plan, descent, entropy, gradient)
    return LocalUpdate(delta, total / max(seen, 1))


def gradient_sum(
    model: nn.Module,
    rows: tuple[Tensor, Tensor],
    loss: Loss,
    arithmetic: Arithmetic = ON_CPU,
) -> tuple[Floats, float]:
    """Sum of the rows' gradients, shape (d,), float64, and of their losses; zero without rows.

    Args:
        model: on the device of `arithmetic`.
        rows: inputs, shape (N, ...), and targets, shape (N,); N may be 0.
        loss: per example, shape (B,).
        arithmetic: of the gradients.

    Raises:
        ValueError: `loss` is not per example.
    """
    parameters = trainable(model)
    if not len(rows[1]):
        return np.zeros(sum(p.numel() for p in parameters)), 0.0
    inputs, targets = (one.to(arithmetic.device) for one in rows)
    with arithmetic.forward_pass():
        output = model(inputs)
    losses = per_example(loss, output.float(), targets)
    parts = torch.autograd.grad(losses.sum(), parameters)
    flat: Floats = torch.cat([part.reshape(-1) for part in parts]).double().cpu().numpy()
    return flat, float(losses.detach().sum())


def _descend(
    model: nn.Module,
    rows: int,
    plan: DpSgdPlan | NonPrivatePlan,
    descent: Descent,
    entropy: Entropy,
    gradient_of: Callable[[nn.Module, Tensor], Floats],
) -> Floats:
    """Gradient steps on the model, a copy of the caller's own; local minus global parameters."""
    local = model.train()
    start = flat_parameters(local).astype(np.float64)
    moved, velocity = np.zeros_like(start), np.zeros_like(start)
    coins = entropy.child(BATCHES)
    with _torch_seeded(entropy.child("torch"), local):
        for _ in range(plan.steps):
            batch = poisson_sample(rows, plan.sampling_rate, coins)
            load_flat_parameters(local, start + moved)
            descent.step(moved, velocity, gradient_of(local, torch.from_numpy(batch)))
    return moved


@contextmanager
def _torch_seeded(entropy: Entropy, model: nn.Module) -> Iterator[None]:
    """Dropout layers draw from torch's global generator: seed it for this round, then restore."""
    devices = {parameter.device for parameter in model.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(devices=list(devices)):
        seed_torch(int.from_bytes(entropy.bytes(8), "little"))
        yield
