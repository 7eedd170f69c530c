"""Has a feature changed: distances between two histograms, and what chance alone would give.

Population stability index and the law of its chance values: Yurdakul 2018, "Statistical properties
of the population stability index", section 3: PSI ~ (1/n + 1/m) chi-square with B - 1 degrees of
freedom. Customary marks 0.1 and 0.25: Siddiqi 2006, "Credit risk scorecards". Jensen-Shannon: Lin
1991. A mark alone alarms by noise in small windows, and significance alone alarms at harmless
shifts in large ones; here it takes both.
"""

import math
from typing import Literal

import numpy as np
from scipy.stats import chi2

from evaluation.group_metrics import Counts, Floats

Verdict = Literal["ok", "watch", "act", "window too small"]

PSI_WATCH = 0.1
PSI_ACT = 0.25
FALSE_ALARMS = 0.05
"""Chance that any of the features compared together passes its critical value without drift."""


def population_stability_index(reference: Counts, current: Counts) -> float:
    """PSI of two histograms with half a row added to every bin, in nats, >= 0.

    Args:
        reference: rows per bin, shape (bins,).
        current: likewise.
    """
    before, now = _smoothed(reference), _smoothed(current)
    return float(np.sum((now - before) * np.log(now / before)))


def critical_psi(rows_reference: int, rows_current: int, bins: int, comparisons: int) -> float:
    """What PSI exceeds with chance 5 % in one of `comparisons` comparisons, all without drift.

    Args:
        rows_reference: > 0.
        rows_current: > 0.
        bins: at least 2.
        comparisons: features compared at a time; each gets its share of the 5 % (Bonferroni).

    >>> round(critical_psi(10_000, 100, bins=10, comparisons=1), 4)
    0.1709
    """
    quantile = float(chi2.ppf(1 - FALSE_ALARMS / comparisons, bins - 1))
    return quantile * (1 / rows_reference + 1 / rows_current)


def jensen_shannon_distance(reference: Counts, current: Counts) -> float:
    """Square root of the Jensen-Shannon divergence in bits, 0 (same shares) to 1 (no overlap).

    Args:
        reference: rows per bin, shape (bins,), with at least one row.
        current: likewise.
    """
    before, now = reference / reference.sum(), current / current.sum()
    middle = (before + now) / 2
    divergence = (_relative_entropy(before, middle) + _relative_entropy(now, middle)) / 2
    return math.sqrt(max(divergence, 0.0))


def kolmogorov_smirnov_bound(reference: Counts, current: Counts) -> float:
    """Largest gap between the cumulative shares at the edges of ordered bins.

    At most the Kolmogorov-Smirnov distance of the rows, which could be larger within a bin.

    Args:
        reference: rows per bin of rising value, shape (bins,), with at least one row.
        current: likewise.
    """
    before, now = np.cumsum(reference) / reference.sum(), np.cumsum(current) / current.sum()
    return float(np.max(np.abs(before - now)))


def verdict(psi: float, critical: float) -> Verdict:
    """What to do about a PSI.

    `act` and `watch` need a shift that is both large (above 0.25, above 0.1) and beyond chance.
    Otherwise, a window in which a PSI of 0.25 could be chance is `window too small` to call `ok`.

    >>> verdict(0.3, 0.02), verdict(0.3, 0.29), verdict(0.3, 0.31), verdict(0.05, 0.02)
    ('act', 'act', 'window too small', 'ok')
    """
    if psi > critical and psi > PSI_WATCH:
        return "act" if psi > PSI_ACT else "watch"
    return "window too small" if critical > PSI_ACT else "ok"


def _smoothed(rows: Counts) -> Floats:
    smoothed: Floats = (rows + 0.5) / (rows.sum() + len(rows) / 2)
    return smoothed


def _relative_entropy(of: Floats, against: Floats) -> float:
    there = of > 0
    return float(np.sum(of[there] * np.log2(of[there] / against[there])))
