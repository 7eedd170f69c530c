"""How often one more release can be made before a budget is spent."""

import math
from collections.abc import Callable, Iterable

from privacy import loss_distribution, renyi
from privacy.accountant import is_affordable, merged_losses
from privacy.event import (
    MOST_REPETITIONS,
    Composed,
    NonPrivate,
    PrivacyEvent,
    SingleEvent,
    repeated,
)
from privacy.loss_distribution import COARSE
from privacy.mechanism import singles
from privacy.neighbours import ADD_OR_REMOVE_ONE, Neighbours, Relation


def most_repetitions(
    history: Iterable[PrivacyEvent],
    event: SingleEvent | Composed,
    delta: float,
    epsilon: float,
    limit: int,
    relation: Relation = ADD_OR_REMOVE_ONE,
) -> int:
    """Largest n, at most `limit`, such that the history and n times the event stay affordable.

    Renyi DP brackets it, a coarse PLD comes near, `accountant.is_affordable` decides.

    Args:
        history: what was spent, whose unit is a record.
        event: of which n more are wanted.
        delta: in (0, 1).
        epsilon: budget, > 0; infinite where there is no bound.
        limit: 0 to 10**6.
        relation: of neighbouring tables.

    Raises:
        ValueError: delta or limit is out of range.
        PrivacyRefusal: an event's unit is a site.
    """
    if not 0 <= limit <= 10**6:
        raise ValueError(f"limit = {limit}: expected a whole number from 0 to 10**6")
    spent, neighbours = tuple(history), Neighbours(relation)
    limit = min(limit, MOST_REPETITIONS // max(_count(part) for part in singles([event])))

    def fits(times: int) -> bool:
        return is_affordable(_with(spent, event, times), delta, epsilon, relation)

    def fits_by_renyi(times: int) -> bool:
        losses = merged_losses(_with(spent, event, times), delta, neighbours)
        return losses is not None and renyi.epsilon(losses, delta) <= epsilon

    def nearly_fits(times: int) -> bool:
        losses = merged_losses(_with(spent, event, times), delta, neighbours)
        return losses is not None and (
            renyi.epsilon(losses, delta) <= epsilon
            or loss_distribution.epsilon(losses, delta, COARSE) <= epsilon
        )

    if math.isinf(epsilon) or fits(limit):
        return limit
    if not limit or not fits(1):
        return 0
    near = _most(nearly_fits, _most(fits_by_renyi, 0, 1, limit), 1, limit)
    # The finer PLD decides; it is the tighter one, but for a rounding.
    while near and not fits(near):
        near -= 1
    return _most(fits, near, 1, limit)


def _most(holds: Callable[[int], bool], low: int, step: int, limit: int) -> int:
    """Largest number below `limit` up to which `holds` does; taken to hold at `low`."""
    while low + step < limit and holds(low + step):
        low, step = low + step, 2 * step
    high = min(low + step, limit)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _with(
    spent: tuple[PrivacyEvent, ...], event: SingleEvent | Composed, times: int
) -> tuple[PrivacyEvent, ...]:
    return (*spent, repeated(event, times)) if times else spent


def _count(event: SingleEvent) -> int:
    return 1 if isinstance(event, NonPrivate) else event.count
