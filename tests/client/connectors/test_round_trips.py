"""Any table comes out of every kind of source as the same text, in parts of whatever size."""

import datetime as dt
import sqlite3
import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres_server import PASSWORD, Server

from client.connectors import open_source
from client.connectors.arrow_text import arrow_text
from federation.cell_text import MISSING, number_text, text_column
from federation.data_choice import parse_data_choice
from federation.data_source import FrameSource
from federation.encoded_table import TableLayout, encode_table
from federation.schema import Categorical, Numeric, TaskSchema
from federation.table_columns import read_csv

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)
LEVELS = st.sampled_from(["a", "ä ß", 'say "x"', "x,y", "two\nlines", "NA", " b", "1", "1.0", ""])
NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=False, width=64),
    st.integers(-(2**53), 2**53).map(float),
    st.sampled_from([0.0, -0.0, 1e15, 1e16, 1e-5, 1e22, 5e-324, 0.1, 2.5e9]),
)
TABLES = st.lists(
    st.tuples(NUMBERS, st.one_of(LEVELS, TEXTS), st.sampled_from(["no", "yes"])),
    min_size=1, max_size=30,
)  # fmt: skip
LAYOUT = TableLayout(
    TaskSchema(
        (Numeric("x", -10, 10), Categorical("t", ("a", "ä ß", 'say "x"', "x,y", "1"))),
        "y",
        ("no", "yes"),
    )
)


def frame(rows) -> pd.DataFrame:
    numbers, texts, labels = zip(*rows, strict=True)
    return pd.DataFrame(
        {"x": numbers, "t": pd.Series(texts, dtype="object"), "y": labels, "n": range(len(rows))}
    )


def sources(rows: pd.DataFrame, folder: Path):
    rows.to_csv(folder / "rows.csv", index=False)
    rows.to_parquet(folder / "rows.parquet", index=False)
    connection = sqlite3.connect(folder / "rows.db")
    rows.to_sql("rows", connection, index=False)
    connection.close()
    for table in (
        {"kind": "csv", "path": "rows.csv"},
        {"kind": "parquet", "path": "rows.parquet"},
        {"kind": "sql", "url": "sqlite:///rows.db", "table": "rows", "order_by": ["n"]},
    ):
        yield open_source(parse_data_choice(table), folder)


def encoded_bytes(source, rows: int) -> list[bytes]:
    table = encode_table(source, LAYOUT, rows)
    made = table.rows(np.arange(len(table)))
    return [made.inputs.numpy().tobytes(), made.targets.numpy().tobytes(),
            *(values.tobytes() for values in made.features.values())]  # fmt: skip


@given(TABLES, st.integers(1, 9))
@settings(max_examples=60)
def test_a_task_cannot_tell_where_rows_came_from(rows, size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, table = Path(name), frame(rows)
        found = [encoded_bytes(source, size) for source in sources(table, folder)]
        whole = FrameSource(read_csv(folder / "rows.csv"), "the built-in table")
        found.append(encoded_bytes(whole, len(table)))
    assert all(one == found[0] for one in found)
    # and a number is what was written, to the last bit
    values = np.frombuffer(found[0][2], np.float64)
    assert values.tobytes() == (table["x"].to_numpy() + 0.0).tobytes() or table["x"].isna().any()


@given(TABLES)
@settings(max_examples=40)
def test_the_text_itself_is_the_same_in_parquet_and_sql(rows) -> None:
    with tempfile.TemporaryDirectory() as name:
        _, parquet, sql = sources(frame(rows), Path(name))
        one, other = (pd.concat(s.chunks(["x", "t", "n"], 4)) for s in (parquet, sql))
    pd.testing.assert_frame_equal(one, other)


@given(rows=TABLES)
@settings(max_examples=15)
def test_postgresql_gives_what_csv_gives(rows, postgres: Server) -> None:
    table = frame(rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        csv = next(sources(table, folder))
        with postgres.connect() as connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS trip")
            cursor.execute("CREATE TABLE trip (x double precision, t text, y text, n int)")
            cursor.executemany(
                "INSERT INTO trip VALUES (%s, %s, %s, %s)", table.to_numpy().tolist()
            )
        (folder / "p").write_text(PASSWORD)
        (folder / "p").chmod(0o600)
        choice = {"kind": "sql", "url": postgres.url, "table": "public.trip", "order_by": ["n"]}
        source = open_source(parse_data_choice(choice | {"password_file": "p"}), folder)
        assert encoded_bytes(source, 4) == encoded_bytes(csv, 7)


@pytest.mark.parametrize("text", sorted(MISSING))
def test_missing_is_what_pandas_reads_as_missing(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f'a,b\n"{text}",x\n{text}-,x\n', encoding="utf-8")
    column = read_csv(tmp_path / "t.csv")["a"]
    assert column.isna().tolist() == [True, False]
    assert text_column([text, f"{text}-"], "a", "t").isna().tolist() == [True, False]


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=5))
def test_no_other_text_is_missing(text: str) -> None:
    quoted = text.replace('"', '""')
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "t.csv"
        path.write_text(f'a,b\n"{quoted}",x\n', encoding="utf-8")
        assert read_csv(path)["a"].isna()[0] == text_column([text], "a", "t").isna()[0]


@given(NUMBERS)
def test_the_text_of_a_number_reads_as_the_number(value: float) -> None:
    text = number_text(value)
    if text is None:
        assert np.isnan(value)
    else:
        assert np.float64(text).tobytes() == np.float64(value + 0.0).tobytes()
        assert not text.endswith(".0")


def test_typed_cells_as_text() -> None:
    zone = dt.timezone(dt.timedelta(hours=1))
    cells = {
        "1": 1, "2": 2.0, "0.5": Decimal("0.50"), "100": Decimal("1E+2"), "True": True,
        "2026-01-31": dt.date(2026, 1, 31),
        "2026-01-31 12:00:00": dt.datetime(2026, 1, 31, 12),  # noqa: DTZ001
        "2026-01-31 12:00:00+01:00": dt.datetime(2026, 1, 31, 12, tzinfo=zone),
        "12:30:00": dt.time(12, 30),
    }  # fmt: skip
    assert text_column(list(cells.values()), "c", "t").tolist() == list(cells)
    assert text_column([None, float("nan"), Decimal("NaN")], "c", "t").isna().all()


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_(), pa.date32(),
     pa.timestamp("ns"), pa.decimal128(10, 2), pa.string(), pa.large_string()],
    ids=str,
)  # fmt: skip
def test_arrow_columns_are_written_as_their_values_are(kind) -> None:
    values = {"bool": [True, None], "date32[day]": [dt.date(2026, 1, 31), None],
              "timestamp[ns]": [dt.datetime(2026, 1, 31, 12), None],  # noqa: DTZ001
              "decimal128(10, 2)": [Decimal("1.50"), None],
              "string": ["1", " NA"], "large_string": ["1", None]}  # fmt: skip
    column = pa.array(values.get(str(kind), [1, None]), kind)
    expected = text_column(column.to_pylist(), "c", "t")
    pd.testing.assert_series_equal(arrow_text(column, "c", "t"), expected)
