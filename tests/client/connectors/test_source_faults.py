"""What can be wrong with a site's data is one line that shows no value and no password."""

import os
import socket
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from postgres_server import PASSWORD, Server

from client.connectors import open_source
from federation.data_choice import parse_data_choice
from federation.errors import ConfigError, DataError, HedgerowError

SECRET = "geheim-4711"


def read(table: dict[str, object], home: Path, columns=("a", "b")):
    source = open_source(parse_data_choice(table), home)
    return [chunk for part in source.chunks(list(columns), 2) for chunk in part.to_numpy().tolist()]


def refused(table: dict[str, object], home: Path, columns=("a", "b")) -> str:
    with pytest.raises(HedgerowError) as caught:
        read(table, home, columns)
    text = str(caught.value)
    assert isinstance(caught.value, DataError | ConfigError), text
    assert "\n" not in text
    assert SECRET not in text
    assert PASSWORD not in text
    assert caught.value.__cause__ is None  # nothing that a traceback would show
    return text


CSV = {"kind": "csv", "path": "t.csv"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"a,b\n", "holds a header and no rows"),
        (b"a;b\n1;2\n", "set data.delimiter"),
        (b"a\n1\n", "no column b"),
        (b"a,a\n1,2\n", "stands there twice"),
        (b"a,b\n1,2\n3,4,geheim-4711\n", "expected 2 fields in line 3"),
        (b"a,b\n1,2,geheim-4711\n3,4,5\n", "more cells than the header"),
        ("a,b\nä,2\n".encode("latin-1"), "set data.encoding"),
        ("a,b\n1,2\n3,4\n5,6\nä,2\n".encode("latin-1"), "set data.encoding"),
        (b'a,b\n"geheim-4711,2\n', "is no CSV table"),
    ],
    ids=["empty", "header", "delimiter", "column", "twice", "long", "slipped", "latin", "late",
         "quote"],
)  # fmt: skip
def test_csv(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert says in refused(CSV, tmp_path)


def test_files_that_are_not_there_or_not_alike(tmp_path: Path) -> None:
    assert "no data file" in refused(CSV, tmp_path)
    assert "no data file" in refused(CSV | {"path": "*.csv"}, tmp_path)
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("b,c\n1,2\n")
    assert "2.csv has not the columns of" in refused(CSV | {"path": "*.csv"}, tmp_path)
    (tmp_path / "2.csv").write_text("b,a\n4,3\n")
    assert read(CSV | {"path": "*.csv"}, tmp_path) == [["1", "2"], ["3", "4"]]


def test_rename_and_levels(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("A,b,x\n1,2,9\n5,,9\n")
    mapped = {"rename": {"a": "A"}, "levels": {"a": {"1": "one"}}}
    assert read(CSV | mapped, tmp_path)[0] == ["one", "2"]
    assert read(CSV | mapped, tmp_path)[1][0] == "5"
    assert "data.rename names" in refused(CSV | {"rename": {"a": "B"}}, tmp_path)
    assert "data.levels names" in refused(CSV | {"levels": {"q": {"1": "x"}}}, tmp_path)
    with pytest.raises(DataError, match="no column A"):
        read(CSV | mapped, tmp_path, ["A"])


def test_parquet(tmp_path: Path) -> None:
    table = {"kind": "parquet", "path": "t.parquet"}
    path = tmp_path / "t.parquet"
    path.write_text("geheim-4711")
    assert "no Parquet file, or is damaged" in refused(table, tmp_path)
    pd.DataFrame({"a": range(5000), "b": [SECRET] * 5000}).to_parquet(path, compression="gzip")
    data = bytearray(path.read_bytes())
    data[50:4000] = b"\xff" * 3950
    path.write_bytes(data)
    assert "damaged" in refused(table, tmp_path)
    pd.DataFrame({"a": [1], "b": [[SECRET]]}).to_parquet(path)
    assert "its cells are list" in refused(table, tmp_path)
    pd.DataFrame({"a": [], "b": []}).to_parquet(path)
    assert "holds no rows" in refused(table, tmp_path)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    assert "no column b" in refused(table, tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    connection = sqlite3.connect(tmp_path / "t.db")
    connection.executescript(
        "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2, 'geheim-4711'), (3, NULL);"
        "CREATE TABLE vacant (a, b); CREATE TABLE same (a, b);"
        "INSERT INTO same VALUES (1, 1), (2, 2), (2, 3); CREATE TABLE bytes (a, b);"
        "INSERT INTO bytes VALUES (1, x'00');"
    )
    connection.close()
    return tmp_path


SQLITE = {"kind": "sql", "url": "sqlite:///t.db", "order_by": ["a"]}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"table": "u"}, "there is no such table"),
        ({"table": "vacant"}, "holds no rows"),
        ({"table": "same"}, "alike in a"),
        ({"table": "bytes"}, "its cells are bytes"),
        ({"table": "t", "order_by": ["id"]}, "no column id"),
        ({"query": "SELECT a FROM t"}, "no column b"),
        ({"query": "SELECT a, b, q FROM t"}, "names a column that is not there"),
        ({"query": "SELECT a,, b FROM t"}, "no valid SQL"),
        ({"query": "DELETE FROM t"}, "expected a SELECT"),
        ({"query": "/* SELECT */ UPDATE t SET a = 1"}, "expected a SELECT"),
        ({"query": "SELECT a, b FROM t) q; DELETE FROM t; --"}, "cannot read"),
        ({"url": "sqlite:///none.db", "table": "t"}, "no such file"),
        ({"url": "sqlite:///junk.db", "table": "t"}, "no SQLite database"),
        ({"timeout_seconds": 1, "query":
          "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n) "
          "SELECT sum(a) AS a, 1 AS b FROM n"}, "took longer than data.timeout_seconds"),
    ],
)  # fmt: skip
def test_sqlite(asked, says: str, database: Path) -> None:
    (database / "junk.db").write_text("geheim-4711" * 500)
    assert says in refused(SQLITE | asked, database)
    with sqlite3.connect(database / "t.db") as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)
    assert not (database / "none.db").exists()


def test_colons_percent_signs_and_comments_in_a_query(database: Path) -> None:
    query = "SELECT a, '5 %:b %s' AS b FROM t; -- 100 % :x"
    with pytest.raises(DataError):
        read(SQLITE | {"query": query}, database)  # a semicolon within
    query = "SELECT a, '5 %:b %s' AS b FROM t -- 100 % :x"
    assert read(SQLITE | {"query": query}, database)[2] == ["3", "5 %:b %s"]
    assert read(SQLITE | {"query": "SELECT * FROM t;"}, database)[1] == ["2", SECRET]


@pytest.fixture
def clinic(postgres: Server, tmp_path: Path):
    with postgres.connect() as connection:
        connection.execute("DROP TABLE IF EXISTS t; CREATE TABLE t (a int, b text)")
        connection.execute(f"INSERT INTO t VALUES (1, 'x'), (2, '{SECRET}'), (3, NULL)")
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "password").chmod(0o600)
    return {"kind": "sql", "url": postgres.url, "table": "t", "order_by": ["a"],
            "password_file": "password"}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"table": "u"}, "there is no such table"),
        ({"query": "SELECT a, a, b FROM t"}, "gives the column a twice"),
        ({"table": "pg_authid", "order_by": ["oid"]}, "no column a"),
        ({"query": "SELECT a, b::int AS b FROM t"}, "it refuses with InvalidTextRepresentation"),
        ({"query": "WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d"}, "cannot read"),
        ({"query": "SELECT a, set_config('x.y', nextval('s')::text, true) b FROM t"},
         "there is no such table"),
        ({"query": "SELECT 1 AS a, pg_sleep(60)::text AS b", "timeout_seconds": 1},
         "took longer than data.timeout_seconds"),
        ({"url": "postgresql://reader@127.0.0.1:{port}/nowhere"}, "cannot read"),
        ({"url": "postgresql://nobody@127.0.0.1:{port}/clinic"}, "user or the password is wrong"),
        ({"password_file": "wrong"}, "user or the password is wrong"),
        ({"password_file": None}, "asks for a password"),
        ({"password_file": "open"}, "a file for its owner alone"),
        ({"password_file": "none"}, "can be read"),
        ({"password_file": None, "password_env": "NOT_SET_HERE"}, "that is set"),
    ],
)  # fmt: skip
def test_postgresql(asked, says: str, clinic, postgres: Server, tmp_path: Path) -> None:
    for name, mode in (("wrong", 0o600), ("open", 0o644)):
        (tmp_path / name).write_text(SECRET)
        (tmp_path / name).chmod(mode)
    table = {key: value for key, value in (clinic | asked).items() if value is not None}
    if "query" in asked:
        del table["table"]
    table["url"] = table["url"].format(port=postgres.port)
    assert says in refused(table, tmp_path)
    with postgres.connect() as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)


def test_a_database_that_is_down(clinic, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        url = f"postgresql://reader@127.0.0.1:{port}/clinic"
        assert "nothing answers there" in refused(clinic | {"url": url}, tmp_path)


def test_a_password_out_of_the_environment(clinic, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CLINIC_PASSWORD", PASSWORD)
    table = {k: v for k, v in clinic.items() if k != "password_file"}
    assert read(table | {"password_env": "CLINIC_PASSWORD"}, tmp_path)[0] == ["1", "x"]


def test_no_password_is_kept_where_it_could_be_printed(clinic, tmp_path: Path) -> None:
    source = open_source(parse_data_choice(clinic), tmp_path)
    assert PASSWORD not in repr(source)
    assert PASSWORD not in source.name
    assert PASSWORD not in str(os.environ)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": f"postgresql://u:{SECRET}@h/db"}, "data.url = '(not shown)'"),
        ({"url": f"postgresql://u:{SECRET}/x@h/db"}, "data.url = '(not shown)'"),
        ({"url": f"postgresql://u:47/{SECRET}@h/db"}, "data.url = '(not shown)'"),
        ({"url": f"postgresql://u@h/db?password={SECRET}"}, "data.url = '(not shown)'"),
        ({"password": SECRET}, "data.password = '(not shown)'"),
        ({"url": "mysql://u@h/db"}, "data.url = 'mysql'"),
        ({"order_by": []}, "data.order_by"),
        ({"order_by": None}, "data.order_by = None"),
        ({"query": "SELECT 1"}, "either a query or a table"),
        ({"password_file": "x", "password_env": "y"}, "not both"),
        ({"kind": "oracle"}, "data.kind = 'oracle'"),
    ],
)
def test_settings_that_are_refused(changes, says: str) -> None:
    table = {"kind": "sql", "url": "postgresql://u@h/db", "table": "t", "order_by": ["a"]}
    table = {k: v for k, v in (table | changes).items() if v is not None}
    with pytest.raises(ConfigError) as caught:
        parse_data_choice(table)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)
