"""Distances of histograms enclose those of the rows, and agree with scipy's on values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.histogram_distance import (
    kolmogorov_smirnov_interval,
    two_sample_chi_square,
    wasserstein_distance,
)

EDGES = np.linspace(0, 10, 9)
values = st.lists(st.floats(-3, 13), min_size=1, max_size=60).map(np.array)


def histogram(rows, edges=EDGES):
    inner = np.histogram(rows, edges)[0]
    return np.concatenate([[np.sum(rows < edges[0])], inner, [np.sum(rows > edges[-1])]])


def kolmogorov_smirnov_of_rows(before, now):
    """Without scipy's p-value, which warns at one row."""
    at = np.concatenate([before, now])
    return max(abs(np.mean(before <= value) - np.mean(now <= value)) for value in at)


@given(values, values)
def test_the_rows_kolmogorov_smirnov_distance_lies_in_the_interval(before, now) -> None:
    exact = kolmogorov_smirnov_of_rows(before, now)
    interval = kolmogorov_smirnov_interval(histogram(before), histogram(now))
    assert interval.low - 1e-12 <= exact <= interval.high + 1e-12


def test_the_interval_is_tight_where_bins_hold_one_window_each() -> None:
    interval = kolmogorov_smirnov_interval(np.array([4, 0, 6]), np.array([0, 5, 0]))
    assert interval.low == interval.high == pytest.approx(0.6)
    spread = kolmogorov_smirnov_interval(np.array([0, 8, 0]), np.array([0, 8, 0]))
    assert (spread.low, spread.high) == (0, 1)  # one bin tells nothing


@given(values, values)
def test_the_rows_wasserstein_distance_is_within_the_error(before, now) -> None:
    exact = stats.wasserstein_distance(np.clip(before, 0, 10), np.clip(now, 0, 10))
    found = wasserstein_distance(EDGES, histogram(before), histogram(now))
    assert abs(found.value - exact) <= found.error + 1e-9


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    rng = np.random.default_rng(1)
    before, edges = rng.normal(50, 10, 200_000), np.linspace(0, 100, 257)
    found = wasserstein_distance(edges, histogram(before, edges), histogram(before + 3, edges))
    assert found.value == pytest.approx(3, abs=0.01)
    assert found.deviation == pytest.approx(before.std(), rel=1e-3)
    assert found.error < 0.4


def test_curves_that_cross_within_a_bin_are_measured() -> None:
    """Even spread on [0, 1] against a half at either end: |x - 1/2| on average, a quarter."""
    found = wasserstein_distance(np.array([0.0, 1.0]), np.array([0, 2, 0]), np.array([1, 0, 1]))
    assert found.value == pytest.approx(0.25)


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), min_size=2, max_size=9))
def test_chi_square_is_scipys(pairs) -> None:
    table = np.array(pairs).T
    kept = table[:, table.sum(axis=0) > 0]
    if kept.shape[1] >= 2 and (kept.sum(axis=1) > 0).all():
        expected = stats.chi2_contingency(kept, correction=False)
        found = two_sample_chi_square(table[0], table[1])
        assert found.statistic == pytest.approx(expected.statistic, rel=1e-9, abs=1e-9)
        assert found.degrees_of_freedom == expected.dof
        assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)


def test_chi_square_with_noise_keeps_its_level() -> None:
    rng = np.random.default_rng(7)
    noise = (np.full(8, 16.0), np.full(8, 16.0))
    low = []
    for _ in range(3000):
        sides = rng.multinomial(600, np.full(8, 1 / 8), 2) + np.rint(rng.normal(0, 4, (2, 8)))
        low.append(two_sample_chi_square(sides[0], sides[1], noise).p_value < 0.05)
    assert 0.035 <= np.mean(low) <= 0.065
