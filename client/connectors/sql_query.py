"""One query of a SQL database: read only, streamed in the order that the site states.

Errors of a database may hold values of rows and are never passed on: their kind is.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

import pandas as pd

from client.connectors.password import read_password
from federation.cell_text import text_column
from federation.data_choice import SqlQuery
from federation.errors import ConfigError, DataError, UsageError
from federation.table_columns import require_columns

try:
    import sqlalchemy as sa
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError
except ImportError as missing:
    raise UsageError("data.kind = 'sql' takes SQLAlchemy: pip install 'hedgerow[sql]'") from missing

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine

CONNECT_SECONDS = 10
"""For which a database may take to answer at all."""

_STEPS_BETWEEN_LOOKS = 10_000
"""Instructions of SQLite's machine between two looks at the clock."""

_FAULTS = {
    "42P01": "there is no such table",
    "42703": "the query names a column that is not there",
    "42601": "the query is no valid SQL",
    "42501": "the user may not read it",
    "25006": "the query would write, and rows are only read",
    "57014": "it took longer than data.timeout_seconds",
}
"""By the standard's SQLSTATE, which PostgreSQL gives."""

_WORDS = {
    "password authentication failed": "the user or the password is wrong",
    "no password supplied": "it asks for a password; name a data.password_file",
    "no pg_hba.conf entry": "it does not let this user in from here",
    "connection refused": "nothing answers there",
    "could not translate host name": "there is no such host",
    "failed to resolve host": "there is no such host",
    "timeout expired": "nothing answers there",
    "no such table": "there is no such table",
    "no such column": "the query names a column that is not there",
    "syntax error": "the query is no valid SQL",
    "unable to open": "there is no such file, or it may not be read",
    "file is not a database": "the file is no SQLite database",
    "malformed": "the file is damaged",
    "readonly": "the query would write, and rows are only read",
    "query_only": "the query would write, and rows are only read",
    "interrupted": "it took longer than data.timeout_seconds",
    "locked": "another program has locked it",
}
"""What SQLite and a server that refuses a connection say in words alone."""


@dataclass(frozen=True)
class SqlSource:
    """The rows of a query.

    Attributes:
        engine: connects, with the password, when it is used.
        name: the database, without user and password.
        relation: a quoted table, or the query in brackets.
        order_by: columns that tell rows apart.
        timeout: seconds for which the database may work before it gives the next rows.
    """

    engine: "Engine"
    name: str
    relation: str
    order_by: tuple[str, ...]
    timeout: int

    @classmethod
    def open(cls, choice: SqlQuery, home: Path) -> "SqlSource":
        """The query of a site's policy; nothing is connected to yet.

        Raises:
            ConfigError: the URL is none, or the password cannot be had.
            UsageError: the database's driver is not installed.
        """
        try:
            url = sa.make_url(choice.url)
        except (ArgumentError, ValueError):
            raise ConfigError(
                "data.url", "(not shown)", "a URL such as postgresql://user@host:5432/database"
            ) from None
        if url.get_backend_name() == "sqlite":
            path = home / (url.database or "")
            engine, name = _sqlite(path), str(path)
        else:
            password = read_password(choice, home)
            engine = _postgresql(url.set(drivername="postgresql+psycopg", password=password))
            name = f"{url.database} at {url.host}:{url.port or 5432}"
        quoted = engine.dialect.identifier_preparer.quote_identifier
        if choice.query is None:
            table = str(choice.table)
            relation, name = ".".join(map(quoted, table.split(".", 1))), f"{table} of {name}"
        else:
            # On lines of its own: the query may end in a comment.
            relation = f"(\n{choice.query.strip().rstrip(';')}\n)"
        return cls(engine, name, relation, choice.order_by, choice.timeout_seconds)

    def columns(self) -> tuple[str, ...]:
        """Those that the query gives.

        Raises:
            DataError: the database cannot be reached or refuses; tells which, and no value.
        """
        with self._connection() as connection:
            statement = f"SELECT * FROM {self.relation} hedgerow_rows WHERE 1 = 0"  # noqa: S608 - the site's own
            names = list(_run(connection, statement).keys())
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise DataError(f"{self.name}: the query gives the column {repeated[0]} twice")
        return tuple(names)

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[pd.DataFrame]:
        """All rows, in the stated order.

        Raises:
            DataError: as `columns`; or a column is missing, there is no row, or rows are alike in
                `order_by`, so that their order is the database's whim.
        """
        there = pd.DataFrame(columns=list(self.columns()))
        require_columns(there, [*columns, *self.order_by], self.name)
        asked = list(dict.fromkeys([*columns, *self.order_by]))
        start, last = 0, None
        for batch in self._batches(asked, rows):
            values = {name: list(map(itemgetter(n), batch)) for n, name in enumerate(asked)}
            keys = list(zip(*(values[name] for name in self.order_by), strict=True))
            self._require_told_apart(keys if last is None else [last, *keys])
            last = keys[-1]
            index = pd.RangeIndex(start, start + len(batch))
            start += len(batch)
            texts = {name: text_column(values[name], name, self.name) for name in columns}
            yield pd.DataFrame(texts, columns=list(columns)).set_axis(index)
        if not start:
            raise DataError(f"{self.name} holds no rows")

    def _require_told_apart(self, keys: Sequence[tuple[Any, ...]]) -> None:
        if any(one == following for one, following in pairwise(keys)):
            raise DataError(
                f"{self.name}: rows are alike in {', '.join(self.order_by)}, so that they have no "
                "order of their own; let data.order_by name columns that tell all rows apart"
            )

    def _batches(self, columns: Sequence[str], rows: int) -> Iterator[Sequence[Any]]:
        quoted = self.engine.dialect.identifier_preparer.quote_identifier
        selected, order = (", ".join(map(quoted, names)) for names in (columns, self.order_by))
        statement = f"SELECT {selected} FROM {self.relation} hedgerow_rows ORDER BY {order}"  # noqa: S608 - the site's own
        with self._connection() as connection:
            result = _run(connection, statement, rows)
            while True:
                _begin_to_wait(connection, self.timeout)
                batch = result.fetchmany(rows)
                if not batch:
                    return
                yield batch

    @contextmanager
    def _connection(self) -> Iterator["Connection"]:
        """A read-only transaction, rolled back in the end."""
        try:
            with self.engine.connect() as connection:
                _begin_to_wait(connection, self.timeout)
                yield connection
        except SQLAlchemyError as error:
            self._refuse(error)

    def _refuse(self, error: SQLAlchemyError) -> NoReturn:
        original = getattr(error, "orig", None)
        state = getattr(original, "sqlstate", None)
        words = str(original).lower()
        known = [text for word, text in _WORDS.items() if word in words]
        fault = _FAULTS.get(state or "") or (known[0] if known else None)
        if fault is None:
            fault = f"it refuses with {type(original or error).__name__} {state or ''}".rstrip()
        # Not "from error": its text may hold values of rows.
        raise DataError(f"cannot read {self.name}: {fault}") from None


def _run(connection: "Connection", statement: str, rows: int | None = None) -> Any:
    """Rows of a statement that has no parameters, `:` and `%` in it notwithstanding."""
    streamed = {} if rows is None else {"yield_per": rows}
    options = connection.execution_options(no_parameters=True, **streamed)
    return options.exec_driver_sql(statement)


def _begin_to_wait(connection: "Connection", seconds: int) -> None:
    """Have the database stop when this takes longer, whatever comes next."""
    if connection.dialect.name == "sqlite":
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        deadline = time.monotonic() + seconds
        driver.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    elif not connection.info.get("is_timed"):
        # Holds for every FETCH of the cursor alike.
        connection.exec_driver_sql(f"SET statement_timeout = {seconds * 1000}")
        connection.info["is_timed"] = True


def _sqlite(path: Path) -> "Engine":
    """Opens a file that must be there, and reads only."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        connection.execute("PRAGMA query_only = ON")
        return connection

    return sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.NullPool)


def _postgresql(url: "URL") -> "Engine":
    try:
        return sa.create_engine(
            url,
            poolclass=sa.pool.NullPool,
            connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "hedgerow"},
            execution_options={
                "isolation_level": "REPEATABLE READ",
                "postgresql_readonly": True,
            },
        )
    except ImportError as error:
        raise UsageError(
            "a postgresql URL takes psycopg: pip install 'hedgerow[postgres]'"
        ) from error
