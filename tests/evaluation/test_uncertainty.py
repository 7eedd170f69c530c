"""Intervals cover what they promise, and the same counts give the same report."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from evaluation import group_metrics, uncertainty
from evaluation.resampling import ComparedGroups, generator, resample, resampled
from evaluation.uncertainty import (
    Interval,
    difference_interval,
    metric_intervals,
    wilson_interval,
    wilson_intervals,
)

DIFFERENCES = (
    group_metrics.demographic_parity_difference,
    group_metrics.equalized_odds_difference,
    group_metrics.equal_opportunity_difference,
    group_metrics.accuracy_difference,
)

NOBODY = np.zeros(4, int)


def gap_range(gap, confusion, draws, resamples=2_000):
    """Range of a gap between these groups, who are all there are."""
    compared = ComparedGroups(confusion, NOBODY)
    return uncertainty.gap_range(gap, resample(compared, gap.metrics, draws, resamples))


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(pair) -> None:
    successes, trials = pair
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx(tuple(expected), abs=1e-12)


@given(st.integers(1, 10**6))
def test_wilson_holds_the_rate_at_both_ends(trials) -> None:
    assert wilson_interval(0, trials)[0] == 0
    assert wilson_interval(trials, trials)[1] == 1


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(successes, trials) -> None:
    with pytest.raises(ValueError, match="need 0 <= successes <= trials"):
        wilson_interval(successes, trials)


def test_same_counts_same_draws_other_counts_other_draws() -> None:
    counts = np.array([[5, 1, 2, 4], [3, 3, 1, 1]])
    first, again = generator(counts).random(3), generator(counts.copy()).random(3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, generator(counts + 1).random(3))


def test_resampled_tables_have_all_rows_and_the_right_means() -> None:
    confusion = np.array([[50, 10, 20, 40], [30, 30, 10, 0]])
    drawn = resampled(confusion, np.random.default_rng(0), 4_000)
    assert np.all(drawn.sum(axis=(1, 2)) == confusion.sum())
    np.testing.assert_allclose(drawn.mean(axis=0), confusion, atol=0.6)
    assert not drawn[:, 1, 3].any()


def test_bootstrap_from_counts_is_the_bootstrap_of_rows() -> None:
    """Resampling rows and tabulating them has the law of the multinomial draw."""
    confusion = np.array([[40, 10, 15, 35], [30, 20, 10, 10]])
    rng = np.random.default_rng(1)
    rows = np.repeat(np.arange(8), confusion.ravel())
    by_rows = np.stack(
        [np.bincount(rng.choice(rows, len(rows)), minlength=8).reshape(2, 4) for _ in range(3_000)]
    )
    by_counts = resampled(confusion, rng, 3_000)
    gap = group_metrics.equalized_odds_difference
    expected, found = (
        np.quantile(gap(drawn), [0.025, 0.5, 0.975]) for drawn in (by_rows, by_counts)
    )
    np.testing.assert_allclose(found, expected, atol=0.02)


tables = st.lists(st.lists(st.integers(0, 60), min_size=4, max_size=4), min_size=2, max_size=5).map(
    np.array
)


@given(tables)
@settings(max_examples=40)
def test_the_interval_holds_the_gap_and_stays_in_range(confusion) -> None:
    plain = (*DIFFERENCES, group_metrics.demographic_parity_ratio, group_metrics.f1_difference)
    for gap in (*plain, *(variant for one in plain for variant in one.variants)):
        value = float(gap(confusion))
        if math.isnan(value):
            with pytest.raises(ValueError, match=f"{gap.name} is not known"):
                gap_range(gap, confusion, generator(confusion), 50)
            continue
        found = gap_range(gap, confusion, generator(confusion), 60)
        assert 0 <= found.low <= value + 1e-12
        assert value - 1e-12 <= found.high <= 1
        assert 0 <= found.null_expectation <= 1
        assert 0 <= found.null_95 <= 1
        assert found == gap_range(gap, confusion, generator(confusion), 60)


def drawn_tables(rows, positives, true_positive, false_positive, count):
    """`count` tables of groups with these sizes and rates, and the true table in shares."""
    p, t, f = (np.broadcast_to(x, len(rows)) for x in (positives, true_positive, false_positive))
    shares = np.stack([(1 - p) * (1 - f), (1 - p) * f, p * (1 - t), p * t], axis=-1)
    rng = np.random.default_rng(7)
    drawn = [
        np.stack([rng.multinomial(n, share) for n, share in zip(rows, shares, strict=True)])
        for _ in range(count)
    ]
    return drawn, np.rint(shares * 1e9).astype(np.int64)


@pytest.mark.parametrize("gap", DIFFERENCES[:2], ids=lambda gap: gap.name)
@pytest.mark.parametrize("rows", [(500, 500), (2000, 500, 200, 100), (100,) * 10])
def test_groups_that_are_alike_seldom_seem_beyond_chance(gap, rows) -> None:
    drawn, _ = drawn_tables(rows, 0.3, 0.7, 0.2, 200)
    found = [gap_range(gap, table, generator(table), 300) for table in drawn]
    assert np.mean([one.low > 0 for one in found]) <= 0.06
    # The percentile bootstrap alone is beyond chance in a sixth of the tables with ten groups.
    assert np.mean([one.low > one.null_expectation for one in found]) <= 0.05


NAMED_ONCE = (
    group_metrics.demographic_parity_difference,
    group_metrics.equalized_odds_difference,
    group_metrics.balanced_accuracy_difference,
    group_metrics.demographic_parity_difference.variants[0],
)


@pytest.mark.parametrize("gap", NAMED_ONCE, ids=lambda gap: f"{gap.name} {gap.method}")
@pytest.mark.parametrize(
    ("rows", "true_positive", "false_positive"),
    [((500, 500), (0.7, 0.8), (0.2, 0.25)), ((1000, 300, 100), (0.7, 0.8, 0.6), (0.2, 0.25, 0.1))],
)
def test_a_real_gap_is_covered_in_nine_of_ten_tables_and_more(
    gap, rows, true_positive, false_positive
) -> None:
    drawn, shares = drawn_tables(rows, 0.3, true_positive, false_positive, 300)
    true = float(gap(shares * np.array(rows)[:, None]))
    found = [gap_range(gap, table, generator(table), 300) for table in drawn]
    coverage = np.mean([one.low - 1e-9 <= true <= one.high + 1e-9 for one in found])
    assert 0.9 <= coverage <= 0.995


def test_null_expectation_is_the_mean_of_the_gap_among_groups_that_are_alike() -> None:
    """Ten groups of 1,000 rows at a rate of .25: .042 on average (5 sd of 2,000 draws: .0015)."""
    table = np.tile([750, 250, 0, 0], (10, 1))
    gap = group_metrics.demographic_parity_difference
    found = gap_range(gap, table, generator(table))
    rng = np.random.default_rng(0)
    rates = rng.binomial(1000, 0.25, size=(20_000, 10)) / 1000
    expected = np.mean(rates.max(axis=1) - rates.min(axis=1))
    assert expected == pytest.approx(0.042, abs=5e-4)
    assert found.null_expectation == pytest.approx(expected, abs=1.5e-3)
    limit = np.quantile(rates.max(axis=1) - rates.min(axis=1), 0.95)
    assert limit == pytest.approx(0.061, abs=1.1e-3)
    assert found.null_95 == pytest.approx(limit, abs=2e-3)


def test_chance_is_as_large_as_the_published_note_of_small_groups_says() -> None:
    """Ten groups alike, of 5,000 to 20 rows: a gap of .17 on average, .28 in one of 20 tables."""
    rows = np.array([5000, 3000, 2000, 1000, 500, 300, 150, 80, 40, 20])
    table = np.stack([3 * rows // 4, rows - 3 * rows // 4, 0 * rows, 0 * rows], axis=1)
    found = gap_range(group_metrics.demographic_parity_difference, table, generator(table))
    assert 0.12 <= found.null_expectation <= 0.18
    assert 0.22 <= found.null_95 <= 0.30


def test_outside_rows_count_in_overall_alone() -> None:
    confusion, outside = np.array([[60, 40, 0, 0], [60, 40, 0, 0]]), np.array([0, 800, 0, 0])
    between, to_overall = (
        group_metrics.demographic_parity_difference,
        group_metrics.demographic_parity_difference.variants[0],
    )
    samples = resample(ComparedGroups(confusion, outside), between.metrics, generator(confusion))
    assert float(uncertainty.gap_of(between, samples.counted)) == 0
    assert float(uncertainty.gap_of(to_overall, samples.counted)) == pytest.approx(0.48)


def test_a_group_below_the_minimum_support_of_a_rate_is_not_part_of_its_gap() -> None:
    """Support is of the denominator: 200 rows do not make up for four positives."""
    confusion = np.array([[98, 98, 4, 0], [80, 40, 20, 60], [80, 40, 30, 50]])
    compared = ComparedGroups(confusion, NOBODY, minimum_support=10)
    opportunity, parity = (
        group_metrics.equal_opportunity_difference,
        group_metrics.demographic_parity_difference,
    )
    samples = resample(compared, (*opportunity.metrics, *parity.metrics), generator(confusion), 50)
    assert uncertainty.gap_of(opportunity, samples.counted) == pytest.approx(0.75 - 0.625)
    assert not np.any(np.isfinite(samples.drawn["true_positive_rate"].by_group[:, 0]))
    assert uncertainty.gap_of(parity, samples.counted) == pytest.approx(0.05)


@pytest.mark.parametrize("metric", [group_metrics.f1, group_metrics.balanced_accuracy])
@pytest.mark.parametrize("rows", [40, 400])
def test_intervals_of_f1_and_balanced_accuracy_cover(metric, rows) -> None:
    drawn, shares = drawn_tables((rows,), 0.3, 0.8, 0.2, 2_000)
    tables = np.concatenate(drawn)
    tables = tables[~np.isnan(metric(tables))]
    low, high = metric_intervals(metric, tables)
    true = metric(shares)[0]
    assert 0.935 <= np.mean((low <= true) & (true <= high)) <= 0.98
    assert np.all((low <= metric(tables)) & (metric(tables) <= high))


def test_interval_of_f1_agrees_with_the_bootstrap_of_many_rows() -> None:
    table = np.array([[5_000, 900, 700, 2_400]])
    drawn = group_metrics.f1(resampled(table, np.random.default_rng(0), 20_000)[:, 0])
    low, high = metric_intervals(group_metrics.f1, table[0])
    assert [low, high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=1e-3)


def test_difference_interval_is_newcombes() -> None:
    """56/70 - 48/80: .0524 to .3339 (Newcombe 1998, table II, case a, method 10)."""
    one, other = (wilson_intervals(np.array(a), np.array(n)) for a, n in ((56, 70), (48, 80)))
    low, high = difference_interval(np.array(56 / 70), one, np.array(48 / 80), other)
    assert [round(float(low), 4), round(float(high), 4)] == [0.0524, 0.3339]
    swapped = difference_interval(np.array(48 / 80), other, np.array(56 / 70), one)
    assert isinstance(swapped, Interval)
    assert (swapped.low, swapped.high) == (-high, -low)


def test_a_ratio_reaches_one_unless_it_is_beyond_chance() -> None:
    gap = group_metrics.demographic_parity_ratio
    alike, apart = (
        np.array([[70, 30, 0, 0], [72, 28, 0, 0]]),
        np.array([[70, 30, 0, 0], [95, 5, 0, 0]]),
    )
    assert gap_range(gap, alike, generator(alike)).high == 1
    assert gap_range(gap, apart, generator(apart)).high < 1
