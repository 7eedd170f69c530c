"""What a history of events costs: epsilon at a delta, by two accountants that are both bounds.

Privacy loss distributions with connect-the-dots discretisation (Doroshenko et al. 2022,
arXiv:2207.04380) are the tightest; Renyi DP (Mironov 2017, arXiv:1702.07476) stands beside them.
Both are dp-accounting's, under add-or-remove-one; each is an upper bound, so the lesser counts.
The Gaussian-DP accountant is not offered: it under-states (privacy.md: 1.5 for a true 4.8).
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import dp_accounting
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.rdp import RdpAccountant

from privacy.event import NonPrivate, PoissonSampledGaussian, PrivacyEvent

DISCRETISATION = 1e-4
"""Width of a PLD's bins; a smaller one is tighter, none is optimistic."""

RDP_ORDERS = (*range(2, 65), 72, 80, 96, 128, 192, 256, 384, 512, 1024)
"""Whole orders: any set of orders gives a bound, and at fractional ones the series of
Poisson-subsampled Gaussians fails to converge for small noise."""

Loss = tuple[float, float, int]  # sampling rate, noise multiplier, how often


@dataclass(frozen=True, slots=True)
class Cost:
    """Epsilon by each accountant, at one delta."""

    epsilon_pld: float
    epsilon_rdp: float

    @property
    def epsilon(self) -> float:
        """The least proven bound."""
        return min(self.epsilon_pld, self.epsilon_rdp)


def cost(events: Iterable[PrivacyEvent], delta: float) -> Cost:
    """What all events together cost.

    Args:
        events: in any order; those fixed before looking at the data compose as PLDs.
        delta: in (0, 1).

    Raises:
        ValueError: delta is out of range.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta = {delta}: expected a number in (0, 1)")
    history = list(events)
    if any(isinstance(event, NonPrivate) for event in history):
        return Cost(math.inf, math.inf)
    merged = Counter[tuple[float, float]]()
    for event in history:
        assert isinstance(event, PoissonSampledGaussian)
        merged[event.sampling_rate, event.noise_multiplier] += event.count
    losses = tuple(sorted((q, sigma, count) for (q, sigma), count in merged.items()))
    return _cost(losses, delta) if losses else Cost(0.0, 0.0)


def epsilon_by_pld(event: PoissonSampledGaussian, delta: float, discretisation: float) -> float:
    """Epsilon of one event by its PLD alone, at a bin width of the caller's choice."""
    once = _once(event.sampling_rate, event.noise_multiplier, discretisation)
    return float(once.self_compose(event.count).get_epsilon_for_delta(delta))


@lru_cache(maxsize=4096)
def _cost(losses: tuple[Loss, ...], delta: float) -> Cost:
    distributions = [_once(q, s, DISCRETISATION).self_compose(n) for q, s, n in losses]
    composed = distributions[0]
    for distribution in distributions[1:]:
        composed = composed.compose(distribution)
    return Cost(float(composed.get_epsilon_for_delta(delta)), _epsilon_by_rdp(losses, delta))


# Admitting round after round of one plan composes the same step again and again.
@lru_cache(maxsize=64)
def _once(q: float, sigma: float, discretisation: float) -> pld.PrivacyLossDistribution:
    return pld.from_gaussian_mechanism(
        sigma,
        sampling_prob=q,
        value_discretization_interval=discretisation,
        use_connect_dots=True,
        neighboring_relation=dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
    )


def _epsilon_by_rdp(losses: tuple[Loss, ...], delta: float) -> float:
    accountant = RdpAccountant(
        orders=RDP_ORDERS, neighboring_relation=dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    for loss in losses:
        accountant.compose(PoissonSampledGaussian(*loss).to_dp_event())
    return float(accountant.get_epsilon(delta))
