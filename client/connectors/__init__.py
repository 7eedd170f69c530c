"""Where a site's rows are, as its `site.toml` says: files, a database, a folder of images."""

from pathlib import Path

from federation.data_choice import (
    CsvFiles,
    DataChoice,
    ImageFolder,
    ParquetFiles,
    SqlQuery,
)
from federation.data_source import DataSource, Source


def open_source(choice: DataChoice, home: Path) -> Source:
    """The site's rows; nothing is read yet.

    Args:
        choice: `[data]` of the site's policy.
        home: the site's folder, which paths are seen from.

    Raises:
        UsageError: reading this kind takes a package that is not installed.
        ConfigError: the password cannot be had.
        DataError: there is no such file or folder.
    """
    # Each imports what reads its kind, and a site needs one of them.
    match choice:
        case CsvFiles():
            from client.connectors.csv_files import CsvSource  # noqa: PLC0415

            return _mapped(CsvSource.open(choice, home), choice)
        case ParquetFiles():
            from client.connectors.parquet_files import ParquetSource  # noqa: PLC0415

            return _mapped(ParquetSource.open(choice, home), choice)
        case SqlQuery():
            from client.connectors.sql_query import SqlSource  # noqa: PLC0415

            return _mapped(SqlSource.open(choice, home), choice)
        case ImageFolder():
            from client.connectors.image_folder import open_images  # noqa: PLC0415

            return open_images(choice, home)


def key_columns(choice: DataChoice) -> tuple[str, ...]:
    """What tells rows apart, in the task's words, where reading does not see to it; may be none."""
    if not isinstance(choice, CsvFiles | ParquetFiles):
        return ()  # in a database, rows that are alike in order_by are refused when they are read
    task = {column: name for name, column in choice.rename.items()}
    return tuple(task.get(column, column) for column in choice.key)


def _mapped(source: DataSource, choice: DataChoice) -> DataSource:
    from client.connectors.column_mapping import MappedSource  # noqa: PLC0415

    return MappedSource(source, choice.rename, choice.levels)
