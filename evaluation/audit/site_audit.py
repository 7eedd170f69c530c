"""The whole audit of one site's rows, as a document; pure: the same rows give the same bytes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.audit import checks
from evaluation.audit.annotator_agreement import agreements
from evaluation.audit.class_balance import class_counts, group_class_counts, majority
from evaluation.audit.column_quality import (
    ColumnCounts,
    column_counts,
    missing_gap,
    missing_p_value,
)
from evaluation.audit.document import (
    Baseline,
    Column,
    GroupBalance,
    Raters,
    Repetition,
    SiteAudit,
    SplitRows,
)
from evaluation.audit.leakage import Leak, leak, local_histogram
from evaluation.audit.predicted_labels import RowPredictions, labels_against
from evaluation.audit.repeated_rows import chance_alike, overlap, repeats, row_identities
from evaluation.audit.rows import HELD_OUT, SPLITS, AuditData, AuditRows, Split, require_rows
from evaluation.audit.rules import RULES
from federation.schema import Feature, Numeric, TaskSchema
from federation.task import Codes


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """What the document names beside the rows."""

    site: str
    dataset: str
    task: str
    split_seed: int


def site_audit(
    facts: AuditFacts,
    schema: TaskSchema,
    data: AuditData,
    predicted: RowPredictions,
    top: int,
) -> SiteAudit:
    """The document.

    Args:
        facts: what it is of.
        schema: of the task.
        data: the rows.
        predicted: what labels are held against.
        top: how many rows each ranking lists, >= 0.

    Raises:
        DataError: rows or predictions are not what they promise.
    """
    for split in SPLITS:
        require_rows(schema, data.split(split), split)
    everything = data.pooled(SPLITS)
    identities = row_identities(schema, [data.split(split) for split in SPLITS])
    leaks = tuple(
        leak(feature.name, local_histogram(schema, feature, everything))
        for feature in schema.features
    )
    columns = _columns(schema, data, everything, leaks)
    repetition = _repetition(data, identities, chance_alike(schema, everything))
    labels = class_counts(schema, everything)
    groups = _groups(schema, everything)
    baseline = majority(labels)
    model = labels_against(schema, data, predicted, top)
    raters = _raters(schema, everything)
    found = (
        *checks.column_checks(columns, leaks),
        *checks.repetition_checks(repetition, len(everything)),
        *checks.balance_checks(schema.classes, labels.tolist(), groups),
        *checks.prediction_checks(model.facts, model.noise, model.mislabelled),
        checks.annotator_check(raters),
    )
    by_key = {check.key: check for check in found}
    return SiteAudit(
        site=facts.site,
        dataset=facts.dataset,
        task=facts.task,
        split_seed=facts.split_seed,
        rows_sha256=_digest(schema, everything),
        label=schema.label,
        classes=schema.classes,
        checks=tuple(by_key[key] for key in RULES),
        splits=tuple(
            _split_rows(schema, split, data.split(split), own)
            for split, own in zip(SPLITS, identities, strict=True)
        ),
        columns=columns,
        repetition=repetition,
        groups=groups,
        baseline=None
        if baseline is None
        else Baseline(
            label=schema.classes[baseline.label],
            accuracy=baseline.accuracy,
            log_loss=baseline.log_loss,
        ),
        predictions=model.facts,
        label_noise=model.noise,
        mislabelled_rows=model.mislabelled,
        likely_mislabelled=model.likely_mislabelled,
        most_uncertain=model.most_uncertain,
        raters=raters,
    )


def _columns(
    schema: TaskSchema, data: AuditData, everything: AuditRows, leaks: Sequence[Leak | None]
) -> tuple[Column, ...]:
    splits = [column_counts(schema, data.split(split)) for split in SPLITS]
    whole = column_counts(schema, everything)
    return tuple(
        _column(schema, feature, whole[place], [one[place].missing_rows for one in splits],
                leaks[place])
        for place, feature in enumerate(schema.features)
    )  # fmt: skip


def _column(
    schema: TaskSchema,
    feature: Feature,
    counts: ColumnCounts,
    missing_by_split: Sequence[int],
    found: Leak | None,
) -> Column:
    column = Column(
        name=feature.name,
        kind="numeric" if isinstance(feature, Numeric) else "categorical",
        verdict="off",
        rows=counts.rows,
        missing=counts.missing_rows,
        missing_by_label=tuple(counts.missing.tolist()),
        missing_by_split=tuple(missing_by_split),
        missing_gap=missing_gap(counts.by_label, counts.missing),
        missing_gap_p_value=missing_p_value(counts.by_label, counts.missing),
        below=counts.below,
        above=counts.above,
        other=counts.other,
        distinct=counts.distinct,
        constant=counts.is_constant,
        auc=None if found is None else found.auc,
        information_value=None if found is None else found.information_value,
        chance_auc=None if found is None else found.chance_auc,
        leak_label="" if found is None else schema.classes[found.label],
    )
    verdicts = (
        checks.missing(column),
        checks.missing_by_label(column, len(schema.features)),
        checks.out_of_range(column),
        checks.unknown_level(column),
        checks.constant(column),
        checks.leakage(found),
    )
    return column.model_copy(update={"verdict": checks.worst(verdicts) if counts.rows else "off"})


def _repetition(data: AuditData, identities: Sequence[Codes], chance: float) -> Repetition:
    train, held_out = identities[0], np.concatenate(identities[1:])
    labels = data.pooled(HELD_OUT).targets
    alike = repeats(np.concatenate(identities), data.pooled(SPLITS).targets)
    shared = overlap((train, data.train.targets), (held_out, labels))
    return Repetition(
        repeated=alike.repeated,
        repeated_with_label=alike.repeated_with_label,
        conflicting_sets=alike.conflicting_sets,
        conflicting_rows=alike.conflicting_rows,
        held_out=shared.held_out,
        shared=shared.shared,
        shared_with_label=shared.shared_with_label,
        chance_pairs=chance * alike.rows * (alike.rows - 1) / 2,
        chance_shared=chance * len(train) * len(held_out),
    )


def _split_rows(schema: TaskSchema, split: Split, rows: AuditRows, identities: Codes) -> SplitRows:
    alike = repeats(identities, rows.targets)
    return SplitRows(
        split=split,
        labels=tuple(class_counts(schema, rows).tolist()),
        repeated=alike.repeated,
        repeated_with_label=alike.repeated_with_label,
    )


def _groups(schema: TaskSchema, rows: AuditRows) -> tuple[GroupBalance, ...]:
    counted = group_class_counts(schema, rows)
    return tuple(
        GroupBalance(attribute=attribute.name, group=group, labels=tuple(labels))
        for attribute in schema.attributes
        for group, labels in zip(attribute.groups, counted[attribute.name].tolist(), strict=True)
    )


def _raters(schema: TaskSchema, rows: AuditRows) -> tuple[Raters, ...]:
    labels = dict(rows.annotations)
    if len(labels) == 1:
        labels = {schema.label: rows.targets} | labels
    return tuple(
        Raters(
            raters=one.raters,
            measure="Cohen's kappa" if len(one.raters) == 2 else "Fleiss' kappa",
            rows=one.rows,
            observed=one.observed,
            kappa=one.kappa,
        )
        for one in agreements(labels, len(schema.classes))
    )


def _digest(schema: TaskSchema, rows: AuditRows) -> str:
    digest = hashlib.sha256()
    for feature in schema.features:
        digest.update(np.ascontiguousarray(rows.features[feature.name], dtype="<f8").tobytes())
    digest.update(np.ascontiguousarray(rows.targets, dtype="<i8").tobytes())
    return digest.hexdigest()
