"""What thresholds per group would change: both parity and odds, whichever was asked for."""

from dataclasses import dataclass

from evaluation.report.cell_charts import shared_axis
from federation.mitigation_summary import Figures, MitigationOutcome
from federation.report_page.svg import Axis
from federation.summary import Estimate

CELL = 110.0
"""Width of a picture in the table, in pixels."""

CRITERIA = {
    "demographic_parity": "Demographic parity",
    "equal_opportunity": "Equal opportunity",
    "false_positive_rate_parity": "Equal false positive rates",
    "equalized_odds": "Equalized odds",
}

COLUMNS = (
    ("Accuracy", "accuracy"),
    ("Balanced accuracy", "balanced_accuracy"),
    ("Demographic parity difference", "demographic_parity_difference"),
    ("Demographic parity ratio", "demographic_parity_ratio"),
    ("Equal opportunity difference", "equal_opportunity_difference"),
    ("Equalized odds difference", "equalized_odds_difference"),
)


DRAWN = frozenset({
    "accuracy",
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "equalized_odds_difference",
})  # fmt: skip
"""The columns that are drawn: what is paid, and what for."""


@dataclass(frozen=True, slots=True)
class Change:
    """One number before and after; `cross_fitted` on rows that the rules were not fitted on."""

    before: float | None
    after: float | None
    cross_fitted: float | None


@dataclass(frozen=True, slots=True)
class CriterionRow:
    """One criterion; `is_criterion` if it is the one that was agreed."""

    outcome: MitigationOutcome
    name: str
    is_criterion: bool
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class MitigationTable:
    """One attribute: a row per criterion, an axis per column."""

    attribute: str
    rows: int
    headings: tuple[str, ...]
    criteria: tuple[CriterionRow, ...]
    axes: tuple[Axis | None, ...]


def mitigation_tables(
    outcomes: tuple[MitigationOutcome, ...], criterion: str
) -> tuple[MitigationTable, ...]:
    """One per attribute, in the order in which the summary names them."""
    attributes = dict.fromkeys(one.attribute for one in outcomes)
    return tuple(
        _table(name, [one for one in outcomes if one.attribute == name], criterion)
        for name in attributes
    )


def _table(attribute: str, outcomes: list[MitigationOutcome], criterion: str) -> MitigationTable:
    rows = tuple(
        CriterionRow(
            one,
            CRITERIA[one.criterion],
            one.criterion == criterion,
            tuple(
                Change(
                    _number(one.before, key),
                    _number(one.after, key),
                    _number(one.cross_fitted, key),
                )
                for _, key in COLUMNS
            ),
        )
        for one in outcomes
    )
    axes = tuple(
        _axis([row.changes[at] for row in rows]) if key in DRAWN else None
        for at, (_, key) in enumerate(COLUMNS)
    )
    return MitigationTable(
        attribute, outcomes[0].rows, tuple(name for name, _ in COLUMNS), rows, axes
    )


def _axis(changes: list[Change]) -> Axis | None:
    ends = [end for one in changes for end in (one.before, one.after)]
    return shared_axis([Estimate(value=end) for end in ends], CELL)


def _number(figures: Figures | None, key: str) -> float | None:
    if figures is None:
        return None
    found: float | None = getattr(figures if hasattr(figures, key) else figures.gaps, key)
    return found
