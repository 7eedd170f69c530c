"""What a ledger's entries come to: the plans, what stands, and whether one more charge is admitted.

Two rules admit a charge, and either is enough:

- **One plan.** All that stands belongs to one plan, which fixed every parameter and the largest
  number of its charges before the first of them, and the plan as a whole is within the budget.
  Then the tightest composition holds (PLD, or Renyi DP at the best order), wherever it ends.
- **The filter.** Whatever plans there were and however they were chosen, the Renyi divergences of
  all that stands, at the one order that was fixed with the first budget, stay within the budget.

Where the first plan is too large for the filter, nothing is admitted after it: so the two rules
together never admit what neither would.

Pure: entries in, decisions out; no clock, no file, no key.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from federation.errors import BudgetExhausted, PrivacyRefusal, UsageError
from privacy.accountant import (
    RDP_ORDERS,
    SITE_LEVEL_ORDERS,
    Cost,
    cost,
    is_affordable,
    renyi_divergences,
    site_level_divergences,
)
from privacy.budget import Budget, DatasetPolicy, Unit, epsilon_at_order, filter_order
from privacy.event import (
    Composed,
    DistributedDiscreteGaussian,
    PrivacyEvent,
    from_plain,
    mechanism_name,
    repeated,
    to_plain,
)
from privacy.ledger_entry import Entry

E = TypeVar("E", bound=PrivacyEvent)
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
class ChargePlan:
    """What a run will be charged, fixed before its first release: a charge a round.

    Attributes:
        run: id of the run.
        charge: of each round.
        rounds: how many were agreed, >= 1.
        cohort: fewest sites whose sum carries the release.
    """

    run: str
    charge: Charge
    rounds: int
    cohort: int

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.cohort < 1:
            raise UsageError(f"plan of {self.run}: expected rounds and cohort of 1 at least")


@dataclass(frozen=True, slots=True)
class Registered:
    """A plan in the ledger.

    Attributes:
        plan: what will be charged.
        covered: so many of its charges are within the budget by the rule of one plan; 0 if others
            stood when it was registered.
    """

    plan: ChargePlan
    covered: int


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
            case "plan":
                plan = _plan(body)
                self.plans[plan.run] = Registered(plan, _whole(body, "covered"))
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
            case _:
                pass

    def _take_budget(self, body: Mapping[str, object]) -> None:
        self.policy = policy_from_plain(body)
        if not self.orders:
            self.holder = str(body["site"]), str(body["dataset"])
        for unit, orders in zip(UNITS, (RDP_ORDERS, SITE_LEVEL_ORDERS), strict=True):
            budget = self.policy.of(unit)
            if unit not in self.orders and budget is not None:
                # A later budget moves the bound, never the order: it may follow from results.
                self.orders[unit] = filter_order(budget, orders)

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

    def is_refused(self, run: str, round_: int, number: int) -> bool:
        """Whether an entry says so."""
        return (run, round_, number) in self._refused

    def charged(self, run: str) -> int:
        """How many charges of a run stand, open or committed."""
        return self._charged[run]

    def covered(self, plan: ChargePlan) -> int:
        """How many charges of a plan that is not registered yet the rule of one plan covers."""
        if self.standing:
            return 0
        return _most(lambda rounds: self._is_within(plan.charge, rounds), plan.rounds)

    def _is_within(self, charge: Charge, rounds: int) -> bool:
        for unit in UNITS:
            budget, event = self.in_force().of(unit), charge.of(unit)
            if budget is None or event is None or math.isinf(budget.epsilon):
                continue
            if not is_affordable([repeated(event, rounds)], budget.delta, budget.epsilon):
                return False
        return True

    def require_admitted(self, run: str, at: str) -> Charge:
        """The next charge of a run, if the policy and either rule admit it.

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
        require_allowed(self.in_force(), registered.plan, max(at, self.latest))
        if not self._is_one_plan(registered):
            for unit in UNITS:
                self._require_filtered(unit, registered.plan.charge)
        return registered.plan.charge

    def _is_one_plan(self, registered: Registered) -> bool:
        run = registered.plan.run
        return len(self.standing) < registered.covered and self.charged(run) == len(self.standing)

    def _require_filtered(self, unit: Unit, charge: Charge) -> None:
        budget, event = self.in_force().of(unit), charge.of(unit)
        if budget is None or event is None or self._room(unit, budget, event, 1) == 1:
            return
        before = cost(self.events(unit), budget.delta).epsilon
        after = cost((*self.events(unit), event), budget.delta).epsilon
        name = "the budget" if unit == "record" else "the site-level budget"
        filtered = self._filtered(unit, budget.delta, (*self.events(unit), event))
        raise BudgetExhausted(
            f"{name} of epsilon {budget.epsilon:g} at delta {budget.delta:g} does not cover "
            f"this: {before:.4f} is spent, and with it {after:.4f} would be"
            + (
                f" ({filtered:.4f} by the filter that holds across plans)"
                if after <= budget.epsilon
                else ""
            )
        )

    def charges_left(self, run: str) -> int:
        """How many more charges of a run's plan would be admitted if nothing else is charged."""
        registered = self.plans[run]
        charged, most = self.charged(run), registered.plan.rounds
        by_plan = registered.covered - charged if self._is_one_plan(registered) else 0
        by_filter = min(
            self._room(unit, budget, event, most - charged)
            for unit in UNITS
            if (budget := self.in_force().of(unit)) and (event := registered.plan.charge.of(unit))
        )
        return max(by_plan, by_filter, 0)

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

    def _filtered(self, unit: Unit, delta: float, events: Iterable[PrivacyEvent]) -> float:
        order = self.orders[unit]
        return epsilon_at_order(order, (_divergence(event, order) for event in events), delta)

    def spent(self, unit: Unit, delta: float) -> Cost:
        """What stands costs if all of its parameters were fixed beforehand."""
        return cost(self.events(unit), delta)


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
        "unit": "record",
        "neighbouring_relation": "add-or-remove-one",
        "minimum_cohort": policy.minimum_cohort,
        "mechanisms": None if policy.mechanisms is None else list(policy.mechanisms),
        "expires": policy.expires,
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
    )


def _plan(body: Mapping[str, object]) -> ChargePlan:
    charge = Charge.from_plain(body)
    return ChargePlan(str(body["run"]), charge, _whole(body, "rounds"), _whole(body, "cohort"))


def _place(body: Mapping[str, object]) -> tuple[str, int, int]:
    return str(body["run"]), _whole(body, "round"), _whole(body, "charge")


def _whole(body: Mapping[str, object], name: str) -> int:
    value = body[name]
    assert isinstance(value, int)
    return value


def _names(event: PrivacyEvent) -> tuple[str, ...]:
    parts = event.events if isinstance(event, Composed) else (event,)
    return tuple(mechanism_name(part) for part in parts)


def _divergence(event: PrivacyEvent, order: float) -> float:
    if isinstance(event, DistributedDiscreteGaussian):
        return float(site_level_divergences(event, (order,))[0]) * event.count
    return float(renyi_divergences([event])[RDP_ORDERS.index(int(order))])


def _most(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits; smaller ones fit then, too."""
    if most < 1 or fits(most):
        return max(most, 0)
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
