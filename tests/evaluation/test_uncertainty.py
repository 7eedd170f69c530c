"""Intervals cover what they promise, and the same counts give the same report."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from evaluation import group_metrics
from evaluation.uncertainty import gap_range, generator, resampled, wilson_interval

DIFFERENCES = (
    group_metrics.demographic_parity_difference,
    group_metrics.equalized_odds_difference,
    group_metrics.equal_opportunity_difference,
    group_metrics.accuracy_difference,
)


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
def test_the_interval_holds_the_gap_and_stays_in_range(confusion) -> None:
    for gap in (*DIFFERENCES, group_metrics.demographic_parity_ratio):
        value = float(gap(confusion))
        if math.isnan(value):
            with pytest.raises(ValueError, match=f"{gap.name} is not known"):
                gap_range(gap, confusion, generator(confusion), 50)
            continue
        found = gap_range(gap, confusion, generator(confusion), 200)
        assert 0 <= found.low <= value + 1e-12
        assert value - 1e-12 <= found.high <= 1
        assert 0 <= found.null_expectation <= 1
        assert found == gap_range(gap, confusion, generator(confusion), 200)


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


@pytest.mark.parametrize("gap", DIFFERENCES[:2], ids=lambda gap: gap.name)
@pytest.mark.parametrize(
    ("rows", "true_positive", "false_positive"),
    [((500, 500), (0.7, 0.8), (0.2, 0.25)), ((1000, 300, 100), (0.7, 0.8, 0.6), (0.2, 0.25, 0.1))],
)
def test_a_real_gap_is_covered_in_nine_of_ten_tables_and_more(
    gap, rows, true_positive, false_positive
) -> None:
    drawn, shares = drawn_tables(rows, 0.3, true_positive, false_positive, 300)
    true = float(gap(shares))
    found = [gap_range(gap, table, generator(table), 300) for table in drawn]
    coverage = np.mean([one.low - 1e-9 <= true <= one.high + 1e-9 for one in found])
    assert 0.9 <= coverage <= 0.99


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


def test_a_ratio_reaches_one_unless_it_is_beyond_chance() -> None:
    gap = group_metrics.demographic_parity_ratio
    alike, apart = (
        np.array([[70, 30, 0, 0], [72, 28, 0, 0]]),
        np.array([[70, 30, 0, 0], [95, 5, 0, 0]]),
    )
    assert gap_range(gap, alike, generator(alike)).high == 1
    assert gap_range(gap, apart, generator(apart)).high < 1
