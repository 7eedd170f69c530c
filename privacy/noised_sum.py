"""A noised sum, whatever it hides: shares of noise, what is surplus of them, and the ring.

The ring must hold rotated signals for certain and noise all but always.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy
from federation.errors import ConfigError
from federation.ring_vector import RING_BITS
from privacy.discrete_gaussian_divergence import LEAST_VARIANCE, Sensitivity
from privacy.mechanisms.discrete_gaussian import LARGEST_DEVIATION, discrete_gaussian
from privacy.mechanisms.hadamard import coordinate_bound, unrotate
from privacy.surplus_noise import SurplusNoisePlan, added_noise

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CUT_PROBABILITY = 1e-6
"""Of a round in which a coordinate of any site is cut, over the signs of the rotation."""
WRAP_PROBABILITY = 1e-6
"""Of a round in which any coordinate of the sum wraps around; it harms accuracy, not privacy."""

FINEST = 2.0**-30
"""Smallest granularity, in units of the clip: rounded norms stay within 31 bits."""

MOST_OVERHEAD = 0.01
"""What a chosen plan may add to the noise, and to epsilon, by being discrete and distributed."""


class NoisedSum(ABC):
    """A sum of whole numbers to which every site adds a share of noise: what any plan of one has.

    Attributes:
        dimension: coordinates of the sum.
        granularity: of the integers, in the unit of the updates.
        noise_multiplier: deviation of the noise of `honest` shares over the sensitivity.
        sites: most contributors.
        honest: fewest shares that hide the unit of privacy.
        ring_bits: b; sums are modulo 2^b.
        dropouts: of which the surplus noise is removed where fewer sites drop out, 0 to
            `sites - honest`; 0 removes none. The sites that are neither honest nor may drop out
            are the colluders.
    """

    __slots__ = ()

    dimension: int
    granularity: float
    noise_multiplier: float
    sites: int
    honest: int
    ring_bits: int
    dropouts: int

    @property
    @abstractmethod
    def sensitivity(self) -> Sensitivity:
        """How far one unit of privacy moves the integer sum."""

    @property
    @abstractmethod
    def signal_norm(self) -> float:
        """Largest L2 norm of a site's signal, in the unit of the updates."""

    @property
    @abstractmethod
    def inflation(self) -> float:
        """By how much, relatively, rounding raises the sensitivity, and so the noise."""

    @property
    @abstractmethod
    def overhead(self) -> float:
        """By how much, relatively, being discrete and distributed may raise epsilon."""

    @property
    def share_variance(self) -> Fraction:
        """Of the discrete Gaussian that a site adds to each coordinate, in whole units; exact."""
        return Fraction(self.noise_multiplier) ** 2 * self.sensitivity.squared_l2 / self.honest

    @property
    def surplus(self) -> SurplusNoisePlan | None:
        """What a share is made of, and what of it is removed; None if nothing is.

        Raises:
            ConfigError: a part of a share cannot be drawn.
        """
        if not self.dropouts:
            return None
        target, colluders = self.share_variance * self.honest, self.sites - self.dropouts
        return SurplusNoisePlan(target, self.sites, self.dropouts, colluders - self.honest)

    @property
    def largest_code(self) -> int:
        """Largest absolute integer of one site's signal, before noise."""
        return largest_code(self.dimension, self.signal_norm, self.granularity, self.sites)

    @property
    def noise_margin(self) -> int:
        """What no coordinate of the noise of all sites exceeds, but once in a million rounds."""
        return noise_margin(self.dimension, self.sites * self.share_variance)

    @property
    def bits_needed(self) -> int:
        """Fewest bits with n * largest_code + noise_margin < 2^(bits - 1)."""
        return bits_needed(self.sites * self.largest_code + self.noise_margin)

    def sum_variance(self, contributors: int, silent: int = 0) -> Fraction:
        """Of each coordinate of the sum, in squared units.

        Args:
            contributors: to the sum.
            silent: of them, how many did not reveal what is surplus of their noise.
        """
        if self.surplus is None:
            return contributors * self.share_variance
        return self.surplus.sum_variance(contributors, silent)

    def noise_deviation(self, contributors: int, silent: int = 0) -> float:
        """Of each coordinate of the decoded sum, in the unit of the updates; as `sum_variance`."""
        return math.sqrt(self.sum_variance(contributors, silent)) * self.granularity

    def require_possible(self, key: str, noise_key: str) -> None:
        """Return if shares can be drawn, and all that is summed fits the ring.

        Args:
            key: of the configuration, under which errors name what is wrong.
            noise_key: of the noise multiplier.

        Raises:
            ConfigError: not so.
        """
        if not 0 <= self.dropouts <= self.sites - self.honest:
            raise ConfigError(f"{key}.dropouts", self.dropouts, "from 0 to sites - honest")
        if not LEAST_VARIANCE <= self.share_variance <= LARGEST_DEVIATION**2:
            raise ConfigError(
                noise_key,
                self.noise_multiplier,
                "a share of the noise whose deviation is from 1/2 to 2^24 steps, not "
                f"{math.sqrt(self.share_variance):.3g}",
                "choose another granularity",
            )
        self.surplus  # noqa: B018 - refuses parts of a share that cannot be drawn
        if self.bits_needed > self.ring_bits:
            raise ConfigError(
                f"{key}.ring_bits",
                self.ring_bits,
                f"at least {self.bits_needed}",
                "raise the granularity",
            )


Plan = TypeVar("Plan", bound=NoisedSum)


def noise_share(plan: NoisedSum, entropy: Entropy) -> Integers:
    """One site's share of the noise, shape (d,), int64, where no surplus is to be removed."""
    return discrete_gaussian(plan.dimension, plan.share_variance, entropy)


def removable_noise_share(plan: NoisedSum, secret: bytes) -> Integers:
    """One site's share of the noise, shape (d,), int64, in parts that can be removed.

    Args:
        plan: with dropouts.
        secret: 32 bytes, fresh for each sum; what is revealed of it later removes the surplus.

    Raises:
        ValueError: the plan removes nothing, or the secret is not 32 bytes.
    """
    if plan.surplus is None:
        raise ValueError("this plan removes no surplus noise")
    return added_noise(plan.surplus, plan.dimension, secret)


def decoded_sum(plan: NoisedSum, total: Integers, rotation_seed: bytes) -> Floats:
    """The noisy sum of updates, in their unit, shape (d,), float64.

    Args:
        plan: the one that all contributions were rounded by.
        total: sum of the contributions, shape (d,), int64.
        rotation_seed: the one that they were rotated by.

    Raises:
        ValueError: `total` has another shape.
    """
    if total.shape != (plan.dimension,):
        raise ValueError(f"expected ({plan.dimension},), got {total.shape}")
    return unrotate(total.astype(np.float64) * plan.granularity, rotation_seed)


def largest_code(dimension: int, norm: float, granularity: float, sites: int) -> int:
    """Where a site's rotated coordinates are cut, in whole units of the granularity.

    Args:
        dimension: of the rotated vector.
        norm: L2 norm of a site's vector, at most.
        granularity: > 0.
        sites: in the sum; none of them has a coordinate cut but for CUT_PROBABILITY a round.
    """
    return math.ceil(coordinate_bound(dimension, norm, CUT_PROBABILITY / sites) / granularity)


def noise_margin(dimension: int, variance: Fraction) -> int:
    """What no coordinate of a sum's noise exceeds, but for WRAP_PROBABILITY a round.

    Discrete Gaussians are sub-Gaussian, so their sum is (see `discrete_gaussian`); and the union
    over all coordinates.

    Args:
        dimension: of the sum.
        variance: of all its noise in one coordinate, in squared units.
    """
    spread = 2 * math.log(2 * dimension / WRAP_PROBABILITY)
    return math.ceil(math.sqrt(variance * Fraction(spread)))


def bits_needed(largest: int) -> int:
    """Fewest bits of a ring in which numbers up to `largest` keep their sign."""
    return largest.bit_length() + 1


def is_granularity(granularity: float, clip: float) -> bool:
    """Whether it is a power of two from clip / 2^30 to clip."""
    return FINEST <= granularity / clip <= 1 and math.frexp(granularity)[0] == 0.5


def fewest_bits(plan: Callable[[int, float], Plan], clip: float) -> Plan | None:
    """The plan with the fewest ring bits, and within those the finest, that costs under 1 %.

    Args:
        plan: for ring bits and a granularity, a power of two; raises ConfigError where there is
            none.
        clip: > 0; L2 norm of a site's vector.

    Returns:
        None if there is none in any ring.
    """
    for bits in RING_BITS:
        chosen = finest(partial(plan, bits), clip)
        if chosen and max(chosen.inflation, chosen.overhead) <= MOST_OVERHEAD:
            return chosen
    return None


def finest(plan: Callable[[float], Plan], clip: float) -> Plan | None:
    """The plan of the smallest granularity that has one; None if none up to `clip` has.

    Args:
        plan: for a granularity, a power of two; raises ConfigError where there is none.
        clip: > 0; L2 norm of a site's vector.
    """
    granularity = 2.0 ** math.ceil(math.log2(clip * FINEST))
    while granularity <= clip:
        try:
            return plan(granularity)
        except ConfigError:
            granularity *= 2
    return None
