"""A numeric feature's scale: where its bins are of equal width, and how edges are shown."""

import math
from collections.abc import Sequence

import numpy as np

from federation.errors import ConfigError
from federation.schema import Numeric
from federation.task import Floats

LABEL_SHARE = 0.1
"""An edge is shown to this share of the narrower bin beside it."""


def to_scale(feature: Numeric, values: Floats) -> Floats:
    """Values as positions on the feature's scale, same shape.

    Args:
        feature: whose scale.
        values: within its range; on scale `log` above 0.
    """
    if feature.scale == "log":
        return np.log(values)
    return np.arcsinh(values / feature.scale_unit) if feature.scale == "asinh" else values


def from_scale(feature: Numeric, positions: Floats) -> Floats:
    """The inverse of `to_scale`."""
    if feature.scale == "log":
        return np.exp(positions)
    return np.sinh(positions) * feature.scale_unit if feature.scale == "asinh" else positions


def edges_on_scale(feature: Numeric, bins: int) -> Floats:
    """Edges of bins of equal width on the feature's scale, shape (bins + 1,), ascending.

    The first and the last are `low` and `high` to the digit.

    Args:
        feature: whose range.
        bins: at least 1.

    Raises:
        ConfigError: the range is too narrow for as many distinct edges.

    >>> from federation.schema import Numeric
    >>> edges_on_scale(Numeric("creatinine", 0.1, 10.0, scale="log"), 2).tolist()
    [0.1, 1.0, 10.0]
    """
    ends = to_scale(feature, np.array([feature.low, feature.high], np.float64))
    edges = from_scale(feature, np.linspace(ends[0], ends[1], bins + 1))
    edges[[0, -1]] = feature.low, feature.high
    if not np.all(np.diff(edges) > 0):
        raise ConfigError(
            f"feature {feature.name}",
            [feature.low, feature.high],
            f"a range that {bins} bins can tell apart",
            "widen it, or shift it towards 0",
        )
    return edges


def edge_texts(edges: Sequence[float]) -> tuple[str, ...]:
    """Edges as shown: each rounded to about a tenth of the narrower bin beside it.

    >>> edge_texts([0.0, 0.25, 10.0, 60.0])
    ('0', '0.25', '10', '60')
    """
    gaps = np.diff(np.asarray(edges, np.float64)).tolist()
    nearest = [min(gaps[max(place - 1, 0) : place + 1], default=1.0) for place in range(len(edges))]
    return tuple(
        f"{round(edge, _decimals(gap)) + 0.0:.12g}"
        for edge, gap in zip(edges, nearest, strict=True)
    )


def number_in(low: float, high: float) -> str:
    """The number of fewest digits in [low, high): what to call a very narrow bin.

    >>> number_in(39.951, 40.048), number_in(-0.02, 0.03)
    ('40', '0')
    """
    digits = range(-math.floor(math.log10(max(abs(low), abs(high), high - low))) - 1, 330)
    for decimals in digits:
        step = 10.0**-decimals if decimals > -308 else 0.0
        nearest = math.ceil(low / step) * step if step else low
        rounded = round(nearest, decimals) + 0.0
        if low <= rounded < high:
            return f"{rounded:.12g}"
    return f"{low:.12g}"  # pragma: no cover - a float's own digits end the search before this


def _decimals(gap: float) -> int:
    return max(0, math.ceil(-math.log10(gap * LABEL_SHARE)))
