"""What a history lets an adversary find out about one record.

The adversary knows everything but whether a record is in the table, sees all releases, and guesses
(membership inference). What it can reach is the trade-off function f (Dong, Roth and Su 2022,
arXiv:1905.02383): of all tests that accuse an absent record with probability alpha, none misses a
present one with less than f(alpha). From any points (epsilon, delta) of the history's curve

    f(alpha) >= max(0, 1 - delta - e^epsilon alpha, e^-epsilon (1 - delta - alpha)),

their Proposition 2.5; so more points say more, and one point, which is what is usually quoted, says
least: epsilon 4.4 at delta 1e-5 alone allows 80 % true positives at 1 % false ones, where the whole
curve of that Gaussian allows 9 %. Kulynych et al. 2024, arXiv:2407.02191.

All that is here is on the safe side: the adversary's gain is never under-stated.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from privacy import loss_distribution, renyi
from privacy.accountant import merged_losses
from privacy.event import PrivacyEvent
from privacy.loss_distribution import DISCRETISATION
from privacy.mechanism import Loss
from privacy.neighbours import RECORD, Neighbours
from privacy.person_level import discretisation

Floats = npt.NDArray[np.float64]

FALSE_POSITIVE_RATES = (0.001, 0.01, 0.05)
"""Where true positive rates are reported: Carlini et al. 2022, arXiv:2112.03570."""

MATCHED_RATES = (0.001, 0.5)
"""False positive rates between which a Gaussian trade-off is matched."""

_SMALLEST_DELTA = 1e-10
_LARGEST_EPSILON = 100.0
"""Beyond it a guess is certain in any case."""
_POINTS = 2_000
_MATCHED_POINTS = 10_000
_BLOCK_DELTAS = (1e-4, 1e-6, 1e-8)


@dataclass(frozen=True, slots=True)
class TradeOff:
    """What is known of a trade-off function: points of its (epsilon, delta) curve.

    Attributes:
        epsilons: >= 0, ascending, shape (n,).
        deltas: in [0, 1], shape (n,).
    """

    epsilons: Floats
    deltas: Floats

    def false_negative_rates(self, false_positive_rates: Floats) -> Floats:
        """F at each rate in [0, 1], shape as given: lower bounds."""
        ratio = np.exp(self.epsilons)
        bounds = np.empty(len(false_positive_rates))
        for start in range(0, len(bounds), 500):  # so that little memory is held
            rates = false_positive_rates[start : start + 500, None]
            missed = np.maximum(
                1 - self.deltas - ratio * rates, (1 - self.deltas - rates) / ratio
            ).max(axis=1)
            bounds[start : start + 500] = np.maximum(missed, 0.0)
        return bounds

    def true_positive_rate(self, false_positive_rate: float) -> float:
        """Most that any test reaches at this false positive rate in [0, 1]: an upper bound."""
        missed = self.false_negative_rates(np.array([false_positive_rate]))
        return 1.0 - float(missed[0])

    def advantage(self) -> float:
        """Most by which any test's true positive rate exceeds its false positive rate: delta(0)."""
        ratio = np.exp(-self.epsilons)
        return float(np.min((1 - ratio + 2 * self.deltas * ratio) / (1 + ratio)))

    def gaussian_mu(self) -> float:
        """Least mu whose Gaussian trade-off is below f at all `MATCHED_RATES`; may be infinite.

        Telling N(0, 1) from N(mu, 1) in one draw is then no harder than the adversary's task.
        Between points of the grid the two are compared at its further ends: upwards.
        """
        quantiles = np.linspace(-float(ndtri(MATCHED_RATES[0])), 0.0, _MATCHED_POINTS)
        missed = self.false_negative_rates(ndtr(-quantiles))
        if np.any(missed[1:] <= 0):
            return math.inf
        return max(0.0, float(np.max(quantiles[:-1] - ndtri(missed[1:]))))


def trade_off(
    events: Iterable[PrivacyEvent],
    neighbours: Neighbours = RECORD,
    finest: float = DISCRETISATION,
) -> TradeOff:
    """Of all events together, whose unit is a record.

    Args:
        events: in any order.
        neighbours: who should be hidden.
        finest: least width of a PLD's bins; a larger one is faster and looser.

    Raises:
        PrivacyRefusal: an event's unit is a site.
    """
    losses = merged_losses(tuple(events), 0.5, neighbours)
    if losses is None:
        return TradeOff(np.zeros(1), np.ones(1))
    if not losses:
        return TradeOff(np.zeros(1), np.zeros(1))
    bounds = _loss_distributions(losses, finest)
    reach = [whole.epsilon(_SMALLEST_DELTA) for whole in bounds]
    most = min([*reach, renyi.epsilon(losses, _SMALLEST_DELTA), _LARGEST_EPSILON])
    epsilons = np.linspace(0.0, most, _POINTS)
    deltas = np.min([renyi.deltas(losses, epsilons), *(b.deltas(epsilons) for b in bounds)], axis=0)
    return TradeOff(epsilons, deltas)


def from_epsilon_delta(epsilon: float, delta: float) -> TradeOff:
    """What a single (epsilon, delta) says: epsilon >= 0 and finite, delta in [0, 1]."""
    return TradeOff(np.array([epsilon]), np.array([delta]))


def epsilons_at(
    events: Iterable[PrivacyEvent], deltas: Floats, neighbours: Neighbours = RECORD
) -> Floats:
    """The curve epsilon(delta), for charts: upper bounds, shape as `deltas`.

    Args:
        events: whose unit is a record.
        deltas: each in (0, 1).
        neighbours: who should be hidden.
    """
    losses = merged_losses(tuple(events), float(np.min(deltas)), neighbours)
    if losses is None:
        return np.full(len(deltas), math.inf)
    if not losses:
        return np.zeros(len(deltas))
    bounds = _loss_distributions(losses)
    return np.array(
        [
            min([renyi.epsilon(losses, delta), *(whole.epsilon(delta) for whole in bounds)])
            for delta in deltas.tolist()
        ]
    )


def deltas_at(
    events: Iterable[PrivacyEvent], epsilons: Floats, neighbours: Neighbours = RECORD
) -> Floats:
    """The curve delta(epsilon), for charts: upper bounds, shape as `epsilons`.

    Args:
        events: whose unit is a record.
        epsilons: each >= 0, ascending.
        neighbours: who should be hidden.
    """
    losses = merged_losses(tuple(events), 0.5, neighbours)
    if losses is None:
        return np.ones(len(epsilons))
    if not losses:
        return np.zeros(len(epsilons))
    bounds = [whole.deltas(epsilons) for whole in _loss_distributions(losses)]
    least: Floats = np.min([renyi.deltas(losses, epsilons), *bounds], axis=0)
    return least


def _loss_distributions(
    losses: tuple[Loss, ...], finest: float = DISCRETISATION
) -> list[loss_distribution.LossDistribution]:
    """PLDs that each bound the history; none where only Renyi DP does."""
    if not loss_distribution.is_worth_its_work(losses, _SMALLEST_DELTA):
        return []
    having, others = loss_distribution.with_loss_distribution(losses)
    width = max(discretisation(losses), finest)
    blocks: list[tuple[float, float] | None] = [None]
    if others:
        pairs = [(renyi.epsilon(others, delta), delta) for delta in _BLOCK_DELTAS]
        blocks = [pair for pair in pairs if pair[0] < loss_distribution.LARGEST_EPSILON]
    wholes = (loss_distribution.of_history(having, width, block) for block in blocks)
    return [whole for whole in wholes if whole is not None]
