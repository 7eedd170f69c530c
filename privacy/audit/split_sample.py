"""A lower bound on epsilon from many independent runs, with one record and without.

Jagielski, Ullman and Oprea 2020, arXiv:2006.07709, section 4.3: an event that is likely with the
record and rare without contradicts every small epsilon. How likely it is, is bounded by Clopper and
Pearson 1934 from both sides; delta is taken off before the ratio. Both kinds of event count: a
score above a threshold, which betrays that the record is there, and one below, which betrays that
it is not. Which event is chosen on one half of the runs and judged on the other, so that the choice
costs no confidence.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

MOST_THRESHOLDS = 1000
"""Tried on the first half."""


@dataclass(frozen=True, slots=True)
class Event:
    """What is judged: scores at or above a threshold, or below it.

    Attributes:
        threshold: finite.
        betrays_presence: whether the event is a score at or above it.
    """

    threshold: float
    betrays_presence: bool


def epsilon_lower_bound(
    present: Floats, absent: Floats, delta: float, confidence: float = 0.95
) -> float:
    """What epsilon is at least, at `delta`, but for a chance of 1 - confidence.

    Args:
        present: scores of independent runs with the record, shape (n,), n >= 2; high scores speak
            for the record. Their order must not depend on their values.
        absent: without, shape (m,), m >= 2.
        delta: in [0, 1).
        confidence: in (0, 1); for one of several looks, `confidence_of_each`.

    Returns:
        >= 0; 0 if nothing is shown.

    Raises:
        ValueError: a bound above is broken, or a score is NaN.
    """
    if min(len(present), len(absent)) < 2 or np.isnan(present).any() or np.isnan(absent).any():
        raise ValueError("expected two scores on each side at least, and none that is NaN")
    if not (0 <= delta < 1 and 0 < confidence < 1):
        raise ValueError(f"need delta in [0, 1), confidence in (0, 1): {delta=}, {confidence=}")
    half_present, half_absent = len(present) // 2, len(absent) // 2
    event = _most_telling(present[:half_present], absent[:half_absent], delta, confidence)
    at = np.array([event.threshold])
    bounds = _bounds(present[half_present:], absent[half_absent:], at, delta, confidence)
    return max(0.0, float(bounds[0 if event.betrays_presence else 1][0]))


def confidence_of_each(confidence: float, looks: int) -> float:
    """At what confidence each of several looks is taken so that all hold together (Bonferroni).

    >>> round(confidence_of_each(0.95, 5), 6)
    0.99
    """
    if looks < 1:
        raise ValueError(f"looks = {looks}: expected at least 1")
    return 1 - (1 - confidence) / looks


def clopper_pearson_upper(successes: Counts, trials: int, significance: float) -> Floats:
    """What the probability of success is at most, but for a chance of `significance`.

    Args:
        successes: from 0 to `trials`, any shape, which is that of the result.
        trials: >= 1.
        significance: in (0, 1).
    """
    failures = trials - successes
    upper = stats.beta.ppf(1 - significance, successes + 1, np.maximum(failures, 1))
    bounded: Floats = np.where(failures == 0, 1.0, upper)
    return bounded


def _most_telling(present: Floats, absent: Floats, delta: float, confidence: float) -> Event:
    """The event that would give the largest bound if these scores were judged by it."""
    pooled = np.concatenate([present, absent])
    pooled = pooled[np.isfinite(pooled)]
    if not len(pooled):
        return Event(0.0, betrays_presence=True)
    shares = np.linspace(0, 1, min(MOST_THRESHOLDS, len(pooled)))
    thresholds = np.unique(np.quantile(pooled, shares, method="nearest"))
    thresholds = np.append(thresholds, np.nextafter(thresholds[-1], np.inf))
    for_presence, for_absence = _bounds(present, absent, thresholds, delta, confidence)
    best, other = int(np.argmax(for_presence)), int(np.argmax(for_absence))
    if for_presence[best] >= for_absence[other]:
        return Event(float(thresholds[best]), betrays_presence=True)
    return Event(float(thresholds[other]), betrays_presence=False)


def _bounds(
    present: Floats, absent: Floats, thresholds: Floats, delta: float, confidence: float
) -> tuple[Floats, Floats]:
    """Epsilon at least, per threshold, by the event above it and by the event below it."""
    significance = (1 - confidence) / 2  # half for each of the two rates
    missed = np.searchsorted(np.sort(present), thresholds, side="left")
    alarms = len(absent) - np.searchsorted(np.sort(absent), thresholds, side="left")
    miss_rate = clopper_pearson_upper(missed, len(present), significance)
    alarm_rate = clopper_pearson_upper(alarms, len(absent), significance)
    return (
        _log_ratio(1 - miss_rate - delta, alarm_rate),
        _log_ratio(1 - alarm_rate - delta, miss_rate),
    )


def _log_ratio(likely: Floats, rare: Floats) -> Floats:
    """Their logarithms' difference; minus infinity where nothing is left of the likely one."""
    ratio: Floats = np.log(np.maximum(likely, np.finfo(np.float64).tiny)) - np.log(rare)
    return np.where(likely > 0, ratio, -np.inf)
