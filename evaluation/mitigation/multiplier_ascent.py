"""How the server adapts the multipliers of constrained training after each round.

Gradient ascent on the Lagrangian (Cotter et al. 2019, arXiv:1809.04198), of which the server needs
the summed rates only. The constraint is that each group's rate is the mean c of the groups' rates,
and lambda_a (rate_a - c) is a mean over the rows of group a; so one such row's score costs
lambda_a / share_a. That price is what travels, and what grows from round to round by

    step * (rate_a - c) * (rows of a group on average) / (rows of group a)

A small group thus gives way more than a large one, as the Lagrangian wants it: the same gap is
closed with fewer rows changed. Prices weighted by rows add up to zero, so that the groups' rates
move towards each other and not all one way; so where one would pass the bound, all shrink alike.

Only what the run's findings show is used. A group that is hidden for having few rows, or for
standing beside such a group, keeps its multiplier and is no part of the mean; so the multipliers,
which all sites see, tell nothing that the findings do not.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from evaluation.group_metrics import Floats
from federation.multipliers import Multiplier
from federation.summary import Estimate, Fairness, GroupRates


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


def ascended(
    values: Floats,
    observed: Sequence[Observed | None],
    of: Sequence[Multiplier],
    step: float,
    largest: float,
) -> Floats:
    """The multipliers of the next round, shape (m,), as they travel: whole float32 values.

    Args:
        values: of this round, shape (m,).
        observed: of this round's model, one per multiplier; None where it is not known.
        of: what the multipliers are of.
        step: > 0.
        largest: no multiplier grows past it, > 0.
    """
    following = values.astype(np.float64)
    for name in dict.fromkeys(one.rate for one in of):
        known = {
            place: seen
            for place, (one, seen) in enumerate(zip(of, observed, strict=True))
            if one.rate == name and seen is not None
        }
        if len(known) > 1:
            _climb(following, known, step)
        together = [place for place, one in enumerate(of) if one.rate == name]
        farthest = float(np.max(np.abs(following[together])))
        following[together] *= min(1.0, largest / farthest) if farthest else 1.0
    # Rounding of the shrinking: past the bound by a last bit is past it.
    bounded = np.clip(following, -largest, largest)
    travelling: Floats = bounded.astype(np.float32).astype(np.float64)
    return travelling


def _climb(values: Floats, known: Mapping[int, Observed], step: float) -> None:
    mean = sum(seen.rate for seen in known.values()) / len(known)
    usual = sum(seen.rows for seen in known.values()) / len(known)
    for place, seen in known.items():
        values[place] += step * (seen.rate - mean) * usual / seen.rows
