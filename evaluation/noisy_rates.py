"""Intervals of rates whose counts carry noise.

Which tables may lie behind the noised one follows from the law of the noise and Jeffreys' prior,
cell by cell (`CellNoise.counts_behind`); the share of such a table is Beta-distributed. Against an
interval by adding the noise's variance to Wilson's, it covers small groups with rates near 0 or 1,
and is narrower.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.cell_noise import CellNoise
from evaluation.group_metrics import Counts, Floats, Metric, Rate
from evaluation.uncertainty import TAIL, Interval

DRAWS = 2_000


def noisy_intervals(
    metrics: Sequence[Metric],
    confusion: Counts,
    noise: Sequence[CellNoise],
    draws: np.random.Generator,
) -> Mapping[str, Interval]:
    """95 % intervals of each metric by name, with ends of shape (groups,).

    An end reaches 0 (or 1) where the noise alone accounts for what is counted against it: Jeffreys'
    interval never would (Brown, Cai and DasGupta 2001, section 4.1.1, modify it likewise).

    Args:
        metrics: of distinct names.
        confusion: noised TN, FP, FN, TP per group, shape (groups, 4).
        noise: on each cell of each group.
        draws: where the draws come from.
    """
    tables = np.stack(
        [_tables_behind(cells, one, draws) for cells, one in zip(confusion, noise, strict=True)],
        axis=1,
    )
    intervals = {}
    for metric in metrics:
        values = metric.of([_rates_behind(part, tables, draws) for part in metric.parts])
        low, high = np.quantile(values, [TAIL, 1 - TAIL], axis=0)
        if len(metric.parts) == 1:
            low, high = _reaching(metric.parts[0], confusion, noise, Interval(low, high))
        intervals[metric.name] = Interval(low, high)
    return intervals


def _tables_behind(cells: Counts, noise: CellNoise, draws: np.random.Generator) -> Counts:
    """What one group's noised cells may have counted, shape (DRAWS, 4)."""
    columns = []
    for cell in cells.tolist():
        counts, chances = noise.counts_behind(cell)
        columns.append(draws.choice(counts, DRAWS, p=chances))
    return np.stack(columns, axis=1)


def _rates_behind(part: Rate, tables: Counts, draws: np.random.Generator) -> Floats:
    successes, trials = part.counts(tables)
    return draws.beta(successes + 0.5, trials - successes + 0.5)


def _reaching(
    part: Rate, confusion: Counts, noise: Sequence[CellNoise], interval: Interval
) -> Interval:
    successes, trials = part.counts(confusion)
    against = len(part.among) - len(part.numerator)
    largest = np.array([[one.largest(len(part.numerator)), one.largest(against)] for one in noise])
    low = np.where(successes <= largest[:, 0], 0.0, interval.low)
    return Interval(low, np.where(trials - successes <= largest[:, 1], 1.0, interval.high))
