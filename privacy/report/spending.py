"""What stands in a ledger costs: in numbers, and along the way. Pure functions of events.

Sites of one federation usually have equal histories, so that each is computed once.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from federation.errors import PrivacyRefusal
from privacy import accountant, loss_distribution, person_level, prv, renyi, risk
from privacy.account import Account, Standing
from privacy.accountant import Cost
from privacy.budget import Unit
from privacy.event import (
    DistributedDiscreteGaussian,
    Gaussian,
    PoissonSampledGaussian,
    PrivacyEvent,
    repeated,
)
from privacy.loss_distribution import COARSE
from privacy.mechanism import merged, singles
from privacy.neighbours import RECORD, Neighbours
from privacy.report.document import (
    CrossCheck,
    Cumulative,
    CurvePoint,
    Gain,
    HitRate,
    Person,
    PlanStart,
    Spending,
)

Floats = npt.NDArray[np.float64]
Events = tuple[PrivacyEvent, ...]

MOST_PLD_POINTS = 40
MOST_CHECKED = 50_000
"""Compositions beyond which the third accountant takes too long for a cross-check."""
PEOPLE = (1, 2, 4, 8)
DELTAS = tuple(10.0**exponent for exponent in range(-10, -1))
CURVE_RATES = (*(step / 200 for step in range(21)), *(0.1 + step / 50 for step in range(1, 46)))


def bounded(epsilon: float) -> float | None:
    """JSON has no infinity: None where there is no bound."""
    return epsilon if math.isfinite(epsilon) else None


def spending(account: Account, unit: Unit, plan_cost: float | None) -> Spending:
    """Of one unit, held against its budget.

    Args:
        account: of the ledger; it has a budget in that unit.
        unit: of privacy.
        plan_cost: of the whole plan that has the budget to itself; None if there is none.
    """
    budget = account.in_force().of(unit)
    assert budget is not None
    events, hidden = account.events(unit), hidden_by(account, unit)
    spent = tightest(events, budget.delta, hidden)
    check, note = _cross_check(events, budget.delta, hidden)
    if unit == "site":
        check, note = None, NO_PRV_SITES
    order = account.orders.get(unit)
    promised = budget.epsilon if plan_cost is None else plan_cost
    return Spending(
        unit=unit,
        delta=budget.delta,
        budget=bounded(budget.epsilon),
        epsilon=bounded(spent.epsilon),
        epsilon_pld=bounded(spent.epsilon_pld),
        epsilon_rdp=bounded(spent.epsilon_rdp),
        prv=check,
        prv_note=note,
        filter_order=None if order is None else bounded(order),
        filtered=bounded(account.filtered(unit)),
        guaranteed=bounded(promised),
        guaranteed_by="nothing"
        if math.isinf(promised)
        else ("filter" if plan_cost is None else "whole plan"),
        left=None
        if math.isinf(budget.epsilon)
        else max(0.0, budget.epsilon - min(spent.epsilon, budget.epsilon)),
    )


NO_PRV_SITES = "Opacus' PRV accountant knows records only."


def hidden_by(account: Account, unit: Unit) -> Neighbours:
    """What the budget of a unit hides; a site is one, with its updates or without."""
    return account.in_force().neighbours if unit == "record" else RECORD


@lru_cache(maxsize=256)
def tightest(events: Events, delta: float, hidden: Neighbours) -> Cost:
    """Epsilon by both accountants."""
    if hidden.records > 1:
        return person_level.cost(events, delta, hidden.records, hidden.relation)
    return accountant.cost(events, delta, hidden.relation)


@lru_cache(maxsize=256)
def quick(events: Events, delta: float, hidden: Neighbours) -> float:
    """Epsilon by a bound that is looser and ten times faster, where there is one."""
    if not events:
        return 0.0
    if hidden.records > 1:
        return tightest(events, delta, hidden).epsilon
    return accountant.quick_epsilon(events, delta, hidden.relation)


@lru_cache(maxsize=64)
def _cross_check(events: Events, delta: float, hidden: Neighbours) -> tuple[CrossCheck | None, str]:
    if hidden != RECORD or any(isinstance(one, DistributedDiscreteGaussian) for one in events):
        return None, "Opacus' PRV accountant knows one record, added or removed, only."
    parts = list(singles(events))
    gaussians = [one for one in parts if isinstance(one, PoissonSampledGaussian | Gaussian)]
    if not parts:
        return None, "Nothing stands, so there is nothing to check."
    if len(gaussians) < len(parts):
        return None, "Opacus' PRV accountant does not know every mechanism in this ledger."
    if sum(one.count for one in gaussians) > MOST_CHECKED:
        return None, f"Opacus' PRV accountant takes too long beyond {MOST_CHECKED} compositions."
    try:
        band = prv.band(events, delta)
    except PrivacyRefusal as refused:
        return None, f"Opacus' PRV accountant has no answer: {refused}."
    return CrossCheck(lower=band.lower, upper=band.upper), ""


@lru_cache(maxsize=64)
def people(events: Events, delta: float, hidden: Neighbours) -> tuple[Person, ...]:
    """What people with several records in the table pay, those that the budget hides among them."""
    wanted = sorted({*PEOPLE, hidden.records})
    return tuple(_person(events, delta, Neighbours(hidden.relation, each)) for each in wanted)


def _person(events: Events, delta: float, hidden: Neighbours) -> Person:
    found = tightest(events, delta, hidden)
    return Person(
        records=hidden.records,
        epsilon=bounded(found.epsilon),
        epsilon_pld=bounded(found.epsilon_pld),
        epsilon_rdp=bounded(found.epsilon_rdp),
    )


@lru_cache(maxsize=64)
def gain(events: Events, hidden: Neighbours, words: str) -> Gain:
    """What an attacker gains, from the whole curve of the history."""
    curve = risk.trade_off(events, hidden, finest=COARSE)
    rates = np.array(CURVE_RATES)
    found = 1 - curve.false_negative_rates(rates)
    epsilons = risk.epsilons_at(events, np.array(DELTAS), hidden, finest=COARSE)
    rows = tuple(
        HitRate(false_positive_rate=rate, true_positive_rate=curve.true_positive_rate(rate))
        for rate in risk.FALSE_POSITIVE_RATES
    )
    return Gain(
        hit_rates=rows,
        advantage=curve.advantage(),
        gaussian_mu=bounded(curve.gaussian_mu()),
        trade_off=tuple(
            HitRate(false_positive_rate=x, true_positive_rate=y)
            for x, y in zip(CURVE_RATES, found.tolist(), strict=True)
        ),
        epsilon_of_delta=tuple(
            CurvePoint(x=x, y=bounded(y)) for x, y in zip(DELTAS, epsilons.tolist(), strict=True)
        ),
        words=words,
    )


def cumulative(standing: Sequence[Standing], delta: float, hidden: Neighbours) -> Cumulative:
    """Epsilon after each charge.

    Args:
        standing: what was reserved and not voided, in the order of the ledger.
        delta: of the budget.
        hidden: what the budget hides.
    """
    starts = tuple(
        PlanStart(charge=number, run=one.run)
        for number, one in enumerate(standing, start=1)
        if number == 1 or one.run != standing[number - 2].run
    )
    events = tuple(one.charge.event for one in standing)
    rdp, pld = _along(events, tuple(start.charge for start in starts), delta, hidden)
    return Cumulative(rdp=rdp, pld=pld, starts=starts)


@lru_cache(maxsize=64)
def _along(
    events: Events, starts: tuple[int, ...], delta: float, hidden: Neighbours
) -> tuple[tuple[float | None, ...], tuple[CurvePoint, ...]]:
    if not events:
        return (), ()
    rdp = renyi_along(events, delta, hidden)
    total = tightest(tuple(_added_up(events)), delta, hidden)
    rdp[-1] = total.epsilon_rdp
    borders = _borders(len(events), starts)
    pld = _pld_along(events, borders, delta, hidden)
    pld[-1] = total.epsilon_pld
    points = zip(borders, pld, strict=True)
    return (
        tuple(bounded(value) for value in rdp),
        tuple(CurvePoint(x=float(x), y=bounded(y)) for x, y in points),
    )


def renyi_along(events: Events, delta: float, hidden: Neighbours = RECORD) -> list[float]:
    """Epsilon after each event, by Renyi DP; `events` has one at least."""
    kinds = tuple(dict.fromkeys(events))
    which = {event: index for index, event in enumerate(kinds)}
    at = np.array([which[event] for event in events])
    once = np.array([accountant.renyi_divergences([event], hidden) for event in kinds])
    bounds = renyi_epsilons(np.cumsum(once[at], axis=0), delta)
    pure = np.cumsum(np.array([accountant.pure_epsilon([event], hidden) for event in kinds])[at])
    least: list[float] = np.minimum(bounds, pure * (1 + 1e-12)).tolist()
    return least


def renyi_epsilons(divergences: Floats, delta: float) -> Floats:
    """The conversion of `privacy.renyi`, for each row, shape (n,)."""
    orders = np.array(renyi.RDP_ORDERS, np.float64)
    offsets = np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)
    nothing = delta**2 + np.expm1(-divergences) > 0
    each = np.where(nothing, 0.0, divergences + offsets)
    least: Floats = np.maximum(each.min(axis=1), 0.0)
    return least


def _borders(charges: int, starts: tuple[int, ...]) -> list[int]:
    """After which charges the PLD is computed: the last of each run, the others evenly."""
    ends = [start - 1 for start in starts if start > 1][-MOST_PLD_POINTS // 2 :]
    even = MOST_PLD_POINTS - len(ends) - 1
    step = max(1, math.ceil(charges / even))
    return sorted({*range(step, charges, step), *ends, charges})


def _pld_along(events: Events, borders: list[int], delta: float, hidden: Neighbours) -> list[float]:
    steps = []
    before = 0
    for border in borders:
        counts = Counter(events[before:border])
        losses = merged((repeated(one, count) for one, count in counts.items()), hidden)
        if losses is None:
            return [math.inf] * len(borders)
        steps.append(losses)
        before = border
    every = merged(_added_up(events), hidden)
    assert every is not None
    if not loss_distribution.is_worth_its_work(every, delta):
        return [math.inf] * len(borders)
    width = max(COARSE, person_level.discretisation(every))
    return loss_distribution.epsilons_along(steps, delta, width)


def _added_up(events: Iterable[PrivacyEvent]) -> Iterable[PrivacyEvent]:
    return (repeated(one, count) for one, count in Counter(events).items())
