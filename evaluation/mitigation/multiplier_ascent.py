"""How the server adapts the multipliers of constrained training after each round.

Gradient ascent on the Lagrangian (Cotter et al. 2019, arXiv:1809.04198), of which the server needs
the summed rates only. The constraint is that each group's rate is the mean c of the groups' rates,
and lambda_a (rate_a - c) is a mean over the rows of group a; so one such row's score costs
lambda_a / share_a. That price is what travels. With

    push_a = step * (rate_a - c) * (rows of the smallest group) / (rows of group a)

it is the sum of all pushes so far, and PROPORTIONAL times the last one. The sum alone is gradient
ascent, and swings: prices go on rising until the gap is gone, and then the model follows them past
it. The second term brakes (a PI controller: Sohrabi et al. 2024, arXiv:2406.04558).

A small group thus gives way more than a large one, as the Lagrangian wants it: the same gap is
closed with fewer rows changed. The smallest moves by its distance times the step however small it
is: more would swing, for a model follows a price within few rounds. Prices weighted by rows add up
to zero, so that the groups' rates move towards each other and not all one way; so where one would
pass the bound, all shrink alike.

Only what the run's findings show is used. A group that is hidden for having few rows, or for
standing beside such a group, is not pushed and is no part of the mean; so the multipliers,
which all sites see, tell nothing that the findings do not.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from evaluation.group_metrics import Floats
from federation.multipliers import Multiplier
from federation.summary import Estimate, Fairness, GroupRates

PROPORTIONAL = 4.0
"""Of the last push, in the multipliers. On the records of `benchmarks/mitigation.py` the gap swings
with 0 for as long as a run lasts; with 4 it closes and stays closed."""


class Observed(NamedTuple):
    """A group's rate, and how many rows it is a mean over."""

    rate: float
    rows: int


def shown_rates(
    fairness: Iterable[Fairness], attribute: str, of: Sequence[Multiplier]
) -> tuple[Observed | None, ...]:
    """What each multiplier is about, over all sites; None where it is not shown."""
    groups = {
        group.group: group
        for one in fairness
        if one.scope == "overall"
        for group in one.groups
        if group.attribute == attribute and not group.suppressed and not group.combines
    }
    return tuple(_observed(groups[name], rate) if name in groups else None for rate, name in of)


def _observed(group: GroupRates, rate: str) -> Observed | None:
    estimate: Estimate | None = getattr(group, rate)
    if estimate is None or estimate.value is None:
        return None
    if rate == "selection_rate":
        return Observed(estimate.value, group.rows)
    assert group.positives is not None  # shown wherever a rate of labels is
    positives = group.positives
    rows = positives if rate == "true_positive_rate" else group.rows - positives
    return Observed(estimate.value, rows)


class Ascent(NamedTuple):
    """The state of the multipliers after a round.

    Attributes:
        integral: the sum of all pushes, shape (m,).
        values: what travels in the next round, shape (m,), whole float32 values.
    """

    integral: Floats
    values: Floats


def ascended(
    integral: Floats,
    observed: Sequence[Observed | None],
    of: Sequence[Multiplier],
    step: float,
    largest: float,
) -> Ascent:
    """The multipliers of the next round.

    Args:
        integral: of this round, shape (m,).
        observed: of this round's model, one per multiplier; None where it is not known.
        of: what the multipliers are of.
        step: > 0.
        largest: neither the sum nor what travels grows past it, > 0.
    """
    push = step * _distances(observed, of)
    following = _within(integral + push, of, largest)
    values = _within(following + PROPORTIONAL * push, of, largest)
    return Ascent(following, values.astype(np.float32).astype(np.float64))


def _distances(observed: Sequence[Observed | None], of: Sequence[Multiplier]) -> Floats:
    """From the mean of the groups' rates, by rows; 0 where it is not known, shape (m,)."""
    distances = np.zeros(len(of))
    for places in _by_rate(of):
        known = {place: seen for place in places if (seen := observed[place]) is not None}
        if len(known) < 2:
            continue
        mean = sum(seen.rate for seen in known.values()) / len(known)
        fewest = min(seen.rows for seen in known.values())
        for place, seen in known.items():
            distances[place] = (seen.rate - mean) * fewest / seen.rows
    return distances


def _within(values: Floats, of: Sequence[Multiplier], largest: float) -> Floats:
    shrunk = values.copy()
    for places in _by_rate(of):
        farthest = float(np.max(np.abs(values[places])))
        if farthest > largest:
            shrunk[places] *= largest / farthest
    # Rounding of the shrinking: past the bound by a last bit is past it.
    return np.clip(shrunk, -largest, largest)


def _by_rate(of: Sequence[Multiplier]) -> list[list[int]]:
    """Places of the multipliers of each rate."""
    rates = dict.fromkeys(one.rate for one in of)
    return [[place for place, one in enumerate(of) if one.rate == rate] for rate in rates]
