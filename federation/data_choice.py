"""`[data]` of a site's `site.toml`: where its rows are, without a password in it."""

import codecs
import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from federation.errors import ConfigError
from federation.section import Section
from federation.settings_file import validated

Text = Annotated[str, Field(min_length=1)]

DATABASES = ("sqlite", "postgresql", "postgresql+psycopg")
"""Those that this is tested with: read only, streamed, and stopped when they take too long."""

_SECRET = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)
_HIDDEN = "(not shown)"


class TableChoice(Section):
    """What is the same for every table."""

    rename: dict[str, Text] = Field(default_factory=dict)
    """Which column of the source is the task's: `{ age = "AGE_YEARS" }`."""
    levels: dict[str, dict[str, str]] = Field(default_factory=dict)
    """What the source's codes mean, per column of the task: `{ sex = { "1" = "male" } }`; whatever
    is not named stays as it is."""


class CsvFiles(TableChoice):
    """CSV files with a header, read in the order of their names."""

    kind: Literal["csv"]
    """Says which of these sections it is."""
    path: Text
    """A file, or a pattern such as `rows/*.csv`, seen from the site's home."""
    encoding: Text = "utf-8"
    """Of the text: `utf-8`, `latin-1`, `cp1252`, ..."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """What stands between cells."""
    key: tuple[str, ...] = ()
    """Columns that tell rows apart, in the source's words; `hedgerow site check` looks for
    repetitions."""

    @model_validator(mode="after")
    def _a_known_encoding(self) -> Self:
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise ConfigError(
                "data.encoding", self.encoding, "an encoding such as utf-8, latin-1 or cp1252"
            ) from error
        return self


class ParquetFiles(TableChoice):
    """Parquet files, read in the order of their names; takes the extra `parquet`."""

    kind: Literal["parquet"]
    """Says which of these sections it is."""
    path: Text
    """A file, or a pattern such as `rows/*.parquet`, seen from the site's home."""
    key: tuple[str, ...] = ()
    """Columns that tell rows apart, in the source's words; `hedgerow site check` looks for
    repetitions."""


class SqlQuery(TableChoice):
    """One query of a database, or a table; takes the extra `sql`, for PostgreSQL `postgres`."""

    kind: Literal["sql"]
    """Says which of these sections it is."""
    url: Text
    """`sqlite:///file.db`, seen from the site's home, or `postgresql://user@host:5432/database`;
    never with a password."""
    table: Text | None = None
    """A table or view, `name` or `schema.name`; or else:"""
    query: Text | None = None
    """A SELECT, without ORDER BY."""
    order_by: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Columns that tell rows apart, and order them: the same rows in the same order every time,
    since which rows are held out comes from it."""
    password_file: Text | None = None
    """A file with the password, for its owner alone (0600), seen from the site's home; or:"""
    password_env: Text | None = None
    """The environment variable with the password."""
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 600
    """For which the database may work before it gives the next rows."""

    @property
    def key(self) -> tuple[str, ...]:
        """What tells rows apart."""
        return self.order_by

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        _require_database(self.url)
        if (self.table is None) == (self.query is None):
            raise ConfigError("data.query", self.query, "either a query or a table")
        if self.query is not None:
            _require_select(self.query)
        if self.password_file is not None and self.password_env is not None:
            raise ConfigError(
                "data.password_file", self.password_file, "this or password_env, not both"
            )
        return self


class ImageFolder(TableChoice):
    """Images in a folder, with a table of labels or in a sub-folder per class; extra `images`."""

    kind: Literal["images"]
    """Says which of these sections it is."""
    path: Text
    """The folder, seen from the site's home."""
    labels: Text | None = None
    """A CSV file in the folder, a row per image; without it, a sub-folder's name is its images'
    label."""
    file_column: Text = "file"
    """Of `labels`: the image, seen from the folder."""
    label_column: Text = "label"
    """What the sub-folder's name is called."""
    height: Annotated[int, Field(ge=1, le=4096)]
    """In pixels; images of another size are resized, bilinearly."""
    width: Annotated[int, Field(ge=1, le=4096)]
    """In pixels."""
    channels: Literal[1, 3] = 3
    """1: grey, 3: red, green, blue."""


DataChoice = CsvFiles | ParquetFiles | SqlQuery | ImageFolder
KINDS: dict[str, type[DataChoice]] = {
    "csv": CsvFiles,
    "parquet": ParquetFiles,
    "sql": SqlQuery,
    "images": ImageFolder,
}


def parse_data_choice(table: object) -> DataChoice:
    """The `[data]` section.

    Raises:
        ConfigError: the first thing that is wrong with it; never shows what may be a password.
    """
    if isinstance(table, DataChoice):
        return table
    if not isinstance(table, dict):
        raise ConfigError("data", _HIDDEN, "a table: [data] with kind = 'csv', for instance")
    _require_no_secret(table)
    chosen = KINDS.get(str(table.get("kind")))
    if chosen is None:
        raise ConfigError("data.kind", table.get("kind"), f"one of {', '.join(KINDS)}")
    try:
        return validated(chosen, table)
    except ConfigError as wrong:
        raise ConfigError(f"data.{wrong.key}", wrong.value, wrong.expected, wrong.remedy) from None


def _require_no_secret(table: dict[str, Any]) -> None:
    for key in table:
        if _SECRET.search(key) and key not in SqlQuery.model_fields:
            raise ConfigError(
                f"data.{key}", _HIDDEN, "no secret in site.toml",
                "put it into a file for its owner alone and name that: password_file",
            )  # fmt: skip
    url = table.get("url")
    if not isinstance(url, str):
        return
    try:
        parts = urlsplit(url)
        asked = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
        # An "@" behind the host: a password with "/" in it, which ends the host too early.
        has_secret = parts.password is not None or "@" in parts.path
        has_secret = has_secret or any(_SECRET.search(name) for name in asked)
        _ = parts.port
    except ValueError:
        raise ConfigError(
            "data.url", _HIDDEN, "a URL such as postgresql://user@host:5432/database"
        ) from None
    if has_secret:
        raise ConfigError(
            "data.url", _HIDDEN, "a URL without a password",
            "put it into a file for its owner alone and name that: password_file",
        )  # fmt: skip


def _require_database(url: str) -> None:
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in DATABASES:
        raise ConfigError(
            "data.url", scheme if separator else _HIDDEN,
            "sqlite:///file.db or postgresql://user@host:5432/database",
            "export the rows of another database to Parquet or CSV",
        )  # fmt: skip


def _require_select(query: str) -> None:
    """Return if a query begins as one that reads; that it only reads, the database sees to."""
    bare = re.sub(r"--[^\n]*|/\*.*?\*/", " ", query, flags=re.DOTALL).strip()
    if not re.match(r"(select|with)\b", bare, re.IGNORECASE):
        raise ConfigError(
            "data.query", bare.split(maxsplit=1)[0] if bare else "", "a SELECT",
            "rows are only read",
        )  # fmt: skip
