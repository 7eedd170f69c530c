"""Several ledgers together: the largest epsilon, and what people pay who are at several sites.

A person with one record at each of m sites pays for all of those histories. Where each site adds
its own noise, the releases are independent, and they compose. Where sites share the noise, all the
person's records are in one sum behind the same noise, which moves by m sensitivities at once: that
is what several records at one site cost, and more than composition.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from federation.report_page.number_text import setting
from privacy import loss_distribution, person_level
from privacy.account import Account
from privacy.accountant import renyi_divergences
from privacy.event import PrivacyEvent, repeated
from privacy.mechanism import Loss, Mechanism, merged, singles
from privacy.neighbours import (
    ADD_OR_REMOVE_ONE,
    MOST_RECORDS_PER_PERSON,
    RECORD,
    REPLACE_ONE,
    Neighbours,
)
from privacy.report.adversaries import fewest_shares
from privacy.report.document import Federation, LedgerReport, Overlap
from privacy.report.spending import Events, bounded, renyi_epsilons, tightest

OVERLAPS = (2, 3)
"""At how many sites a person may be, besides at all of them."""


@dataclass(frozen=True, slots=True)
class History:
    """What stands in one ledger, whose unit is a record.

    Attributes:
        own: behind the site's own noise.
        shared: behind noise in sums that other sites are in, too, by the run: how often.
        hidden: what the ledger's budget hides: a person's records at this site.
    """

    own: Events
    shared: dict[str, Counter[PrivacyEvent]]
    hidden: Neighbours

    @classmethod
    def of(cls, account: Account) -> "History":
        """What an account says stands."""
        own = Counter[PrivacyEvent]()
        shared: dict[str, Counter[PrivacyEvent]] = {}
        for one in account.standing.values():
            for part in singles([one.charge.event]):
                if fewest_shares((part,)) is None:
                    own[part] += 1
                else:
                    shared.setdefault(one.run, Counter())[part] += 1
        return cls(_added(own), shared, account.in_force().neighbours)


def federation_view(reports: Sequence[LedgerReport], histories: Sequence[History]) -> Federation:
    """Of the records of all ledgers, two at least.

    Args:
        reports: of the ledgers.
        histories: of the same.
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
            Overlap(sites=sites, epsilon=bounded(overlap(histories, sites, least_delta)))
            for sites in dict.fromkeys(wanted)
        ),
        overlap_delta=least_delta,
        words=_words(delta, any(one.shared for one in histories)),
    )


def _words(delta: float, are_shared: bool) -> tuple[str, ...]:  # noqa: FBT001 - a fact
    words = (
        "If nobody's records are in two of these ledgers, the largest epsilon is everybody's; "
        f"delta is then the largest of theirs, {setting(delta)}.",
        "A person with as much in each of several ledgers as its budget hides pays for all of "
        "those histories together. How many people that concerns, no ledger knows.",
    )
    together = (
        "Where sites share the noise, all records of such a person are in one sum, behind the "
        "same noise: that costs more than releases that are independent."
    )
    return (*words, together) if are_shared else words


def overlap(histories: Sequence[History], sites: int, delta: float) -> float:
    """Epsilon of a person with what is hidden at each of so many sites, whichever they are."""
    if not any(one.shared for one in histories):
        return _of_independent(histories, sites, delta)
    # All of them bound every choice among them; where they are equal, so many are enough.
    are_equal = len({(one.own, one.hidden) for one in histories}) == 1
    alone = _independent(histories[:sites] if are_equal else histories)
    together = _together(histories, sites)
    if alone is None or together is None:
        return math.inf
    counts = Counter[Mechanism]()
    for mechanism, times in (*alone, *together):
        counts[mechanism] += times
    losses = tuple(counts.items())
    by_pld = loss_distribution.epsilon(losses, delta, person_level.discretisation(losses))
    whole = {(_everything(one), one.hidden) for one in histories}
    if whole == {(_everything(histories[0]), RECORD)} and sites <= MOST_RECORDS_PER_PERSON:
        # Record by record: each step changes one site's history only.
        return min(by_pld, person_level.quick_cost(_everything(histories[0]), delta, sites))
    return by_pld


def _independent(histories: Sequence[History]) -> tuple[Loss, ...] | None:
    losses: list[Loss] = []
    for one in histories:
        found = merged(one.own, one.hidden)
        if found is None:
            return None
        losses += found
    return tuple(losses)


def _of_independent(histories: Sequence[History], sites: int, delta: float) -> float:
    """At each Renyi order the largest of the sites' divergences add up: whichever sites they are.

    Where all histories are equal, they compose tightly.
    """
    once = np.array([renyi_divergences(one.own, one.hidden) for one in histories])
    largest = np.sort(once, axis=0)[-sites:].sum(axis=0)
    epsilon = float(renyi_epsilons(largest[None, :], delta)[0])
    if len({(one.own, one.hidden) for one in histories}) == 1:
        times = tuple(repeated(event, sites) for event in histories[0].own)
        epsilon = min(epsilon, tightest(times, delta, histories[0].hidden).epsilon)
    return epsilon


def _together(histories: Sequence[History], sites: int) -> tuple[Loss, ...] | None:
    """Each run's sums once, of the site that charged most, moved by the records of all sites."""
    losses: list[Loss] = []
    for run in dict.fromkeys(run for one in histories for run in one.shared):
        takers = [one for one in histories if run in one.shared]
        records = sum(sorted(one.hidden.records for one in takers)[-sites:])
        if records > MOST_RECORDS_PER_PERSON:
            return None
        replaced = any(one.hidden.relation == REPLACE_ONE for one in takers)
        relation = REPLACE_ONE if replaced else ADD_OR_REMOVE_ONE
        most = Counter[PrivacyEvent]()
        for one in takers:
            most |= one.shared[run]  # of each mechanism as many as whoever charged most of it
        found = merged(_added(most), Neighbours(relation, records))
        if found is None:
            return None
        losses += found
    return tuple(losses)


def _added(counts: Counter[PrivacyEvent]) -> Events:
    return tuple(repeated(event, times) for event, times in counts.items())


def _everything(one: History) -> Events:
    return (*one.own, *(each for run in sorted(one.shared) for each in _added(one.shared[run])))


def _measure(epsilon: float | None) -> float:
    return math.inf if epsilon is None else epsilon
