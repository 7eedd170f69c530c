"""What one site does in one round of training, as one public, immutable object.

Sampler, clip, noise and accounting event are all built from it, so they cannot disagree (the idea
is jax_privacy's execution plan). Nothing in it depends on the private number of rows: a sampling
rate or divisor taken from the data gives neighbouring datasets different mechanisms (Opacus issue
819).
"""

import math
from dataclasses import dataclass

from federation.errors import ConfigError
from privacy.event import NonPrivate, PoissonSampledGaussian


@dataclass(frozen=True, slots=True)
class DpSgdPlan:
    """DP-SGD (Abadi et al. 2016, arXiv:1607.00133) with Poisson sampling.

    Unit of privacy: one record. Neighbouring relation: add or remove one record.

    Attributes:
        sampling_rate: q in (0, 1]; each record joins each step's batch with this probability.
        steps: steps of one round, >= 1.
        noise_multiplier: standard deviation of the noise on the sum of clipped gradients, in units
            of `max_grad_norm`; > 0.
        max_grad_norm: L2 bound of one record's gradient, > 0.
        expected_batch_size: the fixed public divisor of the noised sum, > 0: q times the public
            number of rows.
        delta: in (0, 1).

    Raises:
        ConfigError: a bound above is broken.
    """

    sampling_rate: float
    steps: int
    noise_multiplier: float
    max_grad_norm: float
    expected_batch_size: float
    delta: float

    def __post_init__(self) -> None:
        _check_sampling(self.sampling_rate, self.steps, self.expected_batch_size)
        _require_positive("noise_multiplier", self.noise_multiplier)
        _require_positive("max_grad_norm", self.max_grad_norm)
        if not 0 < self.delta < 1:
            raise ConfigError("plan.delta", self.delta, "a number in (0, 1)")

    def event(self) -> PoissonSampledGaussian:
        """What one round costs."""
        return PoissonSampledGaussian(self.sampling_rate, self.noise_multiplier, self.steps)


@dataclass(frozen=True, slots=True)
class NonPrivatePlan:
    """SGD with the same Poisson batches and divisor, no clipping and no noise: no guarantee."""

    sampling_rate: float
    steps: int
    expected_batch_size: float

    def __post_init__(self) -> None:
        _check_sampling(self.sampling_rate, self.steps, self.expected_batch_size)

    def event(self) -> NonPrivate:
        """What one round costs: everything. A ledger that has room for it says so for ever."""
        return NonPrivate()


def _check_sampling(sampling_rate: float, steps: int, expected_batch_size: float) -> None:
    if not 0 < sampling_rate <= 1:
        raise ConfigError("plan.sampling_rate", sampling_rate, "a number in (0, 1]")
    if steps < 1:
        raise ConfigError("plan.steps", steps, "a whole number >= 1")
    _require_positive("expected_batch_size", expected_batch_size)


def _require_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"plan.{name}", value, "a finite number > 0")
