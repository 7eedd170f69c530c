"""What a history costs a person with several records, at one site or at several.

Every record of a person hides behind the same noise, so the person's epsilon is larger. Two ways to
bound it, of which the lesser counts:

- as the mechanism itself for neighbours who are k records apart: k-fold sensitivity where nothing
  is sampled, the binomial mixture of Gaussians where it is (`privacy.gaussian_mixture`). Shares of
  discrete noise are nearly a function of a Gaussian, whatever the neighbours are, and cost what
  that one costs;
- by k steps from neighbour to neighbour, of any record-level bound: a release that is
  (epsilon, delta)-DP is (k epsilon, delta (e^(k epsilon) - 1) / (e^epsilon - 1))-DP for k records
  (Vadhan 2017, The Complexity of Differential Privacy, Lemma 2.2).

The cap k is a promise about the data, kept where rows are loaded: nothing here can check it.
"""

import itertools
import math
from collections.abc import Iterable, Sequence

from privacy import accountant, loss_distribution, renyi
from privacy.accountant import Cost, merged_losses
from privacy.event import PrivacyEvent
from privacy.loss_distribution import LARGEST_EPSILON
from privacy.mechanism import Loss, SampledGroup
from privacy.neighbours import ADD_OR_REMOVE_ONE, Neighbours, Relation

DISCRETISATION = 5e-4
"""A person's losses are larger than a record's, and their bins may be."""

_MOST_BINS = 200_000


def cost(
    events: Iterable[PrivacyEvent],
    delta: float,
    records: int,
    relation: Relation = ADD_OR_REMOVE_ONE,
) -> Cost:
    """What all events together cost a person with at most `records` records.

    Args:
        events: whose unit is a record; in any order.
        delta: in (0, 1).
        records: k, 1 to 64, in the one table that the events are of.
        relation: whether the person's records are added or removed, or replaced by others.

    Raises:
        ValueError: delta is out of range.
        ConfigError: records or relation is.
        PrivacyRefusal: an event's unit is a site, or a sensitivity to so many records is beyond
            what events allow.
    """
    events, neighbours = tuple(events), Neighbours(relation, records)
    one = merged_losses(events, delta, Neighbours(relation))
    losses = merged_losses(events, delta, neighbours)
    if records == 1:
        return accountant.cost(events, delta, relation)
    if losses is None or one is None:
        return Cost(math.inf, math.inf)
    if not losses:
        return Cost(0.0, 0.0)
    by_pld = loss_distribution.epsilon(losses, delta, discretisation(losses))
    by_rdp = min(renyi.epsilon(losses, delta), _by_steps(one, delta, records))
    return Cost(by_pld, by_rdp)


def quick_cost(events: Iterable[PrivacyEvent], delta: float, records: int) -> float:
    """As `cost`, by Renyi DP alone: looser, and in no time.

    Raises:
        As `cost`.
    """
    events = tuple(events)
    one = merged_losses(events, delta, Neighbours())
    losses = merged_losses(events, delta, Neighbours(records=records))
    if losses is None or one is None:
        return math.inf
    if not losses:
        return 0.0
    return min(renyi.epsilon(losses, delta), _by_steps(one, delta, records))


def cost_at_sites(
    histories: Sequence[Iterable[PrivacyEvent]],
    delta: float,
    records: int,
    relation: Relation = ADD_OR_REMOVE_ONE,
) -> Cost:
    """What a person pays who has at most `records` records at each of the sites of the histories.

    All of it is released about one person, so the histories compose, where each site adds noise of
    its own. Noise that sites share is not independent from site to site: a person at m sites of one
    sum hides behind it once, as m times the records at one site would; that is for the caller to
    count (`privacy.report.federation_view` does). People who are at one site only pay what the
    dearest history costs: the maximum, not this.

    Raises:
        As `cost`.
    """
    return cost(itertools.chain.from_iterable(histories), delta, records, relation)


def discretisation(losses: Sequence[Loss]) -> float:
    """Width of bins at which each PLD of these mechanisms has at most some 10^5 of them.

    The accountant's usual one where neighbours are one record apart.
    """
    widths = [loss_distribution.DISCRETISATION]
    for mechanism, _ in losses:
        if isinstance(mechanism, SampledGroup) and mechanism.neighbours.records > 1:
            reach = mechanism.neighbours.stretch / mechanism.one.noise_multiplier
            widths += [DISCRETISATION, 2 * reach * (reach + 10) / _MOST_BINS]
    return max(widths)


def _by_steps(losses: tuple[Loss, ...], delta: float, records: int) -> float:
    """From the record-level bound by Renyi DP; infinite where it says more than `LARGEST_EPSILON`.

    What fits at a smaller epsilon may not fit at a larger one; what is returned does.
    """

    def fits(epsilon: float) -> bool:
        one = renyi.delta(losses, epsilon)
        if one == 0:
            return True
        group = _log_expm1(records * epsilon) - _log_expm1(epsilon)
        return math.log(one) + group <= math.log(delta)

    high = 1e-3
    while not fits(high):
        high *= 2
        if high > LARGEST_EPSILON:
            return math.inf
    low = high / 2 if high > 1e-3 else 0.0
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return records * high


def _log_expm1(value: float) -> float:
    return value + math.log(-math.expm1(-value))
