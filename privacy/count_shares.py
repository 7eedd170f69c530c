"""The laws of the noise that sites share on a vector of counts: what one adds, what all have.

Shares of `honest` sites together are the noise that hides a record; further shares, whose sites may
or may not collude, only add noise. Both laws are on the integers and are drawn without a float.
"""

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy
from federation.errors import ConfigError
from privacy.discrete_gaussian_divergence import LEAST_VARIANCE
from privacy.event import (
    Composed,
    DistributedDiscreteLaplace,
    PoissonSampledDistributedGaussian,
    PrivacyEvent,
)
from privacy.mechanisms.discrete_gaussian import LARGEST_DEVIATION, discrete_gaussian
from privacy.mechanisms.discrete_laplace import variance as laplace_variance
from privacy.mechanisms.polya import LARGEST_SCALE, LEAST_SCALE, polya_difference

Integers = npt.NDArray[np.int64]
Mechanism = Literal["discrete_laplace", "discrete_gaussian"]

_OUTWARD = 1 + 1e-9
"""More than the roundings of the bounds below."""
_TILTS = 2000


@dataclass(frozen=True, slots=True)
class LaplaceShares:
    """Differences of Polya variables, `honest` of which are discrete Laplace noise.

    Attributes:
        scale: of the noise of `honest` shares, 2^-5 to 2^40.
        honest: 1 to 10^5.

    Raises:
        ConfigError: the scale is out of range.
    """

    scale: float
    honest: int

    def __post_init__(self) -> None:
        if not LEAST_SCALE <= self.scale <= LARGEST_SCALE:
            raise ConfigError(
                "count_noise.scale",
                self.scale,
                "a scale from 2^-5, below which nothing is hidden, to 2^40",
                "choose an epsilon below 32 a release, or coarser units",
            )

    @property
    def mechanism(self) -> Mechanism:
        """In the ledger's words, with `distributed_` before it."""
        return "discrete_laplace"

    def event(self, sensitivities: tuple[int, ...], dimension: int) -> PrivacyEvent:  # noqa: ARG002 - of the other law
        """What one release of tables costs: an event per sensitivity, that counts its tables.

        Tables have noise of their own each, so a release of k tables is k releases to a record that
        is counted in all of them. That is never more than one release of the L1 sensitivity of all,
        and less where many are composed.
        """
        events = tuple(
            DistributedDiscreteLaplace(sensitivity, self.scale, self.honest, tables)
            for sensitivity, tables in sorted(Counter(sensitivities).items())
        )
        return events[0] if len(events) == 1 else Composed(events)

    def draw(self, dimension: int, entropy: Entropy) -> Integers:
        """One site's share, shape (dimension,), int64."""
        return polya_difference(dimension, self.scale, self.honest, entropy)

    def variance(self, shares: int) -> float:
        """Of the sum of so many shares in each cell."""
        return shares / self.honest * laplace_variance(self.scale)

    def largest(self, shares: int, dimension: int, log_probability: float) -> int:
        """What no cell of a sum of shares exceeds, but for a probability of exp(log_probability).

        Chernoff 1952, with E[exp(t X)] = ((1 - q)^2 / ((1 - q e^t) (1 - q e^-t)))^(n / honest) for
        0 < t < 1 / scale, and the union over both signs and all cells. Any t gives a bound.
        """
        tilts = (np.arange(_TILTS) + 0.5) / _TILTS / self.scale
        rate, decay = 1 / self.scale, -math.expm1(-1 / self.scale)
        moment = 2 * math.log(decay) - np.log(
            np.expm1(tilts - rate) * np.expm1(-tilts - rate)  # of two negative numbers
        )
        events = math.log(2 * dimension) - log_probability
        return math.ceil(float(np.min((shares / self.honest * moment + events) / tilts)) * _OUTWARD)


@dataclass(frozen=True, slots=True)
class GaussianShares:
    """Discrete Gaussians, `honest` of which are nearly one (`discrete_gaussian_divergence`).

    Attributes:
        noise_multiplier: deviation of the noise of `honest` shares over the L2 sensitivity.
        squared_sensitivity: largest squared L2 norm by which one record moves the counts.
        honest: 1 to 10^5.

    Raises:
        ConfigError: the deviation of a share is not from 1/2 to 2^24.
    """

    noise_multiplier: float
    squared_sensitivity: int
    honest: int

    def __post_init__(self) -> None:
        if not LEAST_VARIANCE <= self.share_variance <= LARGEST_DEVIATION**2:
            raise ConfigError(
                "count_noise.noise_multiplier",
                self.noise_multiplier,
                "shares of the noise that deviate by 1/2 to 2^24, not "
                f"{math.sqrt(self.share_variance):.3g}",
                "choose another epsilon, or coarser units",
            )

    @property
    def mechanism(self) -> Mechanism:
        """In words."""
        return "discrete_gaussian"

    @property
    def share_variance(self) -> Fraction:
        """Of one share in each cell; exact."""
        return Fraction(self.noise_multiplier) ** 2 * self.squared_sensitivity / self.honest

    def event(self, sensitivities: tuple[int, ...], dimension: int) -> PrivacyEvent:
        """What one release of tables costs: all rows are counted, so the sampling rate is 1."""
        squared = sum(each**2 for each in sensitivities)
        return PoissonSampledDistributedGaussian(
            1.0, self.noise_multiplier, dimension, squared, self.honest, count=1
        )

    def draw(self, dimension: int, entropy: Entropy) -> Integers:
        """One site's share, shape (dimension,), int64."""
        return discrete_gaussian(dimension, self.share_variance, entropy)

    def variance(self, shares: int) -> float:
        """Of the sum of so many shares in each cell."""
        return float(shares * self.share_variance)

    def largest(self, shares: int, dimension: int, log_probability: float) -> int:
        """What no cell of a sum of shares exceeds, but for a probability of exp(log_probability).

        Discrete Gaussians are sub-Gaussian (`mechanisms.discrete_gaussian`), so their sum is; and
        the union over both signs and all cells.
        """
        spread = 2 * (math.log(2 * dimension) - log_probability)
        return math.ceil(math.sqrt(self.variance(shares) * spread) * _OUTWARD)


Shares = LaplaceShares | GaussianShares
