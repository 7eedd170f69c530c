"""Rates of nothing are unknown, and so are gaps of them; all else is as fairlearn has it."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from evaluation import fairlearn_compat, group_metrics

cells = (
    st.lists(
        st.lists(st.integers(0, 40), min_size=4, max_size=4).filter(any), min_size=1, max_size=6
    )
    .map(np.array)
    .filter(lambda confusion: confusion.sum() > 1)  # fairlearn refuses a table of one row
)

GAPS = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
    "equal_opportunity_difference",
    "equal_opportunity_ratio",
)


def rows_of(confusion):
    """Rows (label, predicted, group) that have these counts."""
    table = [
        (label, predicted, group)
        for group, counts in enumerate(confusion)
        for (label, predicted), count in zip(itertools.product((0, 1), (0, 1)), counts, strict=True)
        for _ in range(count)
    ]
    return np.array(table).T


@given(cells)
def test_f1_and_balanced_accuracy_are_sklearns_to_the_last_bit(confusion) -> None:
    y, predicted, group = rows_of(confusion)
    for place in range(len(confusion)):
        here = group == place
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sklearn warns of labels that only the model uses
            balanced = balanced_accuracy_score(y[here], predicted[here])
            f1 = f1_score(y[here], predicted[here], zero_division=0)
        assert fairlearn_compat.balanced_accuracy(confusion)[place] == balanced
        assert fairlearn_compat.f1(confusion)[place] == f1


def test_groups_without_rows_do_not_exist_for_fairlearn() -> None:
    confusion = np.array([[5, 1, 2, 4], [0, 0, 0, 0], [3, 3, 1, 1]])
    for name in GAPS:
        gap = getattr(fairlearn_compat, name)
        assert gap(confusion) == gap(confusion[[0, 2]])


@given(cells)
def test_where_every_group_has_both_labels_the_report_agrees_with_fairlearn(confusion) -> None:
    confusion = np.concatenate([confusion, confusion[::-1]]) + 1
    for name in GAPS:
        mine = getattr(group_metrics, name)(confusion)
        assert mine == getattr(fairlearn_compat, name)(confusion)


def test_a_group_without_positives_is_not_the_worst_of_all_but_unknown() -> None:
    confusion = np.array([[8, 2, 0, 0], [8, 2, 2, 8], [6, 4, 3, 7]])
    assert np.isnan(group_metrics.true_positive_rate(confusion)[0])
    assert group_metrics.equal_opportunity_difference(confusion) == pytest.approx(0.1)
    assert fairlearn_compat.equal_opportunity_difference(confusion) == pytest.approx(0.8)


@pytest.mark.parametrize(("groups", "known"), [(2, True), (1, False), (0, False)])
def test_a_gap_is_between_at_least_two_groups(groups, known) -> None:
    confusion = np.array([[5, 1, 2, 4], [3, 3, 1, 1]])[:groups].reshape(groups, 4)
    assert np.isfinite(group_metrics.demographic_parity_difference(confusion)) == known
    assert np.isfinite(group_metrics.demographic_parity_ratio(confusion)) == known


def test_equalized_odds_needs_both_of_its_rates() -> None:
    no_negatives = np.array([[0, 0, 2, 4], [0, 0, 1, 1]])
    assert np.isfinite(group_metrics.equal_opportunity_difference(no_negatives))
    assert np.isnan(group_metrics.equalized_odds_difference(no_negatives))


def test_a_ratio_of_rates_that_are_all_zero_is_unknown() -> None:
    nobody_selected = np.array([[5, 0, 2, 0], [3, 0, 1, 0]])
    assert np.isnan(group_metrics.demographic_parity_ratio(nobody_selected))
    assert group_metrics.demographic_parity_difference(nobody_selected) == 0


def extremes(gap, confusion):
    """The groups that a gap is between."""
    overall = confusion.sum(axis=0)
    return gap.extremes([m(confusion) for m in gap.metrics], [m(overall) for m in gap.metrics])


def test_extremes_are_the_groups_of_the_rate_that_is_worst() -> None:
    # true positive rates .5 .6 .7; false positive rates .6 .1 .2: the latter are further apart
    confusion = np.array([[4, 6, 5, 5], [9, 1, 4, 6], [8, 2, 3, 7]])
    assert group_metrics.equalized_odds_difference(confusion) == pytest.approx(0.5)
    assert extremes(group_metrics.equalized_odds_difference, confusion) == (1, 0)
    assert extremes(group_metrics.equal_opportunity_difference, confusion) == (0, 2)


def test_extremes_pass_over_unknown_rates() -> None:
    confusion = np.array([[4, 6, 0, 0], [9, 1, 4, 6], [8, 2, 3, 7]])
    assert extremes(group_metrics.equal_opportunity_difference, confusion) == (1, 2)


@given(cells)
def test_stacks_of_tables_are_read_table_by_table(confusion) -> None:
    stack = np.stack([confusion, confusion * 2, confusion + 1])
    for name in GAPS:
        gap = getattr(group_metrics, name)
        np.testing.assert_array_equal(gap(stack), [gap(table) for table in stack])


def test_f1_of_nothing_positive_and_balanced_accuracy_of_nobody_are_unknown() -> None:
    assert np.isnan(group_metrics.f1(np.array([7, 0, 0, 0])))
    assert group_metrics.f1(np.array([7, 1, 0, 0])) == 0
    assert np.isnan(group_metrics.balanced_accuracy(np.zeros(4, int)))


def test_propublicas_published_rates() -> None:
    """COMPAS two-year, decile >= 5: Larson et al. 2016, "How we analyzed the COMPAS algorithm"."""
    african_american, caucasian = (990, 805, 532, 1369), (1139, 349, 461, 505)
    confusion = np.array([african_american, caucasian])
    false_positive = group_metrics.false_positive_rate(confusion)
    false_negative = 1 - group_metrics.true_positive_rate(confusion)
    assert (100 * false_positive).round(2).tolist() == [44.85, 23.45]
    assert (100 * false_negative).round(2).tolist() == [27.99, 47.72]
