"""Which groups of a release are hidden, so that none smaller than the minimum cell can be had.

Primary suppression hides the small groups. Complementary suppression hides more until no hidden
one follows from what is shown: groups add up to the groups that contain them and cohorts to the
whole federation, so a single hidden one would be the difference (Willenborg and de Waal 2001,
chapter 5; Hundepool et al. 2012, section 4.3).

It works on sums only, after the secure sum: sites that hid their own small groups would delete a
minority that is small at every site and large in all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import null_space

from evaluation.group_metrics import Counts
from evaluation.tally_spec import Bools, Group, TallySpec

DETERMINED = 1e-9
"""A row of the null space below this is zero: that group's count follows from the others."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A group whose rows are exactly those of its parts; all by their places in a list."""

    whole: int
    parts: tuple[int, ...]


def partitions(spec: TallySpec) -> tuple[Partition, ...]:
    """Every way in which groups of `spec` add up to another one; places in `spec.groups`."""
    places = {group: place for place, group in enumerate(spec.groups)}
    families = ((Group(),), *spec.families)
    return tuple(
        Partition(places[whole], tuple(places[part] for part in finer if whole.contains(part)))
        for coarser in families
        for finer in families
        if _attributes(coarser) < _attributes(finer)
        for whole in coarser
    )


def across_scopes(within: Sequence[Partition], groups: int, scopes: int) -> tuple[Partition, ...]:
    """Partitions of the groups of several scopes, the first of which is the sum of the others.

    Args:
        within: partitions of one scope's groups.
        groups: number of groups per scope.
        scopes: number of scopes; the group at place g of scope s stands at `s * groups + g`.
    """
    repeated = tuple(
        Partition(p.whole + start, tuple(part + start for part in p.parts))
        for start in range(0, scopes * groups, groups)
        for p in within
    )
    if scopes == 1:
        return repeated
    return repeated + tuple(
        Partition(place, tuple(range(place + groups, scopes * groups, groups)))
        for place in range(groups)
    )


def hidden(
    counts: Counts,
    adds_up: Sequence[Partition],
    minimum_cell: int,
    shown: Bools,
    also: Bools | None = None,
) -> Bools:
    """Which groups are hidden, shape (groups,).

    Hidden are: groups with rows but fewer than `minimum_cell` in some column; groups that keep a
    hidden one from being had by adding and subtracting; and groups that bring the hidden parts of
    a whole that is shown to `minimum_cell` together. A group without rows is not hidden.

    Args:
        counts: rows per group and column, shape (groups, columns): one column of all rows, or one
            per label to protect the labels too.
        adds_up: which groups add up to which.
        minimum_cell: 1 hides nothing of its own.
        shown: groups that are shown whatever they hold, shape (groups,).
        also: groups that are hidden for another reason, shape (groups,).
    """
    populated = counts.sum(axis=1) > 0
    small = populated & (counts.min(axis=1) < minimum_cell) & (minimum_cell > 1)
    concealed: Bools = (small if also is None else small | also) & ~shown
    while (more := _next(counts, adds_up, minimum_cell, concealed, populated & ~shown)) is not None:
        concealed[more] = True
    return concealed


def _next(
    counts: Counts,
    adds_up: Sequence[Partition],
    minimum_cell: int,
    concealed: Bools,
    may_be_hidden: Bools,
) -> int | None:
    """The smallest group whose hiding helps; None if nothing is given away, or nothing helps."""
    determined = _determined(adds_up, concealed)
    # The narrowest equation first: company within it is company in all that contain it.
    for partition in sorted(adds_up, key=lambda partition: len(partition.parts)):
        members = [partition.whole, *partition.parts]
        parts = np.array(partition.parts)
        inside = parts[concealed[parts]]
        too_few = (
            len(inside) > 0
            and not concealed[partition.whole]
            and counts[inside].sum(axis=0).min() < minimum_cell
        )
        candidates = parts[~concealed[parts] & may_be_hidden[parts]]
        if len(candidates) and (too_few or determined[members].any()):
            return int(candidates[np.argmin(counts[candidates].sum(axis=1))])
    return None


def _determined(adds_up: Sequence[Partition], concealed: Bools) -> Bools:
    """Which concealed groups follow from the shown ones by linear equations, shape (groups,)."""
    unknown = np.flatnonzero(concealed)
    result = np.zeros(len(concealed), dtype=np.bool_)
    if len(unknown) == 0 or not adds_up:
        return result
    equations = np.zeros((len(adds_up), len(concealed)))
    for row, partition in enumerate(adds_up):
        equations[row, list(partition.parts)] = 1
        equations[row, partition.whole] = -1
    free = null_space(equations[:, unknown])
    result[unknown] = np.all(np.abs(free) < DETERMINED, axis=1)
    return result


def _attributes(family: Sequence[Group]) -> set[str]:
    return {level.attribute for level in family[0].levels}
