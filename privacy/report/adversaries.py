"""What each party could learn of one record, or of one site: derived from the events alone.

Where a site adds its whole noise itself, everybody is faced with all of it, the coordinator
included, with or without the secure sum. Where sites share the noise, each party is faced with the
shares that it does not know (`privacy.shared_record_noise`, `privacy.fewer_laplace_shares`). The
two units of privacy are kept apart.
"""

from dataclasses import replace

from privacy.accountant import cost
from privacy.event import (
    Composed,
    DistributedDiscreteGaussian,
    DistributedDiscreteLaplace,
    Mechanism,
    NonPrivate,
    PoissonSampledDistributedGaussian,
    PrivacyEvent,
    RepeatAndSelect,
    SingleEvent,
)
from privacy.fewer_laplace_shares import with_laplace_shares
from privacy.mechanism import singles
from privacy.neighbours import Neighbours
from privacy.report.document import Adversary
from privacy.report.spending import Events, bounded, quick
from privacy.shared_record_noise import alone, with_shares

FURTHER = (1, 2)
"""Colluding sites beyond those allowed for that have a row of their own."""

_Shared = PoissonSampledDistributedGaussian | DistributedDiscreteLaplace


def adversaries(
    events: Events, delta: float, hidden: Neighbours, spent: float | None, colluders: int
) -> tuple[Adversary, ...]:
    """Of one record, or whatever is hidden: all runs together, at `delta`.

    Args:
        events: all that stands, whose unit is a record.
        delta: of the budget.
        hidden: what the budget hides.
        spent: their cost; None where nothing is proven.
        colluders: sites that every run with shared noise allowed for, the fewest.
    """
    shared = fewest_shares(events)
    if shared is None:
        return _of_own_noise(spent)
    honest = f"the secure sum, and {shared} sites that keep their noise to themselves"
    rows = [
        Adversary(
            who="A reader of the models and answers" + ("" if colluders else " who is no site"),
            sees="everything that was released",
            epsilon=spent,
            rests_on=honest,
        ),
        Adversary(
            who="The coordinator" + _with_sites(colluders),
            sees="the sums of every round",
            epsilon=spent,
            rests_on=honest,
        ),
    ]
    rows += [
        Adversary(
            who=f"The coordinator{_with_sites(colluders + further)}",
            sees="the sums, less the noise of its sites",
            epsilon=_unless_none(_weakened(events, further), delta, hidden),
            rests_on=f"the secure sum, and {shared - further} sites",
        )
        for further in FURTHER
        if further < shared
    ]
    unaided = _unless_none(_weakened(events, None), delta, hidden)
    rows += [
        Adversary(
            who="The coordinator with all other sites",
            sees="this site's vectors, less everybody else's noise",
            epsilon=unaided,
            rests_on="this site's own share of the noise",
        ),
        Adversary(
            who="The coordinator without the secure sum",
            sees="this site's vectors alone, as if the secure sum were off or broken",
            epsilon=unaided,
            rests_on="this site's own share of the noise",
        ),
    ]
    return tuple(rows)


def _of_own_noise(spent: float | None) -> tuple[Adversary, ...]:
    rests_on = "this site's own noise, which is in the update before it leaves"
    rows = (
        ("A reader of the models and answers", "everything that was released"),
        ("The coordinator with the secure sum", "sums over several sites"),
        ("The coordinator without the secure sum", "this site's updates alone"),
        ("The coordinator with all other sites", "this site's updates alone, and all others'"),
    )
    return tuple(
        Adversary(who=who, sees=sees, epsilon=spent, rests_on=rests_on) for who, sees in rows
    )


def site_adversaries(
    events: Events, delta: float, spent: float | None, colluders: int
) -> tuple[Adversary, ...]:
    """Of one site's updates as a whole, with them or without; arguments as above."""
    sites = tuple(event for event in events if isinstance(event, DistributedDiscreteGaussian))
    if not sites:
        return ()
    honest = min(event.honest for event in sites)
    rows = [
        Adversary(
            who="The coordinator, or a reader of every sum," + _with_sites(colluders),
            sees="the sums of every round",
            epsilon=spent,
            rests_on=f"the secure sum, and {honest} sites that keep their noise to themselves",
        )
    ]
    for further in FURTHER:
        if further < honest:
            less = tuple(with_shares(event, event.honest - further) for event in sites)
            rows.append(
                Adversary(
                    who=f"The coordinator{_with_sites(colluders + further)}",
                    sees="the sums, less the noise of its sites",
                    epsilon=bounded(cost(less, delta).epsilon),
                    rests_on=f"the secure sum, and {honest - further} sites",
                )
            )
    bare = tuple(alone(event) for event in sites)
    rows.append(
        Adversary(
            who="The coordinator without the secure sum, or with all other sites",
            sees="this site's vectors alone",
            epsilon=bounded(cost(bare, delta).epsilon),
            rests_on="this site's own share of the noise",
        )
    )
    return tuple(rows)


def fewest_shares(events: Events) -> int | None:
    """Of the shared noise of any event; None where every event's noise is the site's own."""
    shares = [one.honest for one in _mechanisms(events) if isinstance(one, _Shared)]
    return min(shares, default=None)


def _mechanisms(events: Events) -> list[SingleEvent]:
    found: list[SingleEvent] = []
    for event in singles(events):
        found += event.parts() if isinstance(event, RepeatAndSelect) else (event,)
    return found


def _with_sites(colluders: int) -> str:
    return f" with {colluders} colluding site{'' if colluders == 1 else 's'}" if colluders else ""


def _unless_none(events: Events | None, delta: float, hidden: Neighbours) -> float | None:
    return None if events is None else bounded(quick(events, delta, hidden))


def _weakened(events: Events, further: int | None) -> Events | None:
    """The events to whoever knows the noise of so many sites more, or (None) of all others."""
    if any(isinstance(one, NonPrivate) for one in _mechanisms(events)):
        return None
    weaker = tuple(_less(event, further) for event in events)
    known = tuple(event for event in weaker if event is not None)
    return known if len(known) == len(weaker) else None


def _less(event: PrivacyEvent, further: int | None) -> PrivacyEvent | None:
    """One event with fewer shares; None where nothing is proven of that."""
    match event:
        case Composed():
            weaker = tuple(_less(part, further) for part in event.events)
            known = tuple(part for part in weaker if isinstance(part, SingleEvent))
            less: PrivacyEvent | None = Composed(known) if len(known) == len(weaker) else None
        case RepeatAndSelect():
            inner = _less(event.event, further)
            less = replace(event, event=inner) if isinstance(inner, Mechanism | Composed) else None
        case DistributedDiscreteLaplace():
            left = 1 if further is None else event.honest - further
            less = with_laplace_shares(event, left) if left >= 1 else None
        case PoissonSampledDistributedGaussian() if further is None:
            less = alone(event)
        case PoissonSampledDistributedGaussian() if further is not None:
            enough = event.honest > further
            less = with_shares(event, event.honest - further) if enough else None
        case _:
            less = event
    return less
