"""How often each class is there, overall and per group, and how far always guessing one gets."""

import math
from dataclasses import dataclass

import numpy as np

from evaluation.audit.rows import AuditRows
from evaluation.group_metrics import Counts
from federation.schema import TaskSchema


@dataclass(frozen=True, slots=True)
class Majority:
    """The model that knows the base rates and nothing else.

    Attributes:
        label: place of the most frequent class, the first among equals.
        accuracy: of always predicting it.
        log_loss: nats per row, of quoting the base rates.
    """

    label: int
    accuracy: float
    log_loss: float


def class_counts(schema: TaskSchema, rows: AuditRows) -> Counts:
    """Rows per class, shape (classes,)."""
    return np.bincount(rows.targets, minlength=len(schema.classes))


def group_class_counts(schema: TaskSchema, rows: AuditRows) -> dict[str, Counts]:
    """Per sensitive attribute, rows per group and class, shape (groups, classes)."""
    classes = len(schema.classes)
    return {
        attribute.name: np.bincount(
            rows.groups[attribute.name] * classes + rows.targets,
            minlength=len(attribute.groups) * classes,
        ).reshape(-1, classes)
        for attribute in schema.attributes
    }


def majority(counts: Counts) -> Majority | None:
    """The yardstick of a model; None without rows.

    Args:
        counts: rows per class, shape (classes,).

    >>> import numpy as np
    >>> majority(np.array([30, 10]))
    Majority(label=0, accuracy=0.75, log_loss=0.5623351446188083)
    """
    rows = int(counts.sum())
    if not rows:
        return None
    shares = [int(count) / rows for count in counts if count]
    largest = int(np.argmax(counts))
    loss = -math.fsum(share * math.log(share) for share in shares)
    return Majority(largest, int(counts[largest]) / rows, loss)
