"""The bound against divergences summed up number by number."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from privacy.discrete_gaussian_divergence import Sensitivity, renyi_divergence, tau

ORDERS = (2, 3, 5, 16, 64)
HALF_WIDTH = 60


def law(variances) -> np.ndarray:
    """The sum's probabilities, by convolving term by term: every term is positive, so exact."""
    support = np.arange(-HALF_WIDTH, HALF_WIDTH + 1)
    total = np.ones(1)
    for variance in variances:
        weights = np.exp(-(support**2) / (2 * float(variance)))
        total = np.convolve(total, weights / weights.sum())
    return total


def divergence(order: int, probabilities: np.ndarray, shift: int) -> float:
    """D_order(law || law moved by `shift`), over the part that a float can hold."""
    here, there = probabilities[shift:], probabilities[: len(probabilities) - shift]
    kept = (here > 1e-280) & (there > 1e-280)
    terms = order * np.log(here[kept]) - (order - 1) * np.log(there[kept])
    largest = terms.max()
    return float((largest + np.log(np.exp(terms - largest).sum())) / (order - 1))


@pytest.mark.parametrize(
    "variances",
    [(v,) * n for v, n in itertools.product((0.25, 0.3, 0.5, 1.0, 4.0), (1, 2, 3, 6))]
    + [(2.0, 0.25), (0.5, 1.0, 3.0), (1.0, 0.4, 0.4, 0.25)],
)
def test_no_divergence_is_above_the_bound(variances) -> None:
    exact, probabilities = [Fraction(v) for v in variances], law(variances)
    for shift in (1, 2, 3):
        bounds = renyi_divergence(ORDERS, Sensitivity(1, shift**2), exact)
        measured = [divergence(order, probabilities, shift) for order in ORDERS]
        assert np.all(np.array(measured) <= bounds * (1 + 1e-9))


@pytest.mark.parametrize("variances", [(4.0,) * 2, (9.0,) * 5, (3.0, 5.0)])
def test_the_bound_wastes_nothing_where_the_sum_is_nearly_gaussian(variances) -> None:
    bounds = renyi_divergence(ORDERS, Sensitivity(1, 1), [Fraction(v) for v in variances])
    measured = [divergence(order, law(variances), 1) for order in ORDERS]
    assert np.allclose(bounds, measured, rtol=1e-6)


@pytest.mark.parametrize(
    "variances", [(0.25,) * 2, (0.5,) * 2, (0.5,) * 4, (0.3,) * 5, (1.0, 0.4), (2.0, 1.0, 0.25)]
)
def test_tau_is_twice_the_range_of_the_log_ratio(variances) -> None:
    probabilities = law(variances)
    middle = len(probabilities) // 2
    at = np.arange(-8, 9)
    ratio = np.log(probabilities[middle + at]) + at**2 / (2 * sum(variances))
    bound = tau([Fraction(v) for v in variances]) / 2
    assert np.ptp(ratio) <= bound
    if len(variances) == 2 and variances[0] == variances[1]:
        assert np.ptp(ratio) > 0.75 * bound  # 4 for 5: the size is right


def test_coordinates_add_up() -> None:
    # Moved by 1 in three coordinates: three times the divergence of one, within a bound for d = 3.
    for variances in ((0.3, 0.3), (1.0,) * 4):
        measured = np.array([3 * divergence(order, law(variances), 1) for order in ORDERS])
        exact = [Fraction(v) for v in variances]
        assert np.all(measured <= renyi_divergence(ORDERS, Sensitivity(3, 3), exact))
        assert not np.all(measured <= renyi_divergence(ORDERS, Sensitivity(3, 2), exact))


def test_equation_17_by_hand() -> None:
    gap = 10 * (math.exp(-2 * math.pi**2 * 0.3 / 2) + math.exp(-2 * math.pi**2 * 0.3 * 2 / 3))
    shares = [Fraction(3, 10)] * 3
    assert tau(shares) == pytest.approx(gap)
    d, l2 = 5, math.sqrt(7)
    l1 = min(math.sqrt(5) * l2, 7)
    deviation = math.sqrt(0.9)
    for order in (2, 9, 300):
        terms = (
            order * l2**2 / (2 * 0.9) + gap * d,
            order / 2 * (l2**2 / 0.9 + 2 * l1 * gap / deviation + gap**2 * d),
            order / 2 * (l2 / deviation + gap * math.sqrt(d)) ** 2,
        )
        assert renyi_divergence([order], Sensitivity(5, 7), shares)[0] == pytest.approx(min(terms))


def test_one_summand_is_a_discrete_gaussian_and_a_tiny_one_has_no_bound() -> None:
    assert tau([Fraction(1)]) == 0
    assert renyi_divergence([2, 4], Sensitivity(9, 4), [Fraction(2)]) == pytest.approx([2, 4])
    assert tau([Fraction(1, 4)]) == 0
    assert math.isinf(tau([Fraction(1), Fraction(24, 100)]))
    bounds = renyi_divergence([2], Sensitivity(1, 1), [Fraction(1, 5)] * 2)
    assert math.isinf(bounds[0])


def test_order_of_summands_does_not_matter() -> None:
    variances = [Fraction(1, 2), Fraction(3), Fraction(1)]
    assert len({tau(p) for p in itertools.permutations(variances)}) == 1


def test_what_has_no_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="orders"):
        renyi_divergence([1, 2], Sensitivity(1, 1), [Fraction(1)])
    with pytest.raises(ValueError, match="variance"):
        renyi_divergence([2], Sensitivity(1, 1), [])
