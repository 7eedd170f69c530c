"""The meter: silent when all shares are there, loud when one is not, as often as it says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from federation.entropy import SeededEntropy
from privacy.mechanisms.discrete_gaussian import discrete_gaussian
from privacy.noise_meter import padding_needed, power, read_noise

SHARE = 900.0


def noise(coordinates: int, shares: int, seed: int, variance: float = SHARE) -> np.ndarray:
    return sum(
        discrete_gaussian(coordinates, variance, SeededEntropy(seed).child(site)).astype(float)
        for site in range(shares)
    )


def test_a_reading_agrees_with_scipys_chi_square() -> None:
    values = noise(300, 5, 1)
    reading = read_noise(values, SHARE, 5)
    statistic = float((values.astype(float) ** 2).sum()) / (5 * SHARE)
    assert reading.coordinates == 300
    assert reading.ratio == pytest.approx(statistic / 300)
    assert reading.p_too_little == pytest.approx(stats.chi2(300).cdf(statistic))
    lesser = min(stats.chi2(300).cdf(statistic), stats.chi2(300).sf(statistic))
    assert reading.p_value == pytest.approx(2 * lesser)
    assert not reading.alarm


def test_all_shares_raise_an_alarm_as_seldom_as_promised() -> None:
    whole = noise(200_000, 4, 2).reshape(2_000, 100)
    p_values = np.array([read_noise(row, SHARE, 4).p_value for row in whole])
    assert stats.kstest(p_values, "uniform").pvalue > 0.001
    alarms = sum(read_noise(row, SHARE, 4, false_alarm=0.05).alarm for row in whole)
    assert abs(alarms - 100) < 4 * math.sqrt(95)


def test_a_missing_share_is_seen_as_often_as_promised() -> None:
    coordinates = padding_needed(10, least_power=0.7, false_alarm=1e-3)
    rows = noise(400 * coordinates, 1, 3, variance=9 * SHARE).reshape(400, -1)
    seen = [read_noise(row, SHARE, 10, false_alarm=1e-3) for row in rows]
    caught = sum(reading.is_too_little for reading in seen)
    assert abs(caught - 280) < 4 * math.sqrt(400 * 0.7 * 0.3)


def test_one_missing_of_ten_is_caught_at_the_default() -> None:
    coordinates = padding_needed(10)
    reading = read_noise(noise(coordinates, 9, 4), SHARE, 10)
    assert reading.is_too_little
    assert reading.ratio == pytest.approx(0.9, abs=0.06)
    assert not read_noise(noise(coordinates, 10, 4), SHARE, 10).alarm


def test_a_share_too_many_or_used_twice_is_an_alarm_but_not_too_little() -> None:
    values = noise(20_000, 10, 5)
    twice = values + discrete_gaussian(20_000, SHARE, SeededEntropy(5).child(3))
    for faulty in (noise(20_000, 11, 6), twice):
        reading = read_noise(faulty, SHARE, 10)
        assert reading.alarm
        assert not reading.is_too_little
        assert reading.p_too_little > 0.999


def test_no_noise_at_all_is_too_little() -> None:
    reading = read_noise(np.zeros(100), SHARE, 3)
    assert reading.is_too_little
    assert reading.ratio == reading.p_value == reading.p_too_little == 0


@given(st.integers(2, 60), st.integers(1, 3), st.floats(0.5, 0.999), st.floats(1e-9, 0.1))
def test_padding_needed_is_enough_and_no_more(
    contributors: int, missing: int, least_power: float, false_alarm: float
) -> None:
    missing = min(missing, contributors - 1)
    needed = padding_needed(contributors, missing, least_power, false_alarm)
    assert power(needed, contributors, missing, false_alarm) >= least_power
    if needed > 1:
        assert power(needed - 1, contributors, missing, false_alarm) < least_power


def test_padding_needed_is_what_a_normal_approximation_says() -> None:
    a, b = stats.norm.isf(5e-7), stats.norm.isf(0.01)
    for contributors in (30, 100):
        rough = 2 * ((a + b) * contributors) ** 2
        assert padding_needed(contributors) == pytest.approx(rough, rel=0.1)


def test_power_agrees_with_scipys_chi_square() -> None:
    law = stats.chi2(50)
    low, high = law.ppf(5e-4), law.isf(5e-4)
    expected = law.cdf(low / 0.8) + law.sf(high / 0.8)
    assert power(50, 5, 1, 1e-3) == pytest.approx(expected)
    assert power(1, 5, 5) == 1.0


@pytest.mark.parametrize(
    ("padding", "variance", "contributors", "false_alarm"),
    [(np.zeros(0), 1.0, 1, 0.1), (np.zeros((2, 2)), 1.0, 1, 0.1),
     (np.zeros(3, np.int64), 1.0, 1, 0.1), (np.zeros(3), 0.1, 2, 0.1),
     (np.zeros(3), math.nan, 2, 0.1), (np.zeros(3), math.inf, 2, 0.1),
     (np.zeros(3), 9.0, 0, 0.1), (np.zeros(3), 9.0, 1, 0.0)],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(padding, variance, contributors, false_alarm) -> None:
    with pytest.raises(ValueError, match=r"expected|need"):
        read_noise(padding, variance, contributors, false_alarm=false_alarm)


def test_what_cannot_be_seen_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be seen"):
        padding_needed(10_000)
    with pytest.raises(ValueError, match="least_power"):
        padding_needed(10, least_power=1.0)
    for coordinates, contributors, missing in ((0, 2, 1), (5, 2, 0), (5, 2, 3)):
        with pytest.raises(ValueError, match="need"):
            power(coordinates, contributors, missing)


def test_what_rounding_adds_is_not_called_too_much() -> None:
    """Uniform values of a unit's width have a variance of 1/12, at most 1/4 for a coin."""
    coins = np.where(np.arange(200_000) % 2, 0.5, -0.5) * math.sqrt(40)
    values = noise(200_000, 10, 3, variance=20.0) + coins
    assert read_noise(values, 20.0, 10).alarm
    reading = read_noise(values, 20.0, 10, rounding_variance=10.0)
    assert not reading.alarm
    assert reading.ratio == pytest.approx(1.05, abs=0.01)
