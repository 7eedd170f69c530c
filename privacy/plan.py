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

MOST_SUMMED_ROWS = 2**24
SUMMING_SLACK = 2.0**-12
"""By how much more than exact arithmetic, relatively, one row may move a sum of up to so many.

In `clipped_gradient_sum` of n rows, h <= 512 + n / 512 float64 additions lie above each of them, so
a sum of n vectors of norm up to C is off by at most h 2**-53 n C (Higham 2002, Accuracy and
Stability of Numerical Algorithms, section 4.2): for n = 2**24 by 2**-13.9 C, and the sums of
neighbouring batches together by twice that. Scaling by a constant adds a few roundings.
"""


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
class ClippedStepPlan:
    """One step of DP-SGD without noise, for a sum of sites that carries the noise.

    It has no event: without the noise of the sum it protects nobody
    (`privacy.shared_record_noise`). There is one step, as a second would start from parameters
    that no noise has hidden; so momentum, which starts at zero, and a proximal term, which is zero
    at the global model, change nothing.

    Attributes:
        sampling_rate: q in (0, 1]; each record joins the batch with this probability.
        learning_rate: > 0.
        max_grad_norm: L2 bound of one record's gradient, > 0.
        expected_batch_size: divisor of the sum, > 0, the same at all sites: q times the public
            number of rows of the largest. So updates are weighted by rows, and one record of any
            site counts alike.

    Raises:
        ConfigError: a bound above is broken.
    """

    sampling_rate: float
    learning_rate: float
    max_grad_norm: float
    expected_batch_size: float

    def __post_init__(self) -> None:
        _check_sampling(self.sampling_rate, 1, self.expected_batch_size)
        _require_positive("learning_rate", self.learning_rate)
        _require_positive("max_grad_norm", self.max_grad_norm)

    @property
    def record_norm(self) -> float:
        """How far one record of the batch moves the update, L2; rounding of the sum included."""
        exact = self.learning_rate * self.max_grad_norm / self.expected_batch_size
        return exact * (1 + SUMMING_SLACK)


def clipped_step_plan(
    local_steps: int,
    sampling_rate: float,
    learning_rate: float,
    max_grad_norm: float,
    largest_public_rows: int,
) -> ClippedStepPlan:
    """The step of every site in a round of shared noise.

    Args:
        local_steps: as configured; 1.
        sampling_rate: in (0, 1].
        learning_rate: > 0.
        max_grad_norm: > 0.
        largest_public_rows: of all sites' declared numbers of rows, >= 1.

    Raises:
        ConfigError: more than one step, or a bound above is broken.
    """
    if local_steps != 1:
        raise ConfigError(
            "training.local_steps",
            local_steps,
            "1, where sites share the noise of records: it is added to the sum of one step",
            "set it to 1 and raise run.rounds, or let each site add its whole noise",
        )
    divisor = sampling_rate * largest_public_rows
    return ClippedStepPlan(sampling_rate, learning_rate, max_grad_norm, divisor)


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
