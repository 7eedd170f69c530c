"""Does a site's data hold what a task's schema promises? Asked before anything is trained.

One pass in parts, whatever the table's size. What is found is counts per column, class and group:
never a value, never the number of a row. It is for the site's own people all the same: exact counts
of rows are told to nobody else.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from federation.data_source import ROWS_PER_CHUNK, DataSource, ImageSource, Source
from federation.encoded_table import TableLayout
from federation.errors import DataError
from federation.schema import Categorical, Feature, Numeric
from federation.table_columns import level_codes, numeric_values
from federation.tabular import TabularTask
from federation.task import Task

Verdict = Literal["ok", "watch", "act"]

WRONG_SHARE = 0.5
"""Of a column: so many numbers out of range, or levels not declared, are another unit or code."""
MISSING_SHARE = 0.05
"""As `hedgerow site audit-data` judges; a model can learn from rows with empty cells."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says.

    Attributes:
        verdict: `act`: a run would fail, or learn what is wrong.
        rule: its name.
        column: it is about; empty if it is about the whole.
        rows: it holds for.
        text: of one line.
    """

    verdict: Verdict
    rule: str
    column: str
    rows: int
    text: str


@dataclass(frozen=True, slots=True)
class DataContract:
    """What a source holds of what a task wants.

    Attributes:
        rows: all of them.
        training_rows: that would be trained on; None if only the task knows.
        classes: rows per class.
        groups: rows per group, per sensitive attribute.
        findings: all that is not as promised, the gravest first.
    """

    rows: int
    training_rows: int | None
    classes: dict[str, int]
    groups: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The gravest."""
        return self.findings[0].verdict if self.findings else "ok"


def check_source(
    source: Source, task: Task, public_rows: int, key: Sequence[str] = ()
) -> DataContract:
    """Hold a source against a task's schema.

    Args:
        source: read once; of images, labels are read and pixels are not.
        task: whose schema it is.
        public_rows: that the site declares in public to train on.
        key: columns that tell rows apart, in the task's words; none are looked at if empty.

    Raises:
        DataError: the source cannot be read at all.
    """
    table = source.cells if isinstance(source, ImageSource) else source
    assert isinstance(table, DataSource)
    reading = _Reading(task, table.columns(), tuple(key))
    for chunk in table.chunks(reading.columns, ROWS_PER_CHUNK):
        reading.add(chunk)
    return reading.contract(public_rows)


@dataclass
class _Column:
    """Rows of a feature by what is wrong with them."""

    missing: int = 0
    text: int = 0
    outside: int = 0
    undeclared: int = 0


@dataclass
class _Reading:
    """What has been counted so far."""

    task: Task
    there: tuple[str, ...]
    key: tuple[str, ...]
    rows: int = 0
    current: int = 0
    unlabelled: int = 0
    features: dict[str, _Column] = field(default_factory=dict)
    classes: Counter[str] = field(default_factory=Counter)
    groups: dict[str, Counter[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    hashes: list[npt.NDArray[np.uint64]] = field(default_factory=list)

    @property
    def layout(self) -> TableLayout:
        """What the task reads; of a task that is no table's, what its schema names."""
        if isinstance(self.task, TabularTask):
            return self.task.layout
        return TableLayout(self.task.schema)

    @property
    def missing(self) -> list[str]:
        return [name for name in (*self.layout.required, *self.key) if name not in self.there]

    @property
    def columns(self) -> list[str]:
        wanted = dict.fromkeys([*self.layout.read_from(self.there), *self.key])
        return [name for name in wanted if name in self.there]

    def add(self, chunk: pd.DataFrame) -> None:
        schema = self.task.schema
        self.rows += len(chunk)
        for feature in schema.features:
            if feature.name in chunk:
                counted = self.features.setdefault(feature.name, _Column())
                _count(counted, chunk[feature.name], feature)
        if schema.label in chunk:
            codes = level_codes(chunk[schema.label], schema.classes)
            counts = np.bincount(codes, minlength=len(schema.classes) + 1)
            self.classes.update(dict(zip(schema.classes, counts[:-1].tolist(), strict=True)))
            self.unlabelled += int(counts[-1])
        if not self.missing:
            self._add_groups(chunk)
            if isinstance(self.task, TabularTask):
                self.current += int(self.task.is_current(chunk).sum())
        if self.key and all(name in chunk for name in self.key):
            # 8 bytes a row, whatever the key; two keys of one hash are one in 10^19.
            hashes = pd.util.hash_pandas_object(chunk[list(self.key)], index=False)
            self.hashes.append(hashes.to_numpy().astype(np.uint64, copy=False))

    def _add_groups(self, chunk: pd.DataFrame) -> None:
        try:
            coded = self.layout.groups(chunk, "the data")
        except DataError as error:
            # The kind of fault alone: what a user's function says may hold a value.
            self.failed["groups"] = type(error.__cause__ or error).__name__
            return
        for attribute in self.task.schema.attributes:
            counts = np.bincount(coded[attribute.name], minlength=len(attribute.groups))
            by_group = dict(zip(attribute.groups, counts.tolist(), strict=True))
            self.groups.setdefault(attribute.name, Counter()).update(by_group)

    def contract(self, public_rows: int) -> DataContract:
        training = self._training_rows()
        findings = [
            *self._of_the_whole(training, public_rows),
            *(f for name, counted in self.features.items() for f in self._of(name, counted)),
        ]
        order: dict[Verdict, int] = {"act": 0, "watch": 1, "ok": 2}
        return DataContract(
            self.rows,
            training,
            dict(self.classes),
            {name: dict(counts) for name, counts in self.groups.items()},
            tuple(sorted(findings, key=lambda finding: order[finding.verdict])),
        )

    def _training_rows(self) -> int | None:
        if not isinstance(self.task, TabularTask) or self.missing:
            return None
        return self.task.training_rows(self.rows - self.current)

    def _of_the_whole(self, training: int | None, public_rows: int) -> list[Finding]:
        schema, found = self.task.schema, []
        known = isinstance(self.task, TabularTask)
        for name in self.missing:
            # A task of one's own may make its features and groups of other columns.
            verdict: Verdict = "act" if known or name in self.key else "watch"
            text = f"there is no column {name}; if it has another name, data.rename tells it"
            found.append(Finding(verdict, "missing column", name, 0, text))
        for kind in self.failed.values():
            text = f"the task's groups cannot be derived: {kind}"
            found.append(Finding("act", "groups", "", 0, text))
        if self.unlabelled:
            text = (
                f"{self.unlabelled} of {self.rows} rows of {schema.label} hold no label out of "
                f"{', '.join(schema.classes)}; label them, or say in data.levels what they mean"
            )
            found.append(Finding("act", "label", schema.label, self.unlabelled, text))
        found += self._of_rows(training, public_rows)
        repeated = self._repeated()
        if repeated:
            text = f"{repeated} of {self.rows} rows repeat another's {', '.join(self.key)}"
            found.append(Finding("act", "repeated key", ", ".join(self.key), repeated, text))
        return found

    def _of_rows(self, training: int | None, public_rows: int) -> list[Finding]:
        if self.rows < 2 or training == 0:
            text = f"{self.rows} rows, {training or 'none'} to train on: it takes at least 2"
            return [Finding("act", "rows", "", self.rows, text)]
        if training is None or training == public_rows:
            return []
        text = f"{training} rows to train on, and the policy declares public_rows = {public_rows}"
        return [Finding("watch", "public rows", "", training, text)]

    def _repeated(self) -> int:
        if not self.hashes:
            return 0
        whole = np.sort(np.concatenate(self.hashes))
        return int((whole[1:] == whole[:-1]).sum())

    def _of(self, name: str, counted: _Column) -> list[Finding]:
        rules: tuple[tuple[str, int, Verdict, str], ...] = (
            ("type", counted.text, "act", "hold no number"),
            ("range", counted.outside, self._grade(counted.outside), "lie outside its range"),
            ("levels", counted.undeclared, self._grade(counted.undeclared),
             "hold a level that is not declared; data.levels may say what it means"),
            ("missing values", counted.missing, self._missing_grade(counted.missing), "are empty"),
        )  # fmt: skip
        return [
            Finding(verdict, rule, name, rows, f"{rows} of {self.rows} rows of {name} {what}")
            for rule, rows, verdict, what in rules
            if rows and verdict != "ok"
        ]

    def _grade(self, rows: int) -> Verdict:
        return "act" if rows >= WRONG_SHARE * self.rows else "watch"

    def _missing_grade(self, rows: int) -> Verdict:
        return "watch" if rows >= MISSING_SHARE * self.rows else "ok"


def _count(counted: _Column, column: pd.Series, feature: Feature) -> None:
    missing = column.isna().to_numpy()
    counted.missing += int(missing.sum())
    if isinstance(feature, Numeric):
        values, wrong = numeric_values(column)
        counted.text += int(wrong.sum())
        outside = (values < feature.low) | (values > feature.high)
        counted.outside += int((outside & ~wrong).sum())
    elif isinstance(feature, Categorical):
        codes = level_codes(column, feature.levels)
        counted.undeclared += int(((codes == len(feature.levels)) & ~missing).sum())
