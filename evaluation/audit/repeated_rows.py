"""Rows that are exactly alike: duplicates, conflicting labels, held-out rows that were trained on.

Two rows are alike if every feature and every input of the model is the same, to the last bit; a
missing value is like another missing value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.audit.rows import AuditRows
from federation.schema import TaskSchema
from federation.task import Codes, Floats


@dataclass(frozen=True, slots=True)
class Repeats:
    """Duplicates among some rows.

    Attributes:
        rows: number of rows.
        repeated: rows that repeat the features of one before.
        repeated_with_label: rows that repeat the features and the label of one before.
        conflicting_sets: features that stand there with more than one label.
        conflicting_rows: rows with such features.
    """

    rows: int
    repeated: int
    repeated_with_label: int
    conflicting_sets: int
    conflicting_rows: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """Held-out rows that stand among the training rows, too.

    Attributes:
        held_out: number of held-out rows.
        shared: of them, with features that a training row has.
        shared_with_label: of them, with features and label of one training row.
    """

    held_out: int
    shared: int
    shared_with_label: int


def row_identities(schema: TaskSchema, parts: Sequence[AuditRows]) -> tuple[Codes, ...]:
    """Per part, a number per row that is the same for rows that are alike, shape (N,), int64.

    Numbers count up in the order in which new rows come.
    """
    seen: dict[bytes, int] = {}
    return tuple(
        np.array(
            [seen.setdefault(row.tobytes(), len(seen)) for row in _bytes(schema, part)],
            dtype=np.int64,
        )
        for part in parts
    )


def repeats(identities: Codes, targets: Codes) -> Repeats:
    """Duplicates and conflicts.

    Args:
        identities: of `row_identities`, shape (N,).
        targets: class index, shape (N,).

    >>> import numpy as np
    >>> repeats(np.array([0, 0, 1, 0]), np.array([1, 1, 0, 0]))
    Repeats(rows=4, repeated=2, repeated_with_label=1, conflicting_sets=1, conflicting_rows=3)
    """
    labelled = np.unique(np.stack([identities, targets]), axis=1)
    labels_of = np.bincount(labelled[0], minlength=int(identities.max(initial=-1)) + 1)
    conflicting = labels_of[identities] > 1
    distinct = len(np.unique(identities))
    return Repeats(
        rows=len(identities),
        repeated=len(identities) - distinct,
        repeated_with_label=len(identities) - labelled.shape[1],
        conflicting_sets=int((labels_of > 1).sum()),
        conflicting_rows=int(conflicting.sum()),
    )


def overlap(train: tuple[Codes, Codes], held_out: tuple[Codes, Codes]) -> Overlap:
    """Held-out rows that are like a training row.

    Args:
        train: identities and targets, each of shape (N,).
        held_out: identities, counted together with those of `train`, and targets, shape (M,).
    """
    alike = np.isin(held_out[0], train[0])
    known = set(zip(train[0].tolist(), train[1].tolist(), strict=True))
    pairs = zip(held_out[0].tolist(), held_out[1].tolist(), strict=True)
    return Overlap(len(held_out[0]), int(alike.sum()), sum(pair in known for pair in pairs))


def chance_alike(schema: TaskSchema, rows: AuditRows) -> float:
    """Chance that two rows have the same features if features were independent of each other.

    The product of the features' own chances, sum_v p_v^2. Features that go together raise it,
    some twenty times in a census; columns of many values make it vanish. 0 without rows or any
    feature.
    """
    if not len(rows) or not schema.features:
        return 0.0
    chance = 1.0
    for feature in schema.features:
        _, counts = np.unique(_plain(rows.features[feature.name]), return_counts=True)
        chance *= float(np.sum((counts / len(rows)) ** 2))
    return chance


def _bytes(schema: TaskSchema, rows: AuditRows) -> npt.NDArray[np.uint8]:
    """One line of bytes per row; equal values have equal bytes: one NaN, one zero."""
    parts = [np.zeros((len(rows), 0), dtype=np.uint8)]
    if schema.features:
        columns = [_plain(rows.features[feature.name]) for feature in schema.features]
        parts.append(np.ascontiguousarray(np.stack(columns, axis=1)).view(np.uint8))
    if rows.inputs is not None and rows.inputs.size:
        inputs = np.where(np.isnan(rows.inputs), np.float32(np.nan), rows.inputs + np.float32(0))
        parts.append(np.ascontiguousarray(inputs, dtype=np.float32).view(np.uint8))
    return np.concatenate(parts, axis=1)


def _plain(values: Floats) -> Floats:
    plain: Floats = np.where(np.isnan(values), np.nan, values + 0.0)
    return plain
