"""What several sites' data audits say together: read from one secure sum, small cells hidden."""

from typing import Literal

from federation.summary import Part

Withheld = Literal["", "small cell"]


class Cell(Part):
    """A number of rows; None if it is one to `minimum_cell` - 1, or gives such a number away."""

    rows: int | None
    withheld: Withheld = ""


class FeatureQuality(Part):
    """One feature over the counted rows of all sites.

    Attributes:
        missing: rows without a value.
        missing_by_label: likewise per class; None if one of them, or of the rest of its class, is
            a small cell.
        below: rows below the public range; 0 for a categorical feature.
        above: rows above it; 0 for a categorical feature.
        other: rows of an undeclared level; 0 for a numeric feature.
        auc: of the feature alone, from bins of its public range in their best order; None with
            fewer than `minimum_cell` rows in or out of the class.
        information_value: likewise.
        leak_label: the class that it tells best.
        leak: red, yellow, or none, of the sum.
        sites_constant: sites at which all counted rows have one value, or none.
        sites_red: sites at which it tells the label all but alone, by bins of their own.
    """

    name: str
    missing: Cell
    missing_by_label: tuple[int, ...] | None
    below: Cell
    above: Cell
    other: Cell
    auc: float | None
    information_value: float | None
    leak_label: str = ""
    leak: Literal["none", "yellow", "red", "not estimable"] = "not estimable"
    sites_constant: int
    sites_red: int


class GroupLabels(Part):
    """Rows per class of one group; None where it is hidden."""

    attribute: str
    group: str
    labels: tuple[int, ...] | None


class LabelSkew(Part):
    """How many sites have which share of a class: bucket `b` of N is [b/N, (b+1)/N), 1 in the last.

    Attributes:
        label: the class whose share it is.
        sites: per bucket.
        sites_without_rows: which have no share.
    """

    label: str
    sites: tuple[int, ...]
    sites_without_rows: int


class OverlapSites(Part):
    """How many sites have how large a share of held-out rows that they also train on.

    Attributes:
        none: sites without any such row.
        below_1_percent: of their held-out rows.
        below_5_percent: at least 1 %.
        more: at least 5 %.
    """

    none: int
    below_1_percent: int
    below_5_percent: int
    more: int


class LabelNoiseSum(Part):
    """Confident learning over all sites: rows per given and estimated true class.

    Attributes:
        joint: None if a class has fewer than `minimum_cell` rows.
        share: off the diagonal; an upper bound rather than a rate.
    """

    joint: tuple[tuple[int, ...], ...] | None
    share: float | None
    withheld: Withheld = ""


class AuditSummary(Part):
    """The audit of a federation.

    Attributes:
        sites: in the sum.
        counted: whose rows were counted.
        minimum_cell: smaller counts of rows are hidden, after the sum.
        classes: of the label.
        rows: counted.
        labels: rows per class; None if one of them is a small cell.
        repeated: rows that repeat the features of one before at the same site.
        repeated_with_label: likewise features and label.
        conflicting_rows: rows that share their features with a row of another class there.
        sites_lacking_a_class: sites without a row of some class.
        overlap: None if it was not agreed to be counted.
        label_noise: None if it was not asked for.
    """

    sites: int
    counted: Literal["held-out rows", "all rows"]
    minimum_cell: int
    classes: tuple[str, ...]
    rows: Cell
    labels: tuple[int, ...] | None
    majority_accuracy: float | None
    features: tuple[FeatureQuality, ...]
    repeated: Cell
    repeated_with_label: Cell
    conflicting_rows: Cell
    groups: tuple[GroupLabels, ...]
    label_skew: tuple[LabelSkew, ...]
    sites_lacking_a_class: int
    overlap: OverlapSites | None
    label_noise: LabelNoiseSum | None = None
