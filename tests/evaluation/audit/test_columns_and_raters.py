"""Columns, classes and raters against hand counts, scipy, scikit-learn and a worked example."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from sklearn.metrics import cohen_kappa_score, log_loss

from evaluation.audit.annotator_agreement import agreements, cohen, fleiss
from evaluation.audit.class_balance import group_class_counts, majority
from evaluation.audit.column_quality import column_counts, missing_gap, missing_p_value
from evaluation.audit.rows import AuditRows, require_rows
from federation.errors import DataError
from federation.schema import Categorical, Numeric, SensitiveAttribute, TaskSchema

SCHEMA = TaskSchema(
    (Numeric("age", 0, 100), Categorical("ward", ("a", "b"))),
    "y",
    ("no", "yes"),
    (SensitiveAttribute("sex", ("F", "M")),),
)
ROWS = AuditRows(
    {
        "age": np.array([-1.0, 0.0, 100.0, 101.0, np.nan, 200.0]),
        "ward": np.array([2.0, 2.0, 0.0, np.nan, np.nan, 0.0]),
    },
    np.array([0, 0, 0, 1, 1, 1]),
    {"sex": np.array([0, 0, 1, 2, 1, 1])},
)

FLEISS_1971 = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip
"""Ten subjects, fourteen raters, five categories; Fleiss' kappa of this worked example is 0.210."""


def test_columns_are_counted_at_both_sides_of_their_bounds() -> None:
    age, ward = column_counts(SCHEMA, ROWS)
    assert (age.below, age.above, age.other, age.missing.tolist()) == (1, 2, 0, [0, 1])
    assert (ward.below, ward.above, ward.other, ward.missing.tolist()) == (0, 0, 2, [0, 2])
    assert (age.distinct, ward.distinct, age.is_constant) == (5, 2, False)


@pytest.mark.parametrize(
    ("values", "constant"),
    [([1, 1], True), ([np.nan] * 2, True), ([1, np.nan], False), ([1, 2], False), ([1], False)],
)
def test_a_constant_column_has_one_value_or_none(values, constant) -> None:
    schema = TaskSchema((Numeric("age", 0, 100),), "y", ("no", "yes"))
    rows = AuditRows({"age": np.array(values, dtype=float)}, np.zeros(len(values), dtype=int))
    assert column_counts(schema, rows)[0].is_constant is constant


def test_missing_by_label_is_pearsons_chi_square() -> None:
    by_label, missing = np.array([200, 100]), np.array([10, 20])
    expected = np.array([[20, 10], [180, 90]])
    seen = np.stack([missing, by_label - missing])
    statistic = ((seen - expected) ** 2 / expected).sum()
    assert missing_p_value(by_label, missing) == pytest.approx(chi2.sf(statistic, 1))
    assert missing_gap(by_label, missing) == pytest.approx(0.15)
    assert missing_p_value(by_label, np.array([0, 0])) is None
    assert missing_gap(np.array([5, 0]), np.array([1, 0])) is None


def test_groups_are_counted_by_class() -> None:
    assert group_class_counts(SCHEMA, ROWS)["sex"].tolist() == [[2, 0], [1, 2], [0, 1]]


def test_the_majority_baseline_is_that_of_the_labels() -> None:
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    yardstick = majority(np.bincount(labels))
    assert (yardstick.label, yardstick.accuracy) == (0, 0.5)
    quoted = np.tile([0.5, 0.3, 0.2], (10, 1))
    assert yardstick.log_loss == pytest.approx(log_loss(labels, quoted))
    assert majority(np.zeros(2, dtype=int)) is None


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=4, max_size=60).filter(
        lambda rows: len({label for row in rows for label in row}) > 1
    )
)
def test_cohens_kappa_is_sklearns(rows) -> None:
    first, second = np.array(rows).T
    gap = np.array([-1])
    ours = cohen(("a", "b"), np.append(first, gap), np.append(second, [1]), classes=3)
    assert ours.rows == len(rows)
    assert ours.kappa == pytest.approx(cohen_kappa_score(first, second))


def test_fleiss_example() -> None:
    votes = np.array([np.repeat(np.arange(5), counts) for counts in FLEISS_1971])
    raters = {f"r{number:02d}": votes[:, number] for number in range(14)}
    assert fleiss(raters, 5).kappa == pytest.approx(0.210, abs=5e-4)


def test_raters_are_compared_by_two_and_together() -> None:
    same, other = np.array([0, 1, 0, 1, -1]), np.array([1, 0, 1, 0, 0])
    found = {one.raters: one for one in agreements({"a": same, "b": same, "c": other}, 2)}
    assert found["a", "b"].kappa == 1.0
    assert found["a", "c"].kappa == -1.0
    assert found["a", "b", "c"].rows == 4
    assert [one.raters for one in agreements({"a": same, "b": same}, 2)] == [("a", "b")]
    nobody = np.full(5, -1)
    assert cohen(("a", "b"), same, nobody, 2).kappa is None
    assert cohen(("a", "b"), np.zeros(3, int), np.zeros(3, int), 2).kappa is None  # one class


@pytest.mark.parametrize(
    ("column", "values", "named"),
    [
        ("age", np.array([np.inf] * 6), "train, feature age: expected finite"),
        ("ward", np.array([3.0] * 6), "train, feature ward"),
        ("ward", np.array([0.5] * 6), "train, feature ward"),
        ("age", np.zeros(5), r"train, feature age: expected \(6,\)"),
    ],
)
def test_rows_that_break_the_schema_are_refused(column, values, named) -> None:
    broken = AuditRows({**ROWS.features, column: values}, ROWS.targets, ROWS.groups)
    with pytest.raises(DataError, match=named):
        require_rows(SCHEMA, broken, "train")


def test_what_is_absent_or_too_much_is_named() -> None:
    with pytest.raises(DataError, match="train, column ward"):
        require_rows(SCHEMA, AuditRows({"age": ROWS.features["age"]}, ROWS.targets), "train")
    groups = {"sex": np.full(6, 3)}
    with pytest.raises(DataError, match="attribute sex"):
        require_rows(SCHEMA, AuditRows(ROWS.features, ROWS.targets, groups), "train")
    require_rows(SCHEMA, ROWS, "train")
