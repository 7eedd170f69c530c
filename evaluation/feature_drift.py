"""One feature's reference window against its current window, as a summary says it."""

import numpy as np

from evaluation.drift import (
    critical_psi,
    jensen_shannon_distance,
    kolmogorov_smirnov_bound,
    population_stability_index,
    verdict,
)
from evaluation.drift_bins import Bins, counts_in, join_rare, reference_quantiles
from evaluation.group_metrics import Counts
from evaluation.tally_spec import TallySpec
from federation.schema import Feature, Numeric
from federation.summary import Drift

SPELLED_OUT = 3
"""A bin of more levels than this is labelled by their number."""


def feature_drift(
    spec: TallySpec, feature: Feature, reference: Counts, current: Counts, scope: str
) -> Drift:
    """The finding on one feature.

    Missing values, values outside the range and undeclared levels are bins like the others. No
    charted bin holds fewer than ten rows of both windows together. With fewer than two such bins
    there is nothing to compare: no PSI, and the window is too small.

    Args:
        spec: what was counted.
        feature: of the schema.
        reference: rows per bin of `spec.bin_labels(feature)`, shape (bins,).
        current: likewise.
        scope: put into the finding.
    """
    rows_before, rows_now = int(reference.sum()), int(current.sum())
    bins = _bins(feature, reference, current)
    before, now = counts_in(bins, reference), counts_in(bins, current)
    psi, critical, distance = None, None, None
    if len(bins) > 1:
        psi = population_stability_index(before, now)
        critical = critical_psi(rows_before, rows_now, len(bins), len(spec.schema.features))
        distance = jensen_shannon_distance(before, now)
    return Drift(
        scope=scope,
        feature=feature.name,
        rows_reference=rows_before,
        rows_current=rows_now,
        psi=psi,
        psi_critical=critical,
        ks=_kolmogorov_smirnov(feature, reference, current),
        jensen_shannon=distance,
        missing_reference=_share(reference[-1:], rows_before),
        missing_current=_share(current[-1:], rows_now),
        outside_reference=_share(reference[_outside(feature)], rows_before),
        outside_current=_share(current[_outside(feature)], rows_now),
        verdict="window too small" if psi is None or critical is None else verdict(psi, critical),
        bins=tuple(_label(spec, feature, places) for places in bins),
        reference=tuple((before / max(rows_before, 1)).tolist()),
        current=tuple((now / max(rows_now, 1)).tolist()),
    )


def _bins(feature: Feature, reference: Counts, current: Counts) -> Bins:
    """The bins to compare, in the order of the histogram; none if fewer than two are left."""
    if not reference.any() or not current.any():
        return ()
    both = reference + current
    if isinstance(feature, Numeric):
        below, above, missing = 0, len(both) - 2, len(both) - 1
        inner = reference_quantiles(reference[1:above])
        shifted = tuple(tuple(place + 1 for place in run) for run in inner)
        singles = [(place,) for place in (above, missing) if both[place]]
        bins = ((below,), *shifted, *singles) if both[below] else (*shifted, *singles)
    else:
        # Levels have no order; by frequency, a rare one's neighbour is rare too.
        by_frequency = np.argsort(-both, kind="stable").tolist()
        bins = tuple((place,) for place in by_frequency if both[place])
    joined = join_rare(bins, reference, current)
    return tuple(sorted(joined)) if len(joined) > 1 else ()


def _kolmogorov_smirnov(feature: Feature, reference: Counts, current: Counts) -> float | None:
    """None for levels, which have no order, and without values."""
    before, now = reference[:-1], current[:-1]
    if not isinstance(feature, Numeric) or not before.any() or not now.any():
        return None
    return kolmogorov_smirnov_bound(before, now)


def _outside(feature: Feature) -> list[int]:
    return [0, -2] if isinstance(feature, Numeric) else [-2]


def _share(part: Counts, rows: int) -> float:
    return int(part.sum()) / rows if rows else 0.0


def _label(spec: TallySpec, feature: Feature, places: tuple[int, ...]) -> str:
    labels = spec.bin_labels(feature)
    if not isinstance(feature, Numeric):
        if len(places) > SPELLED_OUT:
            return f"{len(places)} rare levels"
        return ", ".join(labels[place] for place in places)
    numbers = [place for place in places if place < len(labels) - 1]
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1) if numbers else []
    named = [_range_label(spec, feature, int(run[0]), int(run[-1])) for run in runs]
    return ", ".join([*named, *(["missing"] if len(labels) - 1 in places else [])])


def _range_label(spec: TallySpec, feature: Numeric, first: int, last: int) -> str:
    edges, above = spec.edges(feature), spec.feature_bins + 1
    if last == above:
        return f"above {edges[first - 1]:g}" if first else "any number"
    return f"{edges[first - 1]:g} to {edges[last]:g}" if first else f"below {edges[last]:g}"
