"""Distributed discrete Gaussian: each site adds a share of the noise before the secure sum.

Kairouz, Liu and Steinke 2021, arXiv:2102.06387, Algorithms 1 and 2: clip, rotate, round, add a
discrete Gaussian, all modulo 2^bits. One plan holds all numbers, and what is sent, what is decoded
and what it costs are computed from it, so that they cannot disagree.

The unit of protection is one site: neighbouring sums have one site's update replaced by zeros, its
noise being added all the same. A site sees its secret hidden by at least `honest` shares, its own
among them: of the fewest contributors that a site accepts in a sum, those that do not collude with
whoever opens it. More contributors add more noise; the shares do not shrink, but a plan may have
the surplus removed once it is known who contributed (`privacy.surplus_noise`).

Two departures from the paper, both at no cost in privacy. Coordinates are cut, after rotation, at a
bound that random signs exceed once in a million rounds; so the largest sum of all signals is known
and fits the ring for certain, and only noise could wrap around. And the rotation needs no padding
(`privacy.mechanisms.hadamard`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy
from federation.errors import ConfigError
from federation.ring_vector import RING_BITS
from privacy import noised_sum
from privacy.accountant import RDP_ORDERS, Cost, cost, site_level_divergences
from privacy.discrete_gaussian_divergence import Sensitivity
from privacy.event import DistributedDiscreteGaussian
from privacy.mechanisms.clipping import clip_l2
from privacy.mechanisms.conditional_rounding import conditional_rounding, rounded_squared_norm
from privacy.mechanisms.hadamard import rotate

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

USUAL_BETA = math.exp(-0.5)
"""The paper's choice (section 5): at most this often a rounding is drawn again."""

_KEY = "privacy.site_level"


@dataclass(frozen=True, slots=True)
class DistributedNoisePlan(noised_sum.NoisedSum):
    """How one update is made private inside a secure sum.

    Attributes:
        dimension: d, coordinates that carry signal, >= 1.
        clip: c, largest L2 norm of an update, > 0.
        granularity: gamma, a power of two, from c / 2^30 to c.
        noise_multiplier: z > 0, deviation of the noise of `honest` shares over the sensitivity of
            rounded updates.
        sites: n, most contributors to one sum, >= 1.
        honest: fewest shares that hide a site, 1 to n.
        ring_bits: b; sums are modulo 2^b.
        beta: in (0, 1), see `rounded_squared_norm`.
        dropouts: of which the surplus noise is removed where fewer sites drop out, 0 to
            `sites - honest`; 0 removes none. The sites that are neither honest nor may drop out
            are the colluders.

    Raises:
        ConfigError: a bound above is broken, the deviation of a share, or of a part of it that may
            be removed, is not from 1/2 to 2^24 units, or the signals and the noise of `sites`
            contributors do not fit the ring.
    """

    dimension: int
    clip: float
    granularity: float
    noise_multiplier: float
    sites: int
    honest: int
    ring_bits: int
    beta: float = USUAL_BETA
    dropouts: int = 0

    def __post_init__(self) -> None:
        _check_wishes(self.dimension, self.clip, self.noise_multiplier, self.sites, self.honest)
        if not noised_sum.is_granularity(self.granularity, self.clip):
            raise ConfigError(
                f"{_KEY}.granularity", self.granularity, "a power of two from clip / 2^30 to clip"
            )
        if not 0 < self.beta < 1:
            raise ConfigError(f"{_KEY}.beta", self.beta, "a number in (0, 1)")
        self.require_possible(_KEY, f"{_KEY}.noise_multiplier")

    @property
    def sensitivity(self) -> Sensitivity:
        """How far one site moves the integer sum: Theorem 1's bound on a rounded update."""
        squared = rounded_squared_norm(self.dimension, self.clip, self.granularity, self.beta)
        return Sensitivity(self.dimension, squared)

    @property
    def signal_norm(self) -> float:
        """The clip."""
        return self.clip

    @property
    def inflation(self) -> float:
        """By how much, relatively, rounding raises the sensitivity, and so the noise."""
        return self.sensitivity.l2 * self.granularity / self.clip - 1

    @property
    def overhead(self) -> float:
        """How much epsilon may exceed, relatively, that of a central Gaussian of the same z.

        The largest excess of the Renyi curve at any order; so of epsilon at any delta.
        """
        orders = np.array(RDP_ORDERS)
        gaussian = orders / (2 * self.noise_multiplier**2)
        return float(np.max(self.renyi_divergences(RDP_ORDERS) / gaussian)) - 1

    def renyi_divergences(self, orders: Sequence[int]) -> Floats:
        """What one release costs at each order, shape (len(orders),); to be added over releases.

        Args:
            orders: each >= 2.

        Raises:
            ValueError: an order below 2.
        """
        return site_level_divergences(self.event(), orders)

    def event(self) -> DistributedDiscreteGaussian:
        """What one release costs, whoever drops out."""
        return DistributedDiscreteGaussian(
            self.dimension,
            self.sensitivity.squared_l2,
            self.noise_multiplier,
            self.honest,
            count=1,
            dropouts=self.dropouts,
        )

    def cost(self, delta: float) -> Cost:
        """What one release costs at `delta`.

        Raises:
            ValueError: delta is not in (0, 1).
        """
        return cost([self.event()], delta)


def choose_plan(
    dimension: int,
    clip: float,
    noise_multiplier: float,
    sites: int,
    honest: int,
    dropouts: int = 0,
) -> DistributedNoisePlan:
    """The plan with the fewest ring bits at which being discrete costs under 1 %.

    Within those bits the granularity is the finest that fits.

    Args:
        dimension: of the update.
        clip: largest L2 norm of an update.
        noise_multiplier: of the sum that the fewest contributors make.
        sites: most contributors.
        honest: fewest contributors less the colluders among them.
        dropouts: see `DistributedNoisePlan`.

    Raises:
        ConfigError: a value out of range, or no ring holds such a sum.
    """
    _check_wishes(dimension, clip, noise_multiplier, sites, honest)

    def of(bits: int, granularity: float) -> DistributedNoisePlan:
        return DistributedNoisePlan(
            dimension, clip, granularity, noise_multiplier, sites, honest, bits, dropouts=dropouts
        )

    if plan := noised_sum.fewest_bits(of, clip):
        return plan
    raise ConfigError(
        f"{_KEY}.noise_multiplier",
        noise_multiplier,
        f"a sum of {dimension} coordinates over {sites} sites that fits {RING_BITS[-1]} bits",
        "lower it, or use a smaller model",
    )


def _check_wishes(
    dimension: int, clip: float, noise_multiplier: float, sites: int, honest: int
) -> None:
    if dimension < 1:
        raise ConfigError(f"{_KEY}.dimension", dimension, "a whole number > 0")
    if not 2.0**-900 < clip < 2.0**900:
        raise ConfigError(f"{_KEY}.clip", clip, "a finite number > 0")
    if not 0 < noise_multiplier < math.inf:
        raise ConfigError(f"{_KEY}.noise_multiplier", noise_multiplier, "a finite number > 0")
    if not 1 <= honest <= sites:
        raise ConfigError(
            f"{_KEY}.honest",
            honest,
            f"a whole number from 1 to the number of sites, {sites}",
            "raise the quorum above the number of colluding sites",
        )


def rounded_update(
    plan: DistributedNoisePlan, update: Floats, rotation_seed: bytes, entropy: Entropy
) -> Integers:
    """One site's update, clipped, rotated and rounded, without noise: shape (d,), int64.

    Args:
        plan: agreed by all sites.
        update: shape (d,), float64.
        rotation_seed: 32 public bytes, the same at all sites, fresh for each sum.
        entropy: of the rounding.

    Raises:
        ValueError: another shape or dtype, or a coordinate that is not finite.
    """
    if update.shape != (plan.dimension,):
        raise ValueError(f"expected ({plan.dimension},), got {update.shape}")
    rotated = rotate(clip_l2(update, plan.clip)[0], rotation_seed)
    most = plan.largest_code * plan.granularity
    # Makes nothing longer, and touches one coordinate in a million rounds.
    np.clip(rotated, -most, most, out=rotated)
    return conditional_rounding(rotated, plan.granularity, plan.sensitivity.squared_l2, entropy)
