"""Record-level noise that sites share: each adds a part of it before the secure sum.

Where each site adds its whole DP-SGD noise to its own gradients, the sum of n sites carries n times
the noise that hides a record from whoever sees sums only. Here a round has one step
(`privacy.plan.ClippedStepPlan`); each site's clipped gradients are cut, rotated and rounded to
integers, discrete Gaussian noise of variance z^2 S / honest is added, and the secure sum opens
nothing but the total. The unit of privacy is one record, added or removed. It rests on more than a
site: on the secure sum, and on the noise of `honest` sites, its own among them, that do not tell it
to whoever reads the sum.

**How far one record moves the integers.** S bounds the square of

    record_norm / granularity + sqrt(d) + 2 E.

A record of the batch moves the weighted update by at most `record_norm`. Clipping to `update_clip`
and cutting coordinates are projections onto convex sets, rotation is orthogonal, further zeros add
nothing: none of them moves two vectors apart. Rounding a number to the nearest integer moves it by
at most 1/2, so two of them apart by at most 1 more, and a vector of d by sqrt(d). The shift is a
vector of integers, so its squared norm is one, and S is rounded down.

E is what floating point does to one vector of norm up to c = update_clip / granularity <= 2^30. In
units of c 2^-53, to first order: `clip_l2` scales by a norm that is too large by at most twice
`norm_rounding`, 2 (d + 8), and by five roundings more; each step of the rotation adds log2(d) + 3
(`privacy.mechanisms.hadamard`), and there are two. Together 2 d + 2 log2(d) + 27; E takes 2 d + 2
log2(d) + 64. Cuts, the division by a power of two and the rounding to integers are exact, and so is
all that follows.

What that costs is in `privacy.sampled_discrete_gaussian`. Further honest shares only add noise.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from federation.errors import ConfigError
from federation.ring_vector import LONGEST, RING_BITS
from privacy import noised_sum
from privacy.accountant import RDP_ORDERS, cost
from privacy.discrete_gaussian_divergence import Sensitivity, tau
from privacy.event import DistributedDiscreteGaussian, PoissonSampledDistributedGaussian
from privacy.mechanisms.clipping import clip_l2
from privacy.mechanisms.hadamard import rotate
from privacy.plan import ClippedStepPlan
from privacy.sampled_discrete_gaussian import renyi_divergence

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LEAST_NORM = 2.0**-400
"""Of vectors: squares of these, and of their inverses, are far from the ends of float64."""

MOST_DISTANCE = 1e-6
"""d tau: how far the law of the noise may be from one discrete Gaussian; usual plans have 0."""


@dataclass(frozen=True, slots=True)
class SharedRecordNoisePlan(noised_sum.NoisedSum):
    """How the records of all sites are hidden by noise that the sites share.

    Attributes:
        dimension: d, coordinates of the sum, those of the noise meter included, >= 1.
        step: of every site; sampling rate and record norm are its.
        update_clip: largest L2 norm of a site's weighted update, at least `step.record_norm`.
        granularity: gamma, a power of two, from update_clip / 2^30 to update_clip.
        noise_multiplier: z > 0, deviation of the noise of `honest` shares over the sensitivity of
            the rounded sum to one record.
        sites: n, most contributors to one sum, >= 1.
        honest: fewest shares that hide a record, 1 to n: the quorum less the colluders.
        ring_bits: b; sums are modulo 2^b.
        dropouts: see `NoisedSum`.

    Raises:
        ConfigError: a bound above is broken, the deviation of a share, or of a part of it that may
            be removed, is not from 1/2 to 2^24 units, d tau is above MOST_DISTANCE, or the signals
            and the noise of `sites` contributors do not fit the ring.
    """

    dimension: int
    step: ClippedStepPlan
    update_clip: float
    granularity: float
    noise_multiplier: float
    sites: int
    honest: int
    ring_bits: int
    dropouts: int = 0

    def __post_init__(self) -> None:
        _check_wishes(
            self.dimension,
            self.step,
            self.update_clip,
            self.noise_multiplier,
            self.sites,
            self.honest,
        )
        if not noised_sum.is_granularity(self.granularity, self.update_clip):
            raise ConfigError(
                "plan.granularity",
                self.granularity,
                "a power of two from update_clip / 2^30 to update_clip",
            )
        self.require_possible("privacy.shared_noise", "privacy.noise_multiplier")
        if self._distance > MOST_DISTANCE:
            raise ConfigError(
                "privacy.noise_multiplier",
                self.noise_multiplier,
                "shares of the noise that deviate by a few steps, not "
                f"{math.sqrt(self.share_variance):.3g}",
                "raise it, or choose a finer granularity",
            )

    @property
    def sensitivity(self) -> Sensitivity:
        """How far one record of the batch moves the integer sum; the argument is above."""
        norm = self.update_clip / self.granularity
        terms = 2 * self.dimension + 2 * math.log2(self.dimension) + 64
        rounded = self.step.record_norm / self.granularity + math.sqrt(self.dimension)
        moved = rounded + 2 * norm * terms * 2.0**-53
        return Sensitivity(self.dimension, math.floor(moved**2 * (1 + 2**-40)))

    @property
    def signal_norm(self) -> float:
        """`update_clip`."""
        return self.update_clip

    @property
    def _distance(self) -> float:
        return self.dimension * max(map(tau, self.event().honest_noise()))

    @property
    def inflation(self) -> float:
        """By how much, relatively, rounding raises the sensitivity, and so the noise."""
        return self.sensitivity.l2 * self.granularity / self.step.record_norm - 1

    @property
    def overhead(self) -> float:
        """By how much, relatively, the Renyi curve exceeds that of continuous noise, at most.

        One discrete Gaussian has the moments of a continuous one: it is what a sum of several adds.
        """
        rate, sensitivity = self.step.sampling_rate, self.sensitivity
        noises = self.event().honest_noise()
        target = [self.share_variance * self.honest]
        ours = [renyi_divergence(RDP_ORDERS, rate, sensitivity, noise) for noise in noises]
        one = renyi_divergence(RDP_ORDERS, rate, sensitivity, target)
        return float(np.max(np.max(ours, axis=0) / one)) - 1

    def event(self) -> PoissonSampledDistributedGaussian:
        """What one round costs each record, with `honest` shares of noise."""
        return PoissonSampledDistributedGaussian(
            self.step.sampling_rate,
            self.noise_multiplier,
            self.dimension,
            self.sensitivity.squared_l2,
            self.honest,
            count=1,
            dropouts=self.dropouts,
        )

    def epsilon(self, delta: float, rounds: int = 1) -> float:
        """Epsilon of so many rounds at `delta`, by the accountant.

        Raises:
            ValueError: delta is not in (0, 1).
            PrivacyRefusal: rounds are not from 1 to 10^9.
        """
        return cost([replace(self.event(), count=rounds)], delta).epsilon


def choose_shared_plan(  # noqa: PLR0913, PLR0917 - what a sum is made of
    dimension: int,
    step: ClippedStepPlan,
    update_clip: float,
    noise_multiplier: float,
    sites: int,
    honest: int,
    dropouts: int = 0,
) -> SharedRecordNoisePlan:
    """The plan with the fewest ring bits at which being discrete costs under 1 %.

    Within those bits the granularity is the finest that fits.

    Args:
        dimension: of the sum, the noise meter's coordinates included.
        step: of every site.
        update_clip: largest L2 norm of a site's weighted update.
        noise_multiplier: of the sum that the fewest contributors make.
        sites: most contributors.
        honest: fewest contributors less the colluders among them.
        dropouts: see `NoisedSum`.

    Raises:
        ConfigError: a value out of range, or no ring holds such a sum.
    """
    _check_wishes(dimension, step, update_clip, noise_multiplier, sites, honest)

    def fewest_bits(clip: float) -> SharedRecordNoisePlan | None:
        def of(bits: int, granularity: float) -> SharedRecordNoisePlan:
            return SharedRecordNoisePlan(
                dimension, step, clip, granularity, noise_multiplier, sites, honest, bits, dropouts
            )

        return noised_sum.fewest_bits(of, clip)

    if plan := fewest_bits(update_clip):
        return plan
    shorter = update_clip / 2
    while shorter >= step.record_norm:
        if fewest_bits(shorter):
            raise ConfigError(
                "training.update_clip",
                update_clip,
                f"at most {shorter:g}, so that {sites} updates fit {RING_BITS[-1]} bits in steps "
                f"fine enough for one record, which moves them by {step.record_norm:.3g}",
                "lower it: learning_rate * max_grad_norm cuts off hardly any step",
            )
        shorter /= 2
    raise ConfigError(
        "privacy.noise_multiplier",
        noise_multiplier,
        f"a sum of {dimension} coordinates over {sites} sites that fits {RING_BITS[-1]} bits",
        "choose another, or use a smaller model",
    )


def _check_wishes(
    dimension: int,
    step: ClippedStepPlan,
    update_clip: float,
    noise_multiplier: float,
    sites: int,
    honest: int,
) -> None:
    if not 1 <= dimension <= LONGEST:
        raise ConfigError("plan.dimension", dimension, "a whole number from 1 to 2^32 - 1")
    if not (LEAST_NORM < step.record_norm <= update_clip < 1 / LEAST_NORM):  # also catches NaN
        raise ConfigError(
            "training.update_clip",
            update_clip,
            f"a finite number, at least {step.record_norm:g}, by which one record moves an update",
            "raise it, or lower training.learning_rate",
        )
    if not 0 < noise_multiplier < math.inf:
        raise ConfigError("privacy.noise_multiplier", noise_multiplier, "a finite number > 0")
    if not 1 <= honest <= sites:
        raise ConfigError(
            "federation.quorum",
            honest,
            f"less the colluders, from 1 to the number of sites, {sites}",
            "raise the quorum above the number of colluding sites",
        )


def rounded_gradient(plan: SharedRecordNoisePlan, update: Floats, rotation_seed: bytes) -> Integers:
    """One site's update, clipped, rotated and rounded, without noise: shape (d,), int64.

    Args:
        plan: agreed by all sites.
        update: of `train_for_shared_noise`, and zeros for the noise meter; shape (d,), float64.
        rotation_seed: 32 public bytes, the same at all sites, fresh for each sum.

    Raises:
        ValueError: another shape or dtype, or a coordinate that is not finite.
    """
    if update.shape != (plan.dimension,) or update.dtype != np.float64:
        raise ValueError(f"expected ({plan.dimension},) float64, got {update.shape} {update.dtype}")
    rotated = rotate(clip_l2(update, plan.update_clip)[0], rotation_seed)
    rotated /= plan.granularity
    np.clip(rotated, -plan.largest_code, plan.largest_code, out=rotated)
    return np.rint(rotated).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Exposure:
    """What somebody could learn about one record who does not know so many shares of the noise.

    Attributes:
        shares: of the noise in what is seen.
        noise_multiplier: of those shares.
        epsilon: of all rounds; infinite where nothing is proven.
    """

    shares: int
    noise_multiplier: float
    epsilon: float


def exposure(plan: SharedRecordNoisePlan, shares: int, rounds: int, delta: float) -> Exposure:
    """What the rounds give away to whoever sees sums with so many unknown shares of noise.

    `plan.honest` shares hide a record from the coordinator and as many colluders as were allowed
    for, and so from every reader of the model. With c further colluders c shares fewer do. Where
    surplus noise is removed the most dropouts are the worst case, for each share is whole then; its
    parts are taken as one, which makes less difference than MOST_DISTANCE.

    Args:
        plan: of each round.
        shares: 1 to 10^5.
        rounds: how many, 1 to 10^9.
        delta: in (0, 1).

    Raises:
        ValueError, PrivacyRefusal: a bound above is broken.
    """
    event = replace(with_shares(plan.event(), shares), count=rounds)
    return Exposure(shares, event.noise_multiplier, cost([event], delta).epsilon)


def exposure_alone(plan: SharedRecordNoisePlan, rounds: int, delta: float) -> Exposure:
    """What one site's vectors give away if they are seen alone: as if the secure sum were broken.

    Where surplus noise is removed, the site has revealed the most of its own if nobody dropped out.

    Raises:
        ValueError, PrivacyRefusal: as `exposure`.
    """
    event = replace(alone(plan.event()), count=rounds)
    return Exposure(1, event.noise_multiplier, cost([event], delta).epsilon)


SharedGaussian = TypeVar(
    "SharedGaussian", PoissonSampledDistributedGaussian, DistributedDiscreteGaussian
)


def with_shares(event: SharedGaussian, shares: int) -> SharedGaussian:
    """The event to whoever does not know so many shares, 1 to 10^5, of its noise."""
    # A share's variance is what it is; the multiplier is rounded so as not to make it larger.
    multiplier = event.noise_multiplier * math.sqrt(shares / event.honest) * (1 - 2**-50)
    return replace(event, noise_multiplier=multiplier, honest=shares, dropouts=0)


def alone(event: SharedGaussian) -> SharedGaussian:
    """The event to whoever sees one site's vector alone."""
    multiplier = event.noise_multiplier / math.sqrt(event.honest + event.dropouts) * (1 - 2**-50)
    return replace(event, noise_multiplier=multiplier, honest=1, dropouts=0)


def exposures(
    plan: SharedRecordNoisePlan, rounds: int, delta: float, further: int | None = None
) -> tuple[Exposure, ...]:
    """From `plan.honest` shares, with no more colluders than allowed for, down to one.

    Entry c is for c colluders more than allowed for, up to `further` if given. See `exposure`; each
    takes about a second. What a site's vector gives away if it is seen alone is apart:
    `exposure_alone`.
    """
    least = 0 if further is None else max(0, plan.honest - further - 1)
    return tuple(exposure(plan, shares, rounds, delta) for shares in range(plan.honest, least, -1))
