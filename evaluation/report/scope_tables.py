"""Groups, gaps and what stands out of one scope, ready to be set as tables."""

from collections.abc import Iterator
from dataclasses import dataclass

from evaluation.gap_grades import GapGrade, GapThresholds, grade
from evaluation.report.cell_charts import shared_axis
from evaluation.report.group_marks import GroupMark, group_marks
from evaluation.report.group_tables import (
    GAP_CELL,
    Column,
    GroupTable,
    group_tables,
    metric_name,
)
from federation.evaluation_summary import Marks
from federation.report_page.number_text import estimate, listing, rate
from federation.report_page.svg import Axis
from federation.summary import Disparity, Fairness, GroupRates

FOUR_FIFTHS = 0.8
"""29 CFR 1607.4(D), Uniform Guidelines on Employee Selection Procedures."""

HEADINGS = (
    "Selection rate",
    "True positive rate",
    "False positive rate",
    "Precision",
    "Accuracy",
    "Balanced accuracy",
    "F1",
    "AUC",
)

METRIC_OF = {
    "Selection rate": "selection_rate",
    "True positive rate": "true_positive_rate",
    "False positive rate": "false_positive_rate",
    "Precision": "precision",
    "Accuracy": "accuracy",
}
"""The rates in which each group is compared with the rest."""

GAP_OF = {
    "demographic_parity": "demographic_parity_difference",
    "equal_opportunity": "equal_opportunity_difference",
    "equalized_odds": "equalized_odds_difference",
}

GRADE_WORDS: dict[GapGrade, str] = {
    "ok": "OK",
    "watch": "Watch",
    "act": "Act",
    "too few rows": "Too small",
}


@dataclass(frozen=True, slots=True)
class GapRow:
    """A gap, what it calls for, and whether it is the one that was agreed to judge by."""

    gap: Disparity
    grade: str
    is_criterion: bool

    @property
    def is_ratio(self) -> bool:
        """Whether 1, not 0, means equal."""
        return self.gap.metric.endswith("_ratio")

    @property
    def chance(self) -> str:
        """Whether chance accounts for it, in words."""
        if self.gap.significant is None:
            return "not tested"
        return "beyond chance" if self.gap.significant else "could be chance"


@dataclass(frozen=True, slots=True)
class AttributeTable:
    """One attribute or intersection in one scope.

    Attributes:
        table: groups and gaps.
        columns: of rates, with the axis that their whiskers share.
        is_intersection: of several attributes: then it is set as a heat table.
        gap_rows: the gaps that verdicts rest on.
        gap_axis: that their whiskers share; None if none has a value.
        sentences: what to read out of it: the widest pair, and the four-fifths line.
        marks: by group and heading.
    """

    table: GroupTable
    columns: tuple[Column, ...]
    is_intersection: bool
    gap_rows: tuple[GapRow, ...]
    gap_axis: Axis | None
    sentences: tuple[str, ...]
    marks: dict[tuple[str, str], GroupMark]

    @property
    def attribute(self) -> str:
        """Whose groups these are."""
        return self.table.attribute

    def mark(self, group: str, column: Column) -> GroupMark | None:
        """Of a cell."""
        return self.marks.get((group, column.heading))


@dataclass(frozen=True, slots=True)
class ScopeTables:
    """All attributes of one scope; `is_drawn` if cells have whiskers."""

    scope: str
    tables: tuple[AttributeTable, ...]
    is_drawn: bool


MOST_DRAWN = 48
"""Groups whose rates are drawn on one page: further scopes are told as numbers alone."""


def scope_tables(fairness: tuple[Fairness, ...], marks: Marks) -> tuple[ScopeTables, ...]:
    """One per scope, in the order in which the summary names them."""
    drawn = 0
    found: list[ScopeTables] = []
    for one in fairness:
        drawn += len(one.groups)
        is_drawn = not found or drawn <= MOST_DRAWN
        found.append(ScopeTables(one.scope, tuple(_tables(one, marks)), is_drawn))
    return tuple(found)


def base_rate(group: GroupRates) -> float | None:
    """Share of positives; None where it is not told."""
    return None if group.positives is None or not group.rows else group.positives / group.rows


def _tables(fairness: Fairness, marks: Marks) -> Iterator[AttributeTable]:
    signs = group_marks(fairness, marks.gap_watch, marks.gap_act)
    thresholds = GapThresholds(marks.gap_watch, marks.gap_act)
    for table in group_tables(fairness):
        by_heading = {one.heading: one for one in (*table.columns, *table.further)}
        gap_rows = tuple(
            GapRow(gap, GRADE_WORDS[grade(gap, thresholds)], gap.metric == GAP_OF[marks.criterion])
            for gap in table.gaps
        )
        yield AttributeTable(
            table=table,
            columns=tuple(by_heading[name] for name in HEADINGS if name in by_heading),
            is_intersection=" & " in table.attribute,
            gap_rows=gap_rows,
            gap_axis=_gap_axis(table.gaps),
            sentences=tuple(_sentences(table, marks)),
            marks={
                (group.group, heading): sign
                for group in table.groups
                for heading, metric in METRIC_OF.items()
                if (sign := signs.get((table.attribute, group.group, metric))) is not None
            },
        )


def _gap_axis(gaps: tuple[Disparity, ...]) -> Axis | None:
    chance = [mark for gap in gaps for mark in (gap.null_expectation, gap.null_95)]
    return shared_axis([gap.estimate for gap in gaps], GAP_CELL, [*chance, 0.0, 1.0])


def _sentences(table: GroupTable, marks: Marks) -> Iterator[str]:
    known = {gap.metric: gap for gap in table.gaps if gap.estimate.value is not None}
    judged = known.get(GAP_OF[marks.criterion]) or known.get("accuracy_difference")
    if judged is not None and judged.between:
        lowest, highest = judged.between
        yield (
            f"Furthest apart in {_in_a_sentence(judged)}: {lowest} (lowest) and {highest} "
            f"(highest), a gap of {estimate(judged.estimate)} that {_is_chance(judged)}."
        )
    ratio = known.get("demographic_parity_ratio")
    if ratio is not None and ratio.estimate.value is not None:
        value = ratio.estimate.value
        side = "below" if value < FOUR_FIFTHS else "not below"
        pair = f" ({listing(ratio.between)})" if ratio.between else ""
        told = f"; that {_is_chance(ratio)}" if value < FOUR_FIFTHS else ""
        yield (
            f"Four-fifths line: the lowest selection rate is {rate(value, 2)} of the highest"
            f"{pair}, {side} 0.8{told}."
        )


def _in_a_sentence(gap: Disparity) -> str:
    return metric_name(gap).removesuffix(" difference").lower()


def _is_chance(gap: Disparity) -> str:
    if gap.significant is None:
        return "is not tested against chance"
    return "is beyond chance" if gap.significant else "could be chance"
