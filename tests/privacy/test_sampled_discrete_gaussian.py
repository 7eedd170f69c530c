"""Both bounds against divergences summed up number by number, and dp-accounting."""

import math
from fractions import Fraction

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm

from privacy.accountant import RDP_ORDERS
from privacy.discrete_gaussian_divergence import Sensitivity, tau
from privacy.sampled_discrete_gaussian import (
    ROUNDING_VARIANCE,
    continuous_counterpart,
    renyi_divergence,
)

HALF_WIDTH = 150
SUPPORT = np.arange(-HALF_WIDTH, HALF_WIDTH + 1)
ORDERS = (2, 3, 5, 8, 16)
RATES = (1e-3, 0.1, 0.5, 0.97, 1.0)


def log_law(variances) -> np.ndarray:
    """Logarithm of the sum's probabilities on SUPPORT, by convolving in logarithms."""
    total = np.where(SUPPORT == 0, 0.0, -np.inf)
    for variance in variances:
        weights = -(SUPPORT**2) / (2 * float(variance))
        weights -= logsumexp(weights)
        shifted = np.full((len(SUPPORT),) * 2, -np.inf)
        for row, by in enumerate(SUPPORT):
            inside = (SUPPORT - by >= -HALF_WIDTH) & (SUPPORT - by <= HALF_WIDTH)
            shifted[row, inside] = weights[SUPPORT[inside] - by + HALF_WIDTH]
        total = logsumexp(total[:, None] + shifted, axis=0)
    return total


def moved(log_probabilities: np.ndarray, by: int, axis: int = 0) -> np.ndarray:
    """The law of x + by; what enters at the edge is as good as nothing."""
    rolled = np.roll(log_probabilities, by, axis)
    edge = [slice(None)] * rolled.ndim
    edge[axis] = slice(0, by) if by > 0 else slice(len(SUPPORT) + by, None)
    if by:
        rolled[tuple(edge)] = -np.inf
    return rolled


def mixed(q: float, without: np.ndarray, present: np.ndarray) -> np.ndarray:
    if q == 1:
        return present
    return np.logaddexp(math.log1p(-q) + without, math.log(q) + present)


def divergence(order: int, one: np.ndarray, other: np.ndarray) -> float:
    kept = (one > -1e6) & (other > -1e6)
    terms = order * one[kept] - (order - 1) * other[kept]
    return float(logsumexp(terms)) / (order - 1)


def bound(q: float, squared: int, variances, dimension: int = 1) -> np.ndarray:
    exact = [Fraction(v) for v in variances]
    return renyi_divergence(ORDERS, q, Sensitivity(dimension, squared), exact)


@pytest.mark.parametrize("variance", [0.25, 0.5, 1.0, 4.0, 11.5])
@pytest.mark.parametrize("q", RATES)
def test_one_discrete_gaussian_has_just_these_moments(q: float, variance: float) -> None:
    without = log_law([variance])
    for shift in (1, 2, 3):
        present = mixed(q, without, moved(without, shift))
        bounds = bound(q, shift**2, [variance])
        there = [divergence(order, present, without) for order in ORDERS]
        back = [divergence(order, without, present) for order in ORDERS]
        assert there == pytest.approx(bounds, rel=1e-9)
        assert np.all(np.array(back) <= bounds * (1 + 1e-9))


@pytest.mark.parametrize("shift", [(1, 1), (2, -1), (0, 3)])
def test_in_two_coordinates_only_the_norm_counts(shift: tuple[int, int]) -> None:
    line = log_law([2.5])
    without = line[:, None] + line[None, :]
    far = moved(moved(without, shift[0], 0), shift[1], 1)
    for q in (0.2, 0.8):
        present = mixed(q, without, far)
        bounds = bound(q, shift[0] ** 2 + shift[1] ** 2, [2.5], dimension=2)
        there = [divergence(order, present, without) for order in ORDERS]
        back = [divergence(order, without, present) for order in ORDERS]
        assert there == pytest.approx(bounds, rel=1e-9)
        assert np.all(np.array(back) <= bounds * (1 + 1e-9))


SUMS = [(0.25, 0.25), (0.3,) * 3, (0.5, 0.5), (1.0, 0.4), (2.0, 1.0, 0.25), (1.0,) * 4]


@pytest.mark.parametrize("variances", SUMS)
@pytest.mark.parametrize("q", RATES)
def test_no_sum_of_several_is_above_the_bound(q: float, variances) -> None:
    without = log_law(variances)
    for shift in (1, 2, 3):
        present = mixed(q, without, moved(without, shift))
        bounds = bound(q, shift**2, variances) * (1 + 1e-9)
        assert np.all([divergence(order, present, without) for order in ORDERS] <= bounds)
        assert np.all([divergence(order, without, present) for order in ORDERS] <= bounds)


def test_without_tau_the_bound_would_be_broken_and_with_it_is_not_far_off() -> None:
    # A shift by one changes the ratio to a discrete Gaussian; small sums of two show it.
    without = log_law((0.25, 0.25))
    worst = 0.0
    for q in RATES:
        present = mixed(q, without, moved(without, 1))
        # One Gaussian of their variance: what the bound is without its last term.
        gaussian = bound(q, 1, [0.5])
        measured = np.array([divergence(order, present, without) for order in ORDERS])
        risen = (measured - gaussian) * (np.array(ORDERS) - 1) / np.array(ORDERS)
        worst = max(worst, float(risen.max()))
    half = tau([Fraction(1, 4)] * 2) / 2
    assert 0.01 * half < worst <= half


def test_others_batches_make_it_no_worse() -> None:
    # The sum of all others is 0, 2 or 5, and where it is 5 the record moves it the other way.
    noise, q = log_law([3.0]), 0.3
    weights = {0: 0.5, 2: 0.3, 5: 0.2}
    without = logsumexp([math.log(w) + moved(noise, x) for x, w in weights.items()], axis=0)
    far = logsumexp(
        [math.log(w) + moved(noise, x + (2 if x < 5 else -2)) for x, w in weights.items()], axis=0
    )
    present, bounds = mixed(q, without, far), bound(q, 4, [3.0])
    for one, other in ((present, without), (without, present)):
        measured = np.array([divergence(order, one, other) for order in ORDERS])
        assert np.all(measured < bounds)


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-6, 1.0), st.floats(0.2, 50.0), st.integers(1, 10**6))
def test_agrees_with_dp_accounting_at_whole_orders(q: float, noise: float, squared: int) -> None:
    variance = Fraction(noise) ** 2 * squared
    ours = renyi_divergence(RDP_ORDERS, q, Sensitivity(1, squared), [max(variance, Fraction(1, 4))])
    theirs = RdpAccountant(RDP_ORDERS, NeighboringRelation.ADD_OR_REMOVE_ONE)
    multiplier = math.sqrt(max(variance, Fraction(1, 4)) / squared)
    theirs.compose(PoissonSampledDpEvent(q, GaussianDpEvent(multiplier)))
    # It loses digits of tiny divergences, which ours keeps.
    assert np.allclose(ours, theirs.rdp, rtol=1e-8, atol=1e-12)


@given(st.floats(1e-6, 1.0), st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_longer_shift_or_a_larger_rate_costs_more(q: float, squared: int, more: int) -> None:
    def at(rate: float, length: int) -> np.ndarray:
        return renyi_divergence(ORDERS, rate, Sensitivity(3, length), [Fraction(10**6)] * 2)

    assert np.all(at(q, squared) <= at(q, squared + more))
    assert np.all(at(q / 2, squared) <= at(q, squared))


def test_known_answers() -> None:
    # Order 2: 1 + q^2 (exp(|s|^2 / V) - 1), and a t / (a - 1) = d tau more.
    q, shares = 0.3, [Fraction(1, 2)] * 2
    gap = 7 * 10 * math.exp(-(math.pi**2) / 2)
    (ours,) = renyi_divergence([2], q, Sensitivity(7, 4), shares)
    assert ours == pytest.approx(math.log1p(q**2 * math.expm1(4.0)) + gap, rel=1e-9)
    assert renyi_divergence([9], 1.0, Sensitivity(5, 2), [Fraction(4)])[0] == pytest.approx(9 / 4)
    assert math.isinf(renyi_divergence([2], 0.1, Sensitivity(1, 1), [Fraction(1, 5)] * 2)[0])


@pytest.mark.parametrize(("w", "v"), [(0.15, 0.2), (0.25, 1.0), (0.5, 0.3), (0.5, 6.0)])
@pytest.mark.parametrize("center", [0, 2])
def test_a_continuous_gaussian_rounded_at_random_is_a_discrete_one(w, v, center: int) -> None:
    # The trapezoid rule: for analytic functions as good as exact. One column per y.
    grid = np.arange(-25, 25, 0.01)[None, :]
    every = np.arange(-40, 41)[:, None]
    theta = np.exp(-((every - grid) ** 2) / (2 * w)).sum(axis=0)
    at = np.arange(center - 5, center + 6)
    weights = np.exp(-((at[:, None] - grid) ** 2) / (2 * w)) / theta
    made = (norm.pdf(grid, center, math.sqrt(v)) * weights).sum(axis=1) * 0.01
    off = np.abs(np.log(made) - log_law([v + w])[at - center + HALF_WIDTH]).max()
    assert off <= 5 * math.exp(-2 * math.pi**2 * w)
    # And no closer than rounding with a theta that Y averages over can be.
    joint = v * w / (v + w)
    assert off > 0.5 * math.exp(-2 * math.pi**2 * (w + joint))


def excess(q: float, near: float, epsilon: float) -> float:
    """Delta of a Poisson-subsampled continuous Gaussian, the worse direction; N(0) and N(near)."""

    def of(first, second, low: float, high: float) -> float:
        return quad(lambda y: max(first(y) - math.exp(epsilon) * second(y), 0), low, high)[0]

    def present(y: float) -> float:
        return (1 - q) * norm.pdf(y) + q * norm.pdf(y, near)

    return max(of(present, norm.pdf, -12, 12 + near), of(norm.pdf, present, -12, 12 + near))


@pytest.mark.parametrize("variances", [(8.0,), (4.0, 5.0), (0.5, 8.0), (30.0,)])
@pytest.mark.parametrize("q", [0.1, 0.6, 1.0])
def test_no_delta_is_above_that_of_the_continuous_counterpart(q: float, variances) -> None:
    without, shift = log_law(variances), 3
    present = mixed(q, without, moved(without, shift))
    near = continuous_counterpart(Sensitivity(1, shift**2), [Fraction(v) for v in variances])
    factor = math.exp(near.log_ratio)
    for epsilon in (0.1, 0.5, 1.5, 3.0):
        there = np.maximum(np.exp(present) - np.exp(epsilon + without), 0).sum()
        back = np.maximum(np.exp(without) - np.exp(epsilon + present), 0).sum()
        allowed = excess(q, 1 / near.noise_multiplier, epsilon - 2 * near.log_ratio)
        assert max(there, back) <= factor * allowed + 1e-9


def test_the_counterpart_has_all_noise_but_what_rounding_takes() -> None:
    near = continuous_counterpart(Sensitivity(10, 10**6), [Fraction(10**6)] * 4)
    assert near.noise_multiplier == pytest.approx(2.0, rel=1e-6)
    assert near.noise_multiplier < 2.0
    assert 0 < near.log_ratio < 1e-30
    shares = [Fraction(1, 2), Fraction(12)]
    near = continuous_counterpart(Sensitivity(6, 4), shares)
    assert near.noise_multiplier == pytest.approx(math.sqrt(12.5 - ROUNDING_VARIANCE) / 2)
    assert near.log_ratio == pytest.approx(6 * tau(shares) / 2)
    too_little = continuous_counterpart(Sensitivity(6, 4), [Fraction(799, 100)])
    assert math.isinf(too_little.log_ratio)
    assert math.isinf(continuous_counterpart(Sensitivity(1, 1), [Fraction(1, 5)] * 99).log_ratio)


@pytest.mark.parametrize("orders", [(1, 2), (2.5,), (0,)])
def test_other_orders_are_refused(orders) -> None:
    with pytest.raises(ValueError, match="whole orders"):
        renyi_divergence(orders, 0.1, Sensitivity(1, 1), [Fraction(1)])


@pytest.mark.parametrize("q", [0.0, 1.1, math.nan])
def test_an_impossible_rate_or_no_noise_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="sampling_rate"):
        renyi_divergence([2], q, Sensitivity(1, 1), [Fraction(1)])
    with pytest.raises(ValueError, match="variance"):
        renyi_divergence([2], 0.1, Sensitivity(1, 1), [])
