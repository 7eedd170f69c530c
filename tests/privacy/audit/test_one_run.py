"""Bounds from one run agree with jax_privacy and never refute what is right."""

import math

import dp_accounting
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privacy.audit import one_run, trade_off
from privacy.audit.one_run import Guesses
from privacy.event import PoissonSampledGaussian

JAX_PRIVACY = [
    # canaries, made, correct, delta, _epsilon_one_run, _epsilon_one_run_fdp (delta >= 1e-5);
    # google-deepmind/jax_privacy, auditing.py at 8967688, significance 0.05.
    (1000, 100, 90, 0.0, 1.6308231927421464, 2.4564050672094146),
    (1000, 100, 90, 1e-5, 1.6261436787042223, 2.4564050672094146),
    (10_000, 1000, 700, 1e-5, 0.7292531300505262, 0.9892560978994478),
    (500, 500, 400, 1e-3, 1.1574427541156398, 1.5963546419664043),
    (5000, 400, 390, 1e-5, 3.1054074091734916, 4.521692206909887),
]


@pytest.mark.parametrize(("canaries", "made", "correct", "delta", "steinke", "fdp"), JAX_PRIVACY)
def test_agrees_with_jax_privacy(canaries, made, correct, delta, steinke, fdp) -> None:
    seen = Guesses(canaries, made, correct)
    assert one_run.epsilon_lower_bound(seen, delta) == pytest.approx(steinke, abs=4e-4)

    def refuted(epsilon: float) -> bool:
        sigma = dp_accounting.get_sigma_gaussian(epsilon, max(delta, 1e-5))
        return one_run.refutes(seen, trade_off.of_gaussian(1 / sigma))

    assert refuted(fdp - 1e-3)
    assert not refuted(fdp + 1e-3)


def test_all_guesses_right_under_pure_dp_is_a_power_of_the_accuracy() -> None:
    """Theorem 5.2 without delta: P[all r right] <= (e^eps / (1 + e^eps))^r."""
    found = one_run.epsilon_lower_bound(Guesses(50, 50, 50), 0.0)
    accuracy = 0.05 ** (1 / 50)
    assert found == pytest.approx(math.log(accuracy / (1 - accuracy)), abs=1e-3)
    assert found < math.log(accuracy / (1 - accuracy)) + 1e-9


@given(st.integers(1, 300), st.data(), st.floats(0.01, 4), st.floats(0, 0.01))
def test_a_p_value_grows_with_epsilon_and_delta(made, data, epsilon, delta) -> None:
    correct = data.draw(st.integers(0, made))
    seen = Guesses(made + 10, made, correct)
    p = one_run.p_value(seen, epsilon, delta)
    assert 0 <= p <= 1
    assert one_run.p_value(seen, epsilon + 0.1, delta) >= p - 1e-12
    assert one_run.p_value(seen, epsilon, delta + 1e-3) >= p - 1e-12


def gaussian_run(sigma: float, canaries: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    coins = generator.random(canaries) < 0.5
    return coins + sigma * generator.standard_normal(canaries), coins


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_a_right_curve_is_refuted_at_most_as_often_as_allowed(sigma: float) -> None:
    curve = trade_off.of_gaussian(1 / sigma)
    each = one_run.confidence_of_each(0.95, len(one_run.SHARES_GUESSED))
    refuted = 0
    for seed in range(200):
        scores, coins = gaussian_run(sigma, 400, seed)
        looks = (one_run.guesses(scores, coins, share) for share in one_run.SHARES_GUESSED)
        refuted += any(one_run.refutes(look, curve, each) for look in looks)
    assert refuted <= 10


def test_half_the_noise_is_refuted_and_the_noise_shown_is_between() -> None:
    scores, coins = gaussian_run(1.0, 4000, 1)
    mu = one_run.most_refuted(scores, coins, trade_off.of_gaussian)
    assert 0.6 < mu < 1.0  # the truth is 1; a claim of 1/2 is refuted
    shown_nothing = one_run.most_refuted(scores, ~coins, trade_off.of_gaussian)
    assert shown_nothing == 0


def test_guesses_are_of_both_kinds() -> None:
    scores, coins = np.arange(10.0), np.arange(10) >= 6
    assert one_run.guesses(scores, coins, 0.4) == Guesses(10, 4, 4)
    assert one_run.guesses(scores, ~coins, 0.4) == Guesses(10, 4, 0)
    assert one_run.guesses(scores, coins, 0.01) == Guesses(10, 2, 2)


@pytest.mark.parametrize("bad", [(10, 11, 5), (10, 5, 6), (10, 5, -1)])
def test_impossible_guesses_are_refused(bad: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="correct <= made <= canaries"):
        Guesses(*bad)
    with pytest.raises(ValueError, match="score"):
        one_run.guesses(np.array([1.0, np.nan]), np.array([True, False]), 0.5)


class TestTradeOff:
    @given(st.floats(0.05, 4), st.floats(0.001, 0.999))
    def test_a_gaussians_curve_is_the_closed_form_from_below(self, mu, power) -> None:
        exact = stats.norm.cdf(stats.norm.ppf(power) - mu)  # Dong, Roth and Su, equation (6)
        found = trade_off.of_gaussian(mu).least_alarm(power)
        assert found <= exact + 1e-9
        assert found == pytest.approx(exact, rel=0.02, abs=2e-4)

    def test_an_event_without_sampling_has_the_gaussians_curve(self) -> None:
        curve = trade_off.of_event(PoissonSampledGaussian(1.0, 2.0, 4))  # mu = sqrt(4) / 2
        for power in (0.01, 0.2, 0.5, 0.9):
            exact = stats.norm.cdf(stats.norm.ppf(power) - 1)
            assert curve.least_alarm(power) == pytest.approx(exact, rel=0.02, abs=1e-3)
            assert curve.least_alarm(power) <= exact

    def test_a_sampled_events_curve_holds_for_the_best_attacker(self) -> None:
        """Simulated: the likelihood ratio test at every threshold."""
        rate, sigma, generator = 0.25, 1.0, np.random.default_rng(0)
        curve = trade_off.of_event(PoissonSampledGaussian(rate, sigma, 1))
        present = (generator.random(10**6) < rate) + sigma * generator.standard_normal(10**6)
        for threshold in (0.0, 0.5, 1.0, 2.0):
            power = float(np.mean(present >= threshold))
            alarm = stats.norm.sf(threshold / sigma)
            assert curve.least_alarm(power) <= alarm + 2e-3
            assert curve.least_alarm(power) == pytest.approx(alarm, abs=0.02)

    @given(st.floats(0, 3), st.floats(0, 0.1), st.floats(0, 1))
    def test_power_and_alarm_undo_each_other(self, epsilon, delta, alarm) -> None:
        curve = trade_off.of_guarantee(epsilon, delta)
        power = curve.most_power(alarm)
        assert power >= alarm - 1e-12
        assert curve.least_alarm(power) <= alarm + 1e-9

    def test_area_of_perfect_and_of_no_privacy(self) -> None:
        assert trade_off.of_guarantee(math.inf, 1e-5).most_auc() == 1
        assert trade_off.of_guarantee(0.0, 0.0).most_auc() == pytest.approx(0.5, abs=5e-4)
        # mu-GDP: Phi(mu / sqrt 2).
        area = trade_off.of_gaussian(1.0).most_auc()
        assert stats.norm.cdf(1 / math.sqrt(2)) <= area < stats.norm.cdf(1 / math.sqrt(2)) + 2e-3
