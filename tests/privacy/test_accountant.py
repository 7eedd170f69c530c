"""Epsilon against closed forms, published values and dp-accounting used directly."""

import math

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from federation.errors import PrivacyRefusal
from privacy.accountant import DISCRETISATION, Cost, cost, epsilon_by_pld
from privacy.calibration import noise_multiplier
from privacy.event import NonPrivate, PoissonSampledGaussian, from_plain, to_plain


def sgd(q: float, sigma: float, steps: int) -> PoissonSampledGaussian:
    return PoissonSampledGaussian(q, sigma, steps)


def gaussian_epsilon(sigma: float, delta: float) -> float:
    """Balle and Wang 2018, arXiv:1805.06530, Theorem 8, inverted: an implementation of our own."""

    def curve(epsilon: float) -> float:
        return (
            norm.cdf(0.5 / sigma - epsilon * sigma)
            - math.exp(epsilon) * norm.cdf(-0.5 / sigma - epsilon * sigma)
            - delta
        )

    return float(brentq(curve, 0, 200, xtol=1e-10))


@pytest.mark.parametrize(
    ("sigma", "steps", "published"), [(1.0, 1, 4.377178), (0.6, 1, 8.0037), (1.0, 100, 91.817)]
)
def test_unsampled_gaussians_meet_the_closed_form(sigma, steps, published) -> None:
    ours = cost([sgd(1.0, sigma, steps)], 1e-5)
    assert ours.epsilon_pld == pytest.approx(published, rel=1e-5)
    assert ours.epsilon_pld == pytest.approx(
        gaussian_epsilon(sigma / math.sqrt(steps), 1e-5), rel=1e-4
    )
    assert ours.epsilon_pld >= gaussian_epsilon(sigma / math.sqrt(steps), 1e-5) - 1e-9


@pytest.mark.parametrize(
    ("rows", "batch", "sigma", "epochs", "delta", "rdp", "pld"),
    [
        (60_000, 150, 1.3, 15, 1e-5, 0.7242234026, 0.6401),  # TF-Privacy's own test values
        (100_000, 100, 1.0, 30, 1e-7, 1.4154988495, 1.0982),
        (60_000, 256, 1.1, 60, 1e-5, 2.5966, 2.3817),
    ],
)
def test_published_dp_sgd_values(rows, batch, sigma, epochs, delta, rdp, pld) -> None:
    ours = cost([sgd(batch / rows, sigma, epochs * rows // batch)], delta)
    assert ours.epsilon_rdp == pytest.approx(rdp, rel=2e-3)
    assert ours.epsilon_pld == pytest.approx(pld, rel=2e-3)


def test_opacus_published_values() -> None:
    ours = cost([sgd(0.04, 1.5, 2250)], 1e-5)
    assert ours.epsilon_rdp == pytest.approx(7.32911117143, rel=1e-3)
    assert ours.epsilon_pld == pytest.approx(6.76879, rel=1e-4)
    assert ours.epsilon_pld <= 6.777395712  # Opacus' PRV adds its error bound of 0.01


def test_fifty_rounds_cost_what_fifty_rounds_cost() -> None:
    # A new accountant each round would report `one` fifty times over.
    one = cost([sgd(0.01, 1.0, 100)], 1e-5).epsilon
    fifty = cost([sgd(0.01, 1.0, 100)] * 50, 1e-5).epsilon
    assert fifty > 4 * one
    assert fifty == cost([sgd(0.01, 1.0, 5000)], 1e-5).epsilon


@settings(max_examples=5)
@given(
    st.floats(0.01, 1), st.floats(0.7, 5), st.integers(1, 300), st.sampled_from([1e-3, 1e-5, 1e-7])
)
def test_it_is_monotone_and_pld_is_never_looser_than_rdp(q, sigma, steps, delta) -> None:
    here = cost([sgd(q, sigma, steps)], delta)
    slack = 1e-3  # two PLDs' discretisation
    assert here.epsilon_pld <= here.epsilon_rdp + slack
    assert cost([sgd(q, sigma, steps + 50)], delta).epsilon_pld >= here.epsilon_pld - slack
    assert cost([sgd(q, sigma * 1.3, steps)], delta).epsilon_pld <= here.epsilon_pld + slack
    assert cost([sgd(q * 0.7, sigma, steps)], delta).epsilon_pld <= here.epsilon_pld + slack
    assert cost([sgd(q, sigma, steps)], delta * 2).epsilon_pld <= here.epsilon_pld + slack


def test_order_and_grouping_do_not_matter() -> None:
    a, b = sgd(0.1, 2.0, 30), sgd(0.02, 1.0, 100)
    assert cost([a, b, a], 1e-5) == cost([sgd(0.1, 2.0, 60), b], 1e-5) == cost([b, a, a], 1e-5)


def test_a_mixed_history_agrees_with_dp_accounting() -> None:
    events = [sgd(0.1, 2.0, 30), sgd(0.02, 1.0, 100)]
    theirs = PLDAccountant(value_discretization_interval=DISCRETISATION)
    theirs.compose(dp_accounting.ComposedDpEvent([e.to_dp_event() for e in events]))
    assert cost(events, 1e-5).epsilon_pld == pytest.approx(theirs.get_epsilon(1e-5), rel=1e-6)


def test_nothing_costs_nothing_and_a_release_without_privacy_everything() -> None:
    assert cost([], 1e-5) == Cost(0.0, 0.0)
    assert cost([sgd(0.1, 2.0, 1), NonPrivate()], 1e-5).epsilon == math.inf
    with pytest.raises(ValueError, match="delta"):
        cost([], 0.0)


@pytest.mark.parametrize(
    ("epsilon", "delta", "q", "steps"),
    [(2.0, 1e-3, 0.25, 60), (1.0, 1e-5, 0.01, 1000), (8.0, 1e-3, 0.2, 100), (0.5, 1e-6, 0.05, 50)],
)
def test_calibration_meets_the_target_and_wastes_nothing(epsilon, delta, q, steps) -> None:
    sigma = noise_multiplier(epsilon, delta, q, steps)
    assert round(sigma * 10_000) == pytest.approx(sigma * 10_000, abs=1e-6)
    assert cost([sgd(q, sigma, steps)], delta).epsilon <= epsilon
    assert epsilon_by_pld(sgd(q, sigma - 1e-4, steps), delta, DISCRETISATION) > epsilon


def test_a_target_that_no_noise_meets_is_refused() -> None:
    with pytest.raises(PrivacyRefusal, match="raise epsilon"):
        noise_multiplier(1e-9, 1e-12, 1.0, 100_000)


@given(st.floats(1e-9, 1), st.floats(1e-6, 1e6), st.integers(1, 10**9))
def test_an_event_reads_back_exactly(q, sigma, count) -> None:
    event = sgd(q, sigma, count)
    assert from_plain(to_plain(event)) == event


@pytest.mark.parametrize(
    "plain",
    [
        None,
        {},
        {"mechanism": "os.system"},
        {"mechanism": "poisson_sampled_gaussian"},
        {"mechanism": "poisson_sampled_gaussian", "sampling_rate": 0.1, "noise_multiplier": 1.0,
         "count": 1, "extra": 1},
        {"mechanism": "poisson_sampled_gaussian", "sampling_rate": 0.0, "noise_multiplier": 1.0,
         "count": 1},
        {"mechanism": "poisson_sampled_gaussian", "sampling_rate": 0.1, "noise_multiplier": 0.0,
         "count": 1},
        {"mechanism": "poisson_sampled_gaussian", "sampling_rate": 0.1, "noise_multiplier": 1.0,
         "count": 0},
    ],
)  # fmt: skip
def test_an_unknown_or_impossible_event_is_refused(plain) -> None:
    with pytest.raises(PrivacyRefusal, match="event"):
        from_plain(plain)


def test_a_release_without_privacy_reads_back() -> None:
    assert from_plain(to_plain(NonPrivate())) == NonPrivate()
