"""Tests of groups against the rest keep their level together, and find what was planted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact, norm

from evaluation import group_metrics
from evaluation.cell_noise import EXACT, CellNoise
from evaluation.gap_findings import Comparison, compare
from evaluation.group_findings import GAPS, RATES
from evaluation.multiple_comparisons import against_the_rest, homogeneity, two_sided_tail
from evaluation.resampling import ComparedGroups
from evaluation.shown_levels import Shown

LAPLACE = CellNoise(7.84, "discrete_laplace")


@given(st.lists(st.lists(st.integers(0, 40), min_size=2, max_size=2), min_size=2, max_size=6))
def test_exact_counts_are_tested_by_fishers_exact_test(counts) -> None:
    confusion = np.zeros((len(counts), 4), int)
    confusion[:, :2] = counts
    if not confusion.any(axis=1).all():
        confusion[:, 0] += 1
    found = against_the_rest(group_metrics.selection_rate, confusion, EXACT)
    for place, p_value in enumerate(found):
        here, rest = confusion[place, :2], confusion[:, :2].sum(axis=0) - confusion[place, :2]
        tails = [fisher_exact([here, rest], alternative=way).pvalue for way in ("less", "greater")]
        assert p_value == pytest.approx(min(1, 2 * min(tails)), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("distance", [0.5, 1.5, 3.0, 4.5])
def test_tail_of_normal_and_laplace_is_as_drawn(distance) -> None:
    weights = [(0.4, 2), (0.1, 3)]
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 1.0, 1_000_000)
    for weight, count in weights:
        drawn += weight * LAPLACE.sample((count, 1_000_000), rng).sum(axis=0)
    expected = np.mean(np.abs(drawn) >= distance)
    assert two_sided_tail(distance, 1.0, weights, LAPLACE) == pytest.approx(expected, rel=0.04)


def test_tail_of_a_gaussian_is_the_normal_one_far_out_too() -> None:
    """The inversion against a closed form: next to no Laplace noise leaves a normal law."""
    for distance in (1.0, 3.0, 5.0):
        exact = 2 * norm.sf(distance)
        assert two_sided_tail(distance, 1.0, [], EXACT) == pytest.approx(exact, rel=1e-12)
        nearly = two_sided_tail(distance, 1.0, [(1e-6, 2)], LAPLACE)
        assert nearly == pytest.approx(exact, rel=1e-6, abs=1e-11)


def test_the_laplace_tail_is_heavier_than_the_normal_one() -> None:
    spread = [(1.0, 1)]
    laplace = two_sided_tail(15.0, 0.5, spread, LAPLACE)
    assert laplace > 5 * two_sided_tail(15.0, 0.5, spread, CellNoise(7.84, "gaussian"))


def test_homogeneity_weighs_groups_by_what_is_known_of_them() -> None:
    """A wide gap of a tiny group is chance; a narrower one of large groups is not."""
    rng = np.random.default_rng(0)
    rows = np.array([5_000, 5_000, 20])
    alike = rng.binomial(rows, 0.3, (4_000, 3)) / rows
    assert homogeneity(np.array([0.3, 0.3, 0.45]), alike) > 0.1
    assert homogeneity(np.array([0.27, 0.33, 0.3]), alike) < 0.001
    assert homogeneity(np.array([0.3, np.nan, np.nan]), alike) == 1.0


def comparisons(confusion, noise=EXACT):
    names = [str(place) for place in range(len(confusion))]
    compared = ComparedGroups(confusion, np.zeros(4, int), 10, noise)
    return [
        Comparison("race", names, compared, GAPS[level], RATES[level], "")
        for level in (Shown.ROWS, Shown.LABELS)
    ]


def drawn(rows, shares, noise, rng):
    table = np.stack([rng.multinomial(n, share) for n, share in zip(rows, shares, strict=True)])
    return table + noise.sample(table.shape, rng)


COMMON, RARE = [0.6, 0.1, 0.1, 0.2], [0.93, 0.02, 0.03, 0.02]
MIXED = (5_000, 2_000, 1_000, 500, 200, 100, 50, 30, 20)


def false_findings(rows, shares, noise, count):
    """In how many of `count` tables of groups alike a gap, and a group, seems beyond chance."""
    rng, gaps, groups = np.random.default_rng(11), 0, 0
    for _ in range(count):
        found = compare(comparisons(drawn(rows, [shares] * len(rows), noise, rng), noise))
        gaps += any(gap.significant for gap in found[0])
        groups += any(one.significant for one in found[1])
    return gaps, groups


@pytest.mark.parametrize(
    ("rows", "shares", "noise"),
    [((400, 400), COMMON, EXACT), (MIXED, RARE, EXACT), ((400, 400), COMMON, LAPLACE)],
    ids=["two groups", "nine, few positives", "noised"],
)
def test_one_false_finding_among_all_is_rare(rows, shares, noise) -> None:
    """In 5 % of tables at most; of 40 tables, more than 6 would be so once in 300 seeds."""
    assert max(false_findings(rows, shares, noise, 40)) <= 6


@pytest.mark.slow
@pytest.mark.parametrize("noise", [EXACT, LAPLACE, CellNoise(20.0, "gaussian")], ids=str)
@pytest.mark.parametrize(
    ("rows", "shares"), [((400, 400), COMMON), (MIXED, COMMON), (MIXED, RARE), ((60,) * 12, COMMON)]
)
def test_one_false_finding_among_all_is_rare_in_many_tables(rows, shares, noise) -> None:
    """5 % of 300 tables, and three deviations more."""
    assert max(false_findings(rows, shares, noise, 300)) <= 26


@pytest.mark.parametrize("noise", [EXACT, LAPLACE], ids=["exact", "noised"])
def test_a_planted_gap_is_found_and_named(noise) -> None:
    """One of nine groups is selected 12 points more often: found nearly always, others seldom."""
    shares = [COMMON] * 9
    shares[3] = [0.48, 0.22, 0.1, 0.2]
    rng, named, others, gap_found = np.random.default_rng(12), 0, 0, 0
    for _ in range(12):
        gaps, found = compare(comparisons(drawn(MIXED, shares, noise, rng), noise))
        standing_out = {(o.group, o.metric) for o in found if o.significant}
        named += ("3", "selection_rate") in standing_out
        others += any(group not in {"3", "0"} for group, _ in standing_out)
        parity = next(gap for gap in gaps if gap.metric == "demographic_parity_difference")
        gap_found += bool(parity.significant)
        interval = next(o for o in found if (o.group, o.metric) == ("3", "selection_rate"))
        assert interval.low <= interval.difference <= interval.high
    assert named >= 11
    assert gap_found >= 11
    assert others <= 3


def test_of_two_groups_each_rate_is_tested_once() -> None:
    _, found = compare(comparisons(np.array([[50, 20, 10, 40], [60, 10, 20, 30]])))
    assert [one.metric for one in found] == [
        "selection_rate", "true_positive_rate", "false_positive_rate", "precision", "accuracy",
    ]  # fmt: skip
    assert {one.group for one in found} == {"0"}


def test_all_methods_of_a_gap_share_a_p_value_and_differ_in_chance() -> None:
    table = np.array([[500, 200, 100, 400], [600, 100, 200, 300], [300, 60, 60, 200]])
    gaps, _ = compare(comparisons(table))
    odds = next(gap for gap in gaps if gap.metric == "equalized_odds_difference")
    assert [(v.method, v.aggregate) for v in odds.variants] == [
        ("to_overall", "worst_case"), ("between_groups", "mean"), ("to_overall", "mean"),
    ]  # fmt: skip
    assert odds.estimate.value > max(v.estimate.value for v in odds.variants)
    assert 0 < odds.null_expectation < odds.null_95
    assert odds.significant is (odds.p_value <= 0.05)


def test_same_counts_same_findings() -> None:
    table = np.array([[500, 200, 100, 400], [600, 100, 200, 300], [300, 60, 60, 200]])
    for noise in (EXACT, LAPLACE):
        assert compare(comparisons(table, noise)) == compare(comparisons(table.copy(), noise))
