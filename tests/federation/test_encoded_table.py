"""A table read in parts is the table read at once, and so are its errors."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.data_source import FrameSource
from federation.encoded_table import TableLayout, encode_table
from federation.errors import DataError
from federation.schema import Categorical, Numeric, SensitiveAttribute, TaskSchema

LAYOUT = TableLayout(
    TaskSchema(
        (Numeric("x", 0, 1), Categorical("t", ("a", "b"))),
        "y",
        ("no", "yes"),
        (SensitiveAttribute("sex", ("F", "M")),),
    ),
    window_column="year",
    annotation_columns=("rater",),
)
CELLS = {
    "x": st.sampled_from(["0", "0.5", " 1", "-3", None]),
    "t": st.sampled_from(["a", "b ", "c", None]),
    "y": st.sampled_from(["no", " yes"]),
    "sex": st.sampled_from(["F", "M", "X", None]),
    "year": st.sampled_from(["2020", "2021 ", None]),
    "rater": st.sampled_from(["no", "yes", None]),
}
ROWS = st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=25)


def source(rows) -> FrameSource:
    return FrameSource(pd.DataFrame(rows, dtype="str"), "rows")


@given(ROWS, st.integers(1, 26))
def test_parts_of_any_size_give_the_same(rows, size: int) -> None:
    parts, whole = (encode_table(source(rows), LAYOUT, n) for n in (size, len(rows)))
    everything = np.arange(len(rows))[::-1]
    one, other = parts.rows(everything), whole.rows(everything)
    assert one.inputs.numpy().tobytes() == other.inputs.numpy().tobytes()
    np.testing.assert_array_equal(one.targets, other.targets)
    for name in ("x", "t"):
        np.testing.assert_array_equal(one.features[name], other.features[name])
    np.testing.assert_array_equal(one.groups["sex"], other.groups["sex"])
    for window in ("2020", "2021"):
        inside = [row["year"] is not None and row["year"].strip() == window for row in rows]
        assert parts.in_windows((window,)).tolist() == inside
    mine, theirs = parts.notes(everything), whole.notes(everything)
    np.testing.assert_array_equal(mine.numbers, everything + 1)
    np.testing.assert_array_equal(mine.annotations["rater"], theirs.annotations["rater"])


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("column", ["x", "y"])
def test_an_error_counts_over_all_parts(size: int, column: str) -> None:
    rows = [dict.fromkeys(CELLS, "no") | {"x": "1"} for _ in range(20)]
    rows[7][column] = rows[15][column] = "geheim"
    with pytest.raises(DataError, match=r"2 of 20 rows \(first: data row 8\)") as caught:
        encode_table(source(rows), LAYOUT, size)
    assert "geheim" not in str(caught.value)


def test_a_wrong_annotation_is_an_error_of_notes_alone() -> None:
    rows = [dict.fromkeys(CELLS, "no") | {"x": "1"} for _ in range(4)]
    rows[2]["rater"] = "maybe"
    table = encode_table(source(rows), LAYOUT, 2)
    assert len(table.rows(np.arange(4))) == 4
    with pytest.raises(DataError, match=r"column rater: 1 of 4 rows \(first: data row 3\)"):
        table.notes(np.arange(4))


def test_only_the_columns_that_are_needed_are_read() -> None:
    derived = {"sex": lambda table: table["code"]}
    layout = TableLayout(LAYOUT.schema, derived, ("code",))
    assert layout.read_from(("x", "t", "y", "code", "name")) == ("y", "x", "t", "code")
    unknown = TableLayout(LAYOUT.schema, derived)
    assert unknown.read_from(("x", "name")) == ("x", "name")
