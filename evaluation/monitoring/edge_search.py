"""Edges from summed counts, never from rows: survey, refinement where it is coarse, final grid.

A survey of 1,024 bins on the public range finds the deciles of a feature that fills its range. A
bin with 5 % of the rows or more holds either a value that many rows share or a crowded stretch of
a heavy-tailed feature; one refinement splits those bins, and those alone, again. What the sums
cannot tell apart stays together. Sums may carry noise, be small, or be made up: any integers give a
grid.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from evaluation.feature_scale import from_scale, to_scale
from evaluation.group_metrics import Counts
from evaluation.monitoring.feature_grid import (
    MOST_INNER_BINS,
    FeatureGrid,
    Places,
    require_counts,
    survey_grid,
)
from evaluation.tally_spec import Bools
from federation.errors import ConfigError
from federation.schema import Categorical, Feature, Numeric
from federation.task import Floats

ATOM_SHARE = 0.05
"""A bin with this share of the values is split by the refinement and stands alone afterwards."""

DECILES = np.arange(1, 10) / 10
TAIL = 0.001
"""The even bins span all but this share of the values at either end."""

OUTSTANDING = 3.0
"""Density of an atom's cell over its neighbours', at least."""

PIECES, FEWEST_PIECES = 10, 4
"""Pieces of equal share that the values are cut into; fewer beside atoms."""

THINNEST = 0.25
"""What is cut off holds at least this part of a piece."""

WANTED_BINS = 64
MOST_WANTED_BINS = 200
MOST_FROZEN_BINS = 256
NARROWEST = 1e-9
"""Of a split, as a share of the range: finer differences are of the number format."""


class Cells(NamedTuple):
    """The finest stretches of the range whose mass is known: edges (C + 1,), shares (C,).

    `below` is the share of values under the range; shares are of all values that are there, and sum
    to 1 with `below` and those above. All zero if there are none.
    """

    edges: Floats
    shares: Floats
    below: float

    @property
    def heavy(self) -> Bools:
        """Which cells hold 5 % or more, shape (C,)."""
        heavy: Bools = self.shares >= ATOM_SHARE
        return heavy

    @property
    def atoms(self) -> Bools:
        """Which heavy cells are a value that many rows share, shape (C,).

        They stand out from both neighbours; a crowded stretch of a smooth density does not.
        """
        density = np.concatenate([[0.0], self.shares / np.diff(self.edges), [0.0]])
        beside = np.maximum(density[:-2], density[2:])
        standing_out: Bools = density[1:-1] > OUTSTANDING * beside
        return self.heavy & standing_out

    @property
    def any_values(self) -> bool:
        """Whether there is anything to learn edges from."""
        return self.below > 0 or bool(np.any(self.shares > 0))


def refinement(feature: Feature, survey_counts: Counts) -> FeatureGrid | None:
    """A grid that splits each survey bin with 5 % of the values or more; None if there is none.

    Each is halved as often as 1,024 bins in all allow, on the feature's scale; what lies between
    them is one bin.

    Args:
        feature: of the schema.
        survey_counts: rows per bin of `survey_grid(feature)`.

    Raises:
        DataError: counts of another shape.
    """
    survey = survey_grid(feature)
    require_counts(survey, survey_counts)
    if isinstance(feature, Categorical):
        return None
    cells = _cells(survey, survey_counts)
    wide = np.diff(cells.edges) > NARROWEST * (feature.high - feature.low)
    crowded = np.flatnonzero(cells.heavy & wide).tolist()
    if not crowded:
        return None
    pieces = 2 ** int(np.log2((MOST_INNER_BINS - len(crowded) - 1) / len(crowded)))
    edges = np.concatenate(
        [
            [feature.low, feature.high],
            *(_split(feature, survey, c, pieces) for c in crowded),
        ]
    )
    return FeatureGrid(feature, tuple(np.unique(edges).tolist()))


def frozen_grid(
    feature: Feature,
    survey_counts: Counts,
    refined: tuple[FeatureGrid, Counts] | None,
    wanted_bins: int = WANTED_BINS,
) -> FeatureGrid:
    """The grid that reference and later windows are counted in; at most 256 inner bins.

    Its edges are the deciles, those of bins of even width on the scale (for Wasserstein distances)
    between the 0.1 % and the 99.9 % quantile, and a bin of its own for each atom: a cell that still
    holds 5 % or more and stands out. `quantile_bins` are the atoms, the rest in pieces of equal
    shares (ten without atoms, at least four), below, above and missing; or each level, other and
    missing.

    Args:
        feature: of the schema.
        survey_counts: rows per bin of `survey_grid(feature)`.
        refined: what `refinement` returned, with its counts.
        wanted_bins: bins of even width, 1 to 200.

    Raises:
        ConfigError: `wanted_bins` out of range.
        DataError: counts of another shape.
    """
    if not 1 <= wanted_bins <= MOST_WANTED_BINS:
        raise ConfigError("wanted_bins", wanted_bins, f"1 to {MOST_WANTED_BINS}")
    survey = survey_grid(feature)
    require_counts(survey, survey_counts)
    if isinstance(feature, Categorical):
        return FeatureGrid(feature, (), tuple((place,) for place in range(survey.bins)))
    cells = _cells(survey, survey_counts)
    if refined is not None:
        require_counts(*refined)
        cells = _refined(cells, _cells(*refined))
    atoms = np.stack([cells.edges[:-1][cells.atoms], cells.edges[1:][cells.atoms]], axis=1)
    deciles = _outside(_quantiles(feature, cells, DECILES), atoms)
    pieces, levels = _piece_levels(cells)
    cuts = _outside(_quantiles(feature, cells, levels), atoms)
    even = _outside(_even_edges(feature, cells, wanted_bins), atoms)
    fixed = np.unique(np.concatenate([[feature.low, feature.high], atoms.ravel()]))
    edges = np.unique(np.concatenate([fixed, deciles, cuts, even]))
    kept = _kept(cells, fixed, cuts, pieces)
    return FeatureGrid(feature, tuple(edges.tolist()), _quantile_bins(edges, kept))


def _cells(grid: FeatureGrid, counts: Counts) -> Cells:
    """Noise can make counts negative; the nearest rising curve to their cumulative sum is kept."""
    cumulative = np.cumsum(counts[:-1].astype(np.float64))
    rising = np.maximum.accumulate(cumulative)
    held = np.minimum.accumulate(cumulative[::-1])[::-1]
    masses = np.diff(np.maximum((rising + held) / 2, 0.0), prepend=0.0)
    total = masses.sum()
    shares = masses / total if total > 0 else np.zeros_like(masses)
    return Cells(np.asarray(grid.edges), shares[1:-1], float(shares[0]))


def _refined(coarse: Cells, fine: Cells) -> Cells:
    """The survey's cells, with the ones that were split in the place of those that they split."""
    edges = np.union1d(coarse.edges, fine.edges)
    cumulative = coarse.below + np.concatenate([[0.0], np.cumsum(coarse.shares)])
    known = np.interp(edges, coarse.edges, cumulative)
    inside = fine.below + np.concatenate([[0.0], np.cumsum(fine.shares)])
    known[np.isin(edges, fine.edges)] = inside
    # Both are sums over the same rows; with noise of its own, each, they may cross by a little.
    shares = np.maximum(np.diff(np.maximum.accumulate(known)), 0.0)
    return Cells(edges, shares, coarse.below)


def _split(feature: Numeric, survey: FeatureGrid, cell: int, pieces: int) -> Floats:
    low, high = survey.edges[cell : cell + 2]
    ends = to_scale(feature, np.array([low, high]))
    edges = from_scale(feature, np.linspace(ends[0], ends[1], pieces + 1))
    edges[[0, -1]] = low, high
    return np.clip(edges, low, high)


def _quantiles(feature: Numeric, cells: Cells, levels: Floats) -> Floats:
    """Quantiles inside the range, as if rows lay evenly on the scale within a cell."""
    if not cells.any_values:
        return np.array([])
    cumulative = cells.below + np.concatenate([[0.0], np.cumsum(cells.shares)])
    levels = levels[(levels > cumulative[0]) & (levels < cumulative[-1])]
    cell = np.searchsorted(cumulative, levels, side="right") - 1
    within = (levels - cumulative[cell]) / cells.shares[cell]
    low, high = to_scale(feature, cells.edges[cell]), to_scale(feature, cells.edges[cell + 1])
    found = from_scale(feature, low + within * (high - low))
    return np.clip(found, cells.edges[cell], cells.edges[cell + 1])


def _even_edges(feature: Numeric, cells: Cells, bins: int) -> Floats:
    tails = _quantiles(feature, cells, np.array([TAIL, 1 - TAIL]))
    low, high = tails if len(tails) == 2 and tails[0] < tails[1] else (feature.low, feature.high)
    ends = to_scale(feature, np.array([low, high]))
    edges = from_scale(feature, np.linspace(ends[0], ends[1], bins + 1))
    return np.clip(edges, low, high)


def _outside(edges: Floats, atoms: Floats) -> Floats:
    """The edges that lie in no atom's bin."""
    inside = (edges[:, None] > atoms[:, 0]) & (edges[:, None] < atoms[:, 1])
    return edges[~inside.any(axis=1)]


def _piece_levels(cells: Cells) -> tuple[float, Floats]:
    """Share of one piece, and the levels of all values at which the mass beside atoms is cut."""
    free = np.where(cells.atoms, 0.0, cells.shares)
    mass = float(free.sum())
    pieces = max(round(PIECES * mass), FEWEST_PIECES) if cells.atoms.any() else PIECES
    if mass <= 0:
        return 0.0, np.array([])
    cumulative = cells.below + np.concatenate([[0.0], np.cumsum(cells.shares)])
    wanted = np.arange(1, pieces) / pieces
    if not cells.atoms.any():
        return 1 / pieces, wanted
    # Where the free mass stands at a share, all values stand at that of the same cell.
    reached = np.concatenate([[0.0], np.cumsum(free)]) / mass
    cell = np.minimum(np.searchsorted(reached, wanted, side="right") - 1, len(free) - 1)
    within = (wanted - reached[cell]) * mass
    return mass / pieces, cumulative[cell] + within


def _kept(cells: Cells, fixed: Floats, cuts: Floats, piece: float) -> Floats:
    """`fixed` and those of `cuts` that cut off no thin piece."""
    reached = np.concatenate([[0.0], np.cumsum(cells.shares)])
    kept = [float(fixed[0])]
    for low, high in pairwise(fixed.tolist()):
        start, end = np.interp([low, high], cells.edges, reached)
        for cut in cuts[(cuts > low) & (cuts < high)].tolist():
            at = float(np.interp(cut, cells.edges, reached))
            if min(at - start, end - at) >= THINNEST * piece:
                kept.append(cut)
                start = at
        kept.append(high)
    return np.array(kept)


def _quantile_bins(edges: Floats, cuts: Floats) -> tuple[Places, ...]:
    inner = np.searchsorted(cuts, edges[:-1], side="right")
    starts = np.flatnonzero(np.diff(inner)) + 1
    runs = np.split(np.arange(1, len(edges)), starts)
    above = len(edges)
    return ((0,), *(tuple(run.tolist()) for run in runs), (above,), (above + 1,))
