"""What other thresholds would do, for the groups of each attribute that may be shown.

A table by threshold is a curve in other words. So it is made of nothing but what the published ROC
curves tell: histograms whose bins lie between the points that all of these curves have, no cell of
which is small (`published_cuts`).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from evaluation.group_metrics import Counts
from evaluation.mitigation.threshold_table import threshold_table
from evaluation.mitigation.thresholds import threshold_outcomes
from evaluation.tally_spec import OVERALL, TallySpec
from evaluation.tally_sums import TallySums
from evaluation.window_sums import ScopeSums
from federation.evaluation_summary import Explorer
from federation.mitigation_summary import MitigationOutcome, ThresholdRow, ThresholdRule
from federation.score_summary import GroupScores

Cuts = tuple[int, ...]
"""Score bins from which on a row may be selected, rising; of a group that is shown."""


def explorers(
    spec: TallySpec, scope: ScopeSums, scores: Sequence[GroupScores]
) -> tuple[Explorer, ...]:
    """One threshold for all groups, per attribute; none with noise or more than two classes.

    Args:
        spec: what was counted.
        scope: `overall`, in the latest window.
        scores: that are published of it.
    """
    found = []
    for attribute, cuts, tables in _published(spec, scope, scores):
        overall = _joined(TallySums(spec, scope.sums).scores(OVERALL), cuts)
        rows = threshold_table(tables, overall)
        told = tuple(_at_its_score(row, cuts, spec.score_bins) for row in rows)
        found.append(Explorer(attribute=attribute, rows=told))
    return tuple(found)


def threshold_effects(
    spec: TallySpec, scope: ScopeSums, scores: Sequence[GroupScores]
) -> tuple[MitigationOutcome, ...]:
    """Thresholds per group, by each criterion, for each attribute with two groups to show.

    Args: as `explorers`.
    """
    sums, found = TallySums(spec, scope.sums), []
    for attribute, cuts, tables in _published(spec, scope, scores):
        supported = {name: table for name, table in tables.items() if table.sum(axis=1).all()}
        if len(supported) < 2:
            continue
        labels = {group.name: group.label for group in spec.groups if group.attribute == attribute}
        confusions = {name: sums.confusion(labels[name]) for name in supported}
        for outcome in threshold_outcomes(supported, confusions, attribute):
            rules = tuple(_on_the_scale(rule, cuts, spec.score_bins) for rule in outcome.rules)
            found.append(outcome.model_copy(update={"rules": rules}))
    return tuple(found)


def _published(
    spec: TallySpec, scope: ScopeSums, scores: Sequence[GroupScores]
) -> Iterator[tuple[str, Cuts, dict[str, Counts]]]:
    """Per attribute, the cuts that all its curves have, and the groups' histograms between them."""
    if not spec.schema.is_binary or scope.noise_variance:
        return
    sums = TallySums(spec, scope.sums)
    curves = {(one.attribute, one.group): _cuts(one, spec.score_bins) for one in scores}
    everyone = set(curves.get((OVERALL, OVERALL), ()))
    for family in spec.families:
        shown = [group for group in family if curves.get((group.attribute, group.name))]
        common = everyone.intersection(*(curves[group.attribute, group.name] for group in shown))
        if shown and common:
            cuts = tuple(sorted(common))
            tables = {group.name: _joined(sums.scores(group.label), cuts) for group in shown}
            yield family[0].attribute, cuts, tables


def _cuts(scores: GroupScores, bins: int) -> Cuts:
    inner = (round(point.threshold * bins) for point in scores.roc if point.threshold is not None)
    return tuple(cut for cut in inner if 0 < cut < bins)


def _joined(scores: Counts, cuts: Cuts) -> Counts:
    """Rows per label and stretch between cuts, shape (2, len(cuts) + 1)."""
    joined: Counts = np.add.reduceat(scores, (0, *cuts), axis=1)
    return joined


def _at(place: int, cuts: Cuts, bins: int) -> int:
    """The score bin where the stretch at `place` begins."""
    return (0, *cuts, bins)[place]


def _at_its_score(row: ThresholdRow, cuts: Cuts, bins: int) -> ThresholdRow:
    place = round(row.threshold * (len(cuts) + 1))
    return row.model_copy(update={"threshold": _at(place, cuts, bins) / bins})


def _on_the_scale(rule: ThresholdRule, cuts: Cuts, bins: int) -> ThresholdRule:
    first, second = (_at(place, cuts, bins) for place in rule.cuts)
    return rule.model_copy(
        update={"cuts": (first, second), "thresholds": (first / bins, second / bins)}
    )
