"""Parquet files, read in parts: whatever their types, the cells come as text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from client.connectors.file_pattern import matching_files
from federation.data_choice import ParquetFiles
from federation.errors import DataError, UsageError
from federation.table_columns import require_columns

try:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from client.connectors.arrow_text import arrow_text
except ImportError as missing:
    raise UsageError(
        "data.kind = 'parquet' takes pyarrow: pip install 'hedgerow[parquet]'"
    ) from missing

_BUFFER = 1 << 20
"""Bytes of a column that are read ahead; without a buffer a whole row group is in memory."""


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """The rows of one or several files, with the same columns each, in any order.

    Attributes:
        files: in the order in which they are read.
    """

    files: tuple[Path, ...]

    @classmethod
    def open(cls, choice: ParquetFiles, home: Path) -> "ParquetSource":
        """The files that a site's policy means.

        Raises:
            DataError: there are none.
        """
        return cls(matching_files(choice.path, home))

    @property
    def name(self) -> str:
        """The first file."""
        return str(self.files[0])

    def columns(self) -> tuple[str, ...]:
        """Those of the first file; the others have the same.

        Raises:
            DataError: a file cannot be read, repeats a column, or has others than the first.
        """
        first, *others = [(path, _header(path)) for path in self.files]
        for path, header in others:
            if set(header) != set(first[1]):
                differing = ", ".join(sorted(set(header) ^ set(first[1])))
                raise DataError(f"{path} has not the columns of {first[0]}: {differing}")
        return first[1]

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[pd.DataFrame]:
        """All rows, file by file.

        Raises:
            DataError: a file cannot be read, holds what has no text, or there is no row.
        """
        require_columns(pd.DataFrame(columns=list(self.columns())), columns, self.name)
        start = 0
        for path in self.files:
            for batch in _batches(path, columns, rows):
                texts = {name: arrow_text(batch[name], name, str(path)) for name in columns}
                index = pd.RangeIndex(start, start + len(batch))
                start += len(batch)
                yield pd.DataFrame(texts).set_axis(index)
        if not start:
            raise DataError(f"{self.name} holds no rows")


def _header(path: Path) -> tuple[str, ...]:
    with _opened(path) as file:
        names = list(file.schema_arrow.names)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: the column {repeated[0]} stands there twice")
    return tuple(names)


def _batches(path: Path, columns: Sequence[str], rows: int) -> Iterator[Any]:
    with _opened(path) as file:
        batches = file.iter_batches(batch_size=rows, columns=list(columns), use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError):
                raise _damaged(path) from None
            if batch is None:
                return
            if len(batch):
                yield batch


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(  # type: ignore[no-untyped-call] # pyarrow has no types
            path, buffer_size=_BUFFER, pre_buffer=False
        )
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise DataError(f"cannot read the data file {path}: {error.strerror}") from None
    except (pa.ArrowException, OSError):
        raise _damaged(path) from None


def _damaged(path: Path) -> DataError:
    return DataError(f"{path} is no Parquet file, or is damaged; export it again")
