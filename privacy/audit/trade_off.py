"""What a mechanism lets any attacker do: the least false alarms at each power.

Dong, Roth and Su 2022, arXiv:1905.02383: (epsilon, delta(epsilon)) for all epsilon is the same as a
trade-off curve (section 2.4). Here the curve is symmetric: it holds for adding a record and for
removing it.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import dp_accounting
import numpy as np
import numpy.typing as npt
from dp_accounting.pld import privacy_loss_distribution as pld
from scipy.special import ndtr

from privacy.event import PoissonSampledGaussian

Floats = npt.NDArray[np.float64]

DISCRETISATION = 1e-3
"""Width of a privacy loss distribution's bins; a wider one only concedes more to the attacker."""
POINTS = 300
LEAST_DELTA = 1e-7
"""Where the grid of epsilons ends; an audit's few thousand guesses see nothing beyond it."""


@dataclass(frozen=True, slots=True)
class TradeOff:
    """A curve as the (epsilon, delta) pairs it satisfies, each a bound of its own.

    Attributes:
        growth: exp(epsilon) of each pair, shape (n,), >= 1.
        deltas: shape (n,), in [0, 1].
    """

    growth: Floats
    deltas: Floats

    def least_alarm(self, power: float) -> float:
        """The least probability without the record of an event that has `power` with it.

        Args:
            power: in [0, 1].
        """
        below = (power - self.deltas) / self.growth
        above = 1 - self.deltas - self.growth * (1 - power)
        return float(max(0.0, below.max(), above.max()))

    def most_power(self, alarm: float) -> float:
        """The most power of an attacker with at most so many false alarms, in [0, 1]."""
        small = self.deltas + self.growth * alarm
        large = 1 - (1 - self.deltas - alarm) / self.growth
        return float(min(1.0, small.min(), large.min()))

    def most_auc(self) -> float:
        """The largest area under any attacker's ROC curve, rounded up by less than 1 / 2000."""
        alarms = np.linspace(0, 1, 2001)[1:]
        return float(np.mean([self.most_power(alarm) for alarm in alarms]))


def of_guarantee(epsilon: float, delta: float) -> TradeOff:
    """The curve of (epsilon, delta)-DP alone; epsilon may be infinite, which allows everything."""
    if epsilon > 700:
        return TradeOff(np.array([1.0]), np.array([1.0]))
    return TradeOff(np.array([math.exp(epsilon)]), np.array([delta]))


def of_gaussian(mu: float) -> TradeOff:
    """The curve of mu-Gaussian DP (Corollary 2.13): of one Gaussian mechanism, mu = 1 / sigma."""
    epsilons = np.linspace(0, mu * (mu / 2 + 6), POINTS)
    deltas = ndtr(mu / 2 - epsilons / mu) - np.exp(epsilons) * ndtr(-mu / 2 - epsilons / mu)
    return TradeOff(np.exp(epsilons), np.maximum(deltas, 0.0))


@lru_cache(maxsize=64)
def of_event(event: PoissonSampledGaussian) -> TradeOff:
    """The curve of a Poisson-sampled Gaussian, by its privacy loss distribution, rounded up."""
    loss = pld.from_gaussian_mechanism(
        event.noise_multiplier,
        sampling_prob=event.sampling_rate,
        value_discretization_interval=DISCRETISATION,
        neighboring_relation=dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
    ).self_compose(event.count)
    most = min(float(loss.get_epsilon_for_delta(LEAST_DELTA)), 100.0)
    epsilons = np.linspace(0, most, POINTS)
    deltas = np.array(loss.get_delta_for_epsilon(list(epsilons)))
    return TradeOff(np.exp(epsilons), np.minimum(deltas + 1e-12 * event.count, 1.0))
