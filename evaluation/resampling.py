"""What the metrics of compared groups might have been: with other rows, and were the groups alike.

Resampling N rows and tabulating them is a multinomial draw from the counts, so the bootstrap of
rows (Efron and Tibshirani 1993, chapter 13) needs no row. If the counts carry noise, every draw
gets noise of the same law: a parametric bootstrap.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from evaluation.cell_noise import EXACT, CellNoise
from evaluation.group_metrics import Counts, Floats, Metric, Rate, share
from federation import canonical

RESAMPLES = 2_000

TOLD_DEVIATIONS = 3
"""A count below so many deviations of its noise tells nothing."""

COMPARED_DEVIATIONS = 6
"""A group is compared with others from this many on. Groups nearer to their noise pass a minimum of
rows mostly by noise that made them larger, which moves their rates too: from three deviations on,
groups that are alike seemed unlike in 15 % of tables, not in 5 %."""


def least_support(
    minimum: int, cells: int, noise: CellNoise, deviations: int = TOLD_DEVIATIONS
) -> int:
    """Fewest rows, in the sum of so many cells, that a share of them can be told of."""
    return max(minimum, math.ceil(deviations * noise.deviation(cells)))


@dataclass(frozen=True, slots=True)
class ComparedGroups:
    """Groups whose metrics are set side by side.

    Attributes:
        confusion: TN, FP, FN, TP per group, shape (groups, 4); where nothing is drawn,
            (..., groups, 4).
        outside: of all rows in none of these groups, shape (4,); they count in `overall` alone.
        minimum_support: fewest rows of a denominator for which a group's metric is compared.
        noise: on each cell of `confusion`.
    """

    confusion: Counts
    outside: Counts
    minimum_support: int = 1
    noise: CellNoise = EXACT

    def supports(self, metric: Metric) -> Floats:
        """1 for a group that is compared in the metric, NaN for another, shape (..., groups)."""
        known = np.ones(self.confusion.shape[:-1], dtype=np.bool_)
        for part in metric.parts:
            minimum = max(self.minimum_support, 1)
            least = least_support(minimum, len(part.among), self.noise, COMPARED_DEVIATIONS)
            known &= part.counts(self.confusion)[1] >= least
        return np.where(known, 1.0, np.nan)


class Values(NamedTuple):
    """One metric: of the groups, shape (..., groups), and of all rows together, shape (...)."""

    by_group: Floats
    overall: Floats


@dataclass(frozen=True, slots=True)
class Resamples:
    """Metrics by name: as counted, resampled (shape (resamples, groups)), and of groups alike."""

    counted: Mapping[str, Values]
    drawn: Mapping[str, Values]
    alike: Mapping[str, Values]


def generator(counts: Counts) -> np.random.Generator:
    """A generator seeded by the counts themselves.

    A report can be made again, to the digit, from the same sums (with the same numpy, whose
    generators may change between versions).
    """
    return np.random.default_rng(int(canonical.digest(counts.tolist()), 16))


def resample(
    compared: ComparedGroups,
    metrics: Sequence[Metric],
    draws: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Resamples:
    """Draws of every metric, all from the same resampled tables.

    Args:
        compared: which groups.
        metrics: of distinct names.
        draws: where the draws come from.
        resamples: how many.
    """
    tables = np.vstack([np.maximum(compared.confusion, 0), compared.outside])
    drawn = resampled(tables, draws, resamples)
    groups, noise = drawn[:, :-1], compared.noise
    if noise:
        groups = groups + noise.sample(groups.shape, draws)
    totals = groups.sum(axis=1) + drawn[:, -1]
    total = compared.confusion.sum(axis=0) + compared.outside
    supports = {metric.name: compared.supports(metric) for metric in metrics}
    parts = {part.name: part for metric in metrics for part in metric.parts}
    alike = {name: _alike(part, compared, draws, resamples) for name, part in parts.items()}
    return Resamples(
        counted={
            metric.name: Values(
                values_of(metric, compared.confusion, noise) * supports[metric.name],
                values_of(metric, total, noise),
            )
            for metric in metrics
        },
        drawn={
            metric.name: Values(
                values_of(metric, groups, noise) * supports[metric.name],
                values_of(metric, totals, noise),
            )
            for metric in metrics
        },
        alike={
            metric.name: Values(
                metric.of([alike[part.name].by_group for part in metric.parts])
                * supports[metric.name],
                metric.of([alike[part.name].overall for part in metric.parts]),
            )
            for metric in metrics
        },
    )


def values_of(metric: Metric, confusion: Counts, noise: CellNoise) -> Floats:
    """A metric, shape (...), of TN, FP, FN, TP, shape (..., 4), which may be noised.

    With noise a share's rows for it and against it count as 0 where they are below, each as a sum
    of cells: cell by cell, small groups would all seem to err.
    """
    if not noise:
        return metric(confusion)
    parts = []
    for part in metric.parts:
        successes, trials = part.counts(confusion)
        held, missed = np.maximum(successes, 0), np.maximum(trials - successes, 0)
        parts.append(share(held, held + missed))
    return metric.of(parts)


def resampled(confusion: Counts, draws: np.random.Generator, resamples: int) -> Counts:
    """Confusions of resampled rows, shape (resamples, groups, 4).

    Args:
        confusion: TN, FP, FN, TP per group, shape (groups, 4).
        draws: where the draws come from.
        resamples: how many.
    """
    total = int(confusion.sum())
    flat = draws.multinomial(total, confusion.ravel() / max(total, 1), size=resamples)
    return flat.reshape(resamples, *confusion.shape)


def _alike(
    part: Rate, compared: ComparedGroups, draws: np.random.Generator, resamples: int
) -> Values:
    """A rate of groups of these sizes, each (resamples, groups), if all had the pooled rate."""
    tables = np.vstack([compared.confusion, compared.outside])
    successes, trials = part.counts(tables)
    pooled = share(successes.sum(), trials.sum())
    # Only noise can bring a rate out of [0, 1], or a count below 0.
    chance, trials = np.clip(np.nan_to_num(pooled), 0, 1), np.maximum(trials, 0)
    drawn = draws.binomial(trials, chance, size=(resamples, len(trials)))
    failed = trials - drawn
    if compared.noise:
        drawn[:, :-1] += _noise(len(part.numerator), compared, draws, resamples)
        failed[:, :-1] += _noise(len(part.among) - len(part.numerator), compared, draws, resamples)
        drawn, failed = np.maximum(drawn, 0), np.maximum(failed, 0)
    whole = drawn + failed
    rates = share(drawn[:, :-1], whole[:, :-1])
    return Values(rates, share(drawn.sum(axis=1), whole.sum(axis=1)))


def _noise(
    cells: int, compared: ComparedGroups, draws: np.random.Generator, resamples: int
) -> Counts:
    shape = (cells, resamples, len(compared.confusion))
    total: Counts = compared.noise.sample(shape, draws).sum(axis=0)
    return total
