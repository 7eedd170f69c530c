"""Which groups and which rates differ by more than chance, however many are looked at.

Each group is tested against the rest, exactly (Fisher) where counts are exact, and all groups for
being alike. `holm` adjusts the p-values for their number.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr
from scipy.stats import hypergeom

from evaluation.cell_noise import CellNoise
from evaluation.group_metrics import Counts, Floats, Rate

FAMILY_WISE = 0.05
"""Chance of one false finding or more among all that are adjusted together."""

PERIOD = 80.0
"""Period of the inversion, in standard deviations: what lies beyond half of it is folded back."""

NEGLIGIBLE = 60.0
"""A characteristic function is cut where its normal factor is exp(-NEGLIGIBLE / 2)."""

LEAST_NORMAL = 1e-3
"""Share of the variance that is normal at least, so that the inversion is finite."""


def against_the_rest(rate: Rate, confusion: Counts, noise: CellNoise) -> Floats:
    """p-value of each group's rate against that of all others together, two-sided; shape (groups,).

    Exact counts: twice the smaller tail of Fisher's exact test. Noised counts: a score test whose
    null law is the normal one of sampling, convolved with that of the noise, with a correction for
    continuity.

    Args:
        rate: which.
        confusion: TN, FP, FN, TP per group, shape (groups, 4), groups >= 2.
        noise: on each cell.
    """
    successes, trials = rate.counts(confusion)
    if noise:
        return _score_test(rate, successes, trials, noise)
    total, hits = trials.sum(), successes.sum()
    lower = hypergeom.cdf(successes, total, hits, trials)
    upper = hypergeom.sf(successes - 1, total, hits, trials)
    p_values: Floats = np.minimum(1.0, 2 * np.minimum(lower, upper))
    return p_values


def homogeneity(by_group: Floats, alike: Floats) -> float:
    """p-value of all groups having one rate, from draws of groups that have.

    The statistic is Cochran's sum of squared distances from the weighted mean, each in deviations
    that the draws have (Cochran 1954, Biometrics 10:417); its null law are the draws themselves, so
    that small groups and noise are accounted for. No smaller than 1 / (draws + 1).

    Args:
        by_group: shape (groups,); NaN for a group that is not known.
        alike: shape (draws, groups).
    """
    known = ~np.isnan(by_group)
    if np.count_nonzero(known) < 2:
        return 1.0
    by_group, alike = by_group[known], alike[:, known]
    variance = np.nanvar(alike, axis=0)
    weights = np.divide(1.0, variance, out=np.zeros_like(variance), where=variance > 0)
    seen, drawn = _spread(by_group, weights), _spread(alike, weights)
    as_far = np.count_nonzero(drawn >= seen * (1 - 1e-12))
    return float((1 + as_far) / (1 + len(alike)))


def _spread(rates: Floats, weights: Floats) -> Floats:
    held = np.where(np.isnan(rates), 0.0, weights)
    rates = np.nan_to_num(rates)
    total = held.sum(axis=-1, keepdims=True)
    mean = np.sum(held * rates, axis=-1, keepdims=True) / np.maximum(total, 1e-300)
    return np.asarray(np.sum(held * (rates - mean) ** 2, axis=-1))


def _score_test(rate: Rate, successes: Counts, trials: Counts, noise: CellNoise) -> Floats:
    for_, against = len(rate.numerator), len(rate.among) - len(rate.numerator)
    others, whole = trials.sum() - trials, trials.sum()
    if whole <= 0:
        return np.ones(len(trials))
    # Never quite 0 or 1: with noise on the counts, no rate is known to be.
    pooled = float(np.clip(successes.sum(), 0.5, max(whole - 0.5, 0.5)) / max(whole, 1))
    p_values = np.ones(len(trials))
    for place in np.flatnonzero((trials > 0) & (others > 0)):
        here, there = float(trials[place]), float(others[place])
        apart = successes[place] / here - (successes.sum() - successes[place]) / there
        continuity = (1 / here + 1 / there) / 2
        sampling = pooled * (1 - pooled) * (1 / here + 1 / there)
        per_cell = (1 - pooled) ** 2 * for_ + pooled**2 * against
        of_the_rest = (len(trials) - 1) * noise.variance * per_cell / there**2
        weights = [((1 - pooled) / here, for_), (pooled / here, against)]
        distance = max(0.0, abs(apart) - continuity)
        p_values[place] = two_sided_tail(distance, sampling + of_the_rest, weights, noise)
    return p_values


def two_sided_tail(
    distance: float, normal: float, weights: Sequence[tuple[float, int]], noise: CellNoise
) -> float:
    """P(|T| >= distance), T a normal variable plus weighted noises, all independent, of mean 0.

    By inverting the characteristic function at midpoints (Bohman 1975; Abate and Whitt 1992,
    Queueing Systems 10:5, section 5): exact but for what lies beyond `PERIOD` / 2 deviations.

    Args:
        distance: >= 0.
        normal: variance of the normal variable, > 0.
        weights: of the noises, and how many noises have each.
        noise: their law.
    """
    variance = normal + noise.variance * sum(count * weight**2 for weight, count in weights)
    deviation = math.sqrt(variance)
    if noise.family == "gaussian":
        return float(2 * ndtr(-distance / deviation))
    share = max(normal / variance, LEAST_NORMAL)
    step = 2 * math.pi / PERIOD
    points = math.ceil(math.sqrt(NEGLIGIBLE / share) / step)
    t: Floats = (np.arange(points, dtype=np.float64) + 0.5) * step
    law = np.exp(-share * t**2 / 2)
    for weight, count in weights:
        law = law * noise.characteristic(t * weight / deviation) ** count
    inside = np.sum(np.sin(t * distance / deviation) * law / t) * step * 2 / math.pi
    return float(np.clip(1 - inside, 0.0, 1.0))
