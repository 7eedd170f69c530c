"""What a ledger's entries come to: the plans, what stands, and whether one more charge is admitted.

**The filter** decides in general: whatever plans there were and however they were chosen, the Renyi
divergences of all that stands, at the one order that was fixed with the first plan, stay within
the budget (`privacy.budget`).

**A whole plan** may go further, where it is the first that is charged: it fixed every parameter and
its number of charges before the first of them, so the tightest composition (PLD, or Renyi DP at the
best order) bounds all of it. The price is that nothing else is charged after it, also if it ends
early: whoever could still choose between its other charges and another plan, after seeing what the
first ones gave, would be bounded by neither rule.

Pure: entries in, decisions out; no clock, no file, no key.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace

from federation.errors import BudgetExhausted, PrivacyRefusal, UsageError
from privacy import person_level
from privacy.accountant import (
    RDP_ORDERS,
    SITE_LEVEL_ORDERS,
    Cost,
    cost,
    is_affordable,
    pure_epsilon,
    renyi_divergences,
    site_level_divergences,
)
from privacy.budget import (
    Budget,
    DatasetPolicy,
    Unit,
    epsilon_at_order,
    filter_order,
    room_at,
)
from privacy.event import (
    PURE,
    Composed,
    DistributedDiscreteGaussian,
    PrivacyEvent,
    RepeatAndSelect,
    from_plain,
    mechanism_name,
    repeated,
    to_plain,
)
from privacy.identity_handover import successor_of
from privacy.ledger_entry import Entry
from privacy.neighbours import RECORD, Neighbours, relation_named

UNITS: tuple[Unit, Unit] = ("record", "site")


@dataclass(frozen=True, slots=True)
class Charge:
    """What one release costs: in records, and apart from that in sites, if it hides those, too."""

    event: PrivacyEvent
    site_level: DistributedDiscreteGaussian | None = None

    def of(self, unit: Unit) -> PrivacyEvent | None:
        """The cost in a unit."""
        return self.event if unit == "record" else self.site_level

    def to_plain(self) -> dict[str, object]:
        """As JSON values."""
        plain: dict[str, object] = {"event": to_plain(self.event)}
        return plain | ({"site_level": to_plain(self.site_level)} if self.site_level else {})

    @classmethod
    def from_plain(cls, body: Mapping[str, object]) -> "Charge":
        """Undo `to_plain`, out of an entry's body.

        Raises:
            PrivacyRefusal: an unknown mechanism, or parameters that are not its own.
        """
        whole = from_plain(body["site_level"]) if "site_level" in body else None
        if not (whole is None or isinstance(whole, DistributedDiscreteGaussian)):
            raise PrivacyRefusal(f"site_level: expected a distributed_discrete_gaussian: {whole}")
        return cls(from_plain(body["event"]), whole)


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What a reader of the ledger wants to know of a run besides its cost; None where it has none.

    Attributes:
        agreement_sha256: of what all sites signed; it names every other setting.
        task: what is trained or asked.
        sites: how many were invited.
        threshold: fewest sites that together can open anything.
        colluders: how many sites that tell the coordinator their noise are allowed for.
        max_grad_norm: L2 bound of one record's gradient.
        expected_batch_size: the public divisor of the noised sum.
        local_steps: of one round.
        noise_source: of batches and noise.
        software: name and version of what charged.
    """

    agreement_sha256: str | None = None
    task: str | None = None
    sites: int | None = None
    threshold: int | None = None
    colluders: int | None = None
    max_grad_norm: float | None = None
    expected_batch_size: float | None = None
    local_steps: int | None = None
    noise_source: str | None = None
    software: str | None = None


@dataclass(frozen=True, slots=True)
class ChargePlan:
    """What a run will be charged, fixed before its first release: a charge a round.

    Attributes:
        run: id of the run.
        charge: of each round.
        rounds: how many were agreed, >= 1.
        cohort: fewest sites whose sum carries the release.
        terms: for readers; two plans that differ in them alone are one plan.
    """

    run: str
    charge: Charge
    rounds: int
    cohort: int
    terms: PlanTerms = field(default=PlanTerms(), compare=False)

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.cohort < 1:
            raise UsageError(f"plan of {self.run}: expected rounds and cohort of 1 at least")


@dataclass(frozen=True, slots=True)
class Registered:
    """A plan in the ledger.

    Attributes:
        plan: what will be charged.
        whole: so many of its charges are reserved as a whole plan; 0 where the filter decides.
    """

    plan: ChargePlan
    whole: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A reservation that counts, and what became of it.

    Attributes:
        seq: of its entry.
        run: id of the run.
        round: number of the round.
        number: 1 for the round's first release, 2 if it had to be released anew, ...
        charge: what it cost.
        released_sha256: digest of what was released; None while the reservation is open.
    """

    seq: int
    run: str
    round: int
    number: int
    charge: Charge
    released_sha256: str | None = None

    @property
    def committed(self) -> bool:
        """Whether it was released."""
        return self.released_sha256 is not None


@dataclass
class Account:
    """Built up entry by entry; every question is answered from what was applied so far."""

    policy: DatasetPolicy | None = None
    holder: tuple[str, str] = ("", "")
    public_key: str = ""
    orders: dict[Unit, float] = field(default_factory=dict)
    plans: dict[str, Registered] = field(default_factory=dict)
    standing: dict[int, Standing] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    latest: str = ""
    _places: dict[tuple[str, int, int], int] = field(default_factory=dict)
    _refused: set[tuple[str, int, int]] = field(default_factory=set)
    _charged: Counter[str] = field(default_factory=Counter)
    _events: dict[Unit, Counter[PrivacyEvent]] = field(
        default_factory=lambda: {unit: Counter() for unit in UNITS}
    )

    def apply(self, entry: Entry) -> None:
        """Take one more entry, whose chain was checked.

        Raises:
            PrivacyRefusal: it holds an event that this version does not know.
        """
        body = entry.body
        self.counts[entry.kind] += 1
        self.latest = max(self.latest, str(body["at"]))
        match entry.kind:
            case "budget":
                self._take_budget(body)
                self._take_orders(body)
            case "plan":
                plan = _plan(body)
                self._take_orders(body)
                self.plans[plan.run] = Registered(plan, _whole(body, "whole"))
            case "reserve":
                self._reserve(entry)
            case "commit":
                seq = _whole(body, "reservation")
                digest = str(body["released_sha256"])
                self.standing[seq] = replace(self.standing[seq], released_sha256=digest)
            case "void":
                self._void(_whole(body, "reservation"))
            case "refuse":
                self._refused.add(_place(body))
            case "identity":
                self.public_key = successor_of(self.public_key, body)
            case _:
                pass

    def _take_budget(self, body: Mapping[str, object]) -> None:
        self.policy = policy_from_plain(body)
        if "site" in body:
            self.holder = str(body["site"]), str(body["dataset"])
            self.public_key = str(body.get("public_key", ""))

    def _take_orders(self, body: Mapping[str, object]) -> None:
        orders = body.get("orders", {})
        if not isinstance(orders, dict):
            raise UsageError(f"orders = {orders!r}: expected one per unit")
        for unit in UNITS:
            if unit in orders:
                self.orders[unit] = float(orders[unit])

    def _reserve(self, entry: Entry) -> None:
        run, round_, number = place = _place(entry.body)
        charge = Charge.from_plain(entry.body)
        self.standing[entry.seq] = Standing(entry.seq, run, round_, number, charge)
        self._places[place] = entry.seq
        self._count(run, charge, 1)

    def _void(self, seq: int) -> None:
        gone = self.standing.pop(seq)
        del self._places[gone.run, gone.round, gone.number]
        self._count(gone.run, gone.charge, -1)

    def _count(self, run: str, charge: Charge, sign: int) -> None:
        self._charged[run] += sign
        for unit in UNITS:
            event = charge.of(unit)
            if event is not None:
                self._events[unit][event] += sign

    # -- questions -------------------------------------------------------------------------

    def in_force(self) -> DatasetPolicy:
        """The policy."""
        assert self.policy is not None
        return self.policy

    def events(self, unit: Unit = "record") -> tuple[PrivacyEvent, ...]:
        """All that stands in a unit, equal ones added up, in order of first appearance."""
        return tuple(
            repeated(event, count) for event, count in self._events[unit].items() if count > 0
        )

    def at(self, run: str, round_: int, number: int) -> Standing | None:
        """The standing reservation of a release."""
        seq = self._places.get((run, round_, number))
        return None if seq is None else self.standing[seq]

    def open_of(self, run: str) -> tuple[Standing, ...]:
        """The reservations of a run that are neither committed nor voided."""
        return tuple(one for one in self.standing.values() if one.run == run and not one.committed)

    def is_refused(self, run: str, round_: int, number: int) -> bool:
        """Whether an entry says so."""
        return (run, round_, number) in self._refused

    def charged(self, run: str) -> int:
        """How many charges of a run stand, open or committed."""
        return self._charged[run]

    def registration(self, plan: ChargePlan) -> dict[str, object]:
        """The entry of a new plan: what it charges, and what is decided with it."""
        charge = plan.charge
        new = {u: self._order(u, e) for u, _, e in self._bounded(charge) if u not in self.orders}
        return {
            "run": plan.run,
            "rounds": plan.rounds,
            "cohort": plan.cohort,
            "whole": self.whole(plan),
            "orders": {unit: str(order) for unit, order in new.items()},
            "terms": asdict(plan.terms),
            **charge.to_plain(),
        }

    def amendment(self, policy: DatasetPolicy) -> dict[str, object]:
        """The entry of a new policy: its orders are those that suit it and the first plans."""
        chosen = {
            unit: best_order(policy, unit, event)
            for unit in UNITS
            if (event := self._first_event(unit)) and policy.of(unit)
        }
        orders = {unit: str(order) for unit, order in chosen.items()}
        return policy_to_plain(policy) | {"orders": orders}

    def _first_event(self, unit: Unit) -> PrivacyEvent | None:
        charges = (registered.plan.charge.of(unit) for registered in self.plans.values())
        return next((event for event in charges if event is not None), None)

    def _order(self, unit: Unit, event: PrivacyEvent) -> float:
        """The filter's order; before the first plan is registered, as that plan would fix it."""
        if unit in self.orders:
            return self.orders[unit]
        return best_order(self.in_force(), unit, event)

    def whole(self, plan: ChargePlan) -> int:
        """How many charges of a new plan to reserve as a whole: 0 if the filter admits as many."""
        if self.standing or not self.in_force().whole_plans:
            return 0
        filtered = self._room_for(plan.charge, plan.rounds)
        if filtered == plan.rounds:
            return 0
        most = _most(lambda rounds: self._is_within(plan.charge, rounds), plan.rounds)
        return most if most > filtered else 0

    def _is_within(self, charge: Charge, rounds: int) -> bool:
        return all(
            math.isinf(budget.epsilon)
            or _is_affordable(self._hidden(unit), repeated(event, rounds), budget)
            for unit, budget, event in self._bounded(charge)
        )

    def require_admitted(self, run: str, at: str) -> Charge:
        """The next charge of a run, if the policy and the budgets admit it.

        Args:
            run: whose plan is registered.
            at: the time, UTC, ISO 8601.

        Raises:
            UsageError: the run has no plan.
            PrivacyRefusal: the policy does not allow it.
            BudgetExhausted: a budget does not cover it; the text has the numbers.
        """
        registered = self.plans.get(run)
        if registered is None:
            raise UsageError(f"run {run} has registered no plan in this ledger")
        charge = registered.plan.charge
        require_allowed(self.in_force(), registered.plan, max(at, self.latest))
        if self.charged(run) >= registered.plan.rounds:
            raise PrivacyRefusal(
                f"run {run} has charged for all {registered.plan.rounds} rounds of its plan"
            )
        owner = self.owner()
        if owner is not None and owner != run:
            raise BudgetExhausted(
                f"run {owner} has the whole budget: it was planned as a whole, closer to the bound "
                "than what the filter across plans allows, and has begun; go on with that run, or "
                "have the budget amended"
            )
        if not self._is_within_whole(registered):
            beyond = [each for each in self._bounded(charge) if self._room(*each, 1) < 1]
            if beyond:
                raise max((self._exhausted(*each) for each in beyond), key=lambda one: one[0])[1]
        return charge

    def owner(self) -> str | None:
        """The run whose whole plan has begun and has the budget to itself."""
        for run, registered in self.plans.items():
            if registered.whole and self._charged[run] == len(self.standing) > 0:
                return run if self._is_beyond_filter(registered) else None
        return None

    def _is_beyond_filter(self, registered: Registered) -> bool:
        """Whether the whole plan is too large for the filter, as the budget is now."""
        return any(
            self._filtered(unit, budget.delta, [repeated(event, registered.whole)]) > budget.epsilon
            for unit, budget, event in self._bounded(registered.plan.charge)
        )

    def _is_within_whole(self, registered: Registered) -> bool:
        run = registered.plan.run
        return len(self.standing) < registered.whole and self.charged(run) == len(self.standing)

    def _exhausted(
        self, unit: Unit, budget: Budget, event: PrivacyEvent
    ) -> tuple[float, BudgetExhausted]:
        """By which factor the budget would be overspent, by the tightest bound; and the refusal."""
        stands = self.events(unit)
        before = self._cost(unit, stands, budget.delta).epsilon
        after = self._cost(unit, (*stands, event), budget.delta).epsilon
        name = "the budget" if unit == "record" else "the site-level budget"
        text = (
            f"{name} of epsilon {budget.epsilon:g} at delta {budget.delta:g} does not cover "
            f"this: {before:.4f} is spent, and with it {after:.4f} would be"
        )
        if after <= budget.epsilon:
            filtered = self._filtered(unit, budget.delta, (*stands, event))
            text += f"; {filtered:.4f} by the filter, which holds however later plans are chosen"
        return after / budget.epsilon, BudgetExhausted(text)

    def charges_left(self, run: str) -> int:
        """How many more charges of a run's plan would be admitted if nothing else is charged."""
        registered, owner = self.plans[run], self.owner()
        if owner is not None and owner != run:
            return 0
        left = registered.plan.rounds - self.charged(run)
        filtered = self._room_for(registered.plan.charge, left)
        whole = self._is_within_whole(registered)
        return max(filtered, registered.whole - self.charged(run) if whole else 0)

    def more_of(self, charge: Charge, most: int) -> int:
        """How many charges like this the filter would admit of further plans, up to `most`."""
        return 0 if self.owner() is not None else self._room_for(charge, most)

    def _bounded(self, charge: Charge) -> Iterator[tuple[Unit, Budget, PrivacyEvent]]:
        """The units that the charge is of and that have a budget."""
        for unit in UNITS:
            budget, event = self.in_force().of(unit), charge.of(unit)
            if budget is not None and event is not None:
                yield unit, budget, event

    def _room_for(self, charge: Charge, most: int) -> int:
        return min(
            (
                self._room(unit, budget, event, most)
                for unit, budget, event in self._bounded(charge)
            ),
            default=most,
        )

    def _room(self, unit: Unit, budget: Budget, event: PrivacyEvent, most: int) -> int:
        """How many more of an event the filter admits, up to `most`."""
        if math.isinf(budget.epsilon):
            return most

        def fits(more: int) -> bool:
            after = (*self.events(unit), repeated(event, more))
            return self._filtered(unit, budget.delta, after) <= budget.epsilon

        return _most(fits, most)

    def filtered(self, unit: Unit = "record") -> float:
        """Epsilon of all that stands, as the filter measures it."""
        budget = self.in_force().of(unit)
        assert budget is not None
        return self._filtered(unit, budget.delta, self.events(unit))

    def share_used(self, unit: Unit = "record") -> float:
        """How much of what the filter allows is used, from 0 to 1, and above where a whole plan is.

        Divergences add up, as epsilons do not: half of this is half of the releases. Infinite where
        the budget has no room at the filter's order; 0 without a bound.
        """
        budget, events = self.in_force().of(unit), self.events(unit)
        assert budget is not None
        if not events or math.isinf(budget.epsilon):
            return 0.0
        order, hidden = self._order(unit, events[0]), self._hidden(unit)
        if math.isinf(order):
            return pure_epsilon(events, hidden) / budget.epsilon
        used = math.fsum(_divergence(event, order, hidden) for event in events)
        room = room_at(budget, order)
        return used / room if room > 0 else math.inf

    def _filtered(self, unit: Unit, delta: float, events: Iterable[PrivacyEvent]) -> float:
        events = tuple(events)
        if not events:
            return 0.0
        order = self._order(unit, events[0])
        hidden = self._hidden(unit)
        if math.isinf(order):
            return pure_epsilon(events, hidden)
        divergences = [_divergence(event, order, hidden) for event in events]
        return epsilon_at_order(order, divergences, delta)

    def spent(self, unit: Unit, delta: float) -> Cost:
        """What stands costs if all of its parameters were fixed beforehand."""
        return self._cost(unit, self.events(unit), delta)

    def _cost(self, unit: Unit, events: Iterable[PrivacyEvent], delta: float) -> Cost:
        hidden = self._hidden(unit)
        if hidden.records > 1:
            return person_level.cost(events, delta, hidden.records, hidden.relation)
        return cost(events, delta, hidden.relation)

    def _hidden(self, unit: Unit) -> Neighbours:
        """What a budget of this unit hides; a site is one, and added or removed."""
        return self.in_force().neighbours if unit == "record" else RECORD


def require_allowed(policy: DatasetPolicy, plan: ChargePlan, at: str) -> None:
    """Return if the owner's policy allows the plan's charges, whatever they cost.

    Raises:
        PrivacyRefusal: the policy has expired, or does not allow a mechanism or a cohort so small.
    """
    if policy.expires is not None and at >= policy.expires:
        raise PrivacyRefusal(
            f"the budget of this dataset expired at {policy.expires}; nothing is charged to it"
        )
    if plan.cohort < policy.minimum_cohort:
        raise PrivacyRefusal(
            f"minimum_cohort = {policy.minimum_cohort}: a sum of {plan.cohort} sites is too small "
            "for this dataset"
        )
    used = [each for unit in UNITS if (event := plan.charge.of(unit)) for each in _names(event)]
    barred = sorted(set(used) - set(policy.mechanisms or used))
    if barred:
        raise PrivacyRefusal(
            f"mechanisms = {', '.join(policy.mechanisms or ())}: this dataset's budget does not "
            f"allow {', '.join(barred)}"
        )


def policy_to_plain(policy: DatasetPolicy) -> dict[str, object]:
    """As JSON values; an infinite epsilon is null."""
    plain: dict[str, object] = {
        "epsilon": None if math.isinf(policy.record.epsilon) else policy.record.epsilon,
        "delta": policy.record.delta,
        "unit": "record" if policy.neighbours.records == 1 else "person",
        "records_per_person": policy.neighbours.records,
        "neighbouring_relation": policy.neighbours.relation,
        "minimum_cohort": policy.minimum_cohort,
        "mechanisms": None if policy.mechanisms is None else list(policy.mechanisms),
        "expires": policy.expires,
        "whole_plans": policy.whole_plans,
    }
    if policy.site is not None:
        plain |= {"site_level_epsilon": policy.site.epsilon, "site_level_delta": policy.site.delta}
    return plain


def policy_from_plain(body: Mapping[str, object]) -> DatasetPolicy:
    """Undo `policy_to_plain`, out of an entry's body."""
    epsilon, names, expires = body["epsilon"], body["mechanisms"], body["expires"]
    site = None
    if "site_level_epsilon" in body:
        site = Budget(float(str(body["site_level_epsilon"])), float(str(body["site_level_delta"])))
    return DatasetPolicy(
        Budget(math.inf if epsilon is None else float(str(epsilon)), float(str(body["delta"]))),
        site,
        tuple(str(name) for name in names) if isinstance(names, list) else None,
        _whole(body, "minimum_cohort"),
        None if expires is None else str(expires),
        Neighbours(
            relation_named(str(body["neighbouring_relation"])), _whole(body, "records_per_person")
        ),
        bool(_whole(body, "whole_plans")),
    )


def _plan(body: Mapping[str, object]) -> ChargePlan:
    terms = body["terms"]
    if not isinstance(terms, dict) or set(terms) != {each.name for each in fields(PlanTerms)}:
        raise UsageError(f"terms = {terms!r}: expected those of a plan")
    return ChargePlan(
        run=str(body["run"]),
        charge=Charge.from_plain(body),
        rounds=_whole(body, "rounds"),
        cohort=_whole(body, "cohort"),
        terms=PlanTerms(**terms),
    )


def _place(body: Mapping[str, object]) -> tuple[str, int, int]:
    return str(body["run"]), _whole(body, "round"), _whole(body, "charge")


def _whole(body: Mapping[str, object], name: str) -> int:
    value = body[name]
    if not isinstance(value, int):
        raise UsageError(f"{name} = {value!r}: expected a whole number")
    return value


def _names(event: PrivacyEvent) -> tuple[str, ...]:
    """Of the event and of all that it is made of: a selection is of what is selected from, too."""
    if isinstance(event, Composed):
        return tuple(name for part in event.events for name in _names(part))
    inner = _names(event.event) if isinstance(event, RepeatAndSelect) else ()
    return (mechanism_name(event), *inner)


def best_order(policy: DatasetPolicy, unit: Unit, event: PrivacyEvent) -> float:
    """The filter's order at which most charges of an event fit into a budget."""
    if unit == "record" and set(policy.mechanisms or ("",)) <= PURE:
        return math.inf
    budget = policy.of(unit)
    assert budget is not None
    orders = RDP_ORDERS if unit == "record" else SITE_LEVEL_ORDERS
    return filter_order(budget, orders, lambda order: _divergence(event, order, policy.neighbours))


def _is_affordable(hidden: Neighbours, event: PrivacyEvent, budget: Budget) -> bool:
    if hidden.records == 1:
        return is_affordable([event], budget.delta, budget.epsilon, hidden.relation)
    spent = person_level.cost([event], budget.delta, hidden.records, hidden.relation)
    return spent.epsilon <= budget.epsilon


def filtered_epsilon(policy: DatasetPolicy, events: Sequence[PrivacyEvent], order: float) -> float:
    """What charges per record come to, added up by the filter at one of its finite orders."""
    divergences = [_divergence(event, order, policy.neighbours) for event in events]
    return epsilon_at_order(order, divergences, policy.record.delta)


def _divergence(event: PrivacyEvent, order: float, hidden: Neighbours) -> float:
    if isinstance(event, DistributedDiscreteGaussian):
        return float(site_level_divergences(event, (order,))[0]) * event.count
    return float(renyi_divergences([event], hidden)[RDP_ORDERS.index(int(order))])


def _most(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits; smaller ones fit then, too."""
    if most < 1 or fits(most):
        return max(most, 0)
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
