"""Tails of the hypergeometric distribution, as logarithms that do not underflow.

X is how many of `drawn` sites are marked, when `marked` of the `population` are and the draw is
without replacement. All terms that are added up are positive and are taken relative to the largest
of them, so that a probability of 2**-1000 is as exact as one of 2**-10: to about 1e-8 bits for a
population of 10**5.
"""

import math

NEGLIGIBLE = 2.0**-60
"""Beside the sum so far; what follows past the mode falls faster than a geometric series."""


def log2_upper_tail(population: int, marked: int, drawn: int, bound: int) -> float:
    """log2 of P(X > bound); -inf where it cannot happen, 0 where it must.

    Args:
        population: >= 1.
        marked: from 0 to the population.
        drawn: from 0 to the population.
        bound: any integer.

    >>> round(log2_upper_tail(population=32, marked=1, drawn=1, bound=0), 9)
    -5.0
    """
    least, most = max(0, marked + drawn - population), min(marked, drawn)
    if bound < least:
        return 0.0
    if bound >= most:
        return -math.inf
    mode = (marked + 1) * (drawn + 1) // (population + 2)
    if bound < mode:
        # The unmarked, turned round: X <= bound says that more than drawn - bound - 1 are unmarked.
        below = _log2_beyond_mode(population, population - marked, drawn, drawn - bound)
        return math.log1p(-math.exp2(below)) / math.log(2)
    return _log2_beyond_mode(population, marked, drawn, bound + 1)


def least_bound(population: int, marked: int, drawn: int, log2_probability: float) -> int:
    """The least bound that X exceeds with at most this probability.

    Args:
        population: >= 1.
        marked: from 0 to the population.
        drawn: from 0 to the population.
        log2_probability: below 0.
    """
    low, high = max(0, marked + drawn - population), min(marked, drawn)
    while low < high:
        middle = (low + high) // 2
        if log2_upper_tail(population, marked, drawn, middle) <= log2_probability:
            high = middle
        else:
            low = middle + 1
    return low


def _log2_beyond_mode(population: int, marked: int, drawn: int, first: int) -> float:
    """log2 of P(X >= first), for a `first` from which on the terms fall."""
    total = term = 1.0
    unmarked = population - marked
    for x in range(first, min(marked, drawn)):
        term *= (marked - x) * (drawn - x) / ((x + 1) * (unmarked - drawn + x + 1))
        total += term
        if term < NEGLIGIBLE * total:
            break
    leading = (
        _log_choose(marked, first)
        + _log_choose(unmarked, drawn - first)
        - _log_choose(population, drawn)
    )
    return min(0.0, leading / math.log(2) + math.log2(total))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
