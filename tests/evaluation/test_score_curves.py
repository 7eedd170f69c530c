"""The AUC of the rows lies within the bounds from their histogram, and often on the value."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from evaluation.score_curves import auc

rows = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60).filter(
    lambda drawn: len({label for _, label in drawn}) == 2
)


def histogram(scores, labels, bins):
    places = np.minimum((np.asarray(scores) * bins).astype(int), bins - 1)
    return np.stack([np.bincount(places[labels == y], minlength=bins) for y in (0, 1)])


@given(rows, st.integers(2, 50))
def test_sklearns_auc_of_the_rows_lies_within_the_bounds(drawn, bins) -> None:
    scores, labels = np.array([s for s, _ in drawn]), np.array([y for _, y in drawn])
    found = auc(histogram(scores, labels, bins))
    exact = roc_auc_score(labels, scores)
    assert found.low - 1e-12 <= exact <= found.high + 1e-12


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=80))
def test_scores_on_the_grid_give_sklearns_auc(drawn) -> None:
    scores, labels = np.array([s / 10 for s, _ in drawn]), np.array([y for _, y in drawn])
    places = np.array([s for s, _ in drawn])
    table = np.stack([np.bincount(places[labels == y], minlength=10) for y in (0, 1)])
    if len(set(labels.tolist())) < 2:
        assert auc(table) is None
        return
    assert auc(table).value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(rows, st.integers(2, 50))
def test_the_bounds_are_half_the_shared_pairs_to_either_side(drawn, bins) -> None:
    table = histogram([s for s, _ in drawn], np.array([y for _, y in drawn]), bins)
    shares = table / table.sum(axis=1, keepdims=True)
    half = 0.5 * float(np.sum(shares[0] * shares[1]))
    found = auc(table)
    assert found.high - found.value == pytest.approx(half, abs=1e-12)
    assert found.value - found.low == pytest.approx(half, abs=1e-12)


def test_both_bounds_are_reached() -> None:
    table = np.array([[0, 3, 1], [1, 2, 2]])
    labels = np.repeat([0, 1, 0, 1, 0, 1], [0, 1, 3, 2, 1, 2])
    bins = np.repeat([0.0, 0.0, 1.0, 1.0, 2.0, 2.0], [0, 1, 3, 2, 1, 2])
    found = auc(table)
    assert roc_auc_score(labels, bins + 0.5 * labels) == pytest.approx(found.high)
    assert roc_auc_score(labels, bins - 0.5 * labels) == pytest.approx(found.low)


def test_no_overlap_is_exact() -> None:
    assert auc(np.array([[5, 2, 0], [0, 0, 9]])) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("table", [[[0, 0], [1, 2]], [[1, 2], [0, 0]], [[0, 0], [0, 0]]])
def test_one_class_alone_has_no_auc(table) -> None:
    assert auc(np.array(table)) is None
