"""Duplicates, conflicts and overlap are exact, as pandas counts them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.audit.repeated_rows import chance_alike, overlap, repeats, row_identities
from evaluation.audit.rows import AuditRows
from federation.schema import Categorical, Numeric, TaskSchema

SCHEMA = TaskSchema((Numeric("age", 0, 100), Categorical("sex", ("F", "M"))), "y", ("no", "yes"))
ROW = st.tuples(
    st.sampled_from([0.0, -0.0, 1.5, np.nan]), st.sampled_from([0.0, 1.0, 2.0, np.nan]),
    st.integers(0, 1),
)  # fmt: skip


def audit_rows(rows, inputs=None) -> AuditRows:
    table = np.array(rows, dtype=float).reshape(-1, 3)
    return AuditRows(
        {"age": table[:, 0], "sex": table[:, 1]}, table[:, 2].astype(np.int64), {}, inputs
    )


@given(st.lists(ROW))
def test_duplicates_and_conflicts_are_those_of_pandas(rows) -> None:
    part = audit_rows(rows)
    (identities,) = row_identities(SCHEMA, [part])
    found = repeats(identities, part.targets)
    table = pd.DataFrame({**part.features, "y": part.targets})
    table["age"] += 0.0
    groups = table.groupby(["age", "sex"], dropna=False)["y"]
    classes = groups.transform("nunique") if len(table) else table["y"]
    assert found.repeated == table.duplicated(["age", "sex"]).sum()
    assert found.repeated_with_label == table.duplicated().sum()
    assert found.conflicting_rows == (classes > 1).sum()
    assert found.conflicting_sets == sum(len(set(labels)) > 1 for _, labels in groups)


@given(st.lists(ROW), st.lists(ROW))
def test_overlap_is_that_of_a_set(train, held_out) -> None:
    parts = [audit_rows(train), audit_rows(held_out)]
    a, b = row_identities(SCHEMA, parts)
    found = overlap((a, parts[0].targets), (b, parts[1].targets))
    known = {(repr(r[0] + 0.0), repr(r[1]), r[2]) for r in train}
    keys = [(repr(r[0] + 0.0), repr(r[1]), r[2]) for r in held_out]
    assert found.shared_with_label == sum(key in known for key in keys)
    assert found.shared == sum(key[:2] in {k[:2] for k in known} for key in keys)
    assert found.held_out == len(held_out)


def test_52_planted_duplicates_are_52() -> None:
    draw = np.random.default_rng(0)
    rows = np.stack([draw.normal(size=5000), draw.integers(3, size=5000),
                     draw.integers(2, size=5000)], axis=1)  # fmt: skip
    copied = np.concatenate([rows, rows[draw.choice(5000, 52, replace=False)]])
    part = audit_rows(draw.permutation(copied))
    (identities,) = row_identities(SCHEMA, [part])
    found = repeats(identities, part.targets)
    assert (found.repeated, found.repeated_with_label, found.conflicting_rows) == (52, 52, 0)


def test_chance_of_alike_rows_is_the_share_of_alike_pairs_of_independent_features() -> None:
    draw = np.random.default_rng(0)
    table = np.stack([draw.integers(4, size=2000), draw.choice([0, 1, np.nan], 2000),
                      np.zeros(2000)], axis=1)  # fmt: skip
    part = audit_rows(table)
    (identities,) = row_identities(SCHEMA, [part])
    alike = (np.bincount(identities) ** 2).sum() / 2000**2
    assert chance_alike(SCHEMA, part) == pytest.approx(alike, rel=0.02)
    assert chance_alike(SCHEMA, audit_rows([])) == 0.0


def test_rows_of_equal_features_and_other_inputs_are_not_alike() -> None:
    rows = [(1.0, 0.0, 0), (1.0, 0.0, 0)]
    different = np.array([[0.1, 0.2], [0.1, 0.3]], dtype=np.float32)
    for inputs, repeated in ((different, 0), (different[[0, 0]], 1), (None, 1)):
        part = audit_rows(rows, inputs)
        (identities,) = row_identities(SCHEMA, [part])
        assert repeats(identities, part.targets).repeated == repeated


def test_a_task_without_features_is_told_apart_by_its_inputs() -> None:
    schema = TaskSchema((), "y", ("no", "yes"))
    part = AuditRows({}, np.array([0, 1, 1]), {}, np.eye(3, dtype=np.float32)[[0, 0, 1]])
    (identities,) = row_identities(schema, [part])
    assert identities.tolist() == [0, 0, 1]
