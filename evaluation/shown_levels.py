"""How much of each group may be told, so that no small one follows from all that is told.

Whatever is told of groups must be a function of the counts that their levels show, of the sum of
groups hidden together, and of all rows of the scope: then it tells nothing that `suppression` did
not reckon with. Gaps, tests against the rest and F1 are such functions.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum

import numpy as np

from evaluation.cell_noise import CellNoise
from evaluation.group_metrics import FN, FP, TN, TP
from evaluation.resampling import least_support
from evaluation.suppression import across_scopes, hidden, partitions
from evaluation.tally_spec import Family, Group
from evaluation.tally_sums import TallySums
from federation.errors import DataError
from federation.task import Codes


class Shown(IntEnum):
    """How much may be said of a group; each level includes the ones before."""

    NOTHING = 0
    ROWS = 1
    """The number of rows and what is predicted for them: nothing that depends on a label."""
    LABELS = 2
    """The number of positives too, and all rates."""


def shown_levels(tallies: Sequence[TallySums], minimum_cell: int) -> list[Codes]:
    """`Shown` per group of `spec.groups`, shape (groups,), for each scope.

    If there are several, one more comes last: the rows of the first that are in no other.

    Args:
        tallies: per scope; the first holds the rows of the others, which share none.
        minimum_cell: fewest rows, and of each label, of which anything is told; 1 hides nothing.

    Raises:
        DataError: cohorts hold more rows than the first scope.
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


def shown_despite_noise(tallies: TallySums, minimum_cell: int, noise: CellNoise) -> Codes:
    """`Shown` per group of `spec.groups`, shape (groups,), for noised counts.

    What follows by subtraction is as noised as what is told, so that nothing is hidden but what is
    small, or no more than noise: fewer than `minimum_cell`, or than three deviations.

    Args:
        tallies: of one scope.
        minimum_cell: see `shown_levels`.
        noise: on each cell.
    """
    counts = tallies.outcomes(tallies.spec.groups)
    rows = counts.sum(axis=1) >= least_support(minimum_cell, 4, noise)
    if not tallies.spec.schema.is_binary:
        return np.where(rows, Shown.LABELS, Shown.NOTHING)
    few = np.minimum(counts[:, [TN, FP]].sum(axis=1), counts[:, [FN, TP]].sum(axis=1))
    labels = few >= least_support(minimum_cell, 2, noise)
    return np.where(~rows, Shown.NOTHING, np.where(labels, Shown.LABELS, Shown.ROWS))


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

    Args:
        tallies: exact ones; of counts with noise nothing follows so exactly.
        family: groups of one attribute.
        shown: `Shown` of each of them.
        least: what must be shown of a group.
        minimum_cell: see `shown_levels`.
    """
    members = tuple(group for group in family if shown[group] < least)
    others = [group for group in family if shown[group] >= least]
    confusion = tallies.outcomes(members)
    if np.count_nonzero(confusion.any(axis=1)) < 2 or not tallies.outcomes(others).any():
        return ()
    tn, fp, fn, tp = confusion.sum(axis=0)
    smallest = min(tn + fp, fn + tp) if least == Shown.LABELS else confusion.sum()
    return members if smallest >= minimum_cell else ()
