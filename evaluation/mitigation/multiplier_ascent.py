"""How the server adapts the multipliers of constrained training after each round.

Gradient ascent on the Lagrangian (Cotter et al. 2019, arXiv:1809.04198), of which the server needs
the summed rates only: where a group's rate is above the mean of the groups' rates, its score costs
more from now on; where it is below, less.

Only rates that the run's findings show are used. A group that is hidden for having few rows, or for
standing beside such a group, keeps its multiplier and is no part of the mean; so the multipliers,
which all sites see, tell nothing that the findings do not.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from evaluation.group_metrics import Floats
from federation.multipliers import Multiplier
from federation.summary import Estimate, Fairness


def shown_rates(
    fairness: Iterable[Fairness], attribute: str, of: Sequence[Multiplier]
) -> tuple[float | None, ...]:
    """The rate that each multiplier is about, over all sites; None where it is not shown."""
    groups = {
        group.group: group
        for one in fairness
        if one.scope == "overall"
        for group in one.groups
        if group.attribute == attribute and not group.suppressed and not group.combines
    }
    rates = []
    for rate, name in of:
        estimate: Estimate | None = getattr(groups[name], rate) if name in groups else None
        rates.append(estimate.value if estimate else None)
    return tuple(rates)


def ascended(
    values: Floats,
    rates: Sequence[float | None],
    of: Sequence[Multiplier],
    step: float,
    largest: float,
) -> Floats:
    """The multipliers of the next round, shape (m,), as they travel: whole float32 values.

    Args:
        values: of this round, shape (m,).
        rates: of this round's model, one per multiplier; None where it is not known.
        of: what the multipliers are of.
        step: growth per unit of distance from the mean, > 0.
        largest: no multiplier grows past it, > 0.
    """
    following = values.astype(np.float64)
    for name in dict.fromkeys(one.rate for one in of):
        known = {
            place: rate
            for place, (one, rate) in enumerate(zip(of, rates, strict=True))
            if one.rate == name and rate is not None
        }
        if len(known) > 1:
            _climb(following, known, step)
    bounded: Floats = np.clip(following, -largest, largest).astype(np.float32).astype(np.float64)
    return bounded


def _climb(values: Floats, rates: Mapping[int, float], step: float) -> None:
    mean = sum(rates.values()) / len(rates)
    for place, rate in rates.items():
        values[place] += step * (rate - mean)
