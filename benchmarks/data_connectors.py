"""Two million rows out of each kind of source: seconds, and memory beyond the rows themselves.

python benchmarks/data_connectors.py [ROWS]      a task of 13 features, each kind in a process of
                                                 its own; SQLite, CSV and Parquet
python benchmarks/data_connectors.py ROWS URL PASSWORD_FILE      PostgreSQL, too; makes and drops a
                                                 table `hedgerow_rows` there
"""

import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from client.connectors import open_source
from client.data_contract import check_source
from federation.data_choice import parse_data_choice
from federation.schema import Categorical, Numeric, SensitiveAttribute
from federation.table_columns import read_csv
from federation.tabular import TabularTask
from federation.task import SiteRequest

NUMBERS, LEVELS = 6, 7
PART = 100_000
TASK = TabularTask(
    None,
    label_column="y",
    classes=("no", "yes"),
    features=(
        *(Numeric(f"x{n}", -8, 8) for n in range(NUMBERS)),
        *(Categorical(f"c{n}", ("red", "green", "blue")) for n in range(LEVELS)),
    ),
    attributes=(SensitiveAttribute("sex", ("F", "M")),),
)
KINDS = ("built-in", "csv", "parquet", "sqlite", "postgresql")


def parts(rows: int) -> Iterator[pd.DataFrame]:
    """The table, some rows at a time."""
    generator = np.random.default_rng(2026)
    for start in range(0, rows, PART):
        count = min(PART, rows - start)
        yield pd.DataFrame(
            {"id": np.arange(start, start + count)}
            | {f"x{n}": generator.normal(size=count).round(3) for n in range(NUMBERS)}
            | {f"c{n}": generator.choice(["red", "green", "blue"], count) for n in range(LEVELS)}
            | {"sex": generator.choice(["F", "M"], count)}
            | {"y": generator.choice(["no", "yes"], count)}
        )


def write(folder: Path, rows: int, url: str | None, password: Path | None) -> dict[str, object]:
    """The table in every kind of source; per kind, the choice of it."""
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    database, writer = sqlite3.connect(folder / "rows.db"), None
    for number, part in enumerate(parts(rows)):
        part.to_csv(folder / "rows.csv", index=False, mode="a", header=number == 0)
        part.to_sql("rows", database, index=False, if_exists="append")
        table = pa.Table.from_pandas(part, preserve_index=False)
        writer = writer or pq.ParquetWriter(folder / "rows.parquet", table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    database.execute("CREATE UNIQUE INDEX by_id ON rows (id)")
    database.close()
    order = {"order_by": ["id"]}
    choices: dict[str, object] = {
        "csv": {"kind": "csv", "path": "rows.csv"},
        "parquet": {"kind": "parquet", "path": "rows.parquet"},
        "sqlite": {"kind": "sql", "url": "sqlite:///rows.db", "table": "rows"} | order,
    }
    if url and password:
        _write_postgresql(url, password, folder / "rows.csv")
        secret = {"password_file": str(password.resolve())}
        choices["postgresql"] = {
            "kind": "sql", "url": url, "table": "hedgerow_rows",
        } | order | secret  # fmt: skip
    return choices


def _write_postgresql(url: str, password: Path, csv: Path) -> None:
    import psycopg  # noqa: PLC0415 - an extra

    numbers = ", ".join(f"x{n} double precision" for n in range(NUMBERS))
    levels = ", ".join(f"c{n} text" for n in range(LEVELS))
    columns = f"id bigint PRIMARY KEY, {numbers}, {levels}, sex text, y text"
    with psycopg.connect(url, password=password.read_text().strip(), autocommit=True) as there:
        there.execute("DROP TABLE IF EXISTS hedgerow_rows")
        there.execute(f"CREATE TABLE hedgerow_rows ({columns})")
        with (
            there.cursor().copy("COPY hedgerow_rows FROM STDIN (FORMAT csv, HEADER)") as copy,
            csv.open("rb") as file,
        ):
            while data := file.read(1 << 20):
                copy.write(data)


def megabytes() -> float:
    """The most that this process has held, resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(kind: str, folder: Path) -> None:
    """Print one line of JSON: loading (and checking) in this process."""
    before, started = megabytes(), time.perf_counter()
    if kind == "built-in":
        task, asked = _built_in(folder), SiteRequest("a", 1)
    else:
        choice = parse_data_choice(json.loads((folder / "choices.json").read_text())[kind])
        source = open_source(choice, folder)
        task, asked = TASK, SiteRequest("a", 1, source)
    data = task.load(asked)
    loaded = time.perf_counter() - started
    kept = sum(
        rows.inputs.numpy().nbytes + rows.targets.numpy().nbytes
        + sum(v.nbytes for v in (*rows.features.values(), *rows.groups.values()))
        for rows in (data.train, data.reference, data.current)
    ) / 2**20  # fmt: skip
    peak = megabytes() - before
    checked = None
    if asked.source is not None:
        started = time.perf_counter()
        assert not check_source(asked.source, task, len(data.train)).findings
        checked = time.perf_counter() - started
    print(json.dumps({"kind": kind, "load_s": loaded, "check_s": checked, "kept": kept,
                      "peak": peak}))  # fmt: skip


def _built_in(folder: Path) -> TabularTask:
    return TabularTask(
        lambda: read_csv(folder / "rows.csv").assign(site="a"),
        site_column="site", label_column="y", classes=("no", "yes"),
        features=TASK.schema.features, attributes=TASK.schema.attributes,
    )  # fmt: skip


def main() -> None:
    """Write the sources, measure each in a fresh process, print a table."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--one"]:
        measure(arguments[1], Path(arguments[2]))
        return
    rows = int(arguments[0]) if arguments else 2_000_000
    url, password = (arguments[1], Path(arguments[2])) if len(arguments) == 3 else (None, None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        choices = write(folder, rows, url, password)
        (folder / "choices.json").write_text(json.dumps(choices))
        print(f"{rows:,} rows, {NUMBERS} numbers and {LEVELS} levels; MB are resident memory")
        print("source        load s  check s  rows kept MB  most beyond them MB")
        for kind in (k for k in KINDS if k == "built-in" or k in choices):
            command = [sys.executable, __file__, "--one", kind, name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            checked = "-" if found["check_s"] is None else f"{found['check_s']:.1f}"
            beyond = found["peak"] - found["kept"]
            print(f"{kind:<12} {found['load_s']:7.1f} {checked:>8} {found['kept']:13.0f} "
                  f"{beyond:20.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
