"""Several ledgers together: the largest epsilon, and what people pay who are at several sites."""

import math
from collections.abc import Sequence

import numpy as np

from federation.report_page.number_text import setting
from privacy.accountant import renyi_divergences
from privacy.event import PrivacyEvent, repeated
from privacy.report.document import Federation, LedgerReport, Overlap
from privacy.report.spending import Events, bounded, renyi_epsilons, tightest

OVERLAPS = (2, 3)
"""At how many sites a person may be, besides at all of them."""


def federation_view(reports: Sequence[LedgerReport], histories: Sequence[Events]) -> Federation:
    """Of the records of all ledgers, two at least.

    Args:
        reports: of the ledgers.
        histories: what stands in each, whose unit is a record.
    """
    largest = max(reports, key=lambda one: _measure(one.record.epsilon))
    delta = max(one.record.delta for one in reports)
    least_delta = min(one.record.delta for one in reports)
    wanted = [sites for sites in (*OVERLAPS, len(reports)) if sites <= len(reports)]
    return Federation(
        ledgers=len(reports),
        epsilon=largest.record.epsilon,
        delta=delta,
        largest=f"{largest.site}: {largest.dataset}",
        overlaps=tuple(
            Overlap(sites=sites, epsilon=_of_overlap(histories, sites, least_delta))
            for sites in dict.fromkeys(wanted)
        ),
        overlap_delta=least_delta,
        words=(
            "If nobody's records are in two of these ledgers, the largest epsilon is everybody's; "
            f"delta is then the largest of theirs, {setting(delta)}.",
            "A person with one record in each of several ledgers pays for all of those histories "
            "together: they compose. How many people that concerns, no ledger knows.",
        ),
    )


def _of_overlap(histories: Sequence[Events], sites: int, delta: float) -> float | None:
    """Whichever of the sites they are.

    At each Renyi order the largest of the sites' divergences are added up, so that the sum bounds
    every choice of them; where all histories are equal, they compose
    tightly.
    """
    once = np.array([renyi_divergences(events) for events in histories])
    largest = np.sort(once, axis=0)[-sites:].sum(axis=0)
    epsilon = float(renyi_epsilons(largest[None, :], delta)[0])
    if len(set(histories)) == 1:
        epsilon = min(epsilon, tightest(_times(histories[0], sites), delta).epsilon)
    return bounded(epsilon)


def _times(events: Events, times: int) -> tuple[PrivacyEvent, ...]:
    return tuple(repeated(event, times) for event in events)


def _measure(epsilon: float | None) -> float:
    return math.inf if epsilon is None else epsilon
