"""A site's budget as its console shows it: from the ledger, opened read-only and verified whole."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from federation.consortium_files import ConsortiumFiles
from privacy.account import Account
from privacy.event import Composed, PrivacyEvent, mechanism_name
from privacy.ledger_entry import Entry
from privacy.report.source import CheckedLedger, Trust, read_ledger

LATEST_CHARGES, LATEST_PLANS = 8, 6


@dataclass(frozen=True, slots=True)
class ChargeNow:
    """One release that was charged.

    Attributes:
        at: UTC, ISO 8601, of the reservation.
        mechanism: by which its privacy is proven.
        state: `released`, or `open`: charged, and not yet known to have left.
    """

    entry: int
    at: str
    run: str
    round: int
    mechanism: str
    state: str


@dataclass(frozen=True, slots=True)
class PlanNow:
    """One run's plan; `left` charges of it would be admitted if nothing else is charged."""

    run: str
    task: str
    at: str
    rounds: int
    charged: int
    open: int
    left: int


@dataclass(frozen=True, slots=True)
class AccountNow:
    """What the whole ledger comes to.

    Attributes:
        spent: epsilon of all that stands, reservations included; None without a bound.
        budget: epsilon; None sets no bound.
        unit: what the budget is for.
        site_spent: epsilon of the site's updates as a whole; None if no budget is set for it.
        more: whether a further charge like the last would be admitted of a new plan.
        charges: the latest first.
        plans: the latest first.
        entries: in the chain.
        head: hash of the last one.
        trusted: whether the key that signed is one that the roster certifies, not the ledger's own.
    """

    site: str
    dataset: str
    spent: float | None
    budget: float | None
    delta: float
    unit: str
    site_spent: float | None
    site_budget: float | None
    more: bool | None
    charges: tuple[ChargeNow, ...]
    plans: tuple[PlanNow, ...]
    refusals: int
    entries: int
    head: str
    trusted: bool

    @property
    def share(self) -> float | None:
        """Of the budget that is spent; None without a bound."""
        if self.budget is None or self.spent is None:
            return None
        return self.spent / self.budget


def read_account(path: Path, home: Path) -> AccountNow:
    """What a ledger says, after its whole chain is checked against the roster's key.

    Args:
        path: of the ledger.
        home: the site's, with the consortium's files; without them the ledger states its own key.

    Raises:
        UsageError: there is no ledger.
        IntegrityError: it, or the roster, is not what was written; names the entry.
    """
    files = ConsortiumFiles(home)
    roster = files.read_roster_of_any_time() if files.roster.is_file() else None
    return _account(read_ledger(path, Trust(roster=roster)))


def _account(ledger: CheckedLedger) -> AccountNow:
    account = Account()
    for entry in ledger.entries:
        account.apply(entry)
    policy = account.in_force()
    spent = account.spent("record", policy.record.delta).epsilon
    whole = account.spent("site", policy.site.delta).epsilon if policy.site else None
    last = list(account.plans.values())[-1].plan if account.plans else None
    return AccountNow(
        site=account.holder[0],
        dataset=account.holder[1],
        spent=_finite(spent),
        budget=_finite(policy.record.epsilon),
        delta=policy.record.delta,
        unit="record" if policy.neighbours.records == 1
        else f"person with up to {policy.neighbours.records} records",
        site_spent=None if whole is None else _finite(whole),
        site_budget=_finite(policy.site.epsilon) if policy.site else None,
        more=None if last is None else account.more_of(last.charge, 1) > 0,
        charges=_charges(account, ledger.entries),
        plans=_plans(account, ledger.entries),
        refusals=sum(one.kind == "refuse" for one in ledger.entries),
        entries=len(ledger.entries),
        head=ledger.entries[-1].hash,
        trusted=ledger.key_source == "roster",
    )  # fmt: skip


def _charges(account: Account, entries: tuple[Entry, ...]) -> tuple[ChargeNow, ...]:
    latest = sorted(account.standing.values(), key=lambda one: -one.seq)[:LATEST_CHARGES]
    return tuple(
        ChargeNow(
            entry=one.seq,
            at=str(entries[one.seq - 1].body["at"]),
            run=one.run,
            round=one.round,
            mechanism=_mechanisms(one.charge.event),
            state="released" if one.committed else "open",
        )
        for one in latest
    )


def _plans(account: Account, entries: tuple[Entry, ...]) -> tuple[PlanNow, ...]:
    registered = {str(one.body["run"]): one for one in entries if one.kind == "plan"}
    open_ = Counter(one.run for one in account.standing.values() if not one.committed)
    latest = list(account.plans.items())[: -LATEST_PLANS - 1 : -1]
    return tuple(
        PlanNow(
            run=run,
            task=one.plan.terms.task or "",
            at=str(registered[run].body["at"]),
            rounds=one.plan.rounds,
            charged=account.charged(run),
            open=open_[run],
            left=account.charges_left(run),
        )
        for run, one in latest
    )


def _mechanisms(event: PrivacyEvent) -> str:
    parts = event.events if isinstance(event, Composed) else (event,)
    names = (mechanism_name(one) for one in parts if not isinstance(one, Composed))
    return " + ".join(dict.fromkeys(names)).replace("_", " ")


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None


def ledger_of(home: Path) -> Path:
    """Where a site's ledger is: in its home, or for a simulated site in its run's folder."""
    own = home / "ledger.sqlite"
    simulated = home.resolve().parent.parent / "ledgers" / f"{home.resolve().name}.sqlite"
    is_simulated = not own.exists() and home.resolve().parent.name == "sites"
    return simulated if is_simulated and simulated.is_file() else own
