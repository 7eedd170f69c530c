"""Scores of groups as a report says them: discrimination, calibration, curves, and what is hidden.

Whatever is one number of a group (AUC, KS, Brier score, ECE, calibration in the large) is told of
the groups whose positives and negatives are told, as `group_findings` decides. Curves are tables of
counts in disguise; `published_cuts` decides how fine they may be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from evaluation.calibration import (
    Calibration,
    brier_score,
    expected_calibration_error,
    in_the_large,
    murphy_parts,
)
from evaluation.curve_points import CurvePoints
from evaluation.estimates import NO_AUC, auc_estimate, rate_estimate
from evaluation.group_findings import BESIDE, MOST_NAMED
from evaluation.group_metrics import Counts
from evaluation.score_curves import auc, auc_interval, ks, roc
from evaluation.shown_levels import Shown, shown_levels, taken_together
from evaluation.suppression import Partition, across_scopes, hidden, partitions
from evaluation.tally_spec import OVERALL, Bools, Group, TallySpec
from evaluation.tally_sums import TallySums
from federation.score_summary import BrierParts, GroupScores, ReliabilityBin, RocPoint
from federation.summary import Estimate
from federation.task import Codes, Floats

CLASS = "class"
"""The attribute that the classes of a task with more than two are told under."""

NO_ROWS = "no rows"


def score_findings_by_scope(
    spec: TallySpec, sums: Mapping[str, Mapping[str, Floats]], minimum_cell: int
) -> dict[str, tuple[GroupScores, ...]]:
    """Scores of every group against its outcomes, of `overall` and of disjoint cohorts, together.

    Binary: all rows first, then family by family, an `unknown` group only if it has rows. More
    classes: each class against the rest, over all rows.

    What is protected, beyond what hides whole groups: of every group, every scope, and whatever
    follows by subtracting groups from groups or cohorts from `overall` (the sum of the groups that
    are hidden, the sites outside all cohorts), the positives and the negatives between two
    neighbouring points of the curves are none or at least `minimum_cell`. Neighbouring bins are
    joined and points left out until it is so. What is not: the single numbers are exact, so that
    each says something about bins that are joined, as any exact number does; TN, FP, FN and TP of
    a group whose labels are told are told whatever they are; and a run's next release has other
    scores of the same rows.

    Args:
        spec: what was counted.
        sums: per scope, of which `overall` is one and the others are disjoint, per name of
            `spec.segments` and `spec.report_segments`.
        minimum_cell: 1 hides nothing.

    Returns:
        Per scope, in the order of `sums`.

    Raises:
        KeyError: a segment is not in `sums`, or no scope is `overall`.
        DataError: a count is not a whole number >= 0, or cohorts hold more than `overall`.
    """
    order = [OVERALL, *(scope for scope in sums if scope != OVERALL)]
    tallies = [TallySums(spec, sums[scope]) for scope in order]
    levels = (_group_levels if spec.schema.is_binary else _class_levels)(tallies, minimum_cell)
    points = CurvePoints.of(tallies[0], minimum_cell)
    eligible = np.concatenate(levels.per_scope) == Shown.LABELS
    told = points.tellable(tallies, spec.table_labels, eligible, levels.adds_up)
    found = {
        scope: tuple(_in_scope(own, points, own_levels, cuts, minimum_cell))
        # The last of levels and cuts may be of the rows outside all cohorts: no scope of its own.
        for scope, own, own_levels, cuts in zip(
            order, tallies, levels.per_scope, told, strict=False
        )
    }
    return {scope: found[scope] for scope in sums}


@dataclass(frozen=True, slots=True)
class _Subject:
    """One group, or one class against the rest, in one scope.

    Attributes:
        label: of its segments.
        attribute: what it is told under.
        name: likewise.
        level: how much is told of it.
    """

    label: str
    attribute: str
    name: str
    level: int


@dataclass(frozen=True, slots=True)
class _Levels:
    """How much is told of the subjects of all scopes.

    Attributes:
        per_scope: `Shown` per subject, shape (subjects,); the rows outside all cohorts are the last
            scope if there are cohorts.
        adds_up: which subjects add up to which, over these scopes.
    """

    per_scope: Sequence[Codes]
    adds_up: tuple[Partition, ...]


def _group_levels(tallies: Sequence[TallySums], minimum_cell: int) -> _Levels:
    spec, levels = tallies[0].spec, shown_levels(tallies, minimum_cell)
    return _Levels(levels, across_scopes(partitions(spec), len(spec.groups), len(levels)))


def _class_levels(tallies: Sequence[TallySums], minimum_cell: int) -> _Levels:
    """Classes of few rows are hidden, and others beside them, as groups are.

    Scores of different classes are of different columns: their tables add up over scopes alone.
    """
    classes = len(tallies[0].spec.class_labels)
    rows = [own.labels() for own in tallies]
    if len(rows) > 1:
        rows.append(rows[0] - np.sum(rows[1:], axis=0))
    with_total = np.concatenate([[own.sum(), *own] for own in rows])[:, np.newaxis]
    whole = (Partition(0, tuple(range(1, classes + 1))),)
    is_total = np.arange(len(with_total)) % (classes + 1) == 0
    adds_up = across_scopes(whole, classes + 1, len(rows))
    concealed = hidden(with_total, adds_up, minimum_cell, is_total)
    levels = np.where(concealed[~is_total], Shown.NOTHING, Shown.LABELS)
    return _Levels(np.split(levels, len(rows)), across_scopes((), classes, len(rows)))


def _subjects(spec: TallySpec, levels: Codes) -> tuple[_Subject, ...]:
    if spec.schema.is_binary:
        named = [(group.label, group.attribute, group.name) for group in spec.groups]
    else:
        pairs = zip(spec.class_labels, spec.schema.classes, strict=True)
        named = [(label, CLASS, name) for label, name in pairs]
    return tuple(
        _Subject(*names, level) for names, level in zip(named, levels.tolist(), strict=True)
    )


def _in_scope(
    tallies: TallySums, points: CurvePoints, levels: Codes, told: Bools, minimum_cell: int
) -> Iterator[GroupScores]:
    """Every subject, and then of each family its hidden groups as one."""
    spec = tallies.spec
    for place, subject in enumerate(_subjects(spec, levels)):
        is_unknown = spec.schema.is_binary and spec.groups[place].is_unknown
        if not is_unknown or tallies.scores(subject.label).any():
            yield _scores(tallies, points, subject, told[place], minimum_cell)
    if spec.schema.is_binary:
        by_group = dict(zip(spec.groups, levels.tolist(), strict=True))
        yield from _together(tallies, by_group, minimum_cell)


def _scores(
    tallies: TallySums, points: CurvePoints, subject: _Subject, told: Bools, minimum_cell: int
) -> GroupScores:
    """What may be said of one subject in one scope."""
    named = GroupScores(attribute=subject.attribute, group=subject.name)
    rows, positives = tallies.scores(subject.label).sum(), tallies.scores(subject.label)[1].sum()
    if subject.level == Shown.LABELS:
        counted = Calibration.of(tallies, subject.label)
        scores = tallies.scores(subject.label)
        cuts = points.score_bins(tallies, subject.label, told)
        curves = _curves(tallies.spec, counted, scores, cuts)
        return named.model_copy(update=_numbers(counted, scores) | curves)
    if subject.level == Shown.ROWS:
        reason = f"fewer than {minimum_cell} positives or negatives, here or in a related group"
        return named.model_copy(update={"suppressed": True, "reason": reason, "rows": int(rows)})
    few = (positives if subject.attribute == CLASS else rows) < minimum_cell
    reason = f"fewer than {minimum_cell} rows" if few else BESIDE
    return named.model_copy(update={"suppressed": True, "reason": reason})


def _together(
    tallies: TallySums, levels: Mapping[Group, int], minimum_cell: int
) -> Iterator[GroupScores]:
    """Of each family the groups that are not told alone, as one, where `group_findings` has it."""
    for family in tallies.spec.families:
        listed = tuple(g for g in family if not g.is_unknown or tallies.outcomes([g]).any())
        members = taken_together(tallies, listed, levels, Shown.LABELS, minimum_cell)
        if not members:
            continue
        names = tuple(group.name for group in members)
        many = len(names) > MOST_NAMED
        counted = [Calibration.of(tallies, group.label) for group in members]
        scores = np.sum([tallies.scores(group.label) for group in members], axis=0)
        yield GroupScores(
            attribute=members[0].attribute,
            group=f"{len(names)} groups" if many else " or ".join(names),
            combines=names,
        ).model_copy(update=_numbers(reduce(add, counted), scores))


def _numbers(counted: Calibration, scores: Counts) -> dict[str, object]:
    """The single numbers of a group, by field of `GroupScores`."""
    parts = murphy_parts(counted)
    return {
        "rows": counted.total,
        "positives": int(counted.positives.sum()),
        "auc": auc_estimate([scores]),
        "auc_sampling": _auc_sampling(scores),
        "ks": _ks_estimate(scores),
        "brier": brier_score(counted),
        "brier_parts": BrierParts(**parts._asdict()) if parts else None,
        "ece": expected_calibration_error(counted),
        "calibration_in_the_large": _in_the_large(counted),
    }


def _auc_sampling(scores: Counts) -> Estimate:
    found, interval = auc(scores), auc_interval(scores)
    if found is None or interval is None:
        return Estimate(value=None, reason=NO_AUC)
    low, high = interval
    return Estimate(value=found.value, low=low, high=high)


def _ks_estimate(scores: Counts) -> Estimate:
    found = ks(scores)
    if found is None:
        return Estimate(value=None, kind="exact_bounds", reason=NO_AUC)
    return Estimate(value=found.low, low=found.low, high=found.high, kind="exact_bounds")


def _in_the_large(counted: Calibration) -> Estimate:
    found = in_the_large(counted)
    if found is None:
        return Estimate(value=None, reason=NO_ROWS)
    value, low, high = found
    return Estimate(value=value, low=low, high=high)


def _curves(
    spec: TallySpec, counted: Calibration, scores: Counts, cuts: Codes
) -> dict[str, object]:
    """The curves of a group, by field of `GroupScores`.

    Args:
        spec: what was counted.
        counted: on all calibration bins.
        scores: rows per label and score bin, shape (2, score_bins).
        cuts: score bins that its table may be cut at.
    """
    if not counted.total:
        return {}
    starts = np.concatenate([[0], np.intersect1d(cuts, spec.calibration_edges[1:-1])])
    joined = counted.joined(np.searchsorted(spec.calibration_edges, starts))
    ends = [*(starts[1:] / spec.score_bins).tolist(), 1.0]
    thresholds = np.array([spec.score_bins, *cuts[::-1], 0])
    return {
        "reliability": tuple(
            ReliabilityBin(
                low=low,
                high=high,
                rows=rows,
                mean_score=total / rows if rows else None,
                observed=rate_estimate(positives, rows, NO_ROWS),
            )
            for low, high, rows, positives, total in zip(
                (starts / spec.score_bins).tolist(),
                ends,
                joined.rows.tolist(),
                joined.positives.tolist(),
                joined.score_sums.tolist(),
                strict=True,
            )
        ),
        "roc": tuple(
            RocPoint(
                threshold=edge / spec.score_bins if edge < spec.score_bins else None,
                false_positive_rate=false,
                true_positive_rate=true,
            )
            for edge, (false, true) in zip(
                thresholds.tolist(), roc(scores, thresholds).tolist(), strict=True
            )
            if scores.any(axis=1).all()
        ),
    }
