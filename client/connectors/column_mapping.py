"""The site's words in the task's: columns renamed, codes read as levels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from federation.data_source import DataSource
from federation.errors import DataError
from federation.table_columns import require_columns


@dataclass(frozen=True, slots=True)
class MappedSource:
    """A table under the task's names.

    Attributes:
        source: as the site keeps it.
        rename: per column of the task, the source's.
        levels: per column of the task, what the source's codes mean; others stay.
    """

    source: DataSource
    rename: Mapping[str, str]
    levels: Mapping[str, Mapping[str, str]]

    @property
    def name(self) -> str:
        """As the source's."""
        return self.source.name

    def columns(self) -> tuple[str, ...]:
        """The task's names.

        Raises:
            DataError: it cannot be read, or a column that is renamed or has levels is not there.
        """
        return tuple(self._from())

    def chunks(self, columns: Sequence[str], rows: int) -> Iterator[pd.DataFrame]:
        """As the source's, in the task's words."""
        from_ = self._from()
        require_columns(pd.DataFrame(columns=list(from_)), columns, self.name)
        asked = list(dict.fromkeys(from_[column] for column in columns))
        for chunk in self.source.chunks(asked, rows):
            chosen = chunk[[from_[column] for column in columns]]
            chosen.columns = pd.Index(columns)
            yield self._with_levels(chosen)

    def _with_levels(self, chunk: pd.DataFrame) -> pd.DataFrame:
        changed = {
            column: _translated(chunk[column], levels)
            for column, levels in self.levels.items()
            if column in chunk
        }
        return chunk.assign(**changed) if changed else chunk

    def _from(self) -> dict[str, str]:
        """Per column of the task, the source's, in the source's order."""
        there = self.source.columns()
        missing = [column for column in self.rename.values() if column not in there]
        if missing:
            raise DataError(
                f"{self.name}: no column {', '.join(missing)}, which data.rename names; it has "
                f"{', '.join(there)}"
            )
        renamed = {column for task, column in self.rename.items() if task != column}
        kept = {c: c for c in there if c not in renamed and c not in self.rename}
        found = kept | dict(self.rename)
        foreign = [column for column in self.levels if column not in found]
        if foreign:
            raise DataError(
                f"{self.name}: no column {', '.join(foreign)}, which data.levels names; the task's "
                f"columns here are {', '.join(found)}"
            )
        return found


def _translated(column: pd.Series, levels: Mapping[str, str]) -> pd.Series:
    codes, values = pd.factorize(column)
    known = [levels.get(str(value).strip(), value) for value in values]
    return pd.Series([*known, None], dtype="str").take(codes).set_axis(column.index)
