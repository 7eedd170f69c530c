"""Group rates and gaps as a summary says them, with everything hidden that must be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluation import group_metrics
from evaluation.cell_noise import EXACT, CellNoise
from evaluation.estimates import NOISED_SCORES, auc_estimate, metric_estimates
from evaluation.gap_findings import Comparison, compare
from evaluation.group_metrics import FN, TP, Counts, Gap, Metric, Rate
from evaluation.resampling import ComparedGroups
from evaluation.shown_levels import Shown, shown_despite_noise, shown_levels, taken_together
from evaluation.tally_spec import OVERALL, Family, Group, TallySpec
from evaluation.tally_sums import TallySums
from federation.errors import DataError
from federation.summary import Estimate, Fairness, GroupRates
from federation.task import Codes, Floats

LABEL_METRICS: tuple[Metric, ...] = (
    group_metrics.true_positive_rate,
    group_metrics.true_negative_rate,
    group_metrics.false_positive_rate,
    group_metrics.false_negative_rate,
    group_metrics.precision,
    group_metrics.accuracy,
    group_metrics.balanced_accuracy,
    group_metrics.f1,
)
"""What is told of a group whose labels may be told of, beside its selection rate."""

GAPS: Mapping[Shown, tuple[Gap, ...]] = {
    Shown.ROWS: (
        group_metrics.demographic_parity_difference,
        group_metrics.demographic_parity_ratio,
    ),
    Shown.LABELS: (
        group_metrics.equalized_odds_difference,
        group_metrics.equalized_odds_ratio,
        group_metrics.equal_opportunity_difference,
        group_metrics.equal_opportunity_ratio,
        group_metrics.false_positive_rate_difference,
        group_metrics.false_positive_rate_ratio,
        group_metrics.accuracy_difference,
        group_metrics.accuracy_ratio,
        group_metrics.balanced_accuracy_difference,
        group_metrics.balanced_accuracy_ratio,
        group_metrics.precision_difference,
        group_metrics.precision_ratio,
        group_metrics.f1_difference,
        group_metrics.f1_ratio,
    ),
}
"""The gaps of a binary task, by what must be shown of the groups that they compare."""

RATES: Mapping[Shown, tuple[Rate, ...]] = {
    Shown.ROWS: (group_metrics.selection_rate,),
    Shown.LABELS: (
        group_metrics.true_positive_rate,
        group_metrics.false_positive_rate,
        group_metrics.precision,
        group_metrics.accuracy,
    ),
}
"""In which each group is compared with the rest; other rates are made of these."""

GAPS_OF_MORE_CLASSES = (group_metrics.accuracy_difference, group_metrics.accuracy_ratio)

NOISE_OF_MORE_CLASSES = 3
"""Wrong answers are rows less right ones there, each noised. For every accuracy p, three times the
variance on wrong and on right ones is at least what the noise adds: 3p^2 + 3(1-p)^2 >= 1 + p^2."""

MOST_NAMED = 3
"""How many hidden groups are named when they are shown as one."""

BESIDE = "so that a small group beside it does not follow by subtraction"

TOO_FEW_GROUPS = {
    Shown.ROWS: "fewer than two groups with enough rows to be shown",
    Shown.LABELS: "fewer than two groups with enough positives and negatives to be shown",
}


def fairness(
    spec: TallySpec,
    sums: Mapping[str, Floats],
    scope: str,
    minimum_cell: int,
    noise: CellNoise = EXACT,
) -> Fairness:
    """Group rates and gaps of one scope, for a release that holds no other scope's.

    Args:
        spec: what was counted.
        sums: per name of `spec.segments`, shape (segment.length,).
        scope: `overall` or a cohort's name.
        minimum_cell: see `fairness_by_scope`.
        noise: on each count.

    Raises:
        KeyError: a segment is not in `sums`.
        DataError: a count is not a whole number, or negative though it carries no noise.
    """
    tallies = TallySums(spec, sums, noised=bool(noise))
    (levels,) = _levels([tallies], minimum_cell, noise)
    return _fairness(tallies, scope, minimum_cell, levels, noise)


def fairness_by_scope(
    spec: TallySpec,
    sums: Mapping[str, Mapping[str, Floats]],
    minimum_cell: int,
    noise: CellNoise = EXACT,
) -> tuple[Fairness, ...]:
    """Group rates and gaps of `overall` and of disjoint cohorts, released together.

    Hidden (`rows` 0, `suppressed`) is a group with fewer than `minimum_cell` rows. Where positives
    or negatives are fewer, rows and selection rate are shown and nothing that depends on a label:
    with the selection rate, the accuracy of a group in which nobody is selected would tell the
    number of positives. More is hidden until neither follows from other groups or other scopes
    (`suppression`). Hidden groups that are many enough together are shown as one group, since
    their sum follows anyway. Gaps are between the groups that are shown. A group without rows is
    not suppressed; if it is an `unknown` one it is left out. A rate is not estimable, and its group
    not part of that rate's gaps, where its denominator is below `minimum_cell`.

    Counts with noise: hidden is what is small or no more than noise (`shown_despite_noise`); rows
    are as counted, at least 0; intervals and p-values allow for the noise.

    With more than two classes, rows and accuracy are all there is of a group.

    Args:
        spec: what was counted.
        sums: per scope, of which `overall` is one, per name of `spec.segments`.
        minimum_cell: 1 hides nothing.
        noise: on each count.

    Returns:
        One per scope, in the order of `sums`.

    Raises:
        KeyError: a segment is not in `sums`, or no scope is `overall`.
        DataError: a count is not a whole number, or without noise negative; or, without noise,
            cohorts hold more than `overall`.
    """
    order = [OVERALL, *(scope for scope in sums if scope != OVERALL)]
    tallies = [TallySums(spec, sums[scope], noised=bool(noise)) for scope in order]
    levels = _levels(tallies, minimum_cell, noise)
    # Levels of the rows outside all cohorts come last, and are of no scope.
    shown = dict(zip(order, zip(tallies, levels, strict=False), strict=True))
    return tuple(
        _fairness(shown[scope][0], scope, minimum_cell, shown[scope][1], noise) for scope in sums
    )


def _levels(tallies: Sequence[TallySums], minimum_cell: int, noise: CellNoise) -> list[Codes]:
    if noise:
        return [shown_despite_noise(one, minimum_cell, noise) for one in tallies]
    return shown_levels(tallies, minimum_cell)


@dataclass(frozen=True, slots=True)
class _Release:
    """What is told of one scope: its counts, what may be shown, and how few rows are too few."""

    tallies: TallySums
    level: Mapping[Group, int]
    minimum_cell: int
    noise: CellNoise

    @property
    def is_binary(self) -> bool:
        return self.tallies.spec.schema.is_binary

    def outcomes(self, members: Family) -> Counts:
        """TN, FP, FN, TP of some groups as one, shape (4,)."""
        confusion: Counts = self.tallies.outcomes(members).sum(axis=0)
        return confusion

    def estimates(self, metrics: Sequence[Metric], confusion: Counts) -> Mapping[str, Estimate]:
        return metric_estimates(metrics, confusion, self.minimum_cell, self.noise)


def _fairness(
    tallies: TallySums, scope: str, minimum_cell: int, shown: Codes, noise: CellNoise
) -> Fairness:
    spec = tallies.spec
    if noise and not spec.schema.is_binary:
        noise = replace(noise, variance=NOISE_OF_MORE_CLASSES * noise.variance)
    level = dict(zip(spec.groups, shown.tolist(), strict=True))
    release = _Release(tallies, level, minimum_cell, noise)
    leasts = (Shown.ROWS, Shown.LABELS) if spec.schema.is_binary else (Shown.ROWS,)
    groups: list[GroupRates] = []
    comparisons: list[Comparison] = []
    for family in spec.families:
        listed = tuple(
            group for group in family if not group.is_unknown or _is_populated(release, group)
        )
        together: dict[Shown, Family] = dict.fromkeys(leasts, ())
        if not noise:
            together = {
                least: taken_together(tallies, listed, level, least, minimum_cell)
                for least in leasts
            }
        # The same groups may be combined for both levels: then the higher one says all.
        combined = {members: least for least, members in together.items() if members}
        shown_as = {(group,): level[group] for group in listed} | combined
        groups += [_group_rates(release, members, told) for members, told in shown_as.items()]
        comparisons += [
            _comparison(release, listed, least, together[least]) for least in leasts if listed
        ]
    disparities, against_the_rest = compare(comparisons)
    return Fairness(
        scope=scope,
        groups=tuple(groups),
        disparities=disparities,
        comparisons=against_the_rest,
    )


def _is_populated(release: _Release, group: Group) -> bool:
    if release.noise:
        return release.level[group] > Shown.NOTHING
    return bool(release.tallies.outcomes([group]).any())


def _name(members: Family) -> str:
    many = len(members) > MOST_NAMED
    return f"{len(members)} groups" if many else " or ".join(group.name for group in members)


def _group_rates(release: _Release, members: Family, shown: int) -> GroupRates:
    """What may be said of one group, or of several as one."""
    confusion = release.outcomes(members)
    named = GroupRates(
        attribute=members[0].attribute,
        group=_name(members),
        combines=tuple(group.name for group in members) if len(members) > 1 else (),
        rows=0,
        positives=None,
    )
    if shown == Shown.NOTHING:
        return named.model_copy(update={"suppressed": True, "reason": _hidden(release, confusion)})
    named = named.model_copy(update={"rows": max(0, int(confusion.sum()))})
    if not release.is_binary:
        return named.model_copy(update=release.estimates([group_metrics.accuracy], confusion))
    selected = release.estimates([group_metrics.selection_rate], confusion)
    if shown == Shown.ROWS:
        few = f"fewer than {release.minimum_cell} positives or negatives"
        withheld = Estimate(value=None, reason=f"{few}, here or in a related group")
        names = (*(metric.name for metric in LABEL_METRICS), "auc")
        return named.model_copy(update={**selected, **dict.fromkeys(names, withheld)})
    by_labels = release.estimates(LABEL_METRICS, confusion)
    positives = max(0, int(confusion[[FN, TP]].sum()))
    auc = _auc(release, members)
    return named.model_copy(update={**selected, **by_labels, "positives": positives, "auc": auc})


def _hidden(release: _Release, confusion: Counts) -> str:
    if release.noise:
        return f"fewer than {release.minimum_cell} rows, or no more than the noise"
    few = int(confusion.sum()) < release.minimum_cell
    return f"fewer than {release.minimum_cell} rows" if few else BESIDE


def _auc(release: _Release, members: Family) -> Estimate:
    if release.noise:
        return Estimate(value=None, kind="exact_bounds", reason=NOISED_SCORES)
    return auc_estimate([np.sum([release.tallies.scores(g.label) for g in members], axis=0)])


def _comparison(release: _Release, family: Family, least: Shown, together: Family) -> Comparison:
    """The groups of a family that may be compared in what is told at a level."""
    compared: list[Family] = [(group,) for group in family if release.level[group] >= least]
    if together:
        compared.append(together)
    confusion = np.zeros((len(compared), 4), dtype=np.int64)
    for place, members in enumerate(compared):
        confusion[place] = release.outcomes(members)
    outside = np.zeros(4, dtype=np.int64)
    if not release.noise:
        outside = release.outcomes((Group(),)) - confusion.sum(axis=0)
        if np.any(outside < 0):
            attribute = family[0].attribute
            raise DataError(
                f"groups of {attribute} hold more rows than there are; a site sent no counts"
            )
    return Comparison(
        attribute=family[0].attribute,
        names=[_name(members) for members in compared],
        compared=ComparedGroups(confusion, outside, release.minimum_cell, release.noise),
        gaps=GAPS[least] if release.is_binary else GAPS_OF_MORE_CLASSES,
        rates=RATES[least] if release.is_binary else (group_metrics.accuracy,),
        too_few=TOO_FEW_GROUPS[least],
    )
