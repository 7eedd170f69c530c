"""What a feature is counted in: edges that everybody agreed on before a row was read.

A grid is public. It is made from the schema alone (`survey_grid`), or from sums over sites that
were counted in such a grid (`edge_search`), and is then frozen with the reference it was made from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from evaluation.binning import bin_indices
from evaluation.feature_scale import edge_texts, edges_on_scale
from evaluation.group_metrics import Counts
from federation import canonical
from federation.errors import DataError
from federation.schema import Categorical, Feature, Numeric
from federation.task import Floats

SURVEY_BINS = 1024
MOST_INNER_BINS = 1024

Places = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FeatureGrid:
    """Bins of one feature.

    Numeric: below, the bins between `edges`, above, missing. An inner bin is [low, high), the last
    one is closed. Categorical: the levels, other, missing; no edges.

    Attributes:
        feature: with its public range or levels.
        edges: of the inner bins, ascending, from the range's low to its high; empty for levels.
        quantile_bins: places in `labels` that a test takes together: every place once, in order;
            empty for a survey.

    Raises:
        DataError: a bound above is broken, or there are more than 1,024 inner bins.
    """

    feature: Feature
    edges: tuple[float, ...] = ()
    quantile_bins: tuple[Places, ...] = ()

    def __post_init__(self) -> None:
        name = f"grid of {self.feature.name}"
        if isinstance(self.feature, Numeric):
            _check_edges(name, self.feature, self.edges)
        elif self.edges:
            raise DataError(f"{name}.edges: expected none for a feature with levels")
        places = [place for run in self.quantile_bins for place in run]
        if places and sorted(places) != list(range(self.bins)):
            raise DataError(
                f"{name}.quantile_bins: expected each place from 0 to {self.bins - 1} once"
            )

    @property
    def bins(self) -> int:
        """Number of bins, `len(labels)`."""
        if isinstance(self.feature, Categorical):
            return len(self.feature.levels) + 2
        return len(self.edges) + 2

    @property
    def labels(self) -> tuple[str, ...]:
        """What each bin holds, in the order in which they are counted."""
        if isinstance(self.feature, Categorical):
            return (*self.feature.levels, "other", "missing")
        texts = edge_texts(self.edges)
        inner = (f"{low} to {high}" for low, high in pairwise(texts))
        return (f"below {texts[0]}", *inner, f"above {texts[-1]}", "missing")

    def count(self, values: Floats) -> Counts:
        """Rows per bin, shape (bins,), int64.

        Args:
            values: shape (N,): the number, or the level's index, `len(levels)` for a level that is
                not declared; NaN if missing.

        Raises:
            DataError: a code that is no level's. The text never holds a value of a row.
        """
        if values.ndim != 1:
            raise DataError(
                f"feature {self.feature.name}: expected shape (rows,), got {values.shape}"
            )
        where = np.full(len(values), self.bins - 1)
        known = ~np.isnan(values)
        where[known] = self._places(values[known])
        return np.bincount(where, minlength=self.bins).astype(np.int64)

    def to_json(self) -> dict[str, object]:
        """A plain value that says all of it, for `federation.canonical`."""
        kind = "numeric" if isinstance(self.feature, Numeric) else "categorical"
        feature: dict[str, object] = {"kind": kind}
        for key, value in asdict(self.feature).items():
            feature[key] = list(value) if isinstance(value, tuple) else value
        return {
            "feature": feature,
            "edges": list(self.edges),
            "quantile_bins": [list(run) for run in self.quantile_bins],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> "FeatureGrid":
        """The inverse of `to_json`.

        Raises:
            DataError: it is not what `to_json` writes.
        """
        try:
            described = dict(_mapping(value["feature"]))
            kind = {"numeric": Numeric, "categorical": Categorical}[str(described.pop("kind"))]
            if kind is Categorical:
                described["levels"] = tuple(_sequence(described["levels"]))
            edges = tuple(float(str(edge)) for edge in _sequence(value["edges"]))
            runs = (_sequence(run) for run in _sequence(value["quantile_bins"]))
            places = tuple(tuple(int(str(place)) for place in run) for run in runs)
            grid = cls(kind(**described), edges, places)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a feature grid: {error}") from error
        if canonical.encode(grid.to_json()) != canonical.encode(dict(value)):
            raise DataError(f"grid of {grid.feature.name}: not written in the one canonical way")
        return grid

    def _places(self, values: Floats) -> npt.NDArray[np.int64]:
        if isinstance(self.feature, Categorical):
            codes = values.astype(np.int64)
            if not np.all((codes == values) & (codes >= 0) & (codes <= len(self.feature.levels))):
                raise DataError(
                    f"feature {self.feature.name}: expected level indices 0 to "
                    f"{len(self.feature.levels) - 1}, {len(self.feature.levels)} for any other "
                    "level, NaN for missing"
                )
            return codes
        edges = np.asarray(self.edges)
        inner = bin_indices(edges, values)
        # The last edge belongs to the bin below it, so that the public range is closed.
        return np.where(values == edges[-1], len(edges) - 1, inner).astype(np.int64)


def survey_grid(feature: Feature) -> FeatureGrid:
    """The grid that needs no row: 1,024 bins of equal width on the public range and scale."""
    if isinstance(feature, Categorical):
        return FeatureGrid(feature)
    return FeatureGrid(feature, tuple(edges_on_scale(feature, SURVEY_BINS).tolist()))


def grids_digest(grids: Sequence[FeatureGrid]) -> str:
    """SHA-256 that binds every grid, in order; 64 hexadecimal digits."""
    return canonical.digest([grid.to_json() for grid in grids])


def require_counts(grid: FeatureGrid, counts: Counts) -> None:
    """Return if `counts` can be a sum counted in `grid`; noise may have made it negative.

    Raises:
        DataError: another shape, or not whole numbers.
    """
    if counts.shape != (grid.bins,) or not np.issubdtype(counts.dtype, np.integer):
        raise DataError(
            f"counts of {grid.feature.name}: expected ({grid.bins},) integers, "
            f"got {counts.shape} {counts.dtype}"
        )


def _check_edges(name: str, feature: Numeric, edges: tuple[float, ...]) -> None:
    if not 2 <= len(edges) <= MOST_INNER_BINS + 1:
        raise DataError(
            f"{name}.edges: expected 2 to {MOST_INNER_BINS + 1} of them, got {len(edges)}"
        )
    ascending = np.all(np.diff(np.asarray(edges)) > 0)  # also catches NaN
    if not ascending or edges[0] != feature.low or edges[-1] != feature.high:
        raise DataError(
            f"{name}.edges: expected finite numbers that rise from {feature.low:g} "
            f"to {feature.high:g}"
        )


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError("expected an object")
    return value


def _sequence(value: object) -> Sequence[object]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError("expected a list")
    return value
