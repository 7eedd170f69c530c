"""What a history of events costs: epsilon at a delta, by two accountants that are both bounds.

Privacy loss distributions (`privacy.loss_distribution`) are the tightest; Renyi DP
(`privacy.renyi`) stands beside them. Each is an upper bound, so the lesser counts. Both are rounded
outwards.

The unit of privacy is a record, added or removed, unless another relation is asked for; several
records of a person are in `privacy.person_level`. Sites are accounted for apart.

Not offered: Gaussian DP, which under-states subsampled noise (1.5 for a true 4.8), and Renyi DP of
sampled noise under replace-one, for which dp-accounting has a bound on the wrong side.

Noise within a sum is discrete: its Renyi divergence is bounded for it, and its PLD is that of a
continuous Gaussian that it is nearly a function of (`privacy.sampled_discrete_gaussian`).

Pure epsilon-DP is costed as binary randomised response, the worst of its kind; where nothing else
is in a history, the sum of the epsilons (Renyi DP of infinite order) bounds it, too.

A PLD composes events whose parameters were fixed before looking at the data.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from dp_accounting.gaussian_mechanism import get_epsilon_gaussian
from dp_accounting.rdp import compute_epsilon

from federation.errors import PrivacyRefusal
from privacy import loss_distribution, renyi
from privacy.discrete_gaussian_divergence import renyi_divergence
from privacy.event import DistributedDiscreteGaussian, PrivacyEvent
from privacy.loss_distribution import COARSE, DISCRETISATION, LARGEST_EPSILON
from privacy.mechanism import Loss, further_apart, merged
from privacy.neighbours import ADD_OR_REMOVE_ONE, RECORD, Neighbours, Relation
from privacy.renyi import RDP_ORDERS

__all__ = [
    "DISCRETISATION",
    "RDP_ORDERS",
    "SITE_LEVEL_ORDERS",
    "Cost",
    "Floats",
    "cost",
    "is_affordable",
    "pure_epsilon",
    "quick_epsilon",
    "renyi_divergences",
    "renyi_epsilon",
    "site_level_divergences",
]

Floats = npt.NDArray[np.float64]

SITE_LEVEL_ORDERS = (*(2 + step / 32 for step in range(576)), *range(20, 65), *RDP_ORDERS[63:])
"""A sum of discrete Gaussians has a closed form at every order from 2 on."""

LEAST_GAUSSIAN_DELTA = 1e-200
"""Far above where the logarithm of a Gaussian's delta loses its digits."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Epsilon by each accountant, at one delta; infinite where that accountant has no bound."""

    epsilon_pld: float
    epsilon_rdp: float

    @property
    def epsilon(self) -> float:
        """The least proven bound."""
        return min(self.epsilon_pld, self.epsilon_rdp)


def cost(
    events: Iterable[PrivacyEvent], delta: float, relation: Relation = ADD_OR_REMOVE_ONE
) -> Cost:
    """What all events together cost.

    Args:
        events: in any order.
        delta: in (0, 1).
        relation: of neighbouring tables. Under replace-one, a site's update is replaced by another
            one where the event's unit is a site.

    Raises:
        ValueError: delta is out of range.
        ConfigError: no such relation.
        PrivacyRefusal: events of two units of privacy, whose costs are never added.
    """
    events, neighbours = tuple(events), Neighbours(relation)
    of_sites = _of_sites(events)
    if of_sites:
        apart = [further_apart(event, neighbours) for event in of_sites]
        return _cost_of_sites(apart, delta)
    losses = merged_losses(events, delta, neighbours)
    if losses is None:
        return Cost(math.inf, math.inf)
    if not losses:
        return Cost(0.0, 0.0)
    by_pld = loss_distribution.epsilon(losses, delta, DISCRETISATION)
    return Cost(by_pld, renyi.epsilon(losses, delta))


def is_affordable(
    events: Iterable[PrivacyEvent],
    delta: float,
    epsilon: float,
    relation: Relation = ADD_OR_REMOVE_ONE,
) -> bool:
    """Whether all events together cost at most `epsilon`: the fast way to compare a `cost`.

    Raises:
        As `cost`.
    """
    events, neighbours = tuple(events), Neighbours(relation)
    of_sites = _of_sites(events)
    if of_sites:
        apart = [further_apart(event, neighbours) for event in of_sites]
        return _cost_of_sites(apart, delta).epsilon <= epsilon
    losses = merged_losses(events, delta, neighbours)
    if not losses:
        return losses is not None or math.isinf(epsilon)
    return (
        renyi.epsilon(losses, delta) <= epsilon
        # Clearly within: so that no history is admitted that `cost` puts a hair above.
        or loss_distribution.epsilon(losses, delta, COARSE) <= 0.999 * epsilon
        or loss_distribution.epsilon(losses, delta, DISCRETISATION) <= epsilon
    )


def renyi_divergences(events: Iterable[PrivacyEvent], neighbours: Neighbours = RECORD) -> Floats:
    """Renyi divergence at each of `RDP_ORDERS` that all events of records have together at most.

    Shape (len(RDP_ORDERS),); zero for no events, infinite where an event has no bound. It is a
    sum over events, so what a further event adds is known without the others; a mechanism that was
    seen before costs a look-up.

    Raises:
        PrivacyRefusal: an event whose unit is a site.
    """
    events = tuple(events)
    if _of_sites(events):
        raise PrivacyRefusal(
            f"event {events[0]}: expected events of record-level privacy; the divergences of sites "
            "are at orders of their own (site_level_divergences)"
        )
    losses = merged(events, neighbours)
    return np.full(len(RDP_ORDERS), math.inf) if losses is None else renyi.divergences(losses)


def quick_epsilon(
    events: Iterable[PrivacyEvent], delta: float, relation: Relation = ADD_OR_REMOVE_ONE
) -> float:
    """Epsilon of all events, whose unit is a record: as `cost`, looser and ten times faster.

    Raises:
        As `cost`; and PrivacyRefusal where an event's unit is a site.
    """
    losses = merged_losses(tuple(events), delta, Neighbours(relation))
    if not losses:
        return math.inf if losses is None else 0.0
    by_pld = loss_distribution.epsilon(losses, delta, COARSE)
    return min(by_pld, renyi.epsilon(losses, delta))


def pure_epsilon(events: Iterable[PrivacyEvent], neighbours: Neighbours = RECORD) -> float:
    """Sum of the epsilons of events of delta 0, infinite where one has none; exact, rounded up.

    It holds however later events were chosen (Rogers, Roth, Ullman and Vadhan 2016,
    arXiv:1605.08294, section 3).
    """
    losses = merged(events, neighbours)
    return math.inf if losses is None else renyi.sum_if_pure(losses)


def renyi_epsilon(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Epsilon of all events, whose unit is a record, by Renyi DP alone.

    Raises:
        ValueError: delta is out of range.
        PrivacyRefusal: an event's unit is a site.
    """
    losses = merged_losses(tuple(events), delta, RECORD)
    return math.inf if losses is None else renyi.epsilon(losses, delta)


def merged_losses(
    events: tuple[PrivacyEvent, ...], delta: float, neighbours: Neighbours
) -> tuple[Loss, ...] | None:
    """`mechanism.merged` of events of records.

    Raises:
        ValueError: delta is out of range.
        PrivacyRefusal: an event's unit is a site.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta = {delta}: expected a number in (0, 1)")
    if _of_sites(events):
        raise PrivacyRefusal(
            f"event {events[0]}: expected events whose unit is a record; this one's is a site"
        )
    return merged(events, neighbours)


def _of_sites(events: tuple[PrivacyEvent, ...]) -> list[DistributedDiscreteGaussian]:
    """The events whose unit is a site: all of them, or none.

    Raises:
        PrivacyRefusal: some.
    """
    of_sites = [event for event in events if isinstance(event, DistributedDiscreteGaussian)]
    if of_sites and len(of_sites) < len(events):
        raise PrivacyRefusal(
            "events of record-level and of site-level privacy: their costs are never added"
        )
    return of_sites


def _cost_of_sites(events: list[DistributedDiscreteGaussian], delta: float) -> Cost:
    if not 0 < delta < 1:
        raise ValueError(f"delta = {delta}: expected a number in (0, 1)")
    total = np.sum([_renyi_of_sites(event) for event in events], axis=0)
    by_rdp, _ = compute_epsilon(SITE_LEVEL_ORDERS, total, delta)
    if by_rdp > LARGEST_EPSILON:
        return Cost(math.inf, float(by_rdp))
    return Cost(_epsilon_of_gaussians(events, delta), float(by_rdp))


def _epsilon_of_gaussians(events: list[DistributedDiscreteGaussian], delta: float) -> float:
    """By the PLD of the continuous Gaussians that the sums are nearly functions of.

    Without sampling that is known in closed form (Balle and Wang 2018, arXiv:1805.06530, Theorem
    8), and several Gaussians are as one whose squared noise multipliers' inverses add up.
    """
    squared, log_ratio = 0.0, 0.0
    for event in events:
        near = loss_distribution.counterparts(event)
        squared += event.count / min(each.noise_multiplier for each in near) ** 2
        log_ratio += event.count * max(each.log_ratio for each in near)
    least_delta = delta * math.exp(-log_ratio)
    if least_delta <= LEAST_GAUSSIAN_DELTA:
        return math.inf
    epsilon = get_epsilon_gaussian(1 / math.sqrt(squared), least_delta)
    return float(epsilon) * (1 + 1e-9) + 1e-9 + 2 * log_ratio


@lru_cache(maxsize=1024)
def _renyi_of_sites(event: DistributedDiscreteGaussian) -> Floats:
    repeated: Floats = site_level_divergences(event, SITE_LEVEL_ORDERS) * event.count
    return repeated


def site_level_divergences(event: DistributedDiscreteGaussian, orders: Sequence[float]) -> Floats:
    """Renyi divergence of one of the event's sums at each order, whoever drops out.

    Raises:
        ValueError: an order below 2.
    """
    noises, sensitivity = event.honest_noise(), event.sensitivity
    most: Floats = np.max([renyi_divergence(orders, sensitivity, each) for each in noises], axis=0)
    return most
