"""Beside a sample: the audit of its data, and what privacy costs its groups."""

from sample_size import MINIMUM_CELL, SITES, Size, is_small

from federation.audit_summary import (
    AuditSummary,
    Cell,
    FeatureQuality,
    GroupLabels,
    LabelNoiseSum,
    LabelSkew,
    OverlapSites,
)
from federation.privacy_impact import GapImpact, GroupImpact, ImpactPoint, PrivacyImpact
from federation.summary import (
    Estimate,
)


def audit(size: Size, draws) -> AuditSummary:
    hidden = Cell(rows=None, withheld="small cell")
    classes = len(size.classes)
    return AuditSummary(
        sites=SITES - 1,
        counted="held-out rows",
        minimum_cell=MINIMUM_CELL,
        classes=size.classes,
        rows=Cell(rows=9_000),
        labels=None if size.suppressed else tuple([9_000 // classes] * classes),
        majority_accuracy=None if size.suppressed else 0.62,
        features=tuple(
            FeatureQuality(
                name=name,
                missing=hidden if place == 2 else Cell(rows=int(draws.integers(0, 300))),
                missing_by_label=None if place == 2 else (12, 40),
                below=Cell(rows=0),
                above=Cell(rows=11),
                other=Cell(rows=0),
                auc=0.97 if place == 1 else 0.6 + 0.2 * float(draws.random()),
                information_value=4.2 if place == 1 else 0.3,
                leak_label=size.classes[-1],
                leak="red" if place == 1 else "none",
                sites_constant=int(place == 3),
                sites_red=4 if place == 1 else 0,
            )
            for place, name in enumerate(size.feature_names)
        ),
        repeated=Cell(rows=24),
        repeated_with_label=hidden,
        conflicting_rows=Cell(rows=31),
        groups=tuple(
            GroupLabels(
                attribute=attribute,
                group=group,
                labels=None if is_small(size, group) else tuple([300] * classes),
            )
            for attribute, groups in size.families.items()
            if "&" not in attribute
            for group in groups
        ),
        label_skew=(
            LabelSkew(label=size.classes[-1], sites=(0, 1, 2, 3, 2, 1, 0, 0, 0, 0),
                      sites_without_rows=0),
        ),
        sites_lacking_a_class=1,
        overlap=OverlapSites(none=7, below_1_percent=1, below_5_percent=1, more=0),
        label_noise=LabelNoiseSum(joint=((4_000, 210), (260, 4_530)), share=0.052)
        if size.is_binary
        else LabelNoiseSum(joint=None, share=None, withheld="small cell"),
    )  # fmt: skip


def impact(size: Size, draws) -> PrivacyImpact:
    points = []
    for place, epsilon in enumerate((None, 8.0, 4.0, 2.0, 1.0)):
        groups = []
        for attribute, names in size.families.items():
            for at, name in enumerate(names):
                value = 0.84 - 0.012 * place * (1 + at / len(names)) + 0.01 * float(draws.random())
                known = Estimate(value=value, low=value - 0.01, high=value + 0.01)
                missing = Estimate(value=None, reason="fewer than 10 rows")
                groups.append(
                    GroupImpact(
                        attribute=attribute,
                        group=name,
                        rows=400,
                        accuracy=missing if is_small(size, name) else known,
                        true_positive_rate=known if size.is_binary else None,
                    )
                )
        value = 0.84 - 0.01 * place
        points.append(
            ImpactPoint(
                epsilon=epsilon,
                accuracy=Estimate(value=value, low=value - 0.005, high=value + 0.005),
                groups=tuple(groups),
                gaps=tuple(
                    GapImpact(
                        attribute=attribute,
                        metric="accuracy_difference",
                        value=Estimate(value=0.05 + 0.01 * place, low=0.04, high=0.12),
                    )
                    for attribute in size.families
                ),
            )
        )
    return PrivacyImpact(seeds=(1, 2, 3), rounds=20, points=tuple(points))
