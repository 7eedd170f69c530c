"""A site's table as numbers: read chunk by chunk, so that its text is never in memory as a whole.

Numbers are kept as float64, everything else as codes of one byte where that is enough; `Rows` with
the model's inputs are made of chosen rows only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from federation.data_source import ROWS_PER_CHUNK, DataSource
from federation.errors import DataError
from federation.schema import Feature, Numeric, TaskSchema
from federation.table_columns import (
    Flags,
    WrongCells,
    encode_inputs,
    group_codes,
    input_width,
    level_codes,
    no_label,
    no_number,
    numeric_values,
    require_columns,
    wrong_cells,
)
from federation.task import UNLABELLED, Codes, Floats, RowNotes, Rows

Derive = Callable[[pd.DataFrame], pd.Series]
Numbers = npt.NDArray[Any]  # float64, or the smallest integer type that holds all codes

Place = tuple[str, str]
"""What a column is to a task, and which."""

NO_WINDOW = -1
"""Code of a row whose window is missing."""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """What the columns of a task's table are.

    Attributes:
        schema: the task's.
        derived: per attribute that is no column, a function of some rows to their levels.
        derived_columns: what these functions read beside features and label; None if that is not
            known, and they are given all columns.
        window_column: names each row's window in time, if there is one.
        annotation_columns: labels that single people gave.
    """

    schema: TaskSchema
    derived: Mapping[str, Derive] = field(default_factory=dict)
    derived_columns: tuple[str, ...] | None = None
    window_column: str | None = None
    annotation_columns: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """The columns without which a table cannot be read."""
        direct = [a.name for a in self.schema.attributes if a.name not in self.derived]
        windows = [self.window_column] if self.window_column else []
        known = self.derived_columns or ()
        features = [f.name for f in self.schema.features]
        columns = [self.schema.label, *windows, *direct, *self.annotation_columns]
        return tuple(dict.fromkeys([*columns, *features, *known]))

    def read_from(self, there: Sequence[str]) -> tuple[str, ...]:
        """The columns to read out of those that are there."""
        everything = self.derived and self.derived_columns is None
        return tuple(there) if everything else self.required

    def groups(self, table: pd.DataFrame, source: str) -> dict[str, Codes]:
        """Per sensitive attribute, each row's group, shape (N,).

        Raises:
            DataError: an attribute cannot be derived; tells the kind of fault and no value.
        """
        return {
            a.name: group_codes(
                self._derive(a.name, table, source) if a.name in self.derived else table[a.name], a
            )
            for a in self.schema.attributes
        }

    def _derive(self, name: str, table: pd.DataFrame, source: str) -> pd.Series:
        try:
            derived = pd.Series(self.derived[name](table))
        except Exception as error:
            # The kind of fault alone: what a library says of it may hold a row's value.
            raise DataError(
                f"{source}: deriving {name} failed with {type(error).__name__}; it is the task's "
                "own function: try it on the rows"
            ) from error
        if len(derived) != len(table):
            raise DataError(
                f"{source}: deriving {name} gave {len(derived)} values for {len(table)} rows"
            )
        return derived


@dataclass(frozen=True, slots=True)
class EncodedTable:
    """N rows of one site.

    Attributes:
        layout: what they were read as.
        source: what errors call the table.
        labels: class index, shape (N,).
        features: per feature, shape (N,): the number, NaN if missing; or the level's index,
            `len(levels)` for others, one more if missing.
        groups: per sensitive attribute, shape (N,).
        windows: index into `window_names` or NO_WINDOW, shape (N,); None without windows.
        window_names: in the order in which they were met.
        annotations: per column, class index or UNLABELLED, shape (N,).
        wrong_annotations: of the columns where something stands that is no class.
        numbers: where each row stands in its table, from 1, shape (N,).
    """

    layout: TableLayout
    source: str
    labels: Numbers
    features: Mapping[str, Numbers]
    groups: Mapping[str, Numbers]
    windows: Numbers | None
    window_names: tuple[str, ...]
    annotations: Mapping[str, Numbers]
    wrong_annotations: Mapping[str, WrongCells]
    numbers: Codes

    def __len__(self) -> int:
        return len(self.labels)

    def in_windows(self, names: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Whether each row is in one of these windows, shape (N,)."""
        assert self.windows is not None
        codes = [code for code, name in enumerate(self.window_names) if name in names]
        return np.isin(self.windows, codes)

    def window_indices(self, names: Sequence[str]) -> Codes:
        """Each row's window as an index into `names`, NO_WINDOW for another one or none, (N,)."""
        assert self.windows is not None
        place = {name: index for index, name in enumerate(names)}
        known = [place.get(name, NO_WINDOW) for name in self.window_names]
        return np.array([*known, NO_WINDOW], np.int64)[self.windows]

    def notes(self, chosen: Codes) -> RowNotes:
        """What is known of these rows beside what a model may see.

        Raises:
            DataError: an annotation is no class.
        """
        for name, cells in self.wrong_annotations.items():
            raise no_label(self.source, name, self.layout.schema.classes, cells)
        return RowNotes(
            self.numbers[chosen],
            {name: codes[chosen].astype(np.int64) for name, codes in self.annotations.items()},
        )

    def rows(self, chosen: Codes) -> Rows:
        """The rows with these indices, in this order."""
        features = {f.name: self._feature(f, chosen) for f in self.layout.schema.features}
        return Rows(
            self._inputs(features, len(chosen)),
            torch.from_numpy(self.labels[chosen].astype(np.int64)),
            features,
            {name: codes[chosen].astype(np.int64) for name, codes in self.groups.items()},
        )

    def _feature(self, feature: Feature, chosen: Codes) -> Floats:
        values: Floats = self.features[feature.name][chosen].astype(np.float64)
        if not isinstance(feature, Numeric):
            values[values == len(feature.levels) + 1] = np.nan
        return values

    def _inputs(self, features: Mapping[str, Floats], rows: int) -> torch.Tensor:
        declared = self.layout.schema.features
        inputs = np.empty((rows, input_width(declared)), dtype=np.float32)
        for start in range(0, rows, ROWS_PER_CHUNK):
            stretch = slice(start, start + ROWS_PER_CHUNK)
            part = {name: values[stretch] for name, values in features.items()}
            inputs[stretch] = encode_inputs(part, declared)
        return torch.from_numpy(inputs)


def encode_table(source: DataSource, layout: TableLayout, rows: int) -> EncodedTable:
    """All rows of a source as numbers.

    Args:
        source: read once.
        layout: what its columns are.
        rows: how many are text at a time.

    Raises:
        DataError: a column is missing, a number is text, or a label is none of the classes; tells
            how many and where the first is, never what it holds.
    """
    there = source.columns()
    require_columns(pd.DataFrame(columns=list(there)), layout.required, source.name)
    reading = _Reading(layout, source.name)
    for chunk in source.chunks(layout.read_from(there), rows):
        reading.add(chunk)
    return reading.encoded()


class _Reading:
    """What has been read of a source so far, per column in parts."""

    def __init__(self, layout: TableLayout, source: str) -> None:
        self._layout, self._source = layout, source
        self._parts: dict[Place, list[Numbers]] = {}
        self._wrong: dict[Place, WrongCells] = {}
        self._windows: dict[str, int] = {}

    def add(self, chunk: pd.DataFrame) -> None:
        """Read some rows."""
        layout, schema = self._layout, self._layout.schema
        self._keep(("number", ""), chunk.index.to_numpy(dtype=np.int64) + 1)
        self._add_labels(("label", ""), chunk[schema.label])
        for feature in schema.features:
            column, place = chunk[feature.name], ("feature", feature.name)
            if isinstance(feature, Numeric):
                values, wrong = numeric_values(column)
                self._note(place, wrong, column)
                self._keep(place, values)
            else:
                codes = level_codes(column, feature.levels)
                codes[column.isna().to_numpy()] = len(feature.levels) + 1
                self._keep(place, _compact(codes, len(feature.levels) + 1))
        groups = layout.groups(chunk, self._source)
        for attribute in schema.attributes:
            codes = _compact(groups[attribute.name], len(attribute.levels))
            self._keep(("group", attribute.name), codes)
        if layout.window_column:
            self._keep(("window", ""), self._window_codes(chunk[layout.window_column]))
        for name in layout.annotation_columns:
            self._add_labels(("annotation", name), chunk[name], empty_is=UNLABELLED)

    def encoded(self) -> EncodedTable:
        """All that was read."""
        layout, schema = self._layout, self._layout.schema
        if not self._parts:  # a table without rows has columns all the same
            self.add(pd.DataFrame(columns=list(layout.read_from(layout.required)), dtype="str"))
        if wrong := self._wrong.get(("label", "")):
            raise no_label(self._source, schema.label, schema.classes, wrong)
        for feature in schema.features:
            if wrong := self._wrong.get(("feature", feature.name)):
                raise no_number(self._source, feature.name, wrong)
        return EncodedTable(
            layout=layout,
            source=self._source,
            labels=self._whole(("label", "")),
            features={f.name: self._whole(("feature", f.name)) for f in schema.features},
            groups={a.name: self._whole(("group", a.name)) for a in schema.attributes},
            windows=self._whole(("window", "")) if layout.window_column else None,
            window_names=tuple(self._windows),
            annotations={n: self._whole(("annotation", n)) for n in layout.annotation_columns},
            wrong_annotations={
                name: self._wrong[kind, name] for kind, name in self._wrong if kind == "annotation"
            },
            numbers=self._whole(("number", "")),
        )

    def _add_labels(self, place: Place, column: pd.Series, empty_is: int | None = None) -> None:
        classes = self._layout.schema.classes
        codes = level_codes(column, classes)
        if empty_is is not None:
            codes[column.isna().to_numpy()] = empty_is
        self._note(place, codes == len(classes), column)
        self._keep(place, _compact(codes, len(classes)))

    def _window_codes(self, column: pd.Series) -> Numbers:
        codes, names = pd.factorize(column)
        known = [self._windows.setdefault(str(n).strip(), len(self._windows)) for n in names]
        return np.array([*known, NO_WINDOW], dtype=np.int32)[codes]

    def _note(self, place: Place, wrong: Flags, column: pd.Series) -> None:
        """Count what is wrong; the rows before and after it belong to the count, too."""
        cells, before = wrong_cells(wrong, column), self._rows_before(place)
        if place in self._wrong:
            self._wrong[place] += cells
        elif cells.wrong:
            self._wrong[place] = WrongCells(0, before, 0) + cells

    def _rows_before(self, place: Place) -> int:
        return sum(len(part) for part in self._parts.get(place, ()))

    def _keep(self, place: Place, values: Numbers) -> None:
        self._parts.setdefault(place, []).append(values)

    def _whole(self, place: Place) -> Numbers:
        """One column; its parts are given up, so that one column at most is held twice."""
        return np.concatenate(self._parts.pop(place))


def _compact(codes: Codes, largest: int) -> Numbers:
    """The codes, -1 to `largest`, in the smallest type that holds them."""
    return codes.astype(np.min_scalar_type(-max(largest, 1) - 1))
