"""The threshold explorer against sklearn and fairlearn on the rows behind the histograms."""

import numpy as np
import pytest
from fairlearn.metrics import (
    demographic_parity_difference,
    equal_opportunity_difference,
    equalized_odds_difference,
    selection_rate,
)
from sklearn.metrics import accuracy_score, recall_score

from evaluation.mitigation.threshold_table import threshold_table
from federation.errors import DataError

BINS = 100


@pytest.fixture(scope="module")
def rows():
    draws = np.random.default_rng(3)
    labels = draws.integers(0, 2, 4000)
    groups = np.where(draws.random(4000) < 0.3, "F", "M")
    scores = draws.beta(2 + 2 * labels, 4 - labels + (groups == "F"), 4000)
    return labels, groups, scores


def histogram(labels, scores):
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    return np.stack([np.bincount(bins[labels == y], minlength=BINS) for y in (0, 1)])


def test_every_row_of_the_table_is_what_the_tools_find(rows) -> None:
    labels, groups, scores = rows
    by_group = {name: histogram(labels[groups == name], scores[groups == name]) for name in "FM"}
    table = threshold_table(by_group, histogram(labels, scores))
    assert [one.threshold for one in table] == [round(0.05 * k, 2) for k in range(1, 20)]
    for one in table:
        said = np.minimum((scores * BINS).astype(int), BINS - 1) >= round(one.threshold * BINS)
        gaps = one.figures.gaps
        assert one.figures.accuracy == accuracy_score(labels, said)
        assert one.selection_rate == selection_rate(labels, said)
        for theirs, ours in (
            (demographic_parity_difference, gaps.demographic_parity_difference),
            (equal_opportunity_difference, gaps.equal_opportunity_difference),
            (equalized_odds_difference, gaps.equalized_odds_difference),
        ):
            assert ours == pytest.approx(theirs(labels, said, sensitive_features=groups), abs=1e-15)
        for group in one.groups:
            own = groups == group.group
            assert group.true_positive_rate == recall_score(labels[own], said[own])


def test_accuracy_is_of_all_rows_and_gaps_of_the_groups_that_are_shown(rows) -> None:
    labels, groups, scores = rows
    overall = histogram(labels, scores)
    table = threshold_table({"F": histogram(labels[groups == "F"], scores[groups == "F"])}, overall)
    half = next(one for one in table if one.threshold == 0.5)
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    assert half.figures.accuracy == accuracy_score(labels, bins >= 50)
    assert half.figures.gaps.demographic_parity_difference is None
    assert [one.group for one in half.groups] == ["F"]


@pytest.mark.parametrize("bins", [2, 7, 10, 50, 1000])
def test_there_are_about_twenty_thresholds_and_a_half_among_them(bins: int) -> None:
    overall = np.ones((2, bins), int)
    thresholds = [one.threshold for one in threshold_table({"F": overall}, overall)]
    assert len(thresholds) <= 20
    assert thresholds == sorted(set(thresholds))
    assert min(abs(one - 0.5) for one in thresholds) < 1 / bins


@pytest.mark.parametrize(
    ("groups", "overall"),
    [({}, np.ones((2, 4), int)), ({"F": np.ones((2, 5), int)}, np.ones((2, 4), int)),
     ({"F": np.ones((2, 4), int)}, np.zeros((2, 4), int))],
)  # fmt: skip
def test_nothing_to_explore_is_said(groups, overall) -> None:
    with pytest.raises(DataError, match="expected"):
        threshold_table(groups, overall)
