"""What a history of events costs: epsilon at a delta, by two accountants that are both bounds.

Privacy loss distributions (PLD) with connect-the-dots discretisation (Doroshenko et al. 2022,
arXiv:2207.04380) are the tightest; Renyi DP (Mironov 2017, arXiv:1702.07476; conversion of
Canonne, Kamath and Steinke 2020, arXiv:2004.00010, Proposition 12) stands beside them. Both are
dp-accounting's, under add-or-remove-one; each is an upper bound, so the lesser counts. Both are
rounded outwards here: dp-accounting's convolutions are exact but for floating point, which at a
small delta is enough to under-state (by 0.15 at delta 1e-14 for 100 Gaussians).

Not offered: Gaussian DP, which under-states subsampled noise (1.5 for a true 4.8), and the
replace-one relation, for which dp-accounting's two accountants contradict each other.

Noise within a sum is discrete: its Renyi divergence is bounded for it, and its PLD is that of a
continuous Gaussian that it is nearly a function of (`privacy.sampled_discrete_gaussian`).

Pure epsilon-DP is costed as binary randomised response, the worst of its kind; where nothing else
is in a history, the sum of the epsilons (Renyi DP of infinite order) bounds it, too.

A PLD composes events whose parameters were fixed before looking at the data.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, reduce

import dp_accounting
import numpy as np
import numpy.typing as npt
from dp_accounting.gaussian_mechanism import get_epsilon_gaussian
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.pld.common import DifferentialPrivacyParameters
from dp_accounting.rdp import RdpAccountant, compute_epsilon

from federation.errors import PrivacyRefusal
from privacy.discrete_gaussian_divergence import renyi_divergence
from privacy.event import (
    Composed,
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    NonPrivate,
    PoissonSampledDistributedGaussian,
    PoissonSampledGaussian,
    PrivacyEvent,
    SingleEvent,
)
from privacy.sampled_discrete_gaussian import ContinuousCounterpart, continuous_counterpart
from privacy.sampled_discrete_gaussian import renyi_divergence as sampled_renyi_divergence

Floats = npt.NDArray[np.float64]

DISCRETISATION = 1e-4
"""Width of a PLD's bins; a smaller one is tighter, none is optimistic."""
COARSE = 1e-3
"""A width ten times faster, for questions whose answer is clear."""

RDP_ORDERS = (*range(2, 65), 72, 80, 96, 128, 192, 256, 384, 512, 1024)
"""Whole orders: any set of orders gives a bound, and at fractional ones the series of
Poisson-subsampled Gaussians fails to converge for small noise."""

SITE_LEVEL_ORDERS = (*(2 + step / 32 for step in range(576)), *range(20, 65), *RDP_ORDERS[63:])
"""A sum of discrete Gaussians has a closed form at every order from 2 on."""

LEAST_GAUSSIAN_DELTA = 1e-200
"""Far above where the logarithm of a Gaussian's delta loses its digits."""

LARGEST_EPSILON = 200.0
"""Where Renyi DP says more, no PLD is made: it would need gigabytes to bound what no budget
covers, at the word of whoever proposed the event."""

MOST_COMPOSITIONS = 10**6
"""Where a history has more, no PLD is made, for its tails cannot be cut any more."""

LEAST_NOISE, MOST_NOISE, LEAST_RATE = 1e-3, 1e5, 1e-9
"""Beyond these the arithmetic of dp-accounting breaks down; what lies beyond is costed as if it
stood at the bound on its expensive side."""

SampledGaussian = PoissonSampledGaussian | PoissonSampledDistributedGaussian
Continuous = PoissonSampledGaussian | DiscreteLaplace
"""What dp-accounting makes a PLD of."""
Mechanism = SampledGaussian | DiscreteLaplace
Loss = tuple[Mechanism, int]  # a mechanism of count 1, how often
ContinuousLoss = tuple[Continuous, int]


@dataclass(frozen=True, slots=True)
class Cost:
    """Epsilon by each accountant, at one delta; infinite where that accountant has no bound."""

    epsilon_pld: float
    epsilon_rdp: float

    @property
    def epsilon(self) -> float:
        """The least proven bound."""
        return min(self.epsilon_pld, self.epsilon_rdp)


def cost(events: Iterable[PrivacyEvent], delta: float) -> Cost:
    """What all events together cost.

    Args:
        events: in any order.
        delta: in (0, 1).

    Raises:
        ValueError: delta is out of range.
        PrivacyRefusal: events of two units of privacy, whose costs are never added.
    """
    events = tuple(events)
    of_sites = _of_sites(events)
    if of_sites:
        return _cost_of_sites(of_sites, delta)
    losses = _merged(events, delta)
    if losses is None:
        return Cost(math.inf, math.inf)
    if not losses:
        return Cost(0.0, 0.0)
    return Cost(_epsilon_by_pld(losses, delta, DISCRETISATION), _epsilon_by_rdp(losses, delta))


def is_affordable(events: Iterable[PrivacyEvent], delta: float, epsilon: float) -> bool:
    """Whether all events together cost at most `epsilon`: the fast way to compare a `cost`.

    Raises:
        ValueError: delta is out of range.
    """
    events = tuple(events)
    of_sites = _of_sites(events)
    if of_sites:
        return _cost_of_sites(of_sites, delta).epsilon <= epsilon
    losses = _merged(events, delta)
    if not losses:
        return losses is not None or math.isinf(epsilon)
    return (
        _epsilon_by_rdp(losses, delta) <= epsilon
        # Clearly within: so that no history is admitted that `cost` puts a hair above.
        or _epsilon_by_pld(losses, delta, COARSE) <= 0.999 * epsilon
        or _epsilon_by_pld(losses, delta, DISCRETISATION) <= epsilon
    )


def renyi_divergences(events: Iterable[PrivacyEvent]) -> Floats:
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
    total = np.zeros(len(RDP_ORDERS))
    for event in _singles(events):
        if isinstance(event, NonPrivate):
            return np.full(len(RDP_ORDERS), math.inf)
        total += _renyi_once(_once_only(event)) * event.count
    return total


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
        near = _counterparts(event)
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


def is_clearly_affordable(event: SampledGaussian, delta: float, epsilon: float) -> bool:
    """Whether even a looser bound, ten times faster, puts one event at most at `epsilon`."""
    losses = _merged([event], delta)
    assert losses
    return (
        _epsilon_by_rdp(losses, delta) <= epsilon
        or _epsilon_by_pld(losses, delta, COARSE) <= epsilon
    )


def _merged(events: Iterable[PrivacyEvent], delta: float) -> tuple[Loss, ...] | None:
    """Equal mechanisms added up, in order of first appearance; None if one is not private."""
    if not 0 < delta < 1:
        raise ValueError(f"delta = {delta}: expected a number in (0, 1)")
    counts = Counter[Mechanism]()
    for event in _singles(events):
        if isinstance(event, NonPrivate):
            return None
        counts[_once_only(event)] += event.count
    return tuple(counts.items())


def _singles(events: Iterable[PrivacyEvent]) -> Iterator[SingleEvent]:
    for event in events:
        assert not isinstance(event, DistributedDiscreteGaussian)
        yield from event.events if isinstance(event, Composed) else (event,)


def _once_only(event: Mechanism) -> Mechanism:
    """One repetition, within what dp-accounting can cost."""
    if isinstance(event, DiscreteLaplace):
        return replace(event, count=1)
    return replace(
        event,
        sampling_rate=max(event.sampling_rate, LEAST_RATE),
        noise_multiplier=min(event.noise_multiplier, MOST_NOISE),
        count=1,
    )


@lru_cache(maxsize=1024)
def _epsilon_by_pld(losses: tuple[Loss, ...], delta: float, discretisation: float) -> float:
    compositions = sum(count for _, count in losses)
    # Measured against the closed form, rounding takes up to 4e-17 of delta per composition away.
    rounding = 1e-13 + 1e-15 * compositions
    log_ratio = sum(_log_ratio(mechanism) * count for mechanism, count in losses)
    least_delta = delta * math.exp(-log_ratio) - rounding
    if least_delta <= 0 or compositions > MOST_COMPOSITIONS:
        return math.inf
    if _epsilon_by_rdp(losses, delta) > LARGEST_EPSILON:
        return math.inf
    nearby = tuple((_continuous(mechanism), count) for mechanism, count in losses)
    composed = _repeated(nearby[-1], discretisation)
    if len(nearby) > 1:
        composed = _composed(nearby[:-1], discretisation).compose(composed)
    return float(composed.get_epsilon_for_delta(least_delta)) + 2 * log_ratio


# While one run goes on, only the count of its own mechanism grows; what was before stays as it is.
@lru_cache(maxsize=4)
def _composed(
    losses: tuple[ContinuousLoss, ...], discretisation: float
) -> pld.PrivacyLossDistribution:
    return reduce(
        lambda one, other: one.compose(other), (_repeated(loss, discretisation) for loss in losses)
    )


def _repeated(loss: ContinuousLoss, discretisation: float) -> pld.PrivacyLossDistribution:
    mechanism, count = loss
    return _once(mechanism, discretisation).self_compose(count)


@lru_cache(maxsize=16)
def _once(mechanism: Continuous, discretisation: float) -> pld.PrivacyLossDistribution:
    if isinstance(mechanism, DiscreteLaplace):
        return pld.from_privacy_parameters(
            DifferentialPrivacyParameters(mechanism.epsilon, 0.0),
            value_discretization_interval=discretisation,
        )
    return pld.from_gaussian_mechanism(
        mechanism.noise_multiplier,
        sampling_prob=mechanism.sampling_rate,
        value_discretization_interval=discretisation,
        use_connect_dots=True,
        neighboring_relation=dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
    )


def _continuous(mechanism: Mechanism) -> Continuous:
    """The mechanism of which this one is nearly a function: often itself."""
    if not isinstance(mechanism, PoissonSampledDistributedGaussian):
        return mechanism
    near = [counterpart.noise_multiplier for counterpart in _counterparts(mechanism)]
    return PoissonSampledGaussian(mechanism.sampling_rate, min(near), 1)


@lru_cache(maxsize=1024)
def _log_ratio(mechanism: Mechanism) -> float:
    """How near it is to that function: probabilities are within exp of this of each other."""
    if not isinstance(mechanism, PoissonSampledDistributedGaussian):
        return 0.0
    return max(counterpart.log_ratio for counterpart in _counterparts(mechanism))


def _counterparts(
    event: PoissonSampledDistributedGaussian | DistributedDiscreteGaussian,
) -> list[ContinuousCounterpart]:
    return [continuous_counterpart(event.sensitivity, noise) for noise in event.honest_noise()]


def _epsilon_by_rdp(losses: tuple[Loss, ...], delta: float) -> float:
    divergences = np.sum([_renyi_once(mechanism) * count for mechanism, count in losses], axis=0)
    epsilon, _ = compute_epsilon(RDP_ORDERS, divergences, delta)
    return min(float(epsilon), _sum_if_pure(losses))


def pure_epsilon(events: Iterable[PrivacyEvent]) -> float:
    """Sum of the epsilons of events of delta 0, infinite where one has none; exact, rounded up.

    It holds however later events were chosen (Rogers, Roth, Ullman and Vadhan 2016,
    arXiv:1605.08294, section 3).
    """
    singles = tuple(_singles(events))
    mechanisms = [event for event in singles if not isinstance(event, NonPrivate)]
    if len(mechanisms) < len(singles):
        return math.inf
    return _sum_if_pure(tuple((_once_only(event), event.count) for event in mechanisms))


def _sum_if_pure(losses: tuple[Loss, ...]) -> float:
    """Renyi DP of infinite order: the sum of the epsilons, infinite where a Gaussian is among them.

    Added as fractions, and what they add up to is rounded up: never a hair above what was asked.
    """
    total = Fraction(0)
    for mechanism, count in losses:
        if not isinstance(mechanism, DiscreteLaplace):
            return math.inf
        total += Fraction(mechanism.sensitivity) / Fraction(mechanism.scale) * count
    try:
        nearest = float(total)
    except OverflowError:
        return math.inf
    return nearest if nearest >= total else math.nextafter(nearest, math.inf)


@lru_cache(maxsize=1024)
def _renyi_once(mechanism: Mechanism) -> Floats:
    """Renyi divergence at each order, shape (len(RDP_ORDERS),)."""
    if isinstance(mechanism, DiscreteLaplace):
        return _renyi_of_randomised_response(mechanism.epsilon)
    if isinstance(mechanism, PoissonSampledDistributedGaussian):
        rate, sensitivity = mechanism.sampling_rate, mechanism.sensitivity
        bounds = [
            sampled_renyi_divergence(RDP_ORDERS, rate, sensitivity, noise)
            for noise in mechanism.honest_noise()
        ]
        worst: Floats = np.max(bounds, axis=0) + 1e-13
        return worst
    if mechanism.noise_multiplier < LEAST_NOISE:
        return np.full(len(RDP_ORDERS), math.inf)
    accountant = RdpAccountant(
        orders=RDP_ORDERS, neighboring_relation=dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    accountant.compose(mechanism.to_dp_event())
    # Near zero the sum of logarithms cancels; a divergence rounded below zero would cost nothing.
    divergences: Floats = np.maximum(accountant.rdp, 0.0) + 1e-13
    return divergences


def _renyi_of_randomised_response(epsilon: float) -> Floats:
    """Mironov 2017, section VI-A, with p / (1 - p) = exp(epsilon); at most epsilon."""
    if not math.isfinite(epsilon):
        return np.full(len(RDP_ORDERS), math.inf)
    orders = np.array(RDP_ORDERS, np.float64)
    both = np.logaddexp(orders * epsilon, (1 - orders) * epsilon) - np.logaddexp(0, epsilon)
    divergences: Floats = np.clip(both / (orders - 1), 0.0, epsilon) + 1e-13
    return divergences
