"""Planted leaks are found at their AUC, honest features and small samples are left in peace."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from evaluation.audit.leakage import (
    best_auc,
    information_value,
    leak,
    local_histogram,
)
from evaluation.audit.rows import AuditRows
from federation.schema import Categorical, Numeric, TaskSchema

NUMBER = Numeric("code", -10, 10)
SCHEMA = TaskSchema((NUMBER,), "y", ("no", "yes"))


def found(values, targets, feature=NUMBER, schema=SCHEMA):
    rows = AuditRows({feature.name: np.asarray(values, dtype=float)}, np.asarray(targets))
    return leak(feature.name, local_histogram(schema, feature, rows))


def separated(auc, rows=4000, seed=0):
    """Two normal distributions whose AUC is `auc`."""
    draw = np.random.default_rng(seed)
    targets = draw.integers(2, size=rows)
    return draw.normal(size=rows) + targets * np.sqrt(2) * norm.ppf(auc), targets


@pytest.mark.parametrize(
    ("auc", "red", "yellow"),
    [(0.998, True, True), (0.986, True, True), (0.919, False, True), (0.779, False, False)],
)
def test_planted_leaks(auc, red, yellow) -> None:
    values, targets = separated(auc, rows=20_000)
    one = found(values, targets)
    assert one.auc == pytest.approx(auc, abs=0.006)
    assert (one.is_red, one.is_yellow) == (red, yellow)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=8))
def test_auc_is_sklearns_with_each_bins_share_as_score(bins) -> None:
    lost, won = np.array(bins).T
    if not lost.sum() or not won.sum():
        return
    share = won / np.maximum(won + lost, 1)
    truth = np.concatenate([np.zeros(lost.sum()), np.ones(won.sum())])
    score = np.concatenate([np.repeat(share, lost), np.repeat(share, won)])
    assert best_auc(won, won + lost) == pytest.approx(roc_auc_score(truth, score))


def test_information_value_by_hand() -> None:
    p, q = np.array([10.5, 90.5]) / 101, np.array([60.5, 40.5]) / 101
    by_hand = np.sum((p - q) * np.log(p / q))
    assert information_value(np.array([10, 90]), np.array([70, 130])) == pytest.approx(by_hand)


def test_a_leak_in_what_is_missing_or_in_no_order_is_found() -> None:
    targets = np.random.default_rng(0).integers(2, size=1000)
    assert found(np.where(targets == 1, np.nan, 3.0), targets).is_red
    # Positives in the middle: no threshold separates them, and AUC by value is 0.5.
    outside = np.random.default_rng(1).choice([-5.0, 5.0], 1000)
    assert found(np.where(targets == 1, 0.0, outside), targets).is_red


def test_values_beside_an_atom_are_not_lost_in_it() -> None:
    targets = np.repeat([0, 1], 500)
    values = np.zeros(1000)
    values[-60:] = 7.0
    assert found(values, targets).auc == pytest.approx(0.5 + 60 / 500 / 2)


def test_noise_on_few_rows_is_no_leak_however_well_it_fits() -> None:
    levels = Categorical("id", tuple(str(n) for n in range(24)))
    schema = TaskSchema((levels,), "y", ("no", "yes"))
    one = found(np.arange(24), np.repeat([0, 1], 12), levels, schema)  # a name for each row
    assert one.auc == 1.0
    assert not one.is_yellow
    draw = np.random.default_rng(0)
    for _ in range(300):
        noise = found(draw.normal(size=25), draw.permutation(np.repeat([0, 1], [15, 10])))
        assert not noise.is_red


def test_with_more_classes_the_one_told_best_is_named() -> None:
    schema = TaskSchema((NUMBER,), "y", ("a", "b", "c"))
    targets = np.random.default_rng(0).integers(3, size=900)
    one = found(np.where(targets == 2, 1.0, 0.0), targets, schema=schema)
    assert (one.label, one.auc) == (2, 1.0)


@pytest.mark.parametrize(("positives", "told"), [(0, False), (9, False), (10, True), (90, True)])
def test_a_class_of_few_rows_tells_nothing(positives, told) -> None:
    targets = np.arange(100) < positives
    assert (found(targets * 1.0, targets.astype(int)) is not None) is told
    assert (found(targets * 1.0, 1 - targets) is not None) is told


def test_the_same_counts_give_the_same_finding() -> None:
    values, targets = separated(0.8, rows=300)
    assert found(values, targets) == found(values[::-1], targets[::-1])
