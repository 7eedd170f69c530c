"""The document `hedgerow/site-audit/1`: all that the page shows, for the eyes of the site alone.

It tells of single rows (where they stand, their given and suggested class; never a feature's value)
and of small groups. Nothing of it is sent anywhere.
"""

from typing import Literal

from federation.summary import Part

SCHEMA: Literal["hedgerow/site-audit/1"] = "hedgerow/site-audit/1"

Verdict = Literal["ok", "watch", "act", "off"]
"""`off`: there was nothing to judge."""

PredictionSource = Literal["model", "out-of-fold", "none"]


class Check(Part):
    """One thing that was looked for.

    Attributes:
        key: names it in the rules.
        name: in words.
        verdict: the worst that a rule gave.
        finding: what was found, in a sentence.
        remedy: how to mend it; empty if there is nothing to mend.
    """

    key: str
    name: str
    verdict: Verdict
    finding: str
    remedy: str = ""


class SplitRows(Part):
    """Rows of one split, and what is alike among them.

    Attributes:
        split: train, reference or current.
        labels: rows per class.
        repeated: rows that repeat the features of one before.
        repeated_with_label: rows that repeat features and label of one before.
    """

    split: str
    labels: tuple[int, ...]
    repeated: int
    repeated_with_label: int


class Column(Part):
    """One feature, over all splits; rows.

    Attributes:
        kind: numeric or categorical.
        verdict: of the column: the worst of missing, range, level, constant and leakage.
        rows: of all splits.
        missing_by_label: rows without a value, per class.
        missing_by_split: likewise, per split.
        missing_gap: largest difference of the missing share between classes.
        missing_gap_p_value: chance of such shares if missing did not depend on the class.
        distinct: number of distinct values.
        auc: of the feature alone for `leak_label` against the rest, bins in the best order.
        chance_auc: the same with labels shuffled.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    verdict: Verdict
    rows: int
    missing: int
    missing_by_label: tuple[int, ...]
    missing_by_split: tuple[int, ...]
    missing_gap: float | None
    missing_gap_p_value: float | None
    below: int
    above: int
    other: int
    distinct: int
    constant: bool
    auc: float | None
    information_value: float | None
    chance_auc: float | None
    leak_label: str


class Repetition(Part):
    """Rows that are alike, over all splits, and between training and held-out rows.

    Attributes:
        chance_pairs: pairs of alike rows to be expected if features were independent.
        chance_shared: likewise pairs of a held-out and a training row.
    """

    repeated: int
    repeated_with_label: int
    conflicting_sets: int
    conflicting_rows: int
    held_out: int
    shared: int
    shared_with_label: int
    chance_pairs: float
    chance_shared: float


class GroupBalance(Part):
    """Rows per class of one group, over all splits."""

    attribute: str
    group: str
    labels: tuple[int, ...]


class Baseline(Part):
    """What always answering the most frequent class achieves, over all splits."""

    label: str
    accuracy: float
    log_loss: float


class Predictions(Part):
    """Where the probabilities came from that labels were held against.

    Attributes:
        source: a model that was given, or models trained here on the other folds, without privacy.
        model_sha256: of the file that was given.
        folds: into how many parts the rows were dealt; 0 with a model.
        splits: whose rows have predictions.
        rows: how many.
        accuracy: share of them predicted as labelled.
        majority_accuracy: of always answering their most frequent class.
    """

    source: PredictionSource
    model_sha256: str | None = None
    folds: int = 0
    splits: tuple[str, ...] = ()
    rows: int = 0
    accuracy: float | None = None
    majority_accuracy: float | None = None
    reason: str = ""


class NoiseEstimate(Part):
    """Confident learning's joint: rows per given class (outer) and estimated true class (inner)."""

    joint: tuple[tuple[int, ...], ...]
    wrong: int
    share: float


class DoubtfulRow(Part):
    """One row to look at again.

    Attributes:
        split: it is in.
        row: its place in the split, from 0.
        number: where it stands in the table the task reads, from 1; None if the task does not say.
        given: its label.
        suggested: the most probable class.
        margin: probability of the most probable class less that of the second.
        entropy: of the probabilities, nats.
        self_confidence: probability of the given class.
    """

    split: str
    row: int
    number: int | None
    given: str
    suggested: str
    margin: float
    entropy: float
    self_confidence: float


class Raters(Part):
    """Agreement of two or more label columns.

    Attributes:
        measure: Cohen's kappa (two) or Fleiss' kappa (more).
        rows: labelled by all of them.
        observed: share of labels, or of pairs of labels, that agree.
    """

    raters: tuple[str, ...]
    measure: Literal["Cohen's kappa", "Fleiss' kappa"]
    rows: int
    observed: float | None
    kappa: float | None


class SiteAudit(Part):
    """The whole audit.

    Attributes:
        rows_sha256: of all features and labels, so that two audits tell whether rows changed.
        label: name of the label's column.
        classes: of the label; of two, the second is the positive class.
    """

    schema_id: Literal["hedgerow/site-audit/1"] = SCHEMA
    site: str
    dataset: str
    task: str
    split_seed: int
    rows_sha256: str
    label: str
    classes: tuple[str, ...]
    checks: tuple[Check, ...]
    splits: tuple[SplitRows, ...]
    columns: tuple[Column, ...]
    repetition: Repetition
    groups: tuple[GroupBalance, ...]
    baseline: Baseline | None
    predictions: Predictions
    label_noise: NoiseEstimate | None
    mislabelled_rows: int
    likely_mislabelled: tuple[DoubtfulRow, ...]
    most_uncertain: tuple[DoubtfulRow, ...]
    raters: tuple[Raters, ...]
