"""Against exact integer arithmetic, at every depth, and against scipy."""

import math
from fractions import Fraction
from itertools import combinations, product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from privacy.secure_sum.hypergeometric import least_bound, log2_upper_tail


def exactly(population: int, marked: int, drawn: int, bound: int) -> Fraction:
    """P(X > bound) by counting."""
    ways = sum(
        math.comb(marked, x) * math.comb(population - marked, drawn - x)
        for x in range(max(bound + 1, 0), drawn + 1)
    )
    return Fraction(ways, math.comb(population, drawn))


def log2(probability: Fraction) -> float:
    if not probability:
        return -math.inf
    return math.log2(probability.numerator) - math.log2(probability.denominator)


@st.composite
def draws(draw, largest: int = 400):
    population = draw(st.integers(1, largest))
    marked, drawn = draw(st.integers(0, population)), draw(st.integers(0, population))
    return population, marked, drawn, draw(st.integers(-1, drawn + 1))


def test_exact_integers_agree_with_enumerating_all_draws() -> None:
    for marked, drawn, bound in product(range(8), range(8), range(-1, 8)):
        hits = [sum(site < marked for site in some) for some in combinations(range(7), drawn)]
        share = Fraction(sum(hit > bound for hit in hits), len(hits))
        assert exactly(7, marked, drawn, bound) == share
        assert log2_upper_tail(7, marked, drawn, bound) == pytest.approx(log2(share), abs=1e-12)


@given(draws())
def test_it_agrees_with_exact_integers(parameters) -> None:
    assert log2_upper_tail(*parameters) == pytest.approx(log2(exactly(*parameters)), abs=1e-9)


@pytest.mark.parametrize(
    ("population", "marked", "drawn", "bound"),
    [
        (450, 100, 92, 66),
        (1_000, 330, 500, 300),
        (9_000, 2_000, 220, 130),
        (66_667, 20_000, 400, 250),
        (100_000, 20_000, 600, 599),
    ],
)
def test_it_stays_exact_where_a_float_would_underflow(population, marked, drawn, bound) -> None:
    exact = log2(exactly(population, marked, drawn, bound))
    assert exact < -80
    assert log2_upper_tail(population, marked, drawn, bound) == pytest.approx(exact, abs=1e-7)


@given(draws())
def test_it_agrees_with_scipy(parameters) -> None:
    population, marked, drawn, bound = parameters
    theirs = hypergeom.logsf(bound, population, marked, drawn) / math.log(2)
    # scipy takes a tail near one as the rest of another, and returns -inf or noise for less.
    assume(theirs > -30)
    assert log2_upper_tail(*parameters) == pytest.approx(theirs, abs=1e-6)


@given(draws(), st.floats(-200, -0.1))
def test_the_least_bound_holds_and_one_less_does_not(parameters, limit) -> None:
    population, marked, drawn, _ = parameters
    bound = least_bound(population, marked, drawn, limit)
    assert log2_upper_tail(population, marked, drawn, bound) <= limit
    assert log2_upper_tail(population, marked, drawn, bound - 1) > limit


@given(draws(), st.integers(0, 400))
def test_chvatals_bound_on_the_tail_is_never_below(parameters, more) -> None:
    """Chvatal 1979 (doi:10.1016/0012-365X(79)90084-0): P(X >= (p + s) n) <= exp(-2 s^2 n).

    The closed forms of Bell et al. 2020 rest on it; ours, being exact, can only be less.
    """
    population, marked, drawn, _ = parameters
    assume(drawn)
    excess = Fraction(more, 400)
    least = math.ceil((Fraction(marked, population) + excess) * drawn)
    bound = -2 * float(excess) ** 2 * drawn / math.log(2)
    assert log2_upper_tail(population, marked, drawn, least - 1) <= bound + 1e-9
