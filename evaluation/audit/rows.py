"""The rows of one site as the audit reads them: numpy arrays, split by what they are used for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from federation.errors import DataError
from federation.schema import Categorical, TaskSchema
from federation.task import UNLABELLED, Codes, Floats

Column = TypeVar("Column", Floats, Codes)
Split = Literal["train", "reference", "current"]
SPLITS: tuple[Split, ...] = ("train", "reference", "current")
HELD_OUT: tuple[Split, ...] = ("reference", "current")


@dataclass(frozen=True, slots=True)
class AuditRows:
    """N rows.

    Attributes:
        features: per schema feature, shape (N,), as in `federation.task.Rows`.
        targets: class index, shape (N,), int64.
        groups: per sensitive attribute, shape (N,), as in `federation.task.Rows`.
        inputs: what the model sees, shape (N, width), float32; rows are alike only if this is, too.
        annotations: per annotator, class index or UNLABELLED, shape (N,), int64.
        numbers: where each row stands in its source, from 1, shape (N,); None if nobody knows.
    """

    features: Mapping[str, Floats]
    targets: Codes
    groups: Mapping[str, Codes] = field(default_factory=dict)
    inputs: npt.NDArray[np.float32] | None = None
    annotations: Mapping[str, Codes] = field(default_factory=dict)
    numbers: Codes | None = None

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True)
class AuditData:
    """A site's rows by split."""

    train: AuditRows
    reference: AuditRows
    current: AuditRows

    def split(self, name: Split) -> AuditRows:
        """The rows of one split."""
        return {"train": self.train, "reference": self.reference, "current": self.current}[name]

    def pooled(self, names: Sequence[Split]) -> AuditRows:
        """The rows of several splits, in the order of `names`."""
        return pooled([self.split(name) for name in names])


def pooled(parts: Sequence[AuditRows]) -> AuditRows:
    """Rows of several parts after each other; at least one part, all of the same columns."""
    first = parts[0]
    inputs = [part.inputs for part in parts if part.inputs is not None]
    numbers = [part.numbers for part in parts if part.numbers is not None]
    return AuditRows(
        {name: np.concatenate([part.features[name] for part in parts]) for name in first.features},
        np.concatenate([part.targets for part in parts]),
        {name: np.concatenate([part.groups[name] for part in parts]) for name in first.groups},
        np.concatenate(inputs) if len(inputs) == len(parts) else None,
        {
            name: np.concatenate([part.annotations[name] for part in parts])
            for name in first.annotations
        },
        np.concatenate(numbers) if len(numbers) == len(parts) else None,
    )


def require_rows(schema: TaskSchema, rows: AuditRows, split: str) -> None:
    """Return if the rows are what the schema promises.

    Raises:
        DataError: a column is absent, of another length, or holds a code that is no level's,
            class's or group's; names split and column, never a value of a row.
    """
    count = len(rows)
    _require_codes(f"{split}, label {schema.label}", rows.targets, count, 0, len(schema.classes))
    for feature in schema.features:
        values = _column(rows.features, feature.name, split)
        if values.shape != (count,):
            raise DataError(
                f"{split}, feature {feature.name}: expected ({count},), got {values.shape}"
            )
        known = values[~np.isnan(values)]
        if isinstance(feature, Categorical):
            wrong = ~np.isin(known, np.arange(len(feature.levels) + 1))
        else:
            wrong = ~np.isfinite(known)
        if wrong.any():
            raise DataError(
                f"{split}, feature {feature.name}: expected finite numbers, or for a categorical "
                "one level indices, one more for any other level; NaN for missing"
            )
    for attribute in schema.attributes:
        codes = _column(rows.groups, attribute.name, split)
        name = f"{split}, attribute {attribute.name}"
        _require_codes(name, codes, count, 0, len(attribute.groups))
    for name, codes in rows.annotations.items():
        _require_codes(f"{split}, annotation {name}", codes, count, UNLABELLED, len(schema.classes))


def _column(columns: Mapping[str, Column], name: str, split: str) -> Column:
    if name not in columns:
        raise DataError(
            f"{split}, column {name}: it is absent; the task's rows must hold what its schema says"
        )
    return columns[name]


def _require_codes(name: str, codes: Codes, rows: int, low: int, end: int) -> None:
    if codes.shape != (rows,) or not np.issubdtype(codes.dtype, np.integer):
        raise DataError(f"{name}: expected ({rows},) integers, got {codes.shape} {codes.dtype}")
    if not np.all((codes >= low) & (codes < end)):
        raise DataError(f"{name}: expected indices {low} to {end - 1}")
