"""At which scores a group's table may be cut, so that no small count can be had from any release.

A curve tells how many positives and negatives of a group score below each of its points. So every
cut of the score axis is a release of its own, of counts that add up over groups and scopes; cuts
are dealt with one by one as groups are (`suppression`), and cells between two cuts of one group
are differences within a release. A table that loses a cut only gets coarser: cells that were none
or enough stay so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from evaluation.group_metrics import Counts
from evaluation.suppression import Partition, hidden
from evaluation.tally_spec import Bools


@dataclass(frozen=True, slots=True)
class Grid:
    """Where tables may be cut.

    Attributes:
        preferred: which of the cuts are kept rather than others, shape (cuts,).
        known: the cut that is told of every group anyway (by its TN, FP, FN and TP), if any.
        minimum_cell: fewest rows of a cell that holds any.
    """

    preferred: Bools
    known: int | None
    minimum_cell: int


def tellable(grid: Grid, tables: Counts, adds_up: Sequence[Partition], eligible: Bools) -> Bools:
    """At which cuts what is below may be told, per group; shape (groups, cuts).

    Then, of every group and label, and of every sum of hidden groups that follows by subtraction,
    each cell between neighbouring cuts holds no rows or at least `minimum_cell`, the cut that is
    known anyway counted in; and nothing follows at a cut of a group that is not told there. Cells
    of the known cut alone are left as they are: they are out already.

    Args:
        grid: the cuts.
        tables: rows per group, label and cell between cuts, shape (groups, 2, cuts + 1); of all
            scopes that are released together.
        adds_up: which groups add up to which.
        eligible: groups of which labels are told at all, shape (groups,).
    """
    told = np.zeros((len(tables), len(grid.preferred)), dtype=np.bool_)
    everywhere = np.ones(len(grid.preferred), dtype=np.bool_)
    for place in np.flatnonzero(eligible):
        told[place] = _fine(grid, tables[place], everywhere)
    rows = tables.sum(axis=(1, 2))[:, np.newaxis]
    nothing_small = not adds_up or grid.minimum_cell <= 1
    while not nothing_small:
        _close(told, rows, adds_up, grid.known)
        nothing_small = not _coarsen_wholes(grid, tables, adds_up, told)
    return told


def published(grid: Grid, table: Counts, told: Bools, *, with_known: bool) -> Bools:
    """The cuts of one group's table as it is shown, shape (cuts,).

    Among `told`, and the known one if it may stand there: every cell of the table, by label, is
    empty or large enough, whatever is known besides.

    Args:
        grid: the cuts.
        table: rows per label and cell, shape (2, cuts + 1).
        told: of the group.
        with_known: whether the known cut is one that a table may have.
    """
    wanted = told.copy()
    if grid.known is not None:
        lower, upper = np.split(table, [grid.known + 1], axis=1)
        halves = np.stack([lower.sum(axis=1), upper.sum(axis=1)])
        wanted[grid.known] = with_known and _is_fine(halves, grid.minimum_cell)
    return _kept(table, wanted, grid.minimum_cell)


def _fine(grid: Grid, table: Counts, allowed: Bools) -> Bools:
    """The allowed cuts that leave no small cell on either side of the known one, shape (cuts,)."""
    cuts = len(allowed)
    ends = [-1, cuts] if grid.known is None else [-1, grid.known, cuts]
    kept = np.zeros(cuts, dtype=np.bool_)
    for wanted in (allowed & grid.preferred, allowed & ~grid.preferred):
        bounds = sorted({*ends, *np.flatnonzero(kept).tolist()})
        for low, high in pairwise(bounds):
            inside = slice(low + 1, high)
            kept[inside] |= _kept(table[:, low + 1 : high + 1], wanted[inside], grid.minimum_cell)
    return kept


def _kept(table: Counts, wanted: Bools, minimum_cell: int) -> Bools:
    """The wanted cuts, from low to high, but for those at which a cell would be small."""
    below = np.cumsum(table, axis=1).T
    kept: list[int] = []
    start = np.zeros(2, dtype=np.int64)
    for cut in np.flatnonzero(wanted).tolist():
        if _is_fine(below[cut] - start, minimum_cell):
            kept.append(cut)
            start = below[cut]
    while kept and not _is_fine(below[-1] - below[kept[-1]], minimum_cell):
        kept.pop()
    result = np.zeros(len(wanted), dtype=np.bool_)
    result[kept] = True
    return result


def _is_fine(cells: Counts, minimum_cell: int) -> bool:
    return not np.any((cells > 0) & (cells < minimum_cell))


def _close(told: Bools, rows: Counts, adds_up: Sequence[Partition], known: int | None) -> None:
    """Hide more at each cut until no hidden group follows from the ones that are told."""
    # Many cuts are told of the same groups: each set of groups is closed once.
    closed: dict[bytes, Bools] = {}
    nowhere = np.zeros(len(told), dtype=np.bool_)
    for cut in range(told.shape[1]):
        if cut == known:
            continue
        before = told[:, cut].copy()
        if before.tobytes() not in closed:
            closed[before.tobytes()] = ~hidden(rows, adds_up, 1, nowhere, also=~before)
        told[:, cut] = closed[before.tobytes()]


def _coarsen_wholes(grid: Grid, tables: Counts, adds_up: Sequence[Partition], told: Bools) -> bool:
    """Take cuts from wholes whose hidden parts together would have a small cell; whether any."""
    any_taken = False
    for partition in adds_up:
        parts = np.array(partition.parts)
        missing = ~told[parts]
        for together in np.unique(missing[:, told[partition.whole]], axis=1).T:
            if not together.any():
                continue
            follows = told[partition.whole] & ~missing[~together].any(axis=0)
            fine = _fine(grid, tables[parts[together]].sum(axis=0), follows)
            if np.any(follows & ~fine):
                told[partition.whole] &= fine | ~follows
                any_taken = True
    return any_taken
