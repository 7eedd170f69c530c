"""Noise enough for the most dropouts, and exactly enough after those that happened.

XNoise of Jiang, Wang and Chen 2023, "Dordis", arXiv:2209.12528: add, then remove. If U sites may
shrink to U - T, each must add 1 / (U - T) of the variance wanted, too much when fewer drop out. So
a site adds independent components, the noise decomposition of that paper, for the levels
0 = l_0 < l_1 < ... < l_m = T of dropouts,

    component 0:          variance target / U,
    component j = 1 .. m: variance target / (U - l_j) - target / (U - l_(j - 1)),

each drawn from a seed of its own. When D dropped out, and l_j is the first level of D or more, each
survivor reveals the seeds of components j + 1 .. m, and whoever opens the sum draws and subtracts
them. By the telescoping sum each of the U - D survivors keeps target / (U - l_j): together the
target if D is a level, and (U - D) / (U - l_j) times the target, so more, if it is between two.

The paper has every number up to T as a level, and its noise is exact. But all components of all
survivors are drawn again by the opener, and for hundreds of sites there would be hundreds of each.
Here levels are as few as keep the excess between two of them to a tenth of the variance: some five
where a third of the sites may be lost, however many there are.

Where C of the sites may collude with the opener, who then knows and subtracts their noise too,
U - C stands for U above, so that the honest survivors alone keep the target, for every D.

**What an opener learns.** The sum with the kept noise, and the removed components. The seeds come
from one secret by HKDF (RFC 5869), a label each, so a revealed seed says nothing of a kept one, and
the removed noise is independent of the updates and of the noise kept: the release is that of
the kept noise alone, and costs what that costs.

**What a site must check.** A coordinator that claims fewer dropouts than there were is handed too
many seeds, and the sum is left with too little noise. So a site reveals seeds for the one survivor
set that it has signed, which a quorum signed too, and never for a second. If a survivor falls
silent before it reveals, its surplus stays in: more noise, never less.

**Discreteness.** Kept noise is a sum of up to m + 1 discrete Gaussians per honest survivor. The tau
of `discrete_gaussian_divergence` takes each summand as it is; one of variance v adds at most
10 exp(-pi^2 v), below 1e-33 from v = 8 on.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from federation.entropy import SeededEntropy
from federation.errors import ConfigError, PrivacyRefusal
from privacy.discrete_gaussian_divergence import LEAST_VARIANCE
from privacy.mechanisms.discrete_gaussian import LARGEST_DEVIATION, discrete_gaussian

Integers = npt.NDArray[np.int64]

SECRET_BYTES = SEED_BYTES = 32

MOST_EXCESS = Fraction(1, 10)
"""Of the target: what may be kept beyond it when the number of dropouts is between two levels."""


@dataclass(frozen=True, slots=True)
class SurplusNoisePlan:
    """Which noise each site adds, and which is removed.

    Attributes:
        target: variance that honest survivors keep together, in squared units; exact.
        sites: U, how many begin a sum.
        dropouts: T, the most that may drop out, >= 0.
        colluders: C, the most whose noise does not count, >= 0; U - T - C >= 1.

    Raises:
        ConfigError: a bound above is broken, or a component's deviation is not from 1/2 to 2^24.
    """

    target: Fraction
    sites: int
    dropouts: int
    colluders: int

    def __post_init__(self) -> None:
        if self.dropouts < 0 or self.colluders < 0 or self.sites <= self.dropouts + self.colluders:
            raise ConfigError(
                "surplus_noise.dropouts",
                self.dropouts,
                f"a whole number that leaves an honest site of {self.sites} without "
                f"{self.colluders} colluders",
                "raise the quorum",
            )
        variances = self.component_variances
        if not LEAST_VARIANCE <= min(variances) <= max(variances) <= LARGEST_DEVIATION**2:
            raise ConfigError(
                "surplus_noise.target",
                math.sqrt(max(float(self.target), 0.0)),
                "a noise whose components deviate by 1/2 to 2^24 steps",
                "choose another granularity, or tolerate fewer dropouts",
            )

    @property
    def levels(self) -> tuple[int, ...]:
        """How many dropouts each component is for, ascending: from 0 to T."""
        honest, levels = self.sites - self.colluders, [self.dropouts]
        while levels[0] > 0:
            left = honest - levels[0]
            # One dropout more than the next level leaves at most this many for this level's noise.
            most = left + math.floor(left * MOST_EXCESS)
            levels.insert(0, max(0, honest - most - 1))
        return tuple(levels)

    @property
    def component_variances(self) -> tuple[Fraction, ...]:
        """Of each component of one site's noise, in the order of `levels`."""
        honest = self.sites - self.colluders
        kept = [self.target / (honest - level) for level in self.levels]
        return (kept[0], *(more - less for less, more in pairwise(kept)))

    @property
    def added_variance(self) -> Fraction:
        """Of what one site adds: target / (U - C - T)."""
        return sum(self.component_variances, Fraction(0))

    def surplus_components(self, survivors: int) -> range:
        """The components that each of so many survivors reveals.

        Raises:
            PrivacyRefusal: fewer survivors than the plan covers: nothing may be opened.
            ValueError: more survivors than sites.
        """
        if survivors > self.sites:
            raise ValueError(f"{survivors} survivors of {self.sites} sites")
        dropped = self.sites - survivors
        if dropped > self.dropouts:
            raise PrivacyRefusal(
                f"{dropped} of {self.sites} sites dropped out: the noise covers {self.dropouts} at "
                "most, so this sum must not be opened"
            )
        return range(bisect_left(self.levels, dropped) + 1, len(self.levels))

    def kept_variance(self, survivors: int) -> Fraction:
        """What one survivor keeps: target / (survivors - C) at a level, and a little more between.

        Raises:
            PrivacyRefusal, ValueError: as for `surplus_components`.
        """
        kept = self.component_variances[: self.surplus_components(survivors).start]
        return sum(kept, Fraction(0))

    def sum_variance(self, survivors: int, silent: int = 0) -> Fraction:
        """Of the noise in the opened sum of all survivors, colluders included.

        Args:
            survivors: of the sum.
            silent: survivors whose seeds were not revealed, 0 to `survivors`.

        Raises:
            PrivacyRefusal, ValueError: as for `surplus_components`, or `silent` is out of range.
        """
        if not 0 <= silent <= survivors:
            raise ValueError(f"silent = {silent}: expected 0 to {survivors}")
        kept = self.kept_variance(survivors)
        return survivors * kept + silent * (self.added_variance - kept)

    def honest_noise(self) -> tuple[tuple[Fraction, ...], ...]:
        """Per level, the variances of the discrete Gaussians that hide a site at those dropouts.

        Of two numbers of dropouts with the same components the larger is the level, and fewer
        dropouts cost no more: the further sites' noise could be added by whoever reads the sum.
        """
        parts, honest = self.component_variances, self.sites - self.colluders
        return tuple(parts[: at + 1] * (honest - level) for at, level in enumerate(self.levels))


def component_seed(secret: bytes, component: int) -> bytes:
    """Seed of one component, 32 bytes, from a site's secret of one sum.

    Raises:
        ValueError: the secret is not 32 bytes.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"secret of {len(secret)} bytes: expected {SECRET_BYTES}")
    info = b"hedgerow/v1/surplus-noise" + component.to_bytes(4, "big")
    return HKDF(SHA256(), SEED_BYTES, salt=None, info=info).derive(secret)


def component_noise(
    plan: SurplusNoisePlan, dimension: int, component: int, seed: bytes
) -> Integers:
    """The noise of one component, shape (dimension,), int64: the same for all who know its seed.

    Raises:
        ValueError: the seed is not 32 bytes.
        IndexError: the plan has no such component.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError(f"seed of {len(seed)} bytes: expected {SEED_BYTES}")
    variance = plan.component_variances[component]
    return discrete_gaussian(dimension, variance, SeededEntropy(seed))


def added_noise(plan: SurplusNoisePlan, dimension: int, secret: bytes) -> Integers:
    """All that one site adds, shape (dimension,), int64; the secret is fresh for each sum."""
    total = np.zeros(dimension, np.int64)
    for component in range(len(plan.levels)):
        total += component_noise(plan, dimension, component, component_seed(secret, component))
    return total


def revealed_seeds(plan: SurplusNoisePlan, secret: bytes, survivors: int) -> tuple[bytes, ...]:
    """What one survivor reveals, a seed per surplus component: for the survivor set it has signed.

    Raises:
        PrivacyRefusal, ValueError: as for `surplus_components`.
    """
    return tuple(component_seed(secret, k) for k in plan.surplus_components(survivors))


def surplus_noise(
    plan: SurplusNoisePlan,
    dimension: int,
    survivors: int,
    revealed: Iterable[Sequence[bytes]],
) -> Integers:
    """What the opener subtracts from the decoded integer sum, shape (dimension,), int64.

    Args:
        plan: agreed by all sites.
        dimension: of the sum.
        survivors: how many are in the sum.
        revealed: of each survivor that answered, see `revealed_seeds`.

    Raises:
        PrivacyRefusal, ValueError: as for `surplus_components`, or a survivor revealed another
            number of seeds than there are surplus components.
    """
    surplus = plan.surplus_components(survivors)
    total = np.zeros(dimension, np.int64)
    for seeds in revealed:
        for component, seed in zip(surplus, seeds, strict=True):
            total += component_noise(plan, dimension, component, seed)
    return total
