"""One feature's reference window against its current window, as a summary says it."""

import numpy as np

from evaluation.drift import (
    PSI_ACT,
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

MOST_QUANTILES, FEWEST_QUANTILES = 10, 4

SPELLED_OUT = 3
"""A bin of more levels than this is labelled by their number."""


def feature_drift(
    spec: TallySpec, feature: Feature, reference: Counts, current: Counts, scope: str
) -> Drift:
    """The finding on one feature.

    A number is compared on ten quantiles of the reference, or on fewer, down to four, if the
    windows are too small to judge ten. Missing values, values outside the range and undeclared
    levels are bins like the others. No charted bin holds fewer than ten rows of both windows
    together. With fewer than two such bins there is nothing to compare: no PSI, and the window is
    too small.

    Args:
        spec: what was counted.
        feature: of the schema.
        reference: rows per bin of `spec.bin_labels(feature)`, shape (bins,).
        current: likewise.
        scope: put into the finding.
    """
    rows_before, rows_now = int(reference.sum()), int(current.sum())
    bins, critical = _judgeable(spec, feature, reference, current)
    before, now = counts_in(bins, reference), counts_in(bins, current)
    psi = None if critical is None else population_stability_index(before, now)
    return Drift(
        scope=scope,
        feature=feature.name,
        rows_reference=rows_before,
        rows_current=rows_now,
        psi=psi,
        psi_critical=critical,
        ks=_kolmogorov_smirnov(feature, reference, current),
        jensen_shannon=jensen_shannon_distance(before, now) if bins else None,
        missing_reference=_share(reference[-1:], rows_before),
        missing_current=_share(current[-1:], rows_now),
        outside_reference=_share(reference[_outside(feature)], rows_before),
        outside_current=_share(current[_outside(feature)], rows_now),
        verdict="window too small" if psi is None or critical is None else verdict(psi, critical),
        bins=tuple(_label(spec, feature, places) for places in bins),
        reference=tuple((before / max(rows_before, 1)).tolist()),
        current=tuple((now / max(rows_now, 1)).tolist()),
    )


def _judgeable(
    spec: TallySpec, feature: Feature, reference: Counts, current: Counts
) -> tuple[Bins, float | None]:
    """The most bins, in the order of the histogram, whose critical value is below `PSI_ACT`.

    How many depends on the two windows' sizes and pooled rows, never on how they differ. Without
    two bins to compare: none, and no critical value.
    """
    rows_before, rows_now = int(reference.sum()), int(current.sum())
    bins: Bins = ()
    critical: float | None = None
    if not rows_before or not rows_now:
        return bins, critical
    for quantiles in range(MOST_QUANTILES, FEWEST_QUANTILES - 1, -1):
        joined = join_rare(_bins(feature, reference, current, quantiles), reference, current)
        if len(joined) < 2:
            return (), None
        bins = tuple(sorted(joined))
        critical = critical_psi(rows_before, rows_now, len(bins), len(spec.schema.features))
        if critical <= PSI_ACT:
            break
    return bins, critical


def _bins(feature: Feature, reference: Counts, current: Counts, quantiles: int) -> Bins:
    """What to compare before rare bins are joined, in the order in which they may be joined."""
    both = reference + current
    if not isinstance(feature, Numeric):
        # Levels have no order; by frequency, a rare one's neighbour is rare too.
        by_frequency = np.argsort(-both, kind="stable").tolist()
        return tuple((place,) for place in by_frequency if both[place])
    below, above, missing = 0, len(both) - 2, len(both) - 1
    inner = reference_quantiles(reference[1:above], quantiles)
    shifted = (tuple(place + 1 for place in run) for run in inner)
    ends = {place: ((place,),) if both[place] else () for place in (below, above, missing)}
    return (*ends[below], *shifted, *ends[above], *ends[missing])


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
    edges, above = spec.edge_labels(feature), spec.feature_bins + 1
    if last == above:
        return f"above {edges[first - 1]}" if first else "any number"
    return f"{edges[first - 1]} to {edges[last]}" if first else f"below {edges[last]}"
