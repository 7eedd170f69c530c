"""From a ledger's checked entries to its part of the report."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version

from federation import canonical
from privacy.account import Account, ChargePlan, Registered, policy_from_plain
from privacy.accountant import DISCRETISATION
from privacy.event import (
    Composed,
    PrivacyEvent,
    RepeatAndSelect,
    SingleEvent,
    mechanism_name,
    repeated,
    to_plain,
)
from privacy.ledger_entry import Entry
from privacy.neighbours import Neighbours
from privacy.report import wording
from privacy.report.adversaries import adversaries, fewest_shares, site_adversaries
from privacy.report.document import (
    Adversary,
    Audit,
    Gain,
    Integrity,
    LedgerReport,
    Parameter,
    Place,
    Plan,
    Policy,
    Refusal,
    Spending,
    Void,
    Witness,
)
from privacy.report.source import CheckedLedger
from privacy.report.spending import (
    bounded,
    cumulative,
    gain,
    hidden_by,
    people,
    quick,
    spending,
    tightest,
)

MOST_FURTHER = 10_000
"""Up to here it is counted how many more charges a budget has room for."""
SENTENCE_RATE = 1
"""Which of the false positive rates the sentence about an attacker is made at: 1 %."""


def ledger_report(ledger: CheckedLedger) -> LedgerReport:
    """Everything that one ledger says."""
    account = Account()
    for entry in ledger.entries:
        account.apply(entry)
    policies = _policies(ledger.entries)
    record = spending(account, "record", _plan_cost(account))
    whole_site = spending(account, "site", None) if account.in_force().site else None
    plans = _plans(account, ledger.entries)
    events = account.events()
    shared = fewest_shares(events)
    hidden = hidden_by(account, "record")
    risk = _gain(events, hidden, record)
    rows, audits = _rows(ledger.entries), _audits(ledger.entries)
    rows_said = wording.rows_words(rows, record.delta)
    more = _more(account)
    opened = _open(account, ledger.entries)
    times = (_text(ledger.entries[0], "at"), account.latest)
    return LedgerReport(
        site=account.holder[0],
        dataset=account.holder[1],
        public_rows=rows,
        records_per_person=hidden.records,
        neighbouring_relation=hidden.relation,
        rows_words=rows_said,
        headline=wording.headline(record, more, MOST_FURTHER),
        warnings=tuple(wording.warnings(record, policies, plans, rows, len(opened))),
        policies=policies,
        record=record,
        whole_site=whole_site,
        plans=plans,
        more_of_last=more,
        claim=wording.claim(
            record, whole_site, policies, plans, risk, rows_said, shared, audits, times,
            accountant_words(),
        ),
        adversaries=adversaries(
            events, record.delta, hidden, record.epsilon, _colluders(account)
        ),
        site_adversaries=_of_sites(account, whole_site),
        gain=risk,
        cumulative=cumulative(tuple(account.standing.values()), record.delta, hidden),
        people=people(events, record.delta, hidden),
        assumptions=tuple(wording.assumptions(record, policies, plans, shared)),
        not_covered=tuple(wording.not_covered(plans, shared, hidden.records)),
        open=opened,
        refusals=_refusals(ledger.entries),
        voids=_voids(ledger.entries),
        audits=audits,
        integrity=_integrity(ledger, account),
    )  # fmt: skip


def accountant_words() -> str:
    """By what, of which version, epsilon is computed."""
    return (
        f"Privacy loss distributions of dp-accounting {version('dp-accounting')}, in bins of "
        f"{DISCRETISATION:g}, and Renyi differential privacy; the lesser of two upper bounds. Not "
        "Gaussian DP's central limit theorem, which under-states."
    )


def _policies(entries: Sequence[Entry]) -> tuple[Policy, ...]:
    return tuple(_policy(entry) for entry in entries if entry.kind == "budget")


def _policy(entry: Entry) -> Policy:
    rules = policy_from_plain(entry.body)
    return Policy(
        entry=entry.seq,
        at=_text(entry, "at"),
        epsilon=bounded(rules.record.epsilon),
        delta=rules.record.delta,
        records_per_person=rules.neighbours.records,
        neighbouring_relation=rules.neighbours.relation,
        site_level_epsilon=rules.site.epsilon if rules.site else None,
        site_level_delta=rules.site.delta if rules.site else None,
        mechanisms=rules.mechanisms,
        whole_plans=rules.whole_plans,
        minimum_cohort=rules.minimum_cohort,
        expires=rules.expires,
        reason=_text(entry, "reason") if "reason" in entry.body else None,
        role=_text(entry, "role") if "role" in entry.body else None,
    )


def _plan_cost(account: Account) -> float | None:
    """What the whole plan costs that has the budget to itself; None if no plan has."""
    owner = account.owner()
    if owner is None:
        return None
    registered, budget = account.plans[owner], account.in_force().record
    events = (repeated(registered.plan.charge.event, registered.whole),)
    return min(tightest(events, budget.delta, hidden_by(account, "record")).epsilon, budget.epsilon)


def _gain(events: tuple[PrivacyEvent, ...], hidden: Neighbours, record: Spending) -> Gain:
    silent = gain(events, hidden, "")
    words = wording.gain_words(silent.hit_rates[SENTENCE_RATE], record.epsilon)
    return silent.model_copy(update={"words": words})


def _plans(account: Account, entries: Sequence[Entry]) -> tuple[Plan, ...]:
    found = {_text(entry, "run"): entry for entry in entries if entry.kind == "plan"}
    committed = Counter(one.run for one in account.standing.values() if one.committed)
    return tuple(
        _plan(account, registered, found[run], committed[run])
        for run, registered in account.plans.items()
    )


def _plan(account: Account, registered: Registered, entry: Entry, committed: int) -> Plan:
    plan, delta = registered.plan, account.in_force().record.delta
    event, charged = plan.charge.event, account.charged(plan.run)
    hidden = hidden_by(account, "record")
    alone = quick((repeated(event, charged),), delta, hidden) if charged else 0.0
    terms = asdict(plan.terms)
    return Plan(
        run=plan.run,
        entry=entry.seq,
        at=_text(entry, "at"),
        mechanism=mechanism(event),
        parameters=parameters(event),
        site_level=parameters(plan.charge.site_level) if plan.charge.site_level else (),
        rounds=plan.rounds,
        cohort=plan.cohort,
        whole=registered.whole,
        charged=charged,
        committed=committed,
        open=charged - committed,
        epsilon=bounded(alone),
        left=account.charges_left(plan.run),
        **terms,
    )


def mechanism(event: PrivacyEvent) -> str:
    """Names of what was charged together."""
    parts: tuple[PrivacyEvent, ...] = event.events if isinstance(event, Composed) else (event,)
    names = (mechanism_name(part) for part in parts if not isinstance(part, Composed))
    return " + ".join(dict.fromkeys(names))


def parameters(event: PrivacyEvent) -> tuple[Parameter, ...]:
    """An event's parameters as text that reads back exactly; of several, numbered."""
    if isinstance(event, Composed):
        counts = Counter[SingleEvent](event.events)
        return tuple(
            Parameter(name=f"{number}. {one.name}", value=one.value)
            for number, (part, times) in enumerate(counts.items(), start=1)
            for one in (
                *parameters(part),
                *((Parameter(name="times", value=str(times)),) if times > 1 else ()),
            )
        )
    plain = to_plain(event)
    if isinstance(event, RepeatAndSelect):
        plain["event"] = canonical.encode(plain["event"]).decode()
    return tuple(
        Parameter(name=name, value=value if isinstance(value, str) else json.dumps(value))
        for name, value in plain.items()
        if name != "mechanism"
    )


def _more(account: Account) -> int | None:
    if not account.plans:
        return None
    last: ChargePlan = list(account.plans.values())[-1].plan
    return account.more_of(last.charge, MOST_FURTHER)


def _colluders(account: Account) -> int:
    """That every run whose records shared noise hides allowed for."""
    allowed = [
        registered.plan.terms.colluders or 0
        for registered in account.plans.values()
        if fewest_shares((registered.plan.charge.event,)) is not None
    ]
    return min(allowed, default=0)


def _of_sites(account: Account, whole: Spending | None) -> tuple[Adversary, ...]:
    """What each party could learn of the site's updates; at the record's delta without a budget."""
    events = account.events("site")
    if not events:
        return ()
    delta = account.in_force().record.delta if whole is None else whole.delta
    spent = bounded(tightest(events, delta, hidden_by(account, "site")).epsilon)
    allowed = [one.plan.terms.colluders or 0 for one in account.plans.values()
               if one.plan.charge.site_level]  # fmt: skip
    return site_adversaries(events, delta, spent, min(allowed, default=0))


def _rows(entries: Sequence[Entry]) -> int | None:
    rows = entries[0].body.get("public_rows")
    return rows if isinstance(rows, int) else None


def _open(account: Account, entries: Sequence[Entry]) -> tuple[Place, ...]:
    return tuple(
        Place.model_validate(_place(entries[one.seq - 1]))
        for one in account.standing.values()
        if not one.committed
    )


def _place(entry: Entry) -> dict[str, object]:
    body = entry.body
    return {
        "entry": entry.seq,
        "at": _text(entry, "at"),
        "run": _text(entry, "run"),
        "round": body["round"],
        "charge": body["charge"],
    }


def _refusals(entries: Sequence[Entry]) -> tuple[Refusal, ...]:
    return tuple(
        Refusal.model_validate(_place(entry) | {"reason": _text(entry, "reason")})
        for entry in entries
        if entry.kind == "refuse"
    )


def _voids(entries: Sequence[Entry]) -> tuple[Void, ...]:
    found = []
    for entry in entries:
        if entry.kind == "void":
            reservation = entry.body["reservation"]
            assert isinstance(reservation, int)
            place = _place(entries[reservation - 1])
            own = {
                "entry": entry.seq,
                "at": _text(entry, "at"),
                "reservation": reservation,
                "proof": _text(entry, "proof"),
            }
            found.append(Void.model_validate(place | own))
    return tuple(found)


def _audits(entries: Sequence[Entry]) -> tuple[Audit, ...]:
    return tuple(_audit(entry) for entry in entries if entry.kind == "audit")


def _audit(entry: Entry) -> Audit:
    """What is known of the shape of a result is shown by name; all of it as it stands."""
    result = entry.body.get("result")
    facts: Mapping[str, object] = result if isinstance(result, dict) else {}
    trials = facts.get("trials")
    return Audit(
        entry=entry.seq,
        at=_text(entry, "at"),
        kind=_word(facts.get("kind")),
        verdict=_word(facts.get("verdict")),
        proven_epsilon=_finite(facts.get("proven_epsilon")),
        empirical_epsilon=_finite(facts.get("empirical_epsilon")),
        confidence=_finite(facts.get("confidence")),
        trials=trials if isinstance(trials, int) else None,
        recorded=canonical.encode(result).decode(),
    )


def _integrity(ledger: CheckedLedger, account: Account) -> Integrity:
    site, entries = account.holder[0], ledger.entries
    witnesses = tuple(
        Witness(signer=one.signer, run=one.head.run, entry=one.head.seq, hash=one.head.hash)
        for one in ledger.witnesses
    )
    others = [one.signer for one in witnesses if one.signer != site]
    return Integrity(
        entries=len(entries),
        counts=dict(sorted(account.counts.items())),
        head=entries[-1].hash,
        first_at=_text(entries[0], "at"),
        last_at=account.latest,
        public_key=ledger.public_key,
        key_source=ledger.key_source,
        witnesses=witnesses,
        words=wording.integrity(
            ledger.key_source, len(entries), len(witnesses) - len(others), others
        ),
    )


def _text(entry: Entry, name: str) -> str:
    return str(entry.body[name])


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
