"""One site's counts for the shared audit: whole numbers of rows, and flags of one or zero."""

from collections.abc import Iterator

import numpy as np

from evaluation.audit.class_balance import class_counts, group_class_counts
from evaluation.audit.column_quality import column_counts
from evaluation.audit.leakage import leak, local_histogram
from evaluation.audit.repeated_rows import Overlap, overlap, repeats, row_identities
from evaluation.audit.rows import HELD_OUT, SPLITS, AuditData, AuditRows, require_rows
from evaluation.audit.summary_spec import OVERLAP_BUCKETS, SKEW_BUCKETS, AuditSpec
from evaluation.group_metrics import Counts
from evaluation.tallies import count_features
from federation.errors import DataError
from federation.task import Floats

OVERLAP_EDGES = (0.0, 0.01, 0.05)
"""A share above the first, or from the others on, falls into the next bucket."""


def count_audit(spec: AuditSpec, data: AuditData) -> dict[str, Floats]:
    """Counts per name of `audit_segments`, shape (segment.length,), whole numbers >= 0.

    Args:
        spec: what is counted.
        data: the site's rows; those of the training split are only counted if the spec says so,
            and else looked at for the overlap alone.

    Raises:
        DataError: the rows are not what the schema promises.
    """
    for split in SPLITS:
        require_rows(spec.schema, data.split(split), split)
    counts = count_rows(spec, data.pooled(spec.splits))
    if spec.overlap_flags:
        counts["audit/sites/overlap"] = _overlap_bucket(_overlap(spec, data))
    return counts


def count_rows(spec: AuditSpec, rows: AuditRows) -> dict[str, Floats]:
    """As `count_audit`, of the rows that are given and without `audit/sites/overlap`.

    For rows of one window: with `spec.overlap_flags` False, these are all segments.

    Raises:
        DataError: the rows are not what the schema promises, or more than it allows.
    """
    if len(rows) > spec.most_rows:
        raise DataError(
            f"{len(rows)} rows: expected at most {spec.most_rows}; raise maximum_rows in the "
            "task's schema"
        )
    require_rows(spec.schema, rows, "rows")
    return {name: values.astype(np.float64) for name, values in _counts(spec, rows)}


def _counts(spec: AuditSpec, rows: AuditRows) -> Iterator[tuple[str, Floats | Counts]]:
    schema, labels = spec.schema, class_counts(spec.schema, rows)
    (identities,) = row_identities(schema, [rows])
    alike = repeats(identities, rows.targets)
    yield "audit/labels", labels
    repeated = alike.repeated, alike.repeated_with_label, alike.conflicting_rows
    yield "audit/repeats", np.array(repeated)
    for attribute, counts in group_class_counts(schema, rows).items():
        yield f"audit/groups/{attribute}", counts.ravel()
    for name, histogram in public_histograms(spec, rows).items():
        yield f"audit/feature/{name}", histogram.ravel()
    if schema.features:
        constant = [column.is_constant for column in column_counts(schema, rows)]
        found = [leak(f.name, local_histogram(schema, f, rows)) for f in schema.features]
        yield "audit/sites/constant", np.array(constant, dtype=np.float64)
        yield "audit/sites/red", np.array([one is not None and one.is_red for one in found])
    yield "audit/sites/lacking", np.array([np.any(labels == 0)])
    yield "audit/sites/skew", _skew(spec, labels)


def _overlap(spec: AuditSpec, data: AuditData) -> Overlap:
    held_out = data.pooled(HELD_OUT)
    identities = row_identities(spec.schema, [data.train, held_out])
    return overlap((identities[0], data.train.targets), (identities[1], held_out.targets))


def public_histograms(spec: AuditSpec, rows: AuditRows) -> dict[str, Counts]:
    """Per feature, rows per class and bin of the public range, shape (classes, bins)."""
    tally = spec.tally_spec
    per_class = []
    for place in range(len(spec.schema.classes)):
        members = rows.targets == place
        inside = {name: values[members] for name, values in rows.features.items()}
        per_class.append(count_features(tally, inside, "current"))
    return {
        feature.name: np.stack([one[f"current/{feature.name}"] for one in per_class]).astype(
            np.int64
        )
        for feature in spec.schema.features
    }


def _skew(spec: AuditSpec, labels: Counts) -> Floats:
    flags = np.zeros((len(spec.skewed_classes), SKEW_BUCKETS + 1))
    rows = int(labels.sum())
    for line, rows_of_class in enumerate(labels[-len(spec.skewed_classes) :].tolist()):
        # Whole numbers: a share of exactly b/10 falls into bucket b whatever a float would say.
        bucket = min(rows_of_class * SKEW_BUCKETS // rows, SKEW_BUCKETS - 1) if rows else -1
        flags[line, bucket] = 1
    return flags.ravel()


def _overlap_bucket(found: Overlap) -> Floats:
    share = found.shared_with_label / found.held_out if found.held_out else 0.0
    nothing, few, some = OVERLAP_EDGES
    flags = np.zeros(OVERLAP_BUCKETS)
    flags[int(share > nothing) + int(share >= few) + int(share >= some)] = 1
    return flags
