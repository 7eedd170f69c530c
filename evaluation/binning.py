"""Which bin each of many values falls into, exactly and fast.

A table over cells of equal width says how many edges lie in the cells before a value's own; the
edges within the cell are then compared one by one. The cell is found by the same rounded arithmetic
for edges and for values, which is monotone: an edge of an earlier cell is below the value and one
of a later cell above it, whatever the rounding. So the answer is that of a search, not nearly so.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from federation.task import Codes, Floats

CELLS = 4096
MOST_STEPS = 3
"""Edges of one cell that are compared one by one; where there are more, a finer table looks."""
CHUNK = 1 << 15
"""Values at a time, so that they stay in the cache."""


def bin_indices(edges: Floats, values: Floats) -> Codes:
    """How many edges each value reaches: `numpy.searchsorted(edges, values, side="right")`.

    Bin 0 is below all edges, bin i is [edges[i - 1], edges[i]), and the last one is from the last
    edge on. As in numpy, an infinite value is compared like any other and NaN counts as above all.

    Args:
        edges: ascending, shape (E,), not NaN; equal ones are allowed.
        values: shape (N,).

    Returns:
        shape (N,), from 0 to E.

    Raises:
        ValueError: edges that do not ascend.

    >>> bin_indices(np.array([0.0, 0.5, 1.0]), np.array([-1.0, 0.5, 0.7, 1.0]))
    array([0, 2, 2, 3])
    """
    if np.isnan(edges).any() or np.any(edges[:-1] > edges[1:]):
        raise ValueError("edges: expected ascending numbers")
    result = np.empty(len(values), dtype=np.int64)
    table = _Table.of(edges)
    for at in range(0, len(values), CHUNK):
        table.look_up(values[at : at + CHUNK], result[at : at + CHUNK])
    return result


@dataclass(frozen=True, slots=True)
class _Table:
    """Cells over the finite edges.

    Attributes:
        edges: with a NaN behind them, which no value reaches.
        low: where the first cell begins.
        scale: cells per unit; 0 if there is no table and edges are searched.
        before: edges in earlier cells, shape (CELLS,).
        steps: edges in the fullest cell that is not crowded.
        crowded: cells with more edges than `MOST_STEPS`, shape (CELLS,).
        finer: the table of the edges from the first crowded cell to the last.
        first: the place of the first of these edges.
    """

    edges: Floats
    low: float
    scale: float
    before: Codes
    steps: int
    crowded: npt.NDArray[np.bool_]
    finer: "_Table | None" = None
    first: int = 0

    @classmethod
    def of(cls, edges: Floats, coarser: float = np.inf) -> Self:
        """The table of some edges, which are searched if they span more than half of `coarser`."""
        finite = edges[np.isfinite(edges)]
        low = float(finite[0]) if len(finite) else 0.0
        with np.errstate(over="ignore", divide="ignore"):
            span = finite[-1] - low if len(finite) else np.float64(0)
            scale = float(CELLS / span)
        closed, none = np.append(edges, np.nan), np.zeros(CELLS, np.int64)
        # A span that overflows, or is so small that the scale does, has no cells.
        if not (np.isfinite(scale) and scale > 0 and span <= coarser / 2):
            return cls(closed, low, 0.0, none, 0, none.astype(np.bool_))
        held = np.bincount(_cells(edges, low, scale), minlength=CELLS)
        crowded, before = held > MOST_STEPS, np.cumsum(held) - held
        steps = int(held[~crowded].max())
        if not crowded.any():
            return cls(closed, low, scale, before, steps, crowded)
        cells = np.flatnonzero(crowded)
        first, end = int(before[cells[0]]), int((before + held)[cells[-1]])
        finer = cls.of(edges[first:end], float(span))
        return cls(closed, low, scale, before, steps, crowded, finer, first)

    def look_up(self, values: Floats, out: Codes) -> None:
        """Write the bins of values into `out`; both of shape (N,)."""
        if self.scale == 0:
            out[:] = np.searchsorted(self.edges[:-1], values, side="right")
            return
        cells = _cells(values, self.low, self.scale)
        self.before.take(cells, out=out, mode="clip")
        for _ in range(self.steps):
            out += values >= self.edges.take(out, mode="clip")
        if self.finer is not None:
            inside = np.flatnonzero(self.crowded.take(cells, mode="clip"))
            if len(inside):
                finer = np.empty(len(inside), dtype=np.int64)
                self.finer.look_up(values[inside], finer)
                out[inside] = finer + self.first
        unknown = np.isnan(values)
        if unknown.any():
            out[unknown] = len(self.edges) - 1


def _cells(values: Floats, low: float, scale: float) -> Codes:
    """The cell of each value, shape (N,): never falling as values rise."""
    with np.errstate(over="ignore"):
        cells = values - low
        cells *= scale
    np.fmax(cells, 0, out=cells)
    np.fmin(cells, CELLS - 1, out=cells)  # fmin, not clip: NaN has a cell too, and is seen to later
    return cells.astype(np.int64)
