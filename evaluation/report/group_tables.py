"""Groups and gaps of one attribute as a table whose rows share an axis per column."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from evaluation.gap_grades import JUDGED_GAPS
from evaluation.report.cell_charts import shared_axis
from federation.report_page.number_text import rate
from federation.report_page.svg import Axis
from federation.summary import Disparity, Estimate, Fairness, GroupComparison, GroupRates

CELL = 100.0
"""Width of a whisker in a table of groups, in pixels."""

GAP_CELL = 200.0
"""Width of a whisker in a table of gaps, in pixels."""

RATES = (
    ("selection_rate", "Selection rate"),
    ("true_positive_rate", "True positive rate"),
    ("false_positive_rate", "False positive rate"),
    ("precision", "Precision"),
    ("accuracy", "Accuracy"),
    ("auc", "AUC"),
)

FURTHER_RATES = (
    ("true_negative_rate", "True negative rate"),
    ("false_negative_rate", "False negative rate"),
    ("balanced_accuracy", "Balanced accuracy"),
    ("f1", "F1"),
)
"""Folded away below the others."""

LEAST_TOLD = 0.001
"""Of a p-value below it, no more is said."""


class FurtherGap(NamedTuple):
    """A gap that is folded away: its name, and how it is measured."""

    name: str
    how: str
    estimate: Estimate
    null_expectation: float | None
    null_95: float | None


@dataclass(frozen=True, slots=True)
class Column:
    """One rate over all groups.

    Attributes:
        heading: its name.
        cells: one per group; None where the rate is not defined for the task.
        axis: shared by the cells; None if none of them has a value.
    """

    heading: str
    cells: tuple[Estimate | None, ...]
    axis: Axis | None


@dataclass(frozen=True, slots=True)
class GroupTable:
    """One attribute: its groups, their rates, and the gaps between them.

    Attributes:
        attribute: whose groups these are.
        groups: in the order of the summary.
        columns: the rates that the task defines.
        further: the rates that are folded away, without axes.
        reasons: why cells have no value, each reason once, in the order of the cells.
        gaps: between the groups.
        gap_axis: shared by the gaps; None if none of them has a value.
        further_gaps: those that are folded away.
        standing_out: comparisons of a group with the rest that are beyond chance.
        comparisons: how many were made.
    """

    attribute: str
    groups: tuple[GroupRates, ...]
    columns: tuple[Column, ...]
    further: tuple[Column, ...]
    reasons: tuple[str, ...]
    gaps: tuple[Disparity, ...]
    gap_axis: Axis | None
    further_gaps: tuple[FurtherGap, ...]
    standing_out: tuple[GroupComparison, ...]
    comparisons: int


def group_tables(fairness: Fairness) -> tuple[GroupTable, ...]:
    """One table per attribute, in the order in which the summary names them."""
    attributes = dict.fromkeys(group.attribute for group in fairness.groups)
    return tuple(_table(fairness, attribute) for attribute in attributes)


def metric_name(gap: Disparity) -> str:
    """The metric in words.

    >>> metric_name(Disparity(attribute="sex", metric="equalized_odds_difference",
    ...                       estimate=Estimate(value=0.1)))
    'Equalized odds difference'
    """
    return gap.metric.replace("_", " ").capitalize()


def p_value(value: float | None) -> str:
    """A p-value as a reader needs it.

    >>> p_value(0.0312), p_value(2e-9), p_value(None)
    ('0.031', '< 0.001', '–')
    """
    if value is None:
        return "–"
    return f"< {LEAST_TOLD:g}" if value < LEAST_TOLD else rate(value)


def in_words(one: GroupComparison) -> str:
    """A comparison of a group with the rest.

    >>> in_words(GroupComparison(attribute="sex", group="F", metric="selection_rate",
    ...     difference=-0.12, low=-0.2, high=-0.04, p_value=1e-4, p_adjusted=0.002,
    ...     significant=True))
    'F: selection rate 0.120 lower (0.040 to 0.200)'
    """
    ends = (-one.high, -one.low) if one.difference < 0 else (one.low, one.high)
    way = "lower" if one.difference < 0 else "higher"
    within = f"({rate(ends[0])} to {rate(ends[1])})"
    return f"{one.group}: {one.metric.replace('_', ' ')} {rate(abs(one.difference))} {way} {within}"


def _table(fairness: Fairness, attribute: str) -> GroupTable:
    groups = tuple(group for group in fairness.groups if group.attribute == attribute)
    every = tuple(gap for gap in fairness.disparities if gap.attribute == attribute)
    gaps = tuple(gap for gap in every if gap.metric in JUDGED_GAPS)
    tests = [one for one in fairness.comparisons if one.attribute == attribute]
    columns = [_column(heading, field, groups) for field, heading in RATES]
    further = [_column(heading, field, groups) for field, heading in FURTHER_RATES]
    cells = (column.cells[row] for row in range(len(groups)) for column in [*columns, *further])
    reasons = (cell.reason for cell in cells if cell is not None and cell.value is None)
    return GroupTable(
        attribute=attribute,
        groups=groups,
        columns=tuple(column for column in columns if any(column.cells)),
        further=tuple(column for column in further if any(column.cells)),
        reasons=tuple(dict.fromkeys(reason for reason in reasons if reason)),
        gaps=gaps,
        gap_axis=shared_axis(
            [gap.estimate for gap in gaps], GAP_CELL, (gap.null_expectation for gap in gaps)
        ),
        further_gaps=tuple(_further_gaps(every)),
        standing_out=tuple(one for one in tests if one.significant),
        comparisons=len(tests),
    )


def _further_gaps(gaps: tuple[Disparity, ...]) -> Iterator[FurtherGap]:
    for gap in gaps:
        name = metric_name(gap)
        if gap.metric not in JUDGED_GAPS:
            chance = gap.null_expectation, gap.null_95
            yield FurtherGap(name, "between groups", gap.estimate, *chance)
        for one in gap.variants:
            how = one.method.replace("_", " ")
            mean = ", mean of both rates" if one.aggregate == "mean" else ""
            yield FurtherGap(name, how + mean, one.estimate, one.null_expectation, one.null_95)


def _column(heading: str, field: str, groups: tuple[GroupRates, ...]) -> Column:
    cells: tuple[Estimate | None, ...] = tuple(getattr(group, field) for group in groups)
    return Column(heading, cells, shared_axis(cells, CELL))
