"""Where the curves of a report have points: few, well spread, and none that gives a row away."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from evaluation.group_metrics import FN, TN, Counts
from evaluation.published_cuts import Grid, published, tellable
from evaluation.suppression import Partition
from evaluation.tally_spec import OVERALL, Bools
from evaluation.tally_sums import TallySums
from federation.errors import DataError
from federation.task import Codes, Floats

ROC_CUTS = 62
"""Most points of a ROC curve between its two ends."""


@dataclass(frozen=True, slots=True)
class CurvePoints:
    """Where curves may have points.

    Attributes:
        positions: in score bins, shape (cuts,), ascending.
        grid: the same cuts for suppression; the known one is at a score of one half, which divides
            what is predicted positive, and is no edge if score bins are odd in number.
    """

    positions: Floats
    grid: Grid

    @classmethod
    def of(cls, tallies: TallySums, minimum_cell: int) -> Self:
        """The edges of calibration bins, and edges evenly spread along the curve of all rows."""
        spec = tallies.spec
        everyone = (OVERALL,) if spec.schema.is_binary else spec.class_labels
        scores = np.sum([tallies.scores(label) for label in everyone], axis=0)
        preferred = set(spec.calibration_edges[1:-1].tolist())
        gone = np.cumsum(scores / np.maximum(scores.sum(axis=1, keepdims=True), 1), axis=1)
        steps = np.floor((ROC_CUTS - 1 - len(preferred)) * gone[:, :-1].mean(axis=0))
        spread = (np.flatnonzero(np.diff(steps, prepend=0)) + 1).tolist()
        half = {spec.score_bins / 2} if spec.schema.is_binary else set()
        positions = sorted(preferred.union(spread, half))
        known = positions.index(spec.score_bins / 2) if half else None
        is_preferred = np.array([position in preferred for position in positions], dtype=np.bool_)
        return cls(np.array(positions), Grid(is_preferred, known, minimum_cell))

    def table(self, tallies: TallySums, label: str) -> Counts:
        """Rows per label and cell between cuts, shape (2, cuts + 1)."""
        scores = tallies.scores(label)
        below = np.zeros((2, len(self.positions) + 2), dtype=np.int64)
        below[:, -1] = scores.sum(axis=1)
        up_to = np.concatenate([np.zeros((2, 1), np.int64), np.cumsum(scores, axis=1)], axis=1)
        below[:, 1:-1] = up_to[:, self.positions.astype(np.int64)]
        if self.grid.known is not None:
            below[:, self.grid.known + 1] = tallies.confusion(label)[[TN, FN]]
        return np.diff(below, axis=1)

    def tellable(
        self,
        tallies: Sequence[TallySums],
        labels: Sequence[str],
        eligible: Bools,
        adds_up: Sequence[Partition],
    ) -> list[Bools]:
        """At which cuts each table may be cut, shape (labels, cuts), per scope.

        Args:
            tallies: per scope; the first holds the rows of the others, which share none.
            labels: of the tables of one scope.
            eligible: tables of which anything is told, shape (scopes * labels,); if there are
                several scopes, the rows of the first that no other holds count as one more.
            adds_up: which tables add up to which, by their places in `eligible`.

        Raises:
            DataError: the other scopes hold more than the first.
        """
        tables = [np.stack([self.table(own, label) for label in labels]) for own in tallies]
        if len(tables) > 1:
            tables.append(tables[0] - np.sum(tables[1:], axis=0))
            if np.any(tables[-1] < 0):
                raise DataError("cohorts hold more scores than all sites together: no counts")
        told = tellable(self.grid, np.concatenate(tables), adds_up, eligible)
        return np.split(told, len(tables))

    def score_bins(self, tallies: TallySums, label: str, told: Bools) -> Codes:
        """The score bins that a table is cut at, ascending."""
        known = self.grid.known
        at_edge = known is not None and float(self.positions[known]).is_integer()
        cuts = published(self.grid, self.table(tallies, label), told, with_known=at_edge)
        return self.positions[cuts].astype(np.int64)
