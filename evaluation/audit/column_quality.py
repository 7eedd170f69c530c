"""Per feature: missing values, values outside the public range, undeclared levels, constants.

Counts of rows, whole and by label: a value that is missing more often for one class than for
another tells the label, and a model will learn that it is missing.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2_contingency

from evaluation.audit.rows import AuditRows
from evaluation.group_metrics import Counts
from federation.schema import Feature, Numeric, TaskSchema
from federation.task import Floats


@dataclass(frozen=True, slots=True)
class ColumnCounts:
    """One feature in some rows.

    Attributes:
        name: of the feature.
        by_label: rows per class, shape (classes,).
        missing: rows per class without a value, shape (classes,).
        below: rows below the public range; 0 for a categorical feature.
        above: rows above it; 0 for a categorical feature.
        other: rows of an undeclared level; 0 for a numeric feature.
        distinct: number of distinct values, missing not counted.
    """

    name: str
    by_label: Counts
    missing: Counts
    below: int
    above: int
    other: int
    distinct: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.by_label.sum())

    @property
    def missing_rows(self) -> int:
        """Rows without a value."""
        return int(self.missing.sum())

    @property
    def outside(self) -> int:
        """Rows outside the public range."""
        return self.below + self.above

    @property
    def is_constant(self) -> bool:
        """Whether all rows, at least two, are the same: one value, or none at all."""
        whole = self.missing_rows in {0, self.rows}
        return self.rows > 1 and self.distinct <= 1 and whole


def column_counts(schema: TaskSchema, rows: AuditRows) -> tuple[ColumnCounts, ...]:
    """All features, in the schema's order."""
    return tuple(_counts(schema, feature, rows) for feature in schema.features)


def missing_gap(by_label: Counts, missing: Counts) -> float | None:
    """Largest difference between classes of the share of missing values; None for one class.

    Args:
        by_label: rows per class, shape (classes,).
        missing: of them without a value, shape (classes,).
    """
    seen = by_label > 0
    if seen.sum() < 2:
        return None
    shares = missing[seen] / by_label[seen]
    return float(shares.max() - shares.min())


def missing_p_value(by_label: Counts, missing: Counts) -> float | None:
    """Chance of shares as different as these if missing did not depend on the class.

    Pearson's chi-square test; None where it is not defined (nothing, or everything, is missing).
    """
    seen = by_label > 0
    table = np.stack([missing[seen], (by_label - missing)[seen]])
    if seen.sum() < 2 or not table.sum(axis=1).all():
        return None
    return float(chi2_contingency(table, correction=False).pvalue)


def _counts(schema: TaskSchema, feature: Feature, rows: AuditRows) -> ColumnCounts:
    values, classes = rows.features[feature.name], len(schema.classes)
    absent = np.isnan(values)
    known = values[~absent]
    below, above, other = _misplaced(feature, known)
    return ColumnCounts(
        feature.name,
        np.bincount(rows.targets, minlength=classes),
        np.bincount(rows.targets[absent], minlength=classes),
        below,
        above,
        other,
        len(np.unique(known)),
    )


def _misplaced(feature: Feature, known: Floats) -> tuple[int, int, int]:
    if isinstance(feature, Numeric):
        return int((known < feature.low).sum()), int((known > feature.high).sum()), 0
    return 0, 0, int((known == len(feature.levels)).sum())
