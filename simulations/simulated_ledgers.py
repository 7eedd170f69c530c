"""What sites without ledgers would have spent: one account stands for all that trained as often.

A site is charged for every round that it trains in, as its own ledger would charge it, and refuses
the round that its budget does not cover. All sites of a run have the same budget and pay the same
for a round, so both follow from the number of rounds alone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from client.spending import spending
from federation.agreement import SiteLevelPrivacy
from federation.round_messages import Spending
from federation.summary import SEEDED
from federation.timestamp import utc_now
from privacy.account import Account, ChargePlan
from privacy.budget import DatasetPolicy
from privacy.ledger_entry import Entry, Kind


@dataclass
class SimulatedLedgers:
    """The accounts of a run's sites.

    Attributes:
        policy: that all of them have.
        plan: of the run, which all of them have registered.
        sites: whose accounts they are.
        site_level: the run's site-level noise, if it has any.
        charged: per site, the rounds that it was charged for.
    """

    policy: DatasetPolicy
    plan: ChargePlan
    sites: tuple[str, ...]
    site_level: SiteLevelPrivacy | None
    charged: Counter[str] = field(default_factory=Counter)

    def can_pay(self, site: str) -> bool:
        """Whether a site's budget covers one more round."""
        return self.charged[site] < self._affordable

    def charge(self, sites: Iterable[str]) -> None:
        """Charge sites for a round that they train in."""
        self.charged.update(sites)

    def statements(self) -> Mapping[str, Spending]:
        """Per site, what its ledger would say at the end of the run."""
        times = {site: self.charged[site] for site in self.sites}
        said = {
            count: spending(self._account(count), "", SEEDED, self.site_level)
            for count in sorted(set(times.values()))
        }
        return {site: said[count] for site, count in times.items()}

    @cached_property
    def _affordable(self) -> int:
        """Rounds that the budget covers."""
        return self._account(0).charges_left(self.plan.run)

    def _account(self, charges: int) -> Account:
        """An account that the run was charged to so many times."""
        at, account = utc_now(), Account(policy=self.policy)
        entries: list[tuple[Kind, dict[str, object]]] = [("plan", account.registration(self.plan))]
        for number in range(charges):
            place = {"run": self.plan.run, "round": number + 1, "charge": 1}
            entries.append(("reserve", place | self.plan.charge.to_plain()))
            reservation = {"reservation": len(entries), "released_sha256": ""}
            entries.append(("commit", reservation))
        for seq, (kind, body) in enumerate(entries, start=1):
            account.apply(Entry(seq, kind, body | {"at": at}, ""))
        return account
