"""A task's rows as the audit reads them: numpy arrays, with what the site knows beside them."""

import math
from collections.abc import Sequence

import numpy as np

from evaluation.audit.rows import AuditData, AuditRows
from federation.errors import DataError, UsageError
from federation.task import AnnotatedTask, RowNotes, Rows, SiteData, SiteRequest, Task


def audit_data(
    task: Task, data: SiteData, request: SiteRequest, labels: Sequence[str] | None
) -> AuditData:
    """The rows of all splits.

    Args:
        task: that loaded them.
        data: the rows.
        request: that they were loaded for.
        labels: names of the annotations that are compared; None for all there are.

    Raises:
        UsageError: an annotation is asked for that the task does not have.
        DataError: the task's notes are not of the same rows.
    """
    notes = task.notes(request) if isinstance(task, AnnotatedTask) else None
    if notes is None:
        _require_known(labels or (), ())
        return AuditData(rows_of(data.train), rows_of(data.reference), rows_of(data.current))
    _require_known(labels or (), tuple(notes.train.annotations))
    return AuditData(
        _noted(data.train, notes.train, labels),
        _noted(data.reference, notes.reference, labels),
        _noted(data.current, notes.current, labels),
    )


def rows_of(rows: Rows) -> AuditRows:
    """Rows as the audit reads them, without what the site knows beside them."""
    inputs = rows.inputs.detach().cpu().float().numpy()
    width = math.prod(inputs.shape[1:])
    return AuditRows(
        rows.features, rows.targets.numpy(), rows.groups, inputs.reshape(len(rows), width)
    )


def _noted(rows: Rows, notes: RowNotes, labels: Sequence[str] | None) -> AuditRows:
    plain = rows_of(rows)
    chosen = notes.annotations if labels is None else {n: notes.annotations[n] for n in labels}
    for name, column in (("row numbers", notes.numbers), *chosen.items()):
        if column.shape != (len(rows),):
            raise DataError(
                f"the task's notes, {name}: expected one for each of {len(rows)} rows, got "
                f"{column.shape}"
            )
    return AuditRows(
        plain.features, plain.targets, plain.groups, plain.inputs,
        {name: np.asarray(codes, dtype=np.int64) for name, codes in chosen.items()},
        notes.numbers,
    )  # fmt: skip


def _require_known(asked: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in asked if name not in known]
    if unknown:
        there = ", ".join(known) or "none"
        raise UsageError(
            f"--labels: the task has no label column {', '.join(unknown)}; it has: {there} "
            "(annotation_columns of a TabularTask, or `notes` of federation.task.AnnotatedTask)"
        )
