"""The bound from independent runs: never above the truth beyond its confidence, and near it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privacy.accountant import cost
from privacy.audit.split_sample import (
    clopper_pearson_upper,
    confidence_of_each,
    epsilon_lower_bound,
)
from privacy.event import PoissonSampledGaussian


def gaussian_runs(sigma: float, runs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return (
        1 + sigma * generator.standard_normal(runs),
        sigma * generator.standard_normal(runs),
    )


def randomised_response(epsilon: float, runs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = math.exp(epsilon) / (1 + math.exp(epsilon))
    present = (generator.random(runs) < truth).astype(float)
    absent = (generator.random(runs) >= truth).astype(float)
    return present, absent


@pytest.mark.parametrize(
    ("successes", "trials", "significance", "published"),
    [
        # One-sided 97.5 %: upper ends of two-sided 95 % intervals, Clopper and Pearson 1934.
        (0, 10, 0.025, 0.3085),
        (1, 10, 0.025, 0.4450),
        (5, 10, 0.025, 0.8129),
        (10, 10, 0.025, 1.0),
        # The rule of three: 1 - 0.05^(1 / n).
        (0, 100, 0.05, 1 - 0.05 ** (1 / 100)),
    ],
)
def test_known_intervals(successes, trials, significance, published) -> None:
    (found,) = clopper_pearson_upper(np.array([successes]), trials, significance)
    assert found == pytest.approx(published, abs=5e-5)


@given(st.integers(1, 200), st.data(), st.floats(0.001, 0.5))
def test_an_interval_is_where_the_binomial_tail_is_the_significance(n, data, significance) -> None:
    k = data.draw(st.integers(0, n - 1))
    (upper,) = clopper_pearson_upper(np.array([k]), n, significance)
    assert stats.binom.cdf(k, n, upper) == pytest.approx(significance, rel=1e-6)


@pytest.mark.parametrize("delta", [1e-3, 0.02])
def test_a_right_claim_is_refuted_at_most_as_often_as_allowed(delta: float) -> None:
    proven = cost([PoissonSampledGaussian(1.0, 1.0, 1)], delta).epsilon
    refuted = sum(
        epsilon_lower_bound(*gaussian_runs(1.0, 2000, seed), delta) > proven for seed in range(200)
    )
    assert refuted <= 10  # 5 % of 200; the bound is conservative, so usually 0


def test_a_tight_claim_is_refuted_at_most_as_often_as_allowed_and_sometimes_is() -> None:
    """Randomised response: one event decides, so that only the intervals are left to err."""
    bounds = [epsilon_lower_bound(*randomised_response(1.0, 4000, s), 0.0) for s in range(200)]
    assert sum(bound > 1.0 for bound in bounds) <= 10
    assert np.median(bounds) > 0.85


def test_half_the_noise_is_refuted_always() -> None:
    proven = cost([PoissonSampledGaussian(1.0, 1.0, 1)], 0.02).epsilon
    for seed in range(20):
        assert epsilon_lower_bound(*gaussian_runs(0.5, 5000, seed), 0.02) > proven


def test_more_runs_come_nearer() -> None:
    truth = cost([PoissonSampledGaussian(1.0, 1.0, 1)], 0.02).epsilon
    bounds = [
        epsilon_lower_bound(*gaussian_runs(1.0, runs, 1), 0.02) for runs in (1000, 10**5, 10**6)
    ]
    assert bounds == sorted(bounds)
    assert 0.9 * truth < bounds[-1] < truth


def test_scores_that_betray_absence_count_as_much() -> None:
    """Of a mechanism whose likelihood ratio is bounded above but not below."""
    generator = np.random.default_rng(3)
    present = np.where(generator.random(20_000) < 0.5, 1.0, 2.0)
    absent = np.where(generator.random(20_000) < 0.5, 1.0, 0.0)
    present[generator.random(20_000) < 0.001] = 0.0
    assert epsilon_lower_bound(present, absent, 0.0) > 4
    assert epsilon_lower_bound(np.minimum(present, 1.0), absent, 0.0) > 4


def test_delta_is_taken_off() -> None:
    """Scores that tell one run in a hundred apart for certain satisfy (0, 0.01)-DP."""
    present = np.where(np.arange(40_000) % 100 == 0, 1.0, 0.0)
    absent = np.zeros(40_000)
    assert epsilon_lower_bound(present, absent, 0.0) > 3
    assert epsilon_lower_bound(present, absent, 0.01) == 0


def test_equal_runs_show_nothing() -> None:
    generator = np.random.default_rng(5)
    same = generator.standard_normal((2, 5000))
    assert epsilon_lower_bound(same[0], same[1], 1e-3) < 0.1
    assert epsilon_lower_bound(np.zeros(100), np.zeros(100), 0.0) == 0


def test_many_looks_at_a_right_claim_refute_it_no_more_often() -> None:
    each = confidence_of_each(0.95, 10)
    assert each == pytest.approx(0.995)
    wrong = 0
    for family in range(100):
        seeds = range(10 * family, 10 * family + 10)
        bounds = [epsilon_lower_bound(*randomised_response(0.5, 400, s), 0.0, each) for s in seeds]
        wrong += max(bounds) > 0.5
    assert wrong <= 5


@pytest.mark.parametrize(
    ("present", "delta", "confidence"),
    [([0.0], 0.0, 0.95), ([0.0, math.nan], 0.0, 0.95), ([0.0, 1.0], 1.0, 0.95),
     ([0.0, 1.0], -0.1, 0.95), ([0.0, 1.0], 0.0, 1.0), ([0.0, 1.0], math.nan, 0.95)],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(present, delta, confidence) -> None:
    with pytest.raises(ValueError, match=r"expected|need"):
        epsilon_lower_bound(np.array(present), np.array([0.0, 1.0]), delta, confidence)
    with pytest.raises(ValueError, match="looks"):
        confidence_of_each(0.95, 0)
