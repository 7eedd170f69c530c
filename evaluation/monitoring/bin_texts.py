"""What joined bins of a grid are called."""

from collections.abc import Sequence

from evaluation.drift_bins import Bins
from evaluation.feature_scale import edge_texts, number_in
from evaluation.monitoring.feature_grid import FeatureGrid
from federation.schema import Categorical

SPELLED_OUT = 3
NARROW = 1e-3
"""An inner bin below this share of the range is called by one number in it."""


def bin_texts(grid: FeatureGrid, bins: Bins) -> tuple[str, ...]:
    """A label per joined bin, in their order.

    Args:
        grid: whose places they are.
        bins: places in `grid.labels`, each at most once.
    """
    if isinstance(grid.feature, Categorical):
        return tuple(_levels([grid.labels[place] for place in places]) for places in bins)
    ends = sorted({end for places in bins for run in _runs(places, grid) for end in run})
    inner = [end for end in ends if 0 <= end < len(grid.edges)]
    texts = dict(zip(inner, edge_texts([grid.edges[end] for end in inner]), strict=True))
    return tuple(_ranges(grid, places, texts) for places in bins)


def _levels(levels: Sequence[str]) -> str:
    return ", ".join(levels) if len(levels) <= SPELLED_OUT else f"{len(levels)} rare levels"


def _runs(places: Sequence[int], grid: FeatureGrid) -> list[tuple[int, int]]:
    """Consecutive numeric places as (edge before, edge after); -1 and len(edges) are beyond."""
    missing = grid.bins - 1
    numbers = sorted(place for place in places if place != missing)
    if not numbers:
        return []
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return [(numbers[0] - 1, numbers[-1])]
    starts = [0, *(at for at in range(1, len(numbers)) if numbers[at] - numbers[at - 1] > 1)]
    ends = [*starts[1:], len(numbers)]
    return [(numbers[start] - 1, numbers[end - 1]) for start, end in zip(starts, ends, strict=True)]


def _ranges(grid: FeatureGrid, places: Sequence[int], texts: dict[int, str]) -> str:
    named = [_range(grid, first, last, texts) for first, last in _runs(places, grid)]
    return ", ".join([*named, *(["missing"] if grid.bins - 1 in places else [])])


def _range(grid: FeatureGrid, first: int, last: int, texts: dict[int, str]) -> str:
    beyond = len(grid.edges)
    if last == beyond:
        return f"above {texts[first]}" if first >= 0 else "any number"
    if first < 0:
        return f"below {texts[last]}"
    low, high = grid.edges[first], grid.edges[last]
    if high - low < NARROW * (grid.edges[-1] - grid.edges[0]):
        return f"about {number_in(low, high)}"
    return f"{texts[first]} to {texts[last]}"
