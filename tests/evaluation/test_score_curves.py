"""AUC, distance and ROC of the rows lie within the bounds from their histogram."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp, norm
from sklearn.metrics import roc_auc_score, roc_curve

from evaluation.score_curves import auc, auc_interval, ks, roc

rows = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60).filter(
    lambda drawn: len({label for _, label in drawn}) == 2
)


def histogram(scores, labels, bins):
    places = np.minimum((np.asarray(scores) * bins).astype(int), bins - 1)
    return np.stack([np.bincount(places[np.asarray(labels) == y], minlength=bins) for y in (0, 1)])


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
    table = np.stack([np.bincount(places[np.asarray(labels) == y], minlength=10) for y in (0, 1)])
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


def distance_of_rows(scores, labels):
    """scipy's; its p-value, which is not asked for, may warn of ties."""
    with warnings.catch_warnings(action="ignore"):
        return ks_2samp(scores[labels], scores[~labels]).statistic


@given(rows, st.integers(2, 50))
def test_scipys_distance_of_the_rows_lies_within_the_bounds(drawn, bins) -> None:
    scores, labels = np.array([s for s, _ in drawn]), np.array([y for _, y in drawn])
    exact = distance_of_rows(scores, labels)
    found = ks(histogram(scores, labels, bins))
    assert found.low - 1e-12 <= exact <= found.high + 1e-12


def test_both_bounds_of_the_distance_are_reached() -> None:
    table = np.array([[1, 4, 0], [2, 2, 3]])
    found = ks(table)
    in_bin = np.repeat([0.0, 1.0, 2.0], [3, 6, 3])
    labels = np.repeat([0, 1, 0, 1, 0, 1], [1, 2, 4, 2, 0, 3])
    far = in_bin + 0.5 * labels  # in each bin all negatives first
    assert distance_of_rows(far, labels == 1) == pytest.approx(found.high)
    assert distance_of_rows(in_bin, labels == 1) == pytest.approx(found.low)
    assert found.low < found.high


@pytest.mark.parametrize("table", [[[0, 0], [1, 2]], [[1, 2], [0, 0]]])
def test_one_class_alone_has_neither_distance_nor_interval(table) -> None:
    assert ks(np.array(table)) is None
    assert auc_interval(np.array(table)) is None
    assert np.isnan(roc(np.array(table), [0, 1, 2])).any(axis=0).sum() == 1


@given(rows, st.integers(2, 50))
def test_points_of_the_curve_are_sklearns_at_the_edges(drawn, bins) -> None:
    scores, labels = np.array([s for s, _ in drawn]), np.array([y for _, y in drawn])
    places = np.minimum((scores * bins).astype(int), bins - 1)
    false, true, thresholds = roc_curve(labels, places, drop_intermediate=False)
    mine = roc(histogram(scores, labels, bins), thresholds[1:].astype(int))
    np.testing.assert_allclose(mine, np.stack([false, true], axis=1)[1:], atol=1e-12)
    ends = roc(histogram(scores, labels, bins), [0, bins])
    np.testing.assert_array_equal(ends, [[1, 1], [0, 0]])


def delong(scores, labels):
    """The variance from rows, pair by pair (DeLong, DeLong and Clarke-Pearson 1988)."""
    positive, negative = scores[labels][:, None], scores[~labels][None, :]
    wins = (positive > negative) + 0.5 * (positive == negative)
    by_positive, by_negative = wins.mean(axis=1), wins.mean(axis=0)
    return by_positive.var(ddof=1) / len(by_positive) + by_negative.var(ddof=1) / len(by_negative)


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_delongs_of_the_rows_on_the_logit_scale(seed) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random(300) < 0.3
    places = np.clip(rng.normal(4 + 3 * labels, 3), 0, 11).astype(int)
    table = histogram(places / 12 + 0.01, labels, 12)
    value, half = roc_auc_score(labels, places), 1.959964 * np.sqrt(delong(places, labels))
    half /= value * (1 - value)
    expected = 1 / (1 + np.exp(-(np.log(value / (1 - value)) + np.array([-half, half]))))
    np.testing.assert_allclose(auc_interval(table), expected, rtol=1e-6)


@pytest.mark.parametrize(("positives", "shift"), [(40, 1.0), (25, 2.0), (200, 0.3)])
def test_the_interval_covers_the_true_auc_about_as_often_as_it_says(positives, shift) -> None:
    rng, covered, draws = np.random.default_rng(positives), 0, 400
    truth = norm.cdf(shift / np.sqrt(2))
    for _ in range(draws):
        scores = norm.cdf(np.concatenate([rng.normal(size=150), rng.normal(shift, 1, positives)]))
        low, high = auc_interval(histogram(scores, np.repeat([0, 1], [150, positives]), 256))
        covered += low <= truth <= high
    assert 0.92 <= covered / draws <= 0.985


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ([[30, 0], [0, 20]], 0.025 ** (1 / 20), 1.0),
        ([[0, 30], [20, 0]], 0.0, 1 - 0.025 ** (1 / 20)),
        ([[1, 0], [0, 1]], 0.025, 1.0),
        ([[10_000], [10_000]], 0.5 - 0.01358, 0.5 + 0.01358),
    ],
)
def test_rows_that_all_win_alike_leave_an_interval_all_the_same(table, low, high) -> None:
    assert auc_interval(np.array(table)) == pytest.approx((low, high), abs=1e-5)


@pytest.mark.parametrize(
    ("bins", "auc_error", "width", "ks_error"),
    [
        (10, 4.2e-2, 7e-2, 1.2e-2),
        (50, 3.1e-3, 1e-2, 3e-3),
        (100, 9e-4, 6e-3, 2e-3),
        (256, 1.7e-4, 2e-3, 1e-3),
    ],
)
def test_errors_by_number_of_bins_are_of_the_size_measured_on_real_data(
    bins, auc_error, width, ks_error
) -> None:
    """AUC: measured on groups of 5,000 rows or more of UCI Adult and ACS; here simulated ones."""
    rng = np.random.default_rng(12)
    labels = rng.random(20_000) < 0.24
    scores = 1 / (1 + np.exp(-(rng.normal(-1.6 + 1.9 * labels, 1.3))))
    table = histogram(scores, labels, bins)
    found, distance = auc(table), ks(table)
    assert abs(found.value - roc_auc_score(labels, scores)) <= auc_error
    assert (found.high - found.low) / 2 <= width
    exact = distance_of_rows(scores, labels)
    assert 0 <= exact - distance.low <= ks_error
