"""CSV files, read in parts: the cells are the file's text."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from client.connectors.file_pattern import matching_files
from federation.data_choice import CsvFiles
from federation.errors import DataError
from federation.table_columns import require_columns

_OTHER_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class CsvSource:
    """The rows of one or several files, with the same columns each, in any order.

    Attributes:
        files: in the order in which they are read.
        encoding: of their text.
        delimiter: between cells.
    """

    files: tuple[Path, ...]
    encoding: str = "utf-8"
    delimiter: str = ","

    @classmethod
    def open(cls, choice: CsvFiles, home: Path) -> "CsvSource":
        """The files that a site's policy means.

        Raises:
            DataError: there are none.
        """
        return cls(matching_files(choice.path, home), choice.encoding, choice.delimiter)

    @property
    def name(self) -> str:
        """The first file."""
        return str(self.files[0])

    def columns(self) -> tuple[str, ...]:
        """Those of the first file; the others have the same.

        Raises:
            DataError: a file cannot be read, repeats a column, or has others than the first.
        """
        first, *others = [(path, self._header(path)) for path in self.files]
        for path, header in others:
            if set(header) != set(first[1]):
                differing = ", ".join(sorted(set(header) ^ set(first[1])))
                raise DataError(f"{path} has not the columns of {first[0]}: {differing}")
        return first[1]

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[pd.DataFrame]:
        """All rows, file by file.

        Raises:
            DataError: a file cannot be read, or there is no row.
        """
        there = self.columns()
        require_columns(pd.DataFrame(columns=list(there)), columns, self.name)
        start = 0
        for path in self.files:
            for chunk in self._chunks_of(path, rows):
                # All columns are parsed and few are kept: asked for some alone, pandas says
                # nothing of lines that are too long, whose cells have slipped.
                chosen = chunk.rename(columns=str.strip)[list(columns)]
                chosen.index = pd.RangeIndex(start, start + len(chunk))
                start += len(chunk)
                yield chosen
        if not start:
            raise DataError(f"{self.name} holds a header and no rows")

    def _header(self, path: Path) -> tuple[str, ...]:
        with _Reading(path, self.encoding):
            header = pd.read_csv(path, header=None, nrows=1, **self._settings)
        names = [str(name).strip() for name in header.iloc[0]]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise DataError(f"{path}: the column {repeated[0]} stands there twice")
        if len(names) == 1:
            for other in _OTHER_DELIMITERS:
                if other != self.delimiter and other in names[0]:
                    raise DataError(
                        f"{path} has one column when cells end at {self.delimiter!r}, and its "
                        f"header holds {other!r}: set data.delimiter in site.toml"
                    )
        return tuple(names)

    def _chunks_of(self, path: Path, rows: int) -> Iterator[pd.DataFrame]:
        with _Reading(path, self.encoding):
            reader = pd.read_csv(path, index_col=False, chunksize=rows, **self._settings)
        with reader:
            while True:
                with _Reading(path, self.encoding):
                    chunk = next(reader, None)
                if chunk is None:
                    return
                if len(chunk):
                    yield chunk

    @property
    def _settings(self) -> dict[str, Any]:
        # As federation.table_columns.read_csv, whose text this is.
        return {
            "dtype": str,
            "skipinitialspace": True,
            "encoding": self.encoding,
            "sep": self.delimiter,
        }


class _Reading:
    """Turns what can go wrong with a file into one line, without any of its text."""

    def __init__(self, path: Path, encoding: str) -> None:
        self._path, self._encoding = path, encoding
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> None:
        self._warnings.__enter__()
        warnings.simplefilter("error", pd.errors.ParserWarning)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._warnings.__exit__(None, None, None)
        match error:
            case UnicodeError():
                raise DataError(
                    f"{self._path} is not {self._encoding} text; set data.encoding in site.toml to "
                    "what it was saved as"
                ) from None
            case pd.errors.EmptyDataError():
                raise DataError(f"{self._path} is empty; it takes a header and rows") from None
            case pd.errors.ParserError() | pd.errors.ParserWarning():
                raise DataError(
                    f"{self._path} is no CSV table: {_place_of(error)}; cells that hold the "
                    "delimiter stand in double quotes"
                ) from None
            case OSError():
                raise DataError(
                    f"cannot read the data file {self._path}: {error.strerror or 'damaged'}"
                ) from None


def _place_of(error: Exception) -> str:
    """What pandas says of the numbers of cells and the line; nothing else of its text."""
    _, found, place = str(error).partition("Expected ")
    return f"expected {place.strip()}" if found else "a line has more cells than the header"
