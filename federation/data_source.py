"""Where a site's rows come from: what a connector offers and a task reads, chunk by chunk.

A task cannot tell a CSV file from a database: both give text or NaN (`federation.cell_text`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pandas as pd

from federation.errors import DataError
from federation.table_columns import require_columns

ROWS_PER_CHUNK = 65_536
"""Rows of text that are in memory at a time."""

Pixels = npt.NDArray[np.uint8]


@runtime_checkable
class DataSource(Protocol):
    """The rows of one site as a table; all of them are this site's.

    The order of rows is part of the data: which rows are held out comes from it. The same rows come
    in the same order, however often they are read and in chunks of whatever size.
    """

    @property
    def name(self) -> str:
        """What errors call it: a file or a table; holds no password."""
        ...

    def columns(self) -> tuple[str, ...]:
        """The names of the columns.

        Raises:
            DataError: it cannot be read.
        """
        ...

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[pd.DataFrame]:
        """All rows, some at a time, with these columns in this order.

        Args:
            columns: some of `columns()`.
            rows: the most that a chunk has; none is empty.

        Yields:
            Cells as text or NaN; the index counts the source's rows from 0, over all chunks.

        Raises:
            DataError: it cannot be read, has no rows, or lacks a column; never tells a value.
        """
        ...


@runtime_checkable
class ImageSource(Protocol):
    """The images of one site, and a table of what is known of them, row for row."""

    @property
    def cells(self) -> DataSource:
        """Labels and whatever else is known, one row per image."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        ...

    def images(self, rows: int) -> Iterator[Pixels]:
        """All images in the order of `cells`, shape (N, channels, height, width), N <= rows.

        Raises:
            DataError: one cannot be read; tells its number, from 1.
        """
        ...


Source = DataSource | ImageSource


@dataclass(frozen=True, slots=True)
class FrameSource:
    """A table in memory, cells as text or NaN; its index is kept.

    Attributes:
        table: the rows.
        name: what errors call it.
    """

    table: pd.DataFrame
    name: str

    def columns(self) -> tuple[str, ...]:
        """The table's."""
        return tuple(self.table.columns)

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[pd.DataFrame]:
        """Slices of the table; none if it has no rows."""
        require_columns(self.table, columns, self.name)
        chosen = self.table[list(columns)]
        for start in range(0, len(chosen), rows):
            yield chosen.iloc[start : start + rows]


def table_of(source: Source, wanted_by: str) -> DataSource:
    """The source, if it is a table.

    Args:
        source: of rows.
        wanted_by: who reads it.

    Raises:
        DataError: it is one of images.
    """
    if isinstance(source, DataSource):
        return source
    raise DataError(
        f"{wanted_by} reads a table, and this site's [data] are images: give it kind = 'csv', "
        "'parquet' or 'sql', or choose a task of images"
    )
