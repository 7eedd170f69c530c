"""What an adversary reaches, against exact trade-off functions and published tables."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import laplace, norm

from federation.errors import PrivacyRefusal
from privacy import risk
from privacy.accountant import cost
from privacy.event import (
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    Gaussian,
    Laplace,
    NonPrivate,
    PoissonSampledGaussian,
    RepeatAndSelect,
)
from privacy.neighbours import REPLACE_ONE, Neighbours

RATES = np.logspace(-4, -0.01, 60)

# Of the research note: q, sigma, steps; epsilon at 1e-5; advantage from the curve and from
# (epsilon, delta); true positive rates at 0.1, 1 and 5 %, from the curve and from (epsilon, delta);
# mu. riskcal 1.5.1 agrees.
TABLE = [
    (1.0, 10.0, 1, 0.341, (0.040, 0.169), ("0.0014", "0.0130", "0.061"),
     ("0.0014", "0.0141", "0.070"), "0.100"),
    (0.01, 2.0, 1000, 0.622, (0.067, 0.301), ("0.0018", "0.0156", "0.070"),
     ("0.0019", "0.0186", "0.093"), "0.173"),
    (0.01, 1.0, 1000, 1.828, (0.161, 0.723), ("0.0041", "0.0291", "0.111"),
     ("0.0062", "0.0622", "0.311"), "0.444"),
    (0.01, 0.8, 1000, 3.141, (0.230, 0.917), ("0.0078", "0.0463", "0.153"),
     ("0.023", "0.231", "0.959"), "0.674"),
    (1.0, 1.0, 1, 4.377, (0.383, 0.975), ("0.018", "0.092", "0.260"),
     ("0.080", "0.796", "0.988"), "1.000"),
    (0.01, 0.6, 1000, 7.434, (0.387, 0.999), ("0.033", "0.125", "0.295"),
     ("0.999", "0.999", "0.999"), "1.257"),
    (0.01, 0.6, 10_000, 23.0, (0.893, 1.0), ("0.603", "0.831", "0.943"), ("1", "1", "1"), "3.377"),
]  # fmt: skip


def printed(value: float, like: str) -> bool:
    """Whether `value` is `like` to within the last digit that is printed."""
    digits = len(like.partition(".")[2])
    return abs(value - float(like)) <= 0.51 * 10**-digits + 1e-4 * value


@pytest.mark.parametrize(
    ("q", "sigma", "steps", "epsilon", "advantages", "rates", "by_epsilon", "mu"), TABLE
)
def test_published_risks(q, sigma, steps, epsilon, advantages, rates, by_epsilon, mu) -> None:
    event = PoissonSampledGaussian(q, sigma, steps)
    curve, at_delta = risk.trade_off([event]), cost([event], 1e-5).epsilon
    assert at_delta == pytest.approx(epsilon, abs=0.05 if epsilon > 20 else 6e-4)
    point = risk.from_epsilon_delta(at_delta, 1e-5)
    assert printed(curve.advantage(), f"{advantages[0]:.3f}")
    assert printed(point.advantage(), f"{advantages[1]:.3f}")
    for rate, theirs, worse in zip(risk.FALSE_POSITIVE_RATES, rates, by_epsilon, strict=True):
        assert printed(curve.true_positive_rate(rate), theirs)
        assert printed(point.true_positive_rate(rate), worse)
        assert curve.true_positive_rate(rate) <= point.true_positive_rate(rate) + 1e-9
    assert printed(curve.gaussian_mu(), mu)


@settings(max_examples=6)
@given(st.floats(0.4, 8), st.integers(1, 20))
def test_it_never_understates_what_tells_gaussians_apart_and_wastes_little(sigma, count) -> None:
    mu = math.sqrt(count) / sigma
    exact = norm.cdf(norm.isf(RATES) - mu)
    curve = risk.trade_off([Gaussian(sigma, count)])
    ours = curve.false_negative_rates(RATES)
    assert np.all(ours <= exact + 1e-12)
    assert ours == pytest.approx(exact, abs=2e-3)
    assert 0 <= curve.advantage() - (2 * norm.cdf(mu / 2) - 1) < 1e-3
    if mu < 3:  # a further one has no false negatives at half the false positives
        assert mu <= curve.gaussian_mu() <= mu + 0.01


def test_laplace_noise_meets_its_trade_off() -> None:
    curve = risk.trade_off([Laplace(2.0, 1)])
    exact = laplace.cdf(laplace.isf(RATES), loc=0.5)
    ours = curve.false_negative_rates(RATES)
    assert np.all(ours <= exact + 1e-12)
    assert ours == pytest.approx(exact, abs=1e-3)


def test_replacing_a_record_is_twice_as_far_without_sampling() -> None:
    replaced = risk.trade_off([Gaussian(4.0, 1)], Neighbours(REPLACE_ONE))
    nearer = risk.trade_off([Gaussian(2.0, 1)])
    assert replaced.advantage() == nearer.advantage()


def test_many_records_of_a_person_are_found_more_easily() -> None:
    event = PoissonSampledGaussian(0.05, 2.0, 50)
    gains = [risk.trade_off([event], Neighbours(records=k)).advantage() for k in (1, 2, 4)]
    assert gains == sorted(gains)
    assert gains[2] > 2 * gains[0]


def test_nothing_tells_nothing_and_a_release_without_privacy_everything() -> None:
    nothing, everything = risk.trade_off([]), risk.trade_off([NonPrivate()])
    assert nothing.advantage() == 0.0
    assert nothing.gaussian_mu() < 4e-4  # the width of its grid
    assert nothing.true_positive_rate(0.01) == pytest.approx(0.01)
    assert everything.advantage() == 1.0
    assert everything.true_positive_rate(0.001) == 1.0
    assert everything.gaussian_mu() == math.inf


def test_what_has_no_loss_distribution_is_bounded_by_renyi_dp() -> None:
    inner = PoissonSampledGaussian(0.01, 2.0, 1000)
    tuned = [RepeatAndSelect(inner, 5.0, 1.0, 1)]
    once, both = risk.trade_off(tuned), risk.trade_off([*tuned, inner])
    assert risk.trade_off([inner]).advantage() < once.advantage() < both.advantage() < 1
    epsilon = cost(tuned, 1e-5).epsilon
    at_epsilon = risk.deltas_at(tuned, np.array([epsilon]))
    assert at_epsilon[0] == pytest.approx(1e-5, rel=0.2)


def test_sites_have_no_risk_of_records() -> None:
    with pytest.raises(PrivacyRefusal, match="site"):
        risk.trade_off([DistributedDiscreteGaussian(10, 100, 1.0, 2, 1)])


def test_epsilon_and_delta_are_each_others_inverse() -> None:
    history = [PoissonSampledGaussian(0.01, 1.0, 500), Gaussian(8.0, 2)]
    deltas = np.array([1e-3, 1e-5, 1e-7])
    epsilons = risk.epsilons_at(history, deltas)
    assert np.all(np.diff(epsilons) > 0)
    assert risk.deltas_at(history, epsilons) == pytest.approx(deltas, rel=1e-3)
    assert epsilons[1] == pytest.approx(cost(history, 1e-5).epsilon, rel=1e-6)


def test_pure_epsilon_leaves_no_delta() -> None:
    history = [DiscreteLaplace(1, 1.0, 2)]
    assert risk.deltas_at(history, np.array([1.9, 2.0]))[1] == 0.0
    assert risk.trade_off(history).true_positive_rate(0.01) <= math.exp(2) * 0.01 + 1e-9
