"""What may be spent on a dataset, and the measure by which spending on several plans is limited.

Releases whose parameters were fixed before anything was looked at compose as the accountants say.
Where a later plan may have been chosen after seeing what an earlier one gave, that is not proven;
what is proven then is that Renyi divergences of one fixed order may be added up to a fixed bound
(Feldman and Zrnic 2021, arXiv:2008.11193, Theorem 3.1; Lecuyer 2021, arXiv:2103.01379). So the
order is fixed before the first release, from the budget and the first plan alone.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from dp_accounting.rdp import compute_epsilon

from privacy.neighbours import RECORD, Neighbours

ROUNDING = 1e-12
"""Relative; far above what adding up to 10**5 floats exactly, and one conversion, can lose."""

Unit = Literal["record", "site"]


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in all: epsilon at delta, in one unit of privacy.

    Attributes:
        epsilon: > 0; infinite where a site sets no bound.
        delta: in (0, 1).

    Raises:
        ValueError: a bound above is broken.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not (self.epsilon > 0 and 0 < self.delta < 1):
            raise ValueError(f"budget: expected epsilon > 0 and 0 < delta < 1, got {self}")


@dataclass(frozen=True, slots=True)
class DatasetPolicy:
    """The rules of one ledger: what the dataset's owner allows to be spent, and on what.

    Attributes:
        record: budget per unit of `neighbours`: a record, or a person with up to so many.
        site: budget of the site's updates as a whole, with or without them; None sets no bound.
        mechanisms: names of `privacy.event` that may be charged; None allows all. Where all of
            them are pure, the order of the filter is infinite, and epsilons simply add up.
        minimum_cohort: fewest sites whose sum may carry a release.
        expires: UTC, ISO 8601, from when on nothing is charged any more; None is never.
        neighbours: what the budget hides: one record or up to k of a person, added or removed, or
            replaced. That nobody has more than k is a promise about the data, kept where rows are
            loaded.
        whole_plans: whether a first plan may go beyond the filter and have the budget to itself.
    """

    record: Budget
    site: Budget | None = None
    mechanisms: tuple[str, ...] | None = None
    minimum_cohort: int = 1
    expires: str | None = None
    neighbours: Neighbours = RECORD
    whole_plans: bool = True

    def of(self, unit: Unit) -> Budget | None:
        """The budget in a unit."""
        return self.record if unit == "record" else self.site


def filter_order(
    budget: Budget, orders: Sequence[float], divergence: Callable[[float], float]
) -> float:
    """The order at which most releases of one kind fit into a budget.

    Args:
        budget: of the dataset.
        orders: to choose from, > 1.
        divergence: of such a release, Renyi, at an order; >= 0.
    """
    return max(orders, key=lambda order: _ratio(room_at(budget, order), divergence(order)))


def _ratio(room: float, divergence: float) -> float:
    return room / divergence if divergence > 0 else room


def epsilon_at_order(order: float, divergences: Iterable[float], delta: float) -> float:
    """Epsilon of releases whose Renyi divergences at `order` are given, rounded outwards.

    Canonne, Kamath and Steinke 2020, arXiv:2004.00010, Proposition 12, at this order alone.
    """
    total = math.fsum(divergences)
    if total == 0:
        return 0.0
    epsilon, _ = compute_epsilon([order], [total * (1 + ROUNDING)], delta)
    return float(epsilon) * (1 + ROUNDING)


def room_at(budget: Budget, order: float) -> float:
    """The largest divergence at `order` that a budget has room for; negative where for none."""
    offset = math.log1p(-1 / order) - math.log(budget.delta * order) / (order - 1)
    return budget.epsilon - offset
