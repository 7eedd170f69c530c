"""Counts give fairlearn's numbers to the last bit, 0/0 and NaN included, for any partition."""

import itertools
import warnings

import fairlearn.metrics as theirs
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from evaluation import fairlearn_compat, group_metrics
from evaluation.fairlearn_compat import MetricFrame

METRICS = {
    "selection_rate": (theirs.selection_rate, group_metrics.selection_rate),
    "true_positive_rate": (theirs.true_positive_rate, group_metrics.true_positive_rate),
    "true_negative_rate": (theirs.true_negative_rate, group_metrics.true_negative_rate),
    "false_positive_rate": (theirs.false_positive_rate, group_metrics.false_positive_rate),
    "false_negative_rate": (theirs.false_negative_rate, group_metrics.false_negative_rate),
    "precision": (sklearn_metrics.precision_score, group_metrics.precision),
    "accuracy": (sklearn_metrics.accuracy_score, group_metrics.accuracy),
    "zero_one_loss": (sklearn_metrics.zero_one_loss, fairlearn_compat.zero_one_loss),
    "balanced_accuracy": (
        sklearn_metrics.balanced_accuracy_score,
        fairlearn_compat.balanced_accuracy,
    ),
    "f1": (sklearn_metrics.f1_score, group_metrics.f1),
}
METHODS = ("between_groups", "to_overall")
CRITERIA = ("demographic_parity", "equal_opportunity", "equalized_odds")

# Cells that are 0 more often than not: groups of one class, rates of nothing, empty groups.
cell = st.one_of(st.just(0), st.just(0), st.integers(0, 30))
confusions = st.integers(1, 9).flatmap(
    lambda groups: st.lists(
        st.lists(cell, min_size=4, max_size=4), min_size=groups, max_size=groups
    ).map(np.array)
)
many_groups = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        np.random.default_rng(seed).integers(0, 4, (72, 4))
        * np.random.default_rng(seed + 1).integers(0, 2, (72, 4))
    )
)
few = confusions.filter(lambda table: table.sum() > 1)  # fairlearn refuses a table of one row
tables = st.one_of(few, few, many_groups)


def rows_of(confusion):
    """Labels, predictions and place among the leading axes, of rows with these counts."""
    cells = np.argwhere(np.ones_like(confusion))
    rows = np.repeat(cells, confusion.ravel(), axis=0)
    return rows[:, -1] // 2, rows[:, -1] % 2, rows[:, :-1]


def quietly(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn and pandas warn of what is 0/0
        return function(*arguments, **options)


def their_frame(confusion):
    y, predicted, places = rows_of(confusion)
    control = places[:, 0] if confusion.ndim == 3 else None
    return quietly(
        theirs.MetricFrame,
        metrics={name: pair[0] for name, pair in METRICS.items()},
        y_true=y,
        y_pred=predicted,
        sensitive_features=pd.Series(places[:, -1], name="group"),
        control_features=None if control is None else pd.Series(control, name="cohort"),
    )


def assert_same_frame(confusion):
    frame, kept = their_frame(confusion), confusion.any(axis=-1)
    columns = {
        "overall": frame.overall,
        "group_min": quietly(frame.group_min),
        "group_max": quietly(frame.group_max),
    }
    columns |= {("difference", m): quietly(frame.difference, method=m) for m in METHODS}
    columns |= {("ratio", m): quietly(frame.ratio, method=m) for m in METHODS}
    for name, (_, metric) in METRICS.items():
        mine = MetricFrame(metric, confusion)
        np.testing.assert_array_equal(
            mine.by_group[kept], frame.by_group[name].dropna().to_numpy(), strict=True
        )
        assert np.all(np.isnan(mine.by_group[~kept]))
        for column, expected in columns.items():
            what, *arguments = (column,) if isinstance(column, str) else column
            found = getattr(mine, what)
            found = found(*arguments) if callable(found) else found
            populated = found[kept.any(axis=-1)] if confusion.ndim == 3 else found
            wanted = np.asarray(expected[name], dtype=float)
            np.testing.assert_array_equal(populated, wanted, err_msg=f"{name} {column}")


@given(few)
@example(np.array([[5, 0, 2, 0], [3, 0, 1, 0]]))  # nobody is selected
@example(np.array([[0, 0, 2, 4], [3, 1, 0, 0], [0, 0, 0, 0]]))  # groups of one class
@settings(max_examples=8, deadline=None)
def test_metric_frame_is_fairlearns(confusion) -> None:
    assert_same_frame(confusion)


@pytest.mark.slow
@given(tables)
@settings(max_examples=100, deadline=None)
def test_metric_frame_is_fairlearns_of_up_to_72_groups(confusion) -> None:
    assert_same_frame(confusion)


@given(
    st.integers(2, 3).flatmap(
        lambda controls: st.lists(
            st.lists(st.lists(cell, min_size=4, max_size=4), min_size=3, max_size=3),
            min_size=controls,
            max_size=controls,
        ).map(np.array)
    )
)
@settings(max_examples=6, deadline=None)
def test_metric_frame_with_a_control_feature_is_fairlearns(confusion) -> None:
    if confusion.sum() > 1 and np.count_nonzero(confusion.any(axis=(1, 2))) > 1:
        assert_same_frame(confusion)


def assert_same_criteria(confusion):
    y, predicted, places = rows_of(confusion)
    for criterion, kind, method in itertools.product(CRITERIA, ("difference", "ratio"), METHODS):
        name = f"{criterion}_{kind}"
        aggregates = ("worst_case", "mean") if criterion == "equalized_odds" else (None,)
        for aggregate in aggregates:
            options = {"method": method} | ({"agg": aggregate} if aggregate else {})
            expected = quietly(
                getattr(theirs, name), y, predicted, sensitive_features=places[:, 0], **options
            )
            found = getattr(fairlearn_compat, name)(confusion, **options)
            np.testing.assert_array_equal(found, expected, err_msg=f"{name} {options}")


@given(few)
@example(np.array([[5, 0, 2, 0], [3, 0, 1, 0]]))
@example(np.array([[5, 0, 1, 3], [4, 0, 2, 2]]))  # every false positive rate is 0
@example(np.array([[5, 1, 3, 0], [4, 2, 2, 0]]))  # every true positive rate is 0
@settings(max_examples=3, deadline=None)
def test_criteria_are_fairlearns_by_both_methods_and_aggregates(confusion) -> None:
    assert_same_criteria(confusion)


@pytest.mark.slow
@given(tables)
@example(np.array([[5, 0, 0, 0], [3, 0, 0, 0]]))
@settings(max_examples=60, deadline=None)
def test_criteria_are_fairlearns_of_up_to_72_groups(confusion) -> None:
    assert_same_criteria(confusion)


@given(few)
@settings(max_examples=5, deadline=None)
def test_derived_metrics_are_fairlearns(confusion) -> None:
    y, predicted, places = rows_of(confusion)
    accuracy = MetricFrame(group_metrics.accuracy, confusion)
    loss = MetricFrame(fairlearn_compat.zero_one_loss, confusion)
    balanced = MetricFrame(fairlearn_compat.balanced_accuracy, confusion)
    expected = {
        "accuracy_score_difference": accuracy.difference(),
        "accuracy_score_ratio": accuracy.ratio(),
        "zero_one_loss_group_max": loss.group_max(),
        "zero_one_loss_ratio": loss.ratio(),
        "balanced_accuracy_score_group_min": balanced.group_min(),
        "f1_score_group_min": MetricFrame(group_metrics.f1, confusion).group_min(),
    }
    for name, mine in expected.items():
        function = getattr(theirs, name)
        found = quietly(function, y, predicted, sensitive_features=places[:, 0])
        np.testing.assert_array_equal(mine, found, err_msg=name)


@given(tables, st.integers(1, 9), st.integers(0, 1000))
def test_how_rows_are_spread_over_sites_does_not_matter(confusion, sites, seed) -> None:
    """Summed counts are the pooled ones, so that every number made from them is the same."""
    y, predicted, places = rows_of(confusion)
    site_of = np.random.default_rng(seed).integers(0, sites, len(y))
    summed = np.zeros_like(confusion)
    for site in range(sites):
        here = site_of == site
        np.add.at(summed, (places[here, 0], 2 * y[here] + predicted[here]), 1)
    np.testing.assert_array_equal(summed, confusion)


@given(few)
def test_report_gaps_are_fairlearns_where_nothing_is_zero_over_zero(confusion) -> None:
    confusion = np.concatenate([confusion, confusion[::-1]]) + 1
    for criterion, kind in itertools.product((*CRITERIA, "accuracy"), ("difference", "ratio")):
        main = getattr(group_metrics, f"{criterion}_{kind}")
        for gap in (main, *main.variants):
            options = {"agg": gap.aggregate} if criterion == "equalized_odds" else {}
            compat = getattr(fairlearn_compat, gap.name)(confusion, method=gap.method, **options)
            assert float(gap(confusion)) == compat


def test_compas_by_race_as_published() -> None:
    """Larson et al. 2016: decile >= 5 against two-year recidivism, African-American and Caucasian.

    fairlearn's numbers on these 6,150 rows, and the differences of the published rates.
    """
    compas = np.array([[990, 805, 532, 1369], [1139, 349, 461, 505]])
    assert 100 * fairlearn_compat.equalized_odds_difference(compas) == pytest.approx(
        44.85 - 23.45, abs=0.01
    )
    assert 100 * fairlearn_compat.equal_opportunity_difference(compas) == pytest.approx(
        47.72 - 27.99, abs=0.01
    )
    y, predicted, places = rows_of(compas)
    for name in ("demographic_parity_difference", "demographic_parity_ratio"):
        expected = getattr(theirs, name)(y, predicted, sensitive_features=places[:, 0])
        assert getattr(fairlearn_compat, name)(compas) == expected
    assert fairlearn_compat.demographic_parity_difference(compas) == pytest.approx(0.24, abs=0.005)
