"""What the metrics of compared groups might have been: with other rows, and were the groups alike.

Resampling N rows and tabulating them is a multinomial draw from the counts, so the bootstrap of
rows (Efron and Tibshirani 1993, chapter 13) needs no row. If the counts carry noise, every draw
gets noise of the same law (a parametric bootstrap), and cells below 0 count as 0.
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

NOISE_DEVIATIONS = 3
"""A count below so many deviations of its noise is no count."""


def least_support(minimum: int, cells: int, noise: CellNoise) -> float:
    """Fewest rows that a share of the sum of so many cells can be told of."""
    return max(minimum, NOISE_DEVIATIONS * noise.deviation(cells))


@dataclass(frozen=True, slots=True)
class ComparedGroups:
    """Groups whose metrics are set side by side.

    Attributes:
        confusion: TN, FP, FN, TP per group, shape (groups, 4).
        outside: of all rows in none of these groups, shape (4,); they count in `overall` alone.
        minimum_support: fewest rows of a denominator for which a group's metric is known.
        noise: on each cell of `confusion`.
    """

    confusion: Counts
    outside: Counts
    minimum_support: int = 1
    noise: CellNoise = EXACT

    @property
    def cells(self) -> Counts:
        """The confusions, no cell below 0: what rates are calculated from."""
        return np.maximum(self.confusion, 0)

    def supports(self, metric: Metric) -> Floats:
        """1 for a group of which the metric is known, NaN for another, shape (groups,)."""
        known = np.ones(len(self.confusion), dtype=np.bool_)
        for part in metric.parts:
            least = least_support(max(self.minimum_support, 1), len(part.among), self.noise)
            known &= part.counts(self.confusion)[1] >= math.ceil(least)
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
    tables = np.vstack([compared.cells, compared.outside])
    drawn = resampled(tables, draws, resamples) if tables.any() else _none(tables, resamples)
    groups = drawn[:, :-1]
    if compared.noise:
        groups = np.maximum(groups + compared.noise.sample(groups.shape, draws), 0)
    totals = groups.sum(axis=1) + drawn[:, -1]
    supports = {metric.name: compared.supports(metric) for metric in metrics}
    parts = {part.name: part for metric in metrics for part in metric.parts}
    alike = {name: _alike(part, compared, draws, resamples) for name, part in parts.items()}
    return Resamples(
        counted={
            metric.name: Values(
                metric(compared.cells) * supports[metric.name],
                metric(compared.cells.sum(axis=0) + compared.outside),
            )
            for metric in metrics
        },
        drawn={
            metric.name: Values(metric(groups) * supports[metric.name], metric(totals))
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


def resampled(confusion: Counts, draws: np.random.Generator, resamples: int) -> Counts:
    """Confusions of resampled rows, shape (resamples, groups, 4).

    Args:
        confusion: TN, FP, FN, TP per group, shape (groups, 4), with at least one row.
        draws: where the draws come from.
        resamples: how many.
    """
    total = int(confusion.sum())
    flat = draws.multinomial(total, confusion.ravel() / total, size=resamples)
    return flat.reshape(resamples, *confusion.shape)


def _none(tables: Counts, resamples: int) -> Counts:
    return np.zeros((resamples, *tables.shape), dtype=np.int64)


def _alike(
    part: Rate, compared: ComparedGroups, draws: np.random.Generator, resamples: int
) -> Values:
    """A rate of groups of these sizes, each (resamples, groups), if all had the pooled rate."""
    successes, trials = part.counts(np.vstack([compared.cells, compared.outside]))
    pooled = share(successes.sum(), trials.sum())
    drawn = draws.binomial(trials, np.nan_to_num(pooled), size=(resamples, len(trials)))
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
