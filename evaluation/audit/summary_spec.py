"""What a site counts for the audit that all sites share, and the segments that carry the counts.

Public and fixed before a row is read. Counts are of held-out rows: training rows are behind the
noise of the training mechanism, and an exact count of them beside it would be a release that no
ledger accounts for. What depends on training rows is agreed on by name: `include_training_rows`
counts them like the others, and `overlap_flags` sets one of four coarse flags per site.
"""

from dataclasses import dataclass, replace

from evaluation.audit.rows import HELD_OUT, SPLITS, Split
from evaluation.tally_spec import TallySpec
from federation.errors import ConfigError
from federation.layout import Segment, count_segment
from federation.schema import TaskSchema

SKEW_BUCKETS = 10
TRAINING_FACTOR = 16
"""With training rows, a site may count so many times `schema.maximum_rows`."""
OVERLAP_BUCKETS = 4
REPEATS = ("repeated", "repeated_with_label", "conflicting_rows")


@dataclass(frozen=True, slots=True)
class AuditSpec:
    """What is counted.

    Attributes:
        schema: of the task.
        bins: of equal width of a numeric feature, on its public range; at least 2.
        include_training_rows: whether training rows are counted, too, without noise.
        overlap_flags: whether a site says in which of four buckets its overlap is.

    Raises:
        ConfigError: too few bins.
    """

    schema: TaskSchema
    bins: int = 20
    include_training_rows: bool = False
    overlap_flags: bool = True

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise ConfigError("audit.bins", self.bins, "at least 2 bins", "usual: 20")

    @property
    def splits(self) -> tuple[Split, ...]:
        """Whose rows are counted."""
        return SPLITS if self.include_training_rows else HELD_OUT

    @property
    def tally_spec(self) -> TallySpec:
        """Groups and feature bins, as tallies have them."""
        schema = replace(self.schema, maximum_rows=self.most_rows)
        return TallySpec(schema, feature_bins=self.bins)

    @property
    def most_rows(self) -> int:
        """What one site may count; the schema bounds its held-out rows alone."""
        factor = TRAINING_FACTOR if self.include_training_rows else 1
        return factor * self.schema.maximum_rows

    @property
    def skewed_classes(self) -> tuple[str, ...]:
        """Classes whose share per site is counted: the second of two, else all."""
        return self.schema.classes[1:] if self.schema.is_binary else self.schema.classes


def audit_segments(spec: AuditSpec, summands: int) -> tuple[Segment, ...]:
    """Segments of the audit's counts, as `summary_counts.count_audit` fills them.

    `audit/labels` (rows per class), `audit/groups/ATTRIBUTE` (group by class),
    `audit/feature/NAME` (class by bin), `audit/repeats` (as REPEATS); and, one or zero per site:
    `audit/sites/constant` and `audit/sites/red` (per feature), `audit/sites/lacking`,
    `audit/sites/skew` (class by bucket, the last bucket without rows), `audit/sites/overlap`.

    Args:
        spec: what is counted.
        summands: most sites in a sum.
    """
    schema, tally = spec.schema, spec.tally_spec
    classes, features, most = len(schema.classes), len(schema.features), spec.most_rows
    skew = len(spec.skewed_classes) * (SKEW_BUCKETS + 1)
    rows = {"audit/labels": classes, "audit/repeats": len(REPEATS)}
    rows |= {f"audit/groups/{a.name}": len(a.groups) * classes for a in schema.attributes}
    rows |= {f"audit/feature/{f.name}": classes * len(tally.bin_labels(f)) for f in schema.features}
    flags = {"audit/sites/lacking": 1, "audit/sites/skew": skew}
    if features:
        flags |= {"audit/sites/constant": features, "audit/sites/red": features}
    if spec.overlap_flags:
        flags["audit/sites/overlap"] = OVERLAP_BUCKETS
    return (
        *(count_segment(name, length, most, summands) for name, length in rows.items()),
        *(count_segment(name, length, 1, summands) for name, length in flags.items()),
    )
