"""The noise that differential privacy put on every cell of a table, as far as its reader needs it.

Only variance and shape are needed to read noised counts; how the noise came about, and what it
costs, is the accountant's matter.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import gammaln

from evaluation.group_metrics import Counts, Floats

Family = Literal["discrete_laplace", "gaussian"]

NORMAL_95 = 1.959963984540054

REACH = 12.0
"""Beyond this many deviations on either side noise is not reckoned with: 4e-8 of a Laplace's mass,
and less of a Gaussian's."""


@dataclass(frozen=True, slots=True)
class CellNoise:
    """Independent noise of mean 0 on each cell of a table of counts.

    Attributes:
        variance: of the noise in one cell of the sum; 0 is an exact count.
        family: `discrete_laplace` (two-sided geometric) or `gaussian` (rounded or discrete).

    Raises:
        ValueError: the variance is negative or not finite.
    """

    variance: float
    family: Family

    def __post_init__(self) -> None:
        if not 0 <= self.variance < math.inf:
            raise ValueError(f"CellNoise.variance = {self.variance}: expected a finite number >= 0")

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.variance > 0

    def deviation(self, cells: int = 1) -> float:
        """Standard deviation of the noise in a sum of `cells` cells."""
        return math.sqrt(self.variance * cells)

    def largest(self, cells: int) -> float:
        """What noise in a sum of so many cells seldom exceeds (2.5 %, by a normal law)."""
        return NORMAL_95 * self.deviation(cells)

    def sample(self, shape: tuple[int, ...], draws: np.random.Generator) -> Counts:
        """Noise of so many cells, whole numbers."""
        if self.family == "gaussian":
            return np.rint(draws.normal(0.0, self.deviation(), shape)).astype(np.int64)
        chance = 1 - self._decay if self else 1.0
        return draws.geometric(chance, shape) - draws.geometric(chance, shape)

    def characteristic(self, t: Floats) -> Floats:
        """Its characteristic function at `t`; real, since the noise is symmetric."""
        if self.family == "gaussian" or not self:
            return np.exp(-self.variance * t**2 / 2)
        alpha = self._decay
        return (1 - alpha) ** 2 / (1 - 2 * alpha * np.cos(t) + alpha**2)

    def counts_behind(self, noised: int) -> tuple[Counts, Floats]:
        """What a noised cell may have counted, and with which probability.

        The cell is Poisson with Jeffreys' prior on its mean, so that a share of two cells has
        Jeffreys' prior too: a count c has prior weight Gamma(c + 1/2) / c!.

        Returns:
            Counts, ascending, and their probabilities, both of shape (counts,).
        """
        if not self:
            return np.array([max(noised, 0)]), np.ones(1)
        reach = math.ceil(REACH * self.deviation())
        counts = np.arange(max(0, noised - reach), max(noised, 0) + reach + 1)
        weights = gammaln(counts + 0.5) - gammaln(counts + 1.0) + self._log_mass(noised - counts)
        weights = np.exp(weights - weights.max())
        return counts, weights / weights.sum()

    def _log_mass(self, noise: Counts) -> Floats:
        """Logarithm of the probability of `noise`, up to a constant."""
        if self.family == "gaussian":
            return -(noise**2) / (2 * self.variance)
        return np.abs(noise) * math.log(self._decay)

    @property
    def _decay(self) -> float:
        """Alpha with variance 2 alpha / (1 - alpha)^2 (Ghosh et al. 2009)."""
        return 1 + (1 - math.sqrt(1 + 2 * self.variance)) / self.variance


EXACT = CellNoise(0.0, "gaussian")
