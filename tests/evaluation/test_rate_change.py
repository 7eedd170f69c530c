"""Changes of a proportion: exact for counts, calibrated under noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from evaluation.holm import holm
from evaluation.rate_change import change, change_p_values, standard_error


def p_value(k1, n1, k2, n2, noise=0.0):
    return float(change_p_values(np.array([[k1], [k2]]), np.array([[n1], [n2]]), noise)[0])


@given(st.data())
def test_mid_p_is_the_hypergeometric_laws(data) -> None:
    n1, n2 = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 400))
    k1, k2 = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n2))
    law = hypergeom(n1 + n2, k1 + k2, n2)
    tails = law.sf(k2) + law.pmf(k2) / 2, law.cdf(k2) - law.pmf(k2) / 2
    assert p_value(k1, n1, k2, n2) == pytest.approx(min(1, 2 * min(tails)), rel=1e-7, abs=1e-12)


def test_large_counts_meet_the_normal_law() -> None:
    """The switch from exact to normal tails moves a p-value of 1e-4 by less than a third."""
    for rows, seen in ((30_000, 4780), (31_000, 4940)):
        exact = hypergeom(10 * rows, round(1.5 * rows) + seen - round(0.15 * rows), rows)
        tail = 2 * (exact.sf(seen) + exact.pmf(seen) / 2)
        total = round(1.5 * rows) + seen - round(0.15 * rows)
        assert p_value(total - seen, 9 * rows, seen, rows) == pytest.approx(tail, rel=0.34)


@pytest.mark.parametrize("rate", [0.02, 0.15, 0.5])
def test_proportions_that_did_not_change_alarm_at_most_as_often_as_said(rate) -> None:
    rng = np.random.default_rng(2)
    whole = np.tile([[2000], [300]], 12_000)
    p_values = change_p_values(rng.binomial(whole, rate), whole)
    assert 0.03 <= np.mean(p_values < 0.05) <= 0.055
    assert np.mean(p_values < 0.001) <= 0.0022


@pytest.mark.parametrize(("rows", "variance"), [(400, 4.0), (1000, 64.0), (1000, 400.0)])
def test_noise_is_allowed_for(rows, variance) -> None:
    rng = np.random.default_rng(2)
    whole = np.full((2, 12_000), rows)
    part = rng.binomial(whole, 0.2)
    noise = np.rint(rng.normal(0, np.sqrt(variance), (2, *part.shape))).astype(int)
    part, whole = part + noise[0], whole + noise[0] + noise[1]
    assert 0.04 <= np.mean(change_p_values(part, whole, variance) < 0.05) <= 0.06


def test_without_rows_nothing_has_changed() -> None:
    assert p_value(0, 0, 3, 5) == 1.0
    assert np.isnan(change(np.array([[0], [3]]), np.array([[0], [5]]))[0])


def test_the_error_is_that_of_two_independent_windows() -> None:
    error = standard_error(np.array([[500], [500]]), np.array([[1000], [1000]]))
    assert error[0] == pytest.approx(np.sqrt(2 * 0.25 / 1000), rel=1e-6)


def test_holm_by_hand() -> None:
    """Holm 1979: .01 x 4, then the larger of .005 steps; after a failure, everything fails."""
    test = holm(np.array([0.01, 0.04, 0.03, 0.005]), 0.05)
    assert test.adjusted.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert test.level.tolist() == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])


@given(st.lists(st.floats(0, 1), min_size=0, max_size=12).map(np.array))
def test_holms_level_and_adjusted_p_value_say_the_same(p_values) -> None:
    test = holm(p_values, 0.05)
    clear = np.abs(p_values - test.level) > 1e-12
    assert np.array_equal((p_values <= test.level)[clear], (test.adjusted <= 0.05)[clear])
