"""What other thresholds would do, for the groups of each attribute that may be shown."""

from collections.abc import Iterator, Mapping

from evaluation.group_metrics import Counts
from evaluation.mitigation.threshold_table import threshold_table
from evaluation.mitigation.thresholds import threshold_outcomes
from evaluation.shown_levels import Shown, shown_levels
from evaluation.tally_spec import OVERALL, Group, TallySpec
from evaluation.tally_sums import TallySums
from evaluation.window_sums import ScopeSums
from federation.evaluation_summary import Explorer
from federation.mitigation_summary import MitigationOutcome


def explorers(
    spec: TallySpec, scopes: Mapping[str, ScopeSums], minimum_cell: int
) -> tuple[Explorer, ...]:
    """One threshold for all groups, per attribute; none with noise or more than two classes.

    Args:
        spec: what was counted.
        scopes: of the latest window.
        minimum_cell: groups with fewer positives or negatives are left out.
    """
    overall = TallySums(spec, scopes[OVERALL].sums)
    return tuple(
        Explorer(attribute=attribute, rows=threshold_table(scores, overall.scores(OVERALL)))
        for attribute, scores, _ in _shown(spec, scopes, minimum_cell)
    )


def threshold_effects(
    spec: TallySpec, scopes: Mapping[str, ScopeSums], minimum_cell: int
) -> tuple[MitigationOutcome, ...]:
    """Thresholds per group, by each criterion, for each attribute with two groups to show.

    Args: as `explorers`.
    """
    return tuple(
        outcome
        for attribute, scores, confusions in _shown(spec, scopes, minimum_cell)
        if len(scores) > 1
        for outcome in threshold_outcomes(scores, confusions, attribute)
    )


def _shown(
    spec: TallySpec, scopes: Mapping[str, ScopeSums], minimum_cell: int
) -> Iterator[tuple[str, dict[str, Counts], dict[str, Counts]]]:
    if not spec.schema.is_binary or any(one.noise_variance for one in scopes.values()):
        return
    tallies = [TallySums(spec, one.sums) for one in scopes.values()]
    own = tallies[0]
    levels = dict(zip(spec.groups, shown_levels(tallies, minimum_cell)[0].tolist(), strict=True))
    for family in spec.families:
        shown: list[Group] = [
            group
            for group in family
            if levels[group] == Shown.LABELS and own.scores(group.label).sum(axis=1).all()
        ]
        if shown:
            yield (
                family[0].attribute,
                {group.name: own.scores(group.label) for group in shown},
                {group.name: own.confusion(group.label) for group in shown},
            )
