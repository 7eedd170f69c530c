"""Group rates and gaps as a summary says them, with everything hidden that must be."""

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum

import numpy as np

from evaluation.estimates import auc_estimate, disparity, no_disparity, rate_estimate
from evaluation.group_metrics import (
    FN,
    FP,
    TN,
    TP,
    Counts,
    Rate,
    accuracy,
    accuracy_difference,
    demographic_parity_difference,
    demographic_parity_ratio,
    equal_opportunity_difference,
    equalized_odds_difference,
    false_positive_rate,
    precision,
    selection_rate,
    true_positive_rate,
)
from evaluation.suppression import across_scopes, hidden, partitions
from evaluation.tally_spec import OVERALL, Family, Group, TallySpec
from evaluation.tally_sums import TallySums
from federation.errors import DataError
from federation.summary import Disparity, Estimate, Fairness, GroupRates
from federation.task import Codes, Floats

LABEL_RATES = (true_positive_rate, false_positive_rate, precision, accuracy)


class Shown(IntEnum):
    """How much may be said of a group; each level includes the ones before."""

    NOTHING = 0
    ROWS = 1
    """The number of rows and what is predicted for them: nothing that depends on a label."""
    LABELS = 2
    """The number of positives too, and all rates."""


GAPS = {
    demographic_parity_difference: Shown.ROWS,
    demographic_parity_ratio: Shown.ROWS,
    equalized_odds_difference: Shown.LABELS,
    equal_opportunity_difference: Shown.LABELS,
    accuracy_difference: Shown.LABELS,
}
"""The gaps of a binary task, and what must be shown of a group that they compare."""

MOST_NAMED = 3
"""How many hidden groups are named when they are shown as one."""

BESIDE = "so that a small group beside it does not follow by subtraction"

TOO_FEW_GROUPS = {
    Shown.ROWS: "fewer than two groups with enough rows to be shown",
    Shown.LABELS: "fewer than two groups with enough positives and negatives to be shown",
}


def fairness(
    spec: TallySpec, sums: Mapping[str, Floats], scope: str, minimum_cell: int
) -> Fairness:
    """Group rates and gaps of one scope, for a release that holds no other scope's.

    Args:
        spec: what was counted.
        sums: per name of `spec.segments`, shape (segment.length,).
        scope: `overall` or a cohort's name.
        minimum_cell: see `fairness_by_scope`.

    Raises:
        KeyError: a segment is not in `sums`.
        DataError: a count is not a whole number >= 0.
    """
    tallies = TallySums(spec, sums)
    return _fairness(tallies, scope, minimum_cell, shown_levels([tallies], minimum_cell)[0])


def fairness_by_scope(
    spec: TallySpec, sums: Mapping[str, Mapping[str, Floats]], minimum_cell: int
) -> tuple[Fairness, ...]:
    """Group rates and gaps of `overall` and of disjoint cohorts, released together.

    Hidden (`rows` 0, `suppressed`) is a group with fewer than `minimum_cell` rows. Where positives
    or negatives are fewer, rows and selection rate are shown and nothing that depends on a label:
    with the selection rate, the accuracy of a group in which nobody is selected would tell the
    number of positives. More is hidden until neither follows from other groups or other scopes
    (`suppression`). Hidden groups that are many enough together are shown as one group, since
    their sum follows anyway. Gaps are between the groups that are shown. A group without rows is
    not suppressed; if it is an `unknown` one it is left out.

    With more than two classes, rows and accuracy are all there is of a group.

    Args:
        spec: what was counted.
        sums: per scope, of which `overall` is one, per name of `spec.segments`.
        minimum_cell: 1 hides nothing.

    Returns:
        One per scope, in the order of `sums`.

    Raises:
        KeyError: a segment is not in `sums`, or no scope is `overall`.
        DataError: a count is not a whole number >= 0, or cohorts hold more than `overall`.
    """
    order = [OVERALL, *(scope for scope in sums if scope != OVERALL)]
    tallies = [TallySums(spec, sums[scope]) for scope in order]
    shown = dict(
        zip(order, zip(tallies, shown_levels(tallies, minimum_cell), strict=False), strict=True)
    )
    return tuple(_fairness(shown[scope][0], scope, minimum_cell, shown[scope][1]) for scope in sums)


def shown_levels(tallies: Sequence[TallySums], minimum_cell: int) -> list[Codes]:
    """`Shown` per group of `spec.groups`, shape (groups,), for each scope.

    Args:
        tallies: per scope; the first holds the rows of the others, which share none.
        minimum_cell: see `fairness_by_scope`.
    """
    spec = tallies[0].spec
    scopes = [sums.outcomes(spec.groups) for sums in tallies]
    if len(scopes) > 1:
        rest = scopes[0] - np.sum(scopes[1:], axis=0)
        if np.any(rest < 0):
            raise DataError("cohorts hold more rows than all sites together: a site sent no counts")
        scopes.append(rest)
    counts = np.concatenate(scopes)
    adds_up = across_scopes(partitions(spec), len(spec.groups), len(scopes))
    totals = np.tile([not group.levels for group in spec.groups], len(scopes))
    small = hidden(counts.sum(axis=1, keepdims=True), adds_up, minimum_cell, totals)
    labels = np.stack([counts[:, [TN, FP]].sum(axis=1), counts[:, [FN, TP]].sum(axis=1)], axis=1)
    few = small
    if spec.schema.is_binary:
        few = hidden(labels, adds_up, minimum_cell, totals, also=small)
    levels = np.where(small, Shown.NOTHING, np.where(few, Shown.ROWS, Shown.LABELS))
    return np.split(levels, len(scopes))


def _fairness(tallies: TallySums, scope: str, minimum_cell: int, shown: Codes) -> Fairness:
    level = dict(zip(tallies.spec.groups, shown.tolist(), strict=True))
    groups: list[GroupRates] = []
    disparities: list[Disparity] = []
    leasts = (Shown.ROWS, Shown.LABELS) if tallies.spec.schema.is_binary else (Shown.ROWS,)
    for family in tallies.spec.families:
        listed = tuple(
            group for group in family if not group.is_unknown or tallies.outcomes([group]).any()
        )
        together = {
            least: taken_together(tallies, listed, level, least, minimum_cell) for least in leasts
        }
        # The same groups may be combined for both levels: then the higher one says all.
        combined = {members: least for least, members in together.items() if members}
        shown_as = {(group,): level[group] for group in listed} | combined
        groups += [
            _group_rates(tallies, members, told, minimum_cell) for members, told in shown_as.items()
        ]
        disparities += _disparities(tallies, listed, level, together)
    return Fairness(scope=scope, groups=tuple(groups), disparities=tuple(disparities))


def taken_together(
    tallies: TallySums,
    family: Family,
    shown: Mapping[Group, int],
    least: Shown,
    minimum_cell: int,
) -> Family:
    """The groups that are not shown, if all of them together may be, as one group.

    It gives nothing away: all rows are shown, and so are the other groups, so that the sum of
    these follows. Without it, a few rows of unknown sex would leave no second group to compare.
    """
    members = tuple(group for group in family if shown[group] < least)
    others = [group for group in family if shown[group] >= least]
    confusion = tallies.outcomes(members)
    if np.count_nonzero(confusion.any(axis=1)) < 2 or not tallies.outcomes(others).any():
        return ()
    tn, fp, fn, tp = confusion.sum(axis=0)
    smallest = min(tn + fp, fn + tp) if least == Shown.LABELS else confusion.sum()
    return members if smallest >= minimum_cell else ()


def _name(members: Family) -> str:
    many = len(members) > MOST_NAMED
    return f"{len(members)} groups" if many else " or ".join(group.name for group in members)


def _outcomes(tallies: TallySums, members: Family) -> Counts:
    """TN, FP, FN, TP of some groups as one, shape (4,)."""
    confusion: Counts = tallies.outcomes(members).sum(axis=0)
    return confusion


def _group_rates(tallies: TallySums, members: Family, shown: int, minimum_cell: int) -> GroupRates:
    """What may be said of one group, or of several as one."""
    confusion = _outcomes(tallies, members)
    named = GroupRates(
        attribute=members[0].attribute,
        group=_name(members),
        combines=tuple(group.name for group in members) if len(members) > 1 else (),
        rows=0,
        positives=None,
    )
    if shown == Shown.NOTHING:
        few = int(confusion.sum()) < minimum_cell
        reason = f"fewer than {minimum_cell} rows" if few else BESIDE
        return named.model_copy(update={"suppressed": True, "reason": reason})
    named = named.model_copy(update={"rows": int(confusion.sum())})
    if not tallies.spec.schema.is_binary:
        return named.model_copy(update={"accuracy": _estimate(accuracy, confusion)})
    selected = {"selection_rate": _estimate(selection_rate, confusion)}
    if shown == Shown.ROWS:
        reason = f"fewer than {minimum_cell} positives or negatives, here or in a related group"
        withheld = Estimate(value=None, reason=reason)
        names = (*(rate.name for rate in LABEL_RATES), "auc")
        return named.model_copy(update=selected | dict.fromkeys(names, withheld))
    by_labels = {rate.name: _estimate(rate, confusion) for rate in LABEL_RATES}
    scores = np.sum([tallies.scores(group.label) for group in members], axis=0)
    by_labels |= {"auc": auc_estimate([scores])}
    positives = {"positives": int(confusion[[FN, TP]].sum())}
    return named.model_copy(update=selected | by_labels | positives)


def _disparities(
    tallies: TallySums,
    family: Family,
    shown: Mapping[Group, int],
    together: Mapping[Shown, Family],
) -> Iterator[Disparity]:
    gaps = GAPS if tallies.spec.schema.is_binary else {accuracy_difference: Shown.ROWS}
    attribute = family[0].attribute
    for gap, least in gaps.items():
        compared: list[Family] = [(group,) for group in family if shown[group] >= least]
        if together[least]:
            compared.append(together[least])
        names = [_name(members) for members in compared]
        if len(names) < 2:
            yield no_disparity(gap, attribute, TOO_FEW_GROUPS[least])
        else:
            counts = np.stack([_outcomes(tallies, members) for members in compared])
            yield disparity(gap, attribute, names, counts)


def _estimate(rate: Rate, confusion: Counts) -> Estimate:
    part, whole = rate.counts(confusion)
    return rate_estimate(int(part), int(whole), f"no {rate.denominator} in this group")
