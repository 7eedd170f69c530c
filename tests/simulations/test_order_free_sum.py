"""Sums that know no order: the same bits, the right value, and their limits on both sides."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulations.backends.order_free_sum import LARGEST_SUM, MOST_TERMS, OrderFreeSum

terms = st.lists(
    st.tuples(st.floats(-1e6, 1e6, width=32), st.integers(0, 1000)), min_size=1, max_size=30
)


def summed(pairs) -> float:
    total = OrderFreeSum(1)
    for number, weight in pairs:
        total.add(np.array([number], np.float32), weight)
    return float(total.value()[0])


@given(terms, st.randoms(use_true_random=False))
def test_every_order_gives_the_same_bits(pairs, random) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert summed(pairs).hex() == summed(shuffled).hex()


def test_plain_double_precision_would_not() -> None:
    numbers = [1e6, -1e6, 1e-9]
    pairs = [(number, 1) for number in numbers]
    assert sum(numbers) != sum(sorted(numbers))
    assert summed(pairs) == summed(sorted(pairs))


@given(terms)
def test_the_error_is_what_is_promised(pairs) -> None:
    exact = sum((Fraction(number) * weight for number, weight in pairs), Fraction(0))
    error = abs(Fraction(summed(pairs)) - exact)
    # Of each term in the sum, and once of the two parts when they are put together.
    assert error <= len(pairs) * Fraction(1, 2**45) + abs(exact) * Fraction(1, 2**52)


def test_long_vectors_are_the_same_as_their_coordinates() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3, 40_000)).astype(np.float32)
    total = OrderFreeSum(40_000)
    for row in rows:
        total.add(row, 2.5)
    for k in (0, 16_383, 16_384, 39_999):
        one = OrderFreeSum(1)
        for row in rows:
            one.add(row[k : k + 1], 2.5)
        assert total.value()[k] == one.value()[0]


def test_its_range_is_as_large_as_it_says() -> None:
    total = OrderFreeSum(1)
    total.add(np.array([LARGEST_SUM / 2 - 1]), 1.0)
    total.add(np.array([-(LARGEST_SUM / 2)]), 1.0)
    total.add(np.array([1.0]), 1.0)
    assert total.value()[0] == 0
    with pytest.raises(ValueError, match="expected at most"):
        total.add(np.array([2.0**-11]), 1.0)
    assert total.value()[0] == 0


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="expected at most"):
        OrderFreeSum(2).add(np.array([0.0, number]), 1.0)


def test_the_number_of_terms_is_limited() -> None:
    total = OrderFreeSum(1)
    total._terms = MOST_TERMS - 1
    total.add(np.zeros(1), 1.0)
    with pytest.raises(ValueError, match="terms"):
        total.add(np.zeros(1), 1.0)


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        OrderFreeSum(2).add(np.zeros(1), 1.0)
