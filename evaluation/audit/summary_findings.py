"""From the sum of the sites' counts to what may be said of it: small cells are hidden here.

Suppression comes after the sum, never at a site: sites that hid their own small cells would delete
what is rare at each and common in all. A number from 1 to `minimum_cell` - 1 is withheld, and so is
a breakdown by class if one of its cells, or what is left of the class beside it, is such a number.
"""

from collections.abc import Mapping

import numpy as np

from evaluation.audit.class_balance import majority
from evaluation.audit.confident_learning import CONFIDENT, ROWS, confident_joint
from evaluation.audit.leakage import leak
from evaluation.audit.summary_spec import OVERLAP_BUCKETS, SKEW_BUCKETS, AuditSpec
from evaluation.group_metrics import Counts
from evaluation.suppression import hidden, partitions
from evaluation.tally_spec import OVERALL
from federation.audit_summary import (
    AuditSummary,
    Cell,
    FeatureQuality,
    GroupLabels,
    LabelNoiseSum,
    LabelSkew,
    OverlapSites,
)
from federation.errors import DataError, PrivacyRefusal
from federation.schema import Categorical, Feature
from federation.task import Floats


def audit_findings(
    spec: AuditSpec,
    sums: Mapping[str, Floats],
    sites: int,
    minimum_cell: int,
    minimum_contributors: int,
) -> AuditSummary:
    """What the sum says.

    Args:
        spec: what was counted.
        sums: per name of `audit_segments`; with those of `confidence_segments` and
            `confident_segments`, label noise is estimated, too.
        sites: how many are in the sum.
        minimum_cell: smaller counts of rows are hidden; 1 hides nothing.
        minimum_contributors: fewest sites whose sum is read.

    Raises:
        PrivacyRefusal: fewer sites than that.
        KeyError: a segment is not there.
        DataError: the sums contradict each other: a site sent something else than counts.
    """
    if sites < minimum_contributors:
        raise PrivacyRefusal(
            f"the audit's sum is of {sites} sites: expected at least "
            f"evaluation.minimum_contributors = {minimum_contributors}; nothing of it is read"
        )
    read = _Sums(spec, sums, sites, minimum_cell)
    labels, schema = read.labels, spec.schema
    repeated, with_label, conflicting = read.counts("audit/repeats").tolist()
    every_label = not read.is_small(labels)
    baseline = majority(labels) if every_label else None
    return AuditSummary(
        sites=sites,
        counted="all rows" if spec.include_training_rows else "held-out rows",
        minimum_cell=minimum_cell,
        classes=schema.classes,
        rows=read.cell(int(labels.sum())),
        labels=tuple(labels.tolist()) if every_label else None,
        majority_accuracy=baseline.accuracy if baseline else None,
        features=tuple(_feature(read, place, f) for place, f in enumerate(schema.features)),
        repeated=read.cell(repeated),
        repeated_with_label=read.cell(with_label),
        conflicting_rows=read.cell(conflicting),
        groups=_groups(read),
        label_skew=_label_skew(read),
        sites_lacking_a_class=int(read.flags("audit/sites/lacking")[0]),
        overlap=_overlap(read) if spec.overlap_flags else None,
        label_noise=_label_noise(read) if CONFIDENT in sums else None,
    )


class _Sums:
    """Decoded sums, checked as they are read."""

    def __init__(
        self, spec: AuditSpec, sums: Mapping[str, Floats], sites: int, minimum_cell: int
    ) -> None:
        self.spec, self._sums, self._sites = spec, sums, sites
        self._minimum_cell = minimum_cell
        self.labels = self.counts("audit/labels")

    def counts(self, name: str) -> Counts:
        values = self._sums[name]
        if not np.all((values >= 0) & (values == np.rint(values))):
            raise DataError(f"sum of {name}: expected whole numbers >= 0; a site sent no counts")
        return values.astype(np.int64)

    def flags(self, name: str) -> Counts:
        values = self.counts(name)
        if np.any(values > self._sites):
            raise DataError(
                f"sum of {name}: expected at most one per site, {self._sites} in all, got "
                f"{values.max()}; a site sent no flags"
            )
        return values

    def one_per_site(self, name: str, length: int) -> Counts:
        """Flags of which every site sets exactly one per line, shape (lines, length)."""
        lines = self.flags(name).reshape(-1, length)
        if np.any(lines.sum(axis=1) != self._sites):
            raise DataError(f"sum of {name}: expected one flag per site; a site sent no flags")
        return lines

    def by_class(self, name: str) -> Counts:
        """A table per class, shape (classes, columns), whose lines sum to the labels."""
        table = self.counts(name).reshape(len(self.labels), -1)
        self.require_labels(name, table.sum(axis=1))
        return table

    def require_labels(self, name: str, totals: Counts) -> None:
        if np.any(totals != self.labels):
            raise DataError(
                f"sum of {name}: expected {self.labels.tolist()} rows per class, got "
                f"{totals.tolist()}; a site sent no counts"
            )

    def is_small(self, *cells: int | Counts) -> bool:
        return any(bool(np.any((np.asarray(c) > 0) & (np.asarray(c) < self._minimum_cell)))
                   for c in cells)  # fmt: skip

    @property
    def minimum_cell(self) -> int:
        return self._minimum_cell

    def cell(self, rows: int) -> Cell:
        rest = int(self.labels.sum()) - rows
        if self.is_small(rows, rest):
            return Cell(rows=None, withheld="small cell")
        return Cell(rows=rows)


def _feature(read: _Sums, place: int, feature: Feature) -> FeatureQuality:
    name = f"audit/feature/{feature.name}"
    table = read.by_class(name)
    missing, total = table[:, -1], table.sum(axis=0)
    categorical = isinstance(feature, Categorical)
    found = leak(feature.name, table) if _estimable(read) else None
    small = read.is_small(missing, read.labels - missing)
    grade = "not estimable" if found is None else (
        "red" if found.is_red else "yellow" if found.is_yellow else "none"
    )  # fmt: skip
    return FeatureQuality(
        name=feature.name,
        missing=read.cell(int(total[-1])),
        missing_by_label=None if small else tuple(missing.tolist()),
        below=read.cell(0 if categorical else int(total[0])),
        above=read.cell(0 if categorical else int(total[-2])),
        other=read.cell(int(total[-2]) if categorical else 0),
        auc=None if found is None else found.auc,
        information_value=None if found is None else found.information_value,
        leak_label="" if found is None else read.spec.schema.classes[found.label],
        leak=grade,
        sites_constant=int(read.flags("audit/sites/constant")[place]),
        sites_red=int(read.flags("audit/sites/red")[place]),
    )


def _estimable(read: _Sums) -> bool:
    """Whether every class has rows enough that no statistic of it is of a few people."""
    return bool(np.all(read.labels >= max(read.minimum_cell, 1)))


def _groups(read: _Sums) -> tuple[GroupLabels, ...]:
    schema, tally = read.spec.schema, read.spec.tally_spec
    classes = len(schema.classes)
    tables = {
        attribute.name: read.counts(f"audit/groups/{attribute.name}").reshape(-1, classes)
        for attribute in schema.attributes
    }
    for name, table in tables.items():
        read.require_labels(f"audit/groups/{name}", table.sum(axis=0))
    counts = np.stack(
        [
            read.labels
            if group.attribute == OVERALL
            else tables[group.attribute][group.levels[0].code]
            for group in tally.groups
        ]
    )
    shown = np.array([group.attribute == OVERALL for group in tally.groups])
    concealed = hidden(counts, partitions(tally), read.minimum_cell, shown)
    return tuple(
        GroupLabels(
            attribute=group.attribute,
            group=group.name,
            labels=None if concealed[place] else tuple(counts[place].tolist()),
        )
        for place, group in enumerate(tally.groups)
        if group.attribute != OVERALL
    )


def _label_skew(read: _Sums) -> tuple[LabelSkew, ...]:
    lines = read.one_per_site("audit/sites/skew", SKEW_BUCKETS + 1).tolist()
    return tuple(
        LabelSkew(label=label, sites=tuple(line[:-1]), sites_without_rows=line[-1])
        for label, line in zip(read.spec.skewed_classes, lines, strict=True)
    )


def _overlap(read: _Sums) -> OverlapSites:
    none, few, some, more = read.one_per_site("audit/sites/overlap", OVERLAP_BUCKETS)[0].tolist()
    return OverlapSites(none=none, below_1_percent=few, below_5_percent=some, more=more)


def _label_noise(read: _Sums) -> LabelNoiseSum:
    labels = read.counts(ROWS)
    counts = read.counts(CONFIDENT).reshape(len(labels), len(labels))
    if np.any(counts.sum(axis=1) > labels):
        raise DataError(
            f"sum of {CONFIDENT}: expected at most {labels.tolist()} rows per given class; "
            "a site sent no counts"
        )
    if read.is_small(labels):
        return LabelNoiseSum(joint=None, share=None, withheld="small cell")
    noise = confident_joint(counts, labels)
    if read.is_small(noise.joint):
        return LabelNoiseSum(joint=None, share=noise.share, withheld="small cell")
    return LabelNoiseSum(joint=tuple(map(tuple, noise.joint.tolist())), share=noise.share)
