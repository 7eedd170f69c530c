"""Heart's four hospitals out of every kind of source: the same rows and splits to the last bit."""

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from postgres_server import PASSWORD, Server

from client.connectors import open_source
from federation import tabular
from federation.data_choice import parse_data_choice
from federation.data_source import DataSource
from federation.schema import Numeric
from federation.task import Rows, SiteRequest
from simulations.tasks.acs_employment import AcsEmploymentTask
from simulations.tasks.heart import FEATURES, HeartTask

TASK = HeartTask()
TABLE = pd.read_csv("simulations/tasks/data/heart.csv", dtype=str)
NUMBERS = [feature.name for feature in FEATURES if isinstance(feature, Numeric)]


def typed(site: str) -> pd.DataFrame:
    """A hospital's rows as a database has them: numbers, a truth value, text, and a serial."""
    rows = TABLE[TABLE["site"] == site].drop(columns="site").reset_index(drop=True)
    rows[NUMBERS] = rows[NUMBERS].apply(pd.to_numeric)
    rows.insert(0, "id", np.arange(len(rows)))
    return rows


def as_csv(rows: pd.DataFrame, folder: Path) -> dict[str, object]:
    half = len(rows) // 2
    for name, part in (("1.csv", rows[:half]), ("2.csv", rows[half:])):
        part.to_csv(folder / name, index=False, sep=";", encoding="latin-1")
    return {"kind": "csv", "path": "*.csv", "delimiter": ";", "encoding": "latin-1"}


def as_parquet(rows: pd.DataFrame, folder: Path) -> dict[str, object]:
    changed = rows.astype({"cp": "category", "chol": "float32", "age": "int16"})
    changed.to_parquet(folder / "rows.parquet", row_group_size=37)
    return {"kind": "parquet", "path": "rows.parquet"}


def as_sqlite(rows: pd.DataFrame, folder: Path) -> dict[str, object]:
    connection = sqlite3.connect(folder / "rows.db")
    shuffled = rows.sample(frac=1, random_state=1)  # order_by puts them back
    shuffled.to_sql("patients", connection, index=False)
    connection.close()
    return {"kind": "sql", "url": "sqlite:///rows.db", "table": "patients", "order_by": ["id"]}


def as_postgres(rows: pd.DataFrame, server: Server, folder: Path) -> dict[str, object]:
    kinds = {"id": "integer", "age": "smallint", "oldpeak": "numeric(6,2)", "chol": "real"}
    kinds |= {"trestbps": "double precision", "thalach": "double precision", "ca": "bigint"}
    columns = ", ".join(f'"{name}" {kinds.get(name, "text")}' for name in rows.columns)
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS patients; CREATE TABLE patients ({columns})")
        with cursor.copy("COPY patients FROM STDIN") as copy:
            for row in rows.sample(frac=1, random_state=1).itertuples(index=False):
                copy.write_row([None if pd.isna(v) else _whole(v) for v in row])
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "password").chmod(0o600)
    return {
        "kind": "sql", "url": server.url, "query": "SELECT * FROM patients -- all: 100 %",
        "order_by": ["id"], "password_file": "password",
    }  # fmt: skip


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def opened(table: dict[str, object], folder: Path) -> DataSource:
    source = open_source(parse_data_choice(table), folder)
    assert isinstance(source, DataSource)
    return source


def assert_same(one: Rows, other: Rows) -> None:
    assert one.inputs.numpy().tobytes() == other.inputs.numpy().tobytes()
    assert one.inputs.dtype == other.inputs.dtype
    assert one.inputs.shape == other.inputs.shape
    assert one.targets.numpy().tobytes() == other.targets.numpy().tobytes()
    for mine, theirs in ((one.features, other.features), (one.groups, other.groups)):
        assert list(mine) == list(theirs)
        for name, values in mine.items():
            assert values.dtype == theirs[name].dtype
            assert values.tobytes() == theirs[name].tobytes()


@pytest.mark.parametrize("site", TASK.sites)
@pytest.mark.parametrize("kind", ["csv", "parquet", "sqlite", "postgres"])
@pytest.mark.parametrize("rows", [50, pytest.param(65_536, marks=pytest.mark.slow)])
def test_every_source_gives_what_the_built_in_table_gives(
    site: str, kind: str, rows: int, tmp_path: Path, postgres: Server, monkeypatch
) -> None:
    monkeypatch.setattr(tabular, "ROWS_PER_CHUNK", rows)
    exports = {"csv": as_csv, "parquet": as_parquet, "sqlite": as_sqlite}
    if kind == "postgres":
        table = as_postgres(typed(site), postgres, tmp_path)
    else:
        table = exports[kind](typed(site), tmp_path)
    asked = SiteRequest(site, 7, opened(table, tmp_path))
    theirs, mine = TASK.load(SiteRequest(site, 7)), TASK.load(asked)
    for part in ("train", "reference", "current"):
        assert_same(getattr(mine, part), getattr(theirs, part))
    assert_same(TASK.load_window(asked, "reference"), theirs.reference)
    notes, first = TASK.notes(asked), TASK.notes(SiteRequest(site, 7))
    offset = first.train.numbers[0] - notes.train.numbers[0]
    np.testing.assert_array_equal(first.current.numbers, notes.current.numbers + offset)


def test_windows_and_derived_attributes_of_a_source(tmp_path: Path) -> None:
    task, site = AcsEmploymentTask(), "region-03"
    whole = task._table
    rows = whole[whole["site"] == site].drop(columns="site")
    rows.to_csv(tmp_path / "rows.csv", index=False)
    source = opened({"kind": "csv", "path": "rows.csv"}, tmp_path)
    asked, built_in = SiteRequest(site, 3, source), SiteRequest(site, 3)
    mine, theirs = task.load(asked), task.load(built_in)
    for part in ("train", "reference", "current"):
        assert_same(getattr(mine, part), getattr(theirs, part))
    for window in task.windows:
        assert_same(task.load_window(asked, window), task.load_window(built_in, window))
