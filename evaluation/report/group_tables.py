"""Groups and gaps of one attribute as a table whose rows share an axis per column."""

from dataclasses import dataclass

from evaluation.report.cell_charts import shared_axis
from federation.report_page.svg import Axis
from federation.summary import Disparity, Estimate, Fairness, GroupRates

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
        reasons: why cells have no value, each reason once, in the order of the cells.
        gaps: between the groups.
        gap_axis: shared by the gaps; None if none of them has a value.
    """

    attribute: str
    groups: tuple[GroupRates, ...]
    columns: tuple[Column, ...]
    reasons: tuple[str, ...]
    gaps: tuple[Disparity, ...]
    gap_axis: Axis | None


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


def _table(fairness: Fairness, attribute: str) -> GroupTable:
    groups = tuple(group for group in fairness.groups if group.attribute == attribute)
    gaps = tuple(gap for gap in fairness.disparities if gap.attribute == attribute)
    columns = [_column(heading, field, groups) for field, heading in RATES]
    cells = (column.cells[row] for row in range(len(groups)) for column in columns)
    reasons = (cell.reason for cell in cells if cell is not None and cell.value is None)
    return GroupTable(
        attribute=attribute,
        groups=groups,
        columns=tuple(column for column in columns if any(column.cells)),
        reasons=tuple(dict.fromkeys(reason for reason in reasons if reason)),
        gaps=gaps,
        gap_axis=shared_axis(
            [gap.estimate for gap in gaps], GAP_CELL, (gap.null_expectation for gap in gaps)
        ),
    )


def _column(heading: str, field: str, groups: tuple[GroupRates, ...]) -> Column:
    cells: tuple[Estimate | None, ...] = tuple(getattr(group, field) for group in groups)
    return Column(heading, cells, shared_axis(cells, CELL))
