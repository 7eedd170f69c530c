"""A task from one table: the kit for bringing one's own CSV in a few lines."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from federation.boosted_trees import BoostedTrees, TreeOptions, boosting_loss
from federation.data_source import ROWS_PER_CHUNK, FrameSource, table_of
from federation.encoded_table import Derive, EncodedTable, Numbers, TableLayout, encode_table
from federation.errors import ConfigError, DataError
from federation.schema import Feature, SensitiveAttribute, TaskSchema
from federation.table_columns import (
    Flags,
    level_codes,
    read_csv,
    require_columns,
    split_generator,
)
from federation.tabular_model import TabularModel, hidden_widths, tabular_model, tree_settings
from federation.task import (
    CURRENT,
    REFERENCE,
    Codes,
    RowOrder,
    Rows,
    SiteData,
    SiteNotes,
    SiteOrder,
    SiteRequest,
)


class TabularTask:
    """A model for the rows of one table, each of one site: linear, a small network, or trees."""

    def __init__(  # noqa: PLR0913 - keyword arguments that describe one table
        self,
        table: Path | Callable[[], pd.DataFrame] | None,
        *,
        site_column: str = "site",
        label_column: str,
        classes: Sequence[str],
        features: Sequence[Feature],
        attributes: Sequence[SensitiveAttribute] = (),
        derived: Mapping[str, Derive] | None = None,
        hidden: Sequence[int] | None = None,
        model: TabularModel | None = None,
        held_out_fraction: float = 0.3,
        window_column: str | None = None,
        current_windows: Sequence[str] = (),
        annotation_columns: Sequence[str] = (),
        derived_columns: Sequence[str] | None = None,
        sites: Sequence[str] = (),
        windows: Sequence[str] = (),
        **boosting: Unpack[TreeOptions],
    ) -> None:
        """Describe the table; it is read when it is first needed.

        Args:
            table: of all sites: a CSV file, or a function that returns the table with all cells as
                text; None if every site has its own ([data] in its site.toml).
            site_column: names each row's site; a site's own table needs none.
            label_column: names each row's class.
            classes: the label's values; of two, the second is the positive class.
            features: columns the model sees, with public ranges and levels.
            attributes: sensitive attributes; a column of the same name, or `derived`.
            derived: per attribute that is no column, a function of a table to its levels, row by
                row: a site's own table is given in parts.
            hidden: widths of hidden layers; none means logistic regression.
            model: `logistic`, `mlp`, `embedding` (a vector per level of every categorical feature,
                then an MLP) or `boosted_trees`; if left out, what `hidden` says.
            held_out_fraction: share of a site's rows that are never trained on.
            window_column: names each row's window in time, if there is one.
            current_windows: windows that are only evaluated on, as `current`; the rest are trained
                on and held out as `reference`. Without windows, held-out rows are halved at random.
            annotation_columns: labels that single people gave, empty where they gave none; only the
                site's own audit reads them.
            derived_columns: what `derived` reads beside features and label; all columns of a site's
                own table are read if left out.
            sites: their names, where there is no table of all.
            windows: their names in order of time; needed, with a window column, where there is no
                table of all.
            boosting: of `boosted_trees`: see `federation.boosted_trees.TreeSettings`.

        Raises:
            ConfigError: settings that contradict each other.
        """
        if not features:
            raise ConfigError("features", [], "at least one feature")
        if not 0 < held_out_fraction < 1:
            raise ConfigError("held_out_fraction", held_out_fraction, "a number in (0, 1)")
        if (window_column is None) != (not current_windows):
            raise ConfigError(
                "current_windows", current_windows, "windows if, and only if, window_column is set"
            )
        if table is None and window_column is not None and not windows:
            raise ConfigError("windows", windows, "their names: there is no table to find them in")
        if table is not None and sites:
            raise ConfigError("sites", sites, "none: they are found in the table")
        self.schema = TaskSchema(tuple(features), label_column, tuple(classes), tuple(attributes))
        self._source, self._site_column = table, site_column
        self._model, self._hidden = model, hidden_widths(model, hidden)
        self._trees = tree_settings(model, len(classes), boosting)
        self._held_out_fraction = held_out_fraction
        self._window_column, self._current_windows = window_column, tuple(current_windows)
        self._sites, self._windows = tuple(sites), tuple(windows)
        self.layout = TableLayout(
            self.schema,
            dict(derived or {}),
            None if derived_columns is None else tuple(derived_columns),
            window_column,
            _distinct_columns(annotation_columns, features),
        )

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """The sites of the table, as names a configuration can use, sorted; else those declared."""
        if self._source is None:
            return self._sites
        return tuple(sorted(set(self._site_names)))

    def build_model(self) -> nn.Module:
        """From the inputs to one output per class: see `model`."""
        if self._trees is not None:
            return BoostedTrees(self.schema.features, self._trees)
        classes = len(self.schema.classes)
        return tabular_model(self.schema.features, classes, self._model, self._hidden)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy per row, nats, shape (B,)."""
        if self._trees is not None:
            return boosting_loss(output, target)
        return cross_entropy(output, target, reduction="none")

    def probabilities(self, output: Tensor) -> Tensor:
        """Softmax, shape (N, classes)."""
        return output[:, : len(self.schema.classes)].double().softmax(dim=1)

    @cached_property
    def windows(self) -> tuple[str, ...]:
        """Those declared, else the values of the window column, sorted.

        `reference` and `current` without such a column.
        """
        if self._window_column is None:
            return (REFERENCE, CURRENT)
        if self._windows:
            return self._windows
        return tuple(
            sorted({str(name).strip() for name in self._table[self._window_column].dropna()})
        )

    def load(self, request: SiteRequest) -> SiteData:
        """One site's rows, split by `request.split_seed`.

        Raises:
            DataError: the site has fewer than two rows, or its rows break the schema.
        """
        table, chosen = self._site_rows(request)
        return SiteData(*(table.rows(part) for part in chosen))

    def load_window(self, request: SiteRequest, window: str) -> Rows:
        """One site's rows of a window, without those that `load` gives for training.

        Raises:
            DataError: as `load`.
        """
        table, (_, reference, current) = self._site_rows(request)
        if self._window_column is None:
            return table.rows(reference if window == REFERENCE else current)
        held_out = np.concatenate([reference, current])
        return table.rows(held_out[table.in_windows((window,))[held_out]])

    def notes(self, request: SiteRequest) -> SiteNotes:
        """The rows' numbers in the table, and what each of `annotation_columns` says.

        Raises:
            DataError: as `load`, or an annotation is no class.
        """
        table, chosen = self._site_rows(request)
        return SiteNotes(*(table.notes(part) for part in chosen))

    def order(self, request: SiteRequest) -> SiteOrder:
        """The rows' numbers in the table, and their windows if there are any.

        Raises:
            DataError: as `load`.
        """
        table, chosen = self._site_rows(request)
        windows = None if self._window_column is None else table.window_indices(self.windows)
        return SiteOrder(
            *(
                RowOrder(table.numbers[part], None if windows is None else windows[part])
                for part in chosen
            )
        )

    def training_rows(self, rows: int) -> int:
        """How many of a site's rows outside the current windows are trained on."""
        if rows < 2:
            return rows
        return rows - min(max(round(self._held_out_fraction * rows), 1), rows - 1)

    def is_current(self, table: pd.DataFrame) -> Flags:
        """Whether each row is in a current window, shape (N,); none is without windows."""
        if self._window_column is None:
            return np.zeros(len(table), bool)
        return level_codes(table[self._window_column], self._current_windows) < len(
            self._current_windows
        )

    def _site_rows(self, request: SiteRequest) -> tuple[EncodedTable, tuple[Codes, Codes, Codes]]:
        """A site's rows, and which are trained on, reference and current."""
        table = self._encoded(request)
        if len(table) < 2:
            raise DataError(
                f"{table.source}: the site {request.site} has {len(table) or 'no'} row; it takes "
                "at least 2, one to train on and one to hold out"
            )
        train, reference, current = self._split(table, request)
        if not len(train):
            raise DataError(
                f"{table.source}: the site {request.site} has no row to train on: all its rows are "
                f"in the current windows, {', '.join(self._current_windows)}"
            )
        return table, (train, reference, current)

    def _encoded(self, request: SiteRequest) -> EncodedTable:
        if request.source is not None:
            source = table_of(request.source, "this task")
            return encode_table(source, self.layout, ROWS_PER_CHUNK)
        # The index stays that of the whole table, so that an error can say where the row is.
        table = self._table[np.array(self._site_names) == request.site]
        return encode_table(FrameSource(table, self._name), self.layout, max(len(table), 1))

    def _split(self, table: EncodedTable, request: SiteRequest) -> tuple[Codes, Codes, Codes]:
        generator = split_generator(request.site, request.split_seed)
        if self._window_column is None:
            train, held_out = self._hold_out(table.labels, np.arange(len(table)), generator)
            halved = generator.permutation(held_out)
            return train, halved[1::2], halved[0::2]
        is_current = table.in_windows(self._current_windows)
        train, reference = self._hold_out(table.labels, np.flatnonzero(~is_current), generator)
        return train, reference, np.flatnonzero(is_current)

    def _hold_out(
        self, labels: Numbers, rows: Codes, generator: np.random.Generator
    ) -> tuple[Codes, Codes]:
        """Rows to train on and rows to hold out, each in random order, stratified by class."""
        if len(rows) < 2:
            return rows, rows[:0]
        shuffled = generator.permutation(rows)
        # Every class is spread evenly over the order, so that any share of it is stratified.
        place = np.empty(len(shuffled))
        for label in np.unique(labels[shuffled]):
            members = labels[shuffled] == label
            place[members] = (np.arange(members.sum()) + generator.random()) / members.sum()
        ordered = shuffled[np.argsort(place, kind="stable")]
        count = len(rows) - self.training_rows(len(rows))
        held_out = np.zeros(len(rows), bool)
        held_out[np.linspace(0, len(rows) - 1, count).round().astype(int)] = True
        return ordered[~held_out], ordered[held_out]

    @cached_property
    def _table(self) -> pd.DataFrame:
        if self._source is None:
            raise DataError(
                "this task has no table of its own: every site gives its rows, as [data] in its "
                "site.toml"
            )
        table = read_csv(self._source) if isinstance(self._source, Path) else self._source()
        require_columns(table, [self._site_column, *self.layout.required], self._name)
        return table

    @cached_property
    def _site_names(self) -> list[str]:
        column = self._table[self._site_column]
        unnamed = int(column.isna().sum())
        if unnamed:
            raise DataError(
                f"{self._name}, column {self._site_column}: {unnamed} of {len(column)} rows name "
                "no site"
            )
        names = {value: _config_name(str(value)) for value in column.unique()}
        spellings: dict[str, set[str]] = {}
        for value, name in names.items():
            spellings.setdefault(name, set()).add(str(value).strip())
        for name, spelled in sorted(spellings.items()):
            if not name:
                raise DataError(
                    f"{self._name}, column {self._site_column}: {min(spelled)!r} has no "
                    "letter of a to z and no digit for a configuration to name it by; rename it"
                )
            if len(spelled) > 1:
                raise DataError(
                    f"{self._name}, column {self._site_column}: {' and '.join(sorted(spelled))} "
                    f"are one name in a configuration, {name!r}; rename one"
                )
        return [names[value] for value in column]

    @property
    def _name(self) -> str:
        return str(self._source) if isinstance(self._source, Path) else "the task's table"


def _distinct_columns(columns: Sequence[str], features: Sequence[Feature]) -> tuple[str, ...]:
    seen = {feature.name for feature in features}
    if isinstance(columns, str) or len(set(columns)) < len(columns) or seen & set(columns):
        raise ConfigError(
            "annotation_columns", columns, "distinct columns, none of which is a feature"
        )
    return tuple(columns)


def _config_name(text: str) -> str:
    """A site's name as a configuration spells it: lower-case a to z, digits, '-' and '_'."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_]+", "-", plain.strip().lower()).strip("-_")[:63]
