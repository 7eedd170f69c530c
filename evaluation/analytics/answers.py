"""What the sums say: an answer per query, with the noise it carries and how far rounding moves it.

Every site adds its own noise, so a sum over n sites has n times one site's variance. Errors of
quotients are of first order (the delta method): good where rows are many against the noise, and
below `FEWEST_DEVIATIONS` no quotient is formed.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from scipy.optimize import isotonic_regression

from evaluation.analytics.plan import CELLS, SITES, SQUARES, SUM, AnalyticsPlan, Part, QueryPlan
from federation.analysis import Answer, Cell, Quantile, Released
from federation.errors import DataError
from federation.schema import Numeric

FEWEST_DEVIATIONS = 3.0
"""Rows must be as many standard deviations of their noise from zero to be divided by."""

Sums = Mapping[Part, list[int]]


def answers(
    plan: AnalyticsPlan, sums: Sums, sites: int, minimum_contributors: int
) -> tuple[Answer, ...]:
    """One answer per query.

    Args:
        plan: what was counted.
        sums: per part, over `sites` sites.
        sites: how many are in the sum.
        minimum_contributors: an exact answer about the rows of fewer sites is withheld.

    Raises:
        DataError: an exact count is negative or contradicts another; a site sent no counts.
    """
    return tuple(_answer(query, sums, sites, minimum_contributors) for query in plan.queries)


def _answer(plan: QueryPlan, sums: Sums, sites: int, minimum_contributors: int) -> Answer:
    query, exact = plan.query, plan.query.epsilon is None
    holding = sums[plan.part(SITES)][0] if exact else None
    if exact:
        _require_counts(plan, sums, sites)
    blank = Answer(
        name=query.name,
        kind=query.kind,
        column=query.column,
        where=plan.group.label,
        bounds=plan.bounds,
        epsilon=query.epsilon,
        sites=sites,
        sites_with_rows=holding,
    )
    if holding is not None and holding < minimum_contributors:
        told = f"fewer sites than minimum_contributors = {minimum_contributors} have such rows"
        return blank.model_copy(update={"sites_with_rows": None, "withheld": told})
    cells = sums[plan.part(CELLS)]
    return blank.model_copy(update=_coverage(plan, cells, sites) | _results(plan, sums, sites))


def _coverage(plan: QueryPlan, cells: Sequence[int], sites: int) -> dict[str, object]:
    """Rows counted, missing and clipped."""
    deviation = _deviation(plan.part(CELLS), sites)
    known = _known(plan, cells)
    found: dict[str, object] = {"rows": _count(sum(known), deviation * math.sqrt(len(known)))}
    if len(known) < len(cells):
        found["missing"] = _count(cells[-1], deviation)
    if isinstance(plan.column, Numeric):
        found["clipped"] = _count(cells[0] + cells[-2], deviation * math.sqrt(2))
    return found


def _results(plan: QueryPlan, sums: Sums, sites: int) -> dict[str, object]:
    cells, deviation = sums[plan.part(CELLS)], _deviation(plan.part(CELLS), sites)
    kind = plan.query.kind
    if kind == "quantile":
        return {"quantiles": _quantiles(plan, cells, deviation)}
    if kind == "histogram" or (kind == "count" and plan.column is not None):
        shown = tuple(
            Cell(label=label, rows=rows) for label, rows in zip(plan.labels, cells, strict=True)
        )
        return {"cells": shown, "cell_standard_error": deviation}
    if kind == "count":
        return {"released": _count(cells[0], deviation)}
    moment = {"sum": _sum, "mean": _mean, "variance": _variance}[kind]
    return {"released": moment(plan, sums, sites)}


def _sum(plan: QueryPlan, sums: Sums, sites: int) -> Released:
    """The step times S + origin N, with S the sum of centred codes and N the rows."""
    rows, rows_sd, total, total_sd = _rows_and_sum(plan, sums, sites)
    grid = plan.grid
    return Released(
        value=grid.step * (total + grid.origin * rows),
        standard_error=grid.step * math.hypot(total_sd, grid.origin * rows_sd),
        # Never more rows than there are for certain: in a noised answer the rows are not known.
        resolution=grid.step / 2 * max(rows, 0),
    )


def _mean(plan: QueryPlan, sums: Sums, sites: int) -> Released:
    rows, rows_sd, total, total_sd = _rows_and_sum(plan, sums, sites)
    grid = plan.grid
    if not _divisible(rows, rows_sd):
        return Released(value=None, standard_error=None, resolution=grid.step / 2)
    mean = Fraction(total, rows)
    value = _within(grid.step * (grid.origin + mean), plan)
    return Released(
        value=value,
        standard_error=grid.step * math.hypot(total_sd, float(mean) * rows_sd) / rows,
        resolution=grid.step / 2,
    )


def _variance(plan: QueryPlan, sums: Sums, sites: int) -> Released:
    """Q / N - (S / N)^2: of the rows themselves, divided by N, of values clipped to the bounds.

    Rounding moves each value by h = step / 2 at most, so the variance by at most 2 cov + h^2 with
    |cov| <= h (high - low) / 2.
    """
    rows, rows_sd, total, total_sd = _rows_and_sum(plan, sums, sites)
    squares_part = plan.part(SQUARES)
    squares, squares_sd = sums[squares_part][0], _deviation(squares_part, sites)
    grid = plan.grid
    half = grid.step / 2
    resolution = half * (grid.high - grid.low) + half**2
    if not _divisible(rows, rows_sd):
        return Released(value=None, standard_error=None, resolution=resolution)
    mean, square = Fraction(total, rows), Fraction(squares, rows)
    gradient = (
        squares_sd / rows,
        2 * float(mean) * total_sd / rows,
        float(2 * mean**2 - square) * rows_sd / rows,
    )
    return Released(
        value=max(0.0, grid.step**2 * float(square - mean**2)),
        standard_error=grid.step**2 * math.hypot(*gradient),
        resolution=resolution,
    )


def _quantiles(plan: QueryPlan, cells: Sequence[int], deviation: float) -> tuple[Quantile, ...]:
    known = np.array(_known(plan, cells), np.float64)
    rows = float(known.sum())
    # Counts with noise need not ascend when they are added up; exact ones do, and stay as they are.
    ascending = isotonic_regression(np.cumsum(known)).x
    return tuple(_quantile(plan, p, ascending, rows, deviation) for p in plan.query.quantiles)


def _quantile(
    plan: QueryPlan,
    probability: float,
    ascending: np.ndarray[tuple[int], np.dtype[np.float64]],
    rows: float,
    deviation: float,
) -> Quantile:
    """By the definition of numpy's `inverted_cdf`: rank ceil(p N) among N, from 1."""
    resolution = (plan.edges[-1] - plan.edges[0]) / (2 * (len(plan.edges) - 1))
    if not _divisible(rows, deviation * math.sqrt(len(ascending))):
        nothing = Released(value=None, standard_error=None, resolution=resolution)
        return Quantile(
            probability=probability, released=nothing, rank_standard_error=0.0, at_bound=False
        )
    # As the user wrote it: in binary 0.1 is a little more than a tenth, and its rank one too high.
    rank = math.ceil(Fraction(str(probability)) * Fraction(rows))
    place = int(np.searchsorted(ascending, rank - 0.5))
    inner = len(plan.edges) - 1
    if 1 <= place <= inner:
        value = (plan.edges[place - 1] + plan.edges[place]) / 2
    else:
        value = plan.edges[0] if place < 1 else plan.edges[-1]
    inside, outside = place + 1, len(ascending) - place - 1
    spread = inside * (1 - probability) ** 2 + max(0, outside) * probability**2
    return Quantile(
        probability=probability,
        released=Released(value=value, standard_error=None, resolution=resolution),
        rank_standard_error=deviation * math.sqrt(spread),
        at_bound=not 1 <= place <= inner,
    )


def _rows_and_sum(plan: QueryPlan, sums: Sums, sites: int) -> tuple[int, float, int, float]:
    """Rows with a value and their noise's deviation; the sum of codes and its own."""
    known = _known(plan, sums[plan.part(CELLS)])
    rows_sd = _deviation(plan.part(CELLS), sites) * math.sqrt(len(known))
    part = plan.part(SUM)
    return sum(known), rows_sd, sums[part][0], _deviation(part, sites)


def _known(plan: QueryPlan, cells: Sequence[int]) -> Sequence[int]:
    """The cells without the last where that one holds rows that have no value."""
    return cells[:-1] if plan.labels[-1] == "missing" else cells


def _divisible(rows: float, deviation: float) -> bool:
    return rows >= 1 and rows > FEWEST_DEVIATIONS * deviation


def _within(value: float | Fraction, plan: QueryPlan) -> float:
    """A mean of clipped values lies within the bounds; noise can carry it beyond."""
    grid = plan.grid
    return min(max(float(value), grid.low), grid.high)


def _deviation(part: Part, sites: int) -> float:
    return math.sqrt(sites * part.noise_variance)


def _count(rows: int, deviation: float) -> Released:
    return Released(value=float(rows), standard_error=deviation)


def _require_counts(plan: QueryPlan, sums: Sums, sites: int) -> None:
    cells, holding = sums[plan.part(CELLS)], sums[plan.part(SITES)][0]
    if min(cells) < 0 or not 0 <= holding <= sites or (holding == 0) != (sum(cells) == 0):
        raise DataError(f"sum of {plan.query.name}: a site sent something else than counts of rows")
