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
from typing import NamedTuple

import numpy as np
from scipy.linalg import null_space

from evaluation.group_metrics import Counts
from evaluation.tally_spec import Bools, Group, TallySpec
from federation.task import Codes

DETERMINED = 1e-9
"""A row of the null space below this is zero: that group's count follows from the others."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A group whose rows are exactly those of its parts; all by their places in a list."""

    whole: int
    parts: tuple[int, ...]


class Margins(NamedTuple):
    """The same as equations: `wholes`, shape (E,), and `parts`, shape (E, groups)."""

    wholes: Codes
    parts: Bools


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
    a whole that is shown to `minimum_cell` together. A group without rows is hidden only where
    nothing else keeps a small one from being had.

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
    margins = _margins(adds_up, len(counts))
    while True:
        wanting = _wanting(margins, counts, minimum_cell, concealed, populated & ~shown)
        if wanting is None:
            wanting = _last_resort(margins, counts, concealed, ~shown)
        if wanting is None:
            return concealed
        concealed[wanting] = True


def _wanting(
    margins: Margins, counts: Counts, minimum_cell: int, concealed: Bools, may_be_hidden: Bools
) -> int | None:
    """The smallest group whose hiding helps; None if nothing is given away, or nothing helps."""
    candidates = margins.parts & ~concealed & may_be_hidden
    inside = margins.parts & concealed
    members = inside.sum(axis=1) + concealed[margins.wholes]
    few = inside.any(axis=1) & ~concealed[margins.wholes]
    few &= (inside @ counts).min(axis=1) < minimum_cell
    # Company where it is missing, before company in wider equations: it hides less.
    for wanted in (members == 1, few, None):
        exposed = _determined(margins, concealed) if wanted is None else wanted
        mendable = np.flatnonzero(exposed & candidates.any(axis=1))
        if len(mendable):
            narrowest = mendable[np.argmin(margins.parts[mendable].sum(axis=1))]
            places = np.flatnonzero(candidates[narrowest])
            return int(places[np.argmin(counts[places].sum(axis=1))])
    return None


def _last_resort(
    margins: Margins, counts: Counts, concealed: Bools, may_be_hidden: Bools
) -> int | None:
    """Where no populated part is left to hide: the whole that gives a group away, or an empty part.

    None if nothing is given away, or only by what is shown whatever it holds.
    """
    exposed = _determined(margins, concealed)
    open_to_hiding = may_be_hidden & ~concealed
    wholes = margins.wholes[exposed]
    for places in (
        wholes[open_to_hiding[wholes]],
        np.flatnonzero(margins.parts[exposed].any(axis=0) & open_to_hiding),
    ):
        if len(places):
            return int(places[np.argmin(counts[places].sum(axis=1))])
    return None


def _determined(margins: Margins, concealed: Bools) -> Bools:
    """Which equations have a concealed member that follows from the shown groups, shape (E,)."""
    unknown = np.flatnonzero(concealed)
    members = margins.parts.astype(np.float64)
    members[np.arange(len(members)), margins.wholes] = -1
    equations = members[:, unknown]
    if equations.size == 0:
        return np.zeros(len(equations), dtype=np.bool_)
    determined = np.all(np.abs(null_space(equations)) < DETERMINED, axis=1)
    following: Bools = (equations[:, determined] != 0).any(axis=1)
    return following


def _margins(adds_up: Sequence[Partition], groups: int) -> Margins:
    parts = np.zeros((len(adds_up), groups), dtype=np.bool_)
    for row, partition in enumerate(adds_up):
        parts[row, list(partition.parts)] = True
    return Margins(np.array([partition.whole for partition in adds_up], dtype=np.int64), parts)


def _attributes(family: Sequence[Group]) -> set[str]:
    return {level.attribute for level in family[0].levels}
