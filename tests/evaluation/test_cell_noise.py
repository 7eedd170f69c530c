"""Noise has the law it says, and intervals that allow for it cover what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import group_metrics
from evaluation.cell_noise import EXACT, CellNoise
from evaluation.group_metrics import FN, FP, TN, TP
from evaluation.noisy_rates import noisy_intervals
from evaluation.resampling import ComparedGroups, resample
from evaluation.uncertainty import Z95, gap_of, gap_range, metric_intervals

FAMILIES = ("discrete_laplace", "gaussian")
METRICS = (
    group_metrics.true_positive_rate,
    group_metrics.accuracy,
    group_metrics.balanced_accuracy,
    group_metrics.f1,
)


def laplace(epsilon):
    """Noise of an epsilon-DP count."""
    alpha = math.exp(-epsilon)
    return CellNoise(2 * alpha / (1 - alpha) ** 2, "discrete_laplace")


@pytest.mark.parametrize(("epsilon", "variance"), [(0.1, 199.8), (0.5, 7.84), (1, 1.84)])
def test_variance_and_epsilon_agree(epsilon, variance) -> None:
    noise = laplace(epsilon)
    assert noise.variance == pytest.approx(variance, rel=2e-3)
    drawn = noise.sample((200_000,), np.random.default_rng(0))
    assert np.var(drawn) == pytest.approx(variance, rel=0.03)
    assert np.mean(drawn == 0) == pytest.approx(math.tanh(epsilon / 2), rel=0.03)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variance", [0.4, 7.84, 199.8])
def test_characteristic_function_is_of_what_is_drawn(family, variance) -> None:
    noise = CellNoise(variance, family)
    drawn = noise.sample((100_000,), np.random.default_rng(1))
    t = np.linspace(0, 2 / noise.deviation(), 7)
    found = np.mean(np.cos(np.outer(t, drawn)), axis=1)
    # Rounding a Gaussian adds 1/12 to its variance, and 200,000 draws err by .01 (5 deviations).
    np.testing.assert_allclose(found, noise.characteristic(t), atol=0.02 + 0.1 / variance)


@given(st.integers(-50, 10_000), st.floats(0.1, 300), st.sampled_from(FAMILIES))
def test_counts_behind_a_noised_one_are_counts_and_centre_on_it(noised, variance, family) -> None:
    counts, chances = CellNoise(variance, family).counts_behind(noised)
    assert counts[0] >= 0
    assert chances.sum() == pytest.approx(1)
    if noised > 20 * math.sqrt(variance):
        assert counts @ chances == pytest.approx(noised, abs=variance / noised + 0.05)


def test_no_noise_leaves_one_count() -> None:
    assert not EXACT
    assert [values.tolist() for values in EXACT.counts_behind(7)] == [[7], [1.0]]
    assert not EXACT.sample((5,), np.random.default_rng(0)).any()
    assert (
        CellNoise(0.0, "discrete_laplace").sample((5,), np.random.default_rng(0)).tolist()
        == [0] * 5
    )


@pytest.mark.parametrize("variance", [-1.0, math.inf, math.nan])
def test_a_variance_that_is_none_is_refused(variance) -> None:
    with pytest.raises(ValueError, match=r"CellNoise.variance = .*: expected a finite number >= 0"):
        CellNoise(variance, "gaussian")


def noised_tables(noise, rows, positive_rate, negative_rate, count, seed=3):
    """`count` noised tables of `rows` positives and as many negatives."""
    rng = np.random.default_rng(seed)
    hits, passed = (
        rng.binomial(rows, positive_rate, count),
        rng.binomial(rows, negative_rate, count),
    )
    tables = np.zeros((count, 4), int)
    tables[:, TP], tables[:, FN] = hits, rows - hits
    tables[:, TN], tables[:, FP] = passed, rows - passed
    return tables + noise.sample(tables.shape, rng)


# The cases of which Wilson's interval, with the variance of the noise added, covers 82 to 93 %.
CASES = [(0.1, 200, 0.95), (0.5, 50, 0.95), (1, 20, 0.95), (1, 30, 0.99), (0.5, 50, 0.99)]
CASES += [(0.5, 50, 0.6), (1, 20, 0.6), (0.1, 1000, 0.95), (0.1, 100, 0.5), (0.5, 30, 1.0)]


@pytest.mark.parametrize(("epsilon", "rows", "rate"), CASES)
def test_intervals_cover_under_noise(epsilon, rows, rate) -> None:
    noise = laplace(epsilon)
    tables = noised_tables(noise, rows, rate, 0.7, 400)
    found = noisy_intervals(METRICS, tables, [noise] * len(tables), np.random.default_rng(0))
    positive, negative = rows * rate, rows * 0.7
    true = np.array([negative, rows - negative, rows - positive, positive])
    for metric in METRICS:
        low, high = found[metric.name]
        value = float(metric(np.rint(true * 1000).astype(int)))
        covered = (low <= value + 1e-9) & (value - 1e-9 <= high)
        assert np.mean(covered) >= 0.915  # 95 % less 3 deviations of 400 tables


def test_of_many_rows_the_interval_is_the_normal_one() -> None:
    """var = p(1-p)/N + s2 [(1-p)^2 + p^2] / N^2, s2 in each of two cells."""
    noise, rows, p = CellNoise(900.0, "gaussian"), 20_000, 0.3
    table = np.array([[10_000, 10_000, 14_000, 6_000]])
    rate = group_metrics.true_positive_rate
    low, high = noisy_intervals([rate], table, [noise], np.random.default_rng(0))[rate.name]
    variance = p * (1 - p) / rows + 900 * ((1 - p) ** 2 + p**2) / rows**2
    assert (high - low)[0] / 2 == pytest.approx(Z95 * math.sqrt(variance), rel=0.04)
    exact = metric_intervals(rate, table[0])
    assert (high - low)[0] > exact.high - exact.low


@pytest.mark.parametrize("family", FAMILIES)
def test_gaps_of_noised_counts_cover_groups_alike_and_apart(family) -> None:
    noise, rng = CellNoise(7.84, family), np.random.default_rng(7)
    gap, rows = group_metrics.demographic_parity_difference, (600, 300, 200)
    for rates in ((0.3, 0.3, 0.3), (0.25, 0.4, 0.3)):
        covered = []
        for _ in range(150):
            selected = rng.binomial(rows, rates)
            table = np.stack([rows - selected, selected, 0 * selected, 0 * selected], axis=1)
            table = table + noise.sample(table.shape, rng)
            samples = resample(
                ComparedGroups(table, np.zeros(4, int), 10, noise), gap.metrics, rng, 300
            )
            low, high, *_ = gap_range(gap, samples)
            covered.append(low <= max(rates) - min(rates) <= high)
        assert np.mean(covered) >= 0.9


def test_noise_makes_chance_larger_and_drowns_small_groups() -> None:
    table = np.array([[300, 100, 50, 150], [150, 50, 25, 75], [30, 10, 5, 15]])
    gap = group_metrics.demographic_parity_difference
    plain, noised = (
        resample(
            ComparedGroups(table, np.zeros(4, int), 10, noise), gap.metrics,
            np.random.default_rng(0), 1_000,
        )
        for noise in (EXACT, CellNoise(100.0, "gaussian"))
    )  # fmt: skip
    assert np.isnan(noised.counted["selection_rate"].by_group[2])  # 60 rows, deviation 20
    two = {"selection_rate": plain.alike["selection_rate"]}
    two["selection_rate"] = two["selection_rate"]._replace(
        by_group=two["selection_rate"].by_group[:, :2]
    )
    assert np.mean(gap_of(gap, noised.alike)) > np.mean(gap_of(gap, two))
