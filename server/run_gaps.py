"""How groups fare and what has drifted, by the latest count of a run or of its evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.gap_grades import JUDGED_GAPS
from federation.console_page.page import Grade
from federation.summary import Drift, Fairness
from server.run_contents import RunContents

_GRADE: dict[str, Grade] = {"ok": "OK", "watch": "Watch", "act": "Act", "window too small": "Off"}
_GRAVITY: dict[Grade, int] = {"Act": 0, "Watch": 1, "OK": 2, "Off": 3}

MOST_GAPS, MOST_SHIFTS = 8, 8
"""Lines of the tables of gaps and of changed features."""

COURSE = "demographic_parity_difference"
"""The gap that is drawn over rounds: it needs no outcome, and all attributes have it."""


@dataclass(frozen=True, slots=True)
class GapNow:
    """A difference between groups; `beyond_chance` is None where that was not tested."""

    scope: str
    attribute: str
    metric: str
    between: tuple[str, ...]
    value: float
    low: float | None
    high: float | None
    beyond_chance: bool | None


@dataclass(frozen=True, slots=True)
class ShiftNow:
    """How far a feature, or what else is compared, is from the reference window."""

    scope: str
    subject: str
    statistic: str
    value: float
    grade: Grade


def latest_fairness(read: RunContents) -> tuple[Fairness, ...]:
    """Of the latest evaluation, or else of the latest round that counted."""
    if read.evaluation is not None:
        return read.evaluation.fairness
    return next((one.fairness for one in reversed(read.record.rounds) if one.fairness), ())


def latest_drift(read: RunContents) -> tuple[Drift, ...]:
    """Of the latest round that compared windows, as the last of a run does."""
    return next((one.drift for one in reversed(read.record.rounds) if one.drift), ())


def measured(read: RunContents) -> str:
    """What the tables of groups and features are about."""
    if read.evaluation is not None:
        return f"window {read.evaluation.windows[-1].name}"
    counted = [one.utility for one in read.record.rounds if one.utility is not None]
    return f"the model after round {counted[-1].after_round}" if counted else ""


def gaps(scopes: Sequence[Fairness]) -> tuple[GapNow, ...]:
    """Differences between groups, those beyond chance and then the widest first."""
    found = [
        GapNow(
            scope=one.scope,
            attribute=gap.attribute,
            metric=gap.metric.replace("_", " "),
            between=gap.between,
            value=gap.estimate.value,
            low=gap.estimate.low,
            high=gap.estimate.high,
            beyond_chance=gap.significant,
        )
        for one in scopes
        for gap in one.disparities
        if gap.metric in JUDGED_GAPS
        and not gap.metric.endswith("_ratio")
        and gap.estimate.value is not None
    ]
    found.sort(key=lambda one: (one.beyond_chance is not True, -one.value))
    return tuple(found[:MOST_GAPS])


def shifts(read: RunContents) -> tuple[ShiftNow, ...]:
    """Features that moved, the gravest first."""
    found = _shifts_of_window(read) if read.evaluation else _shifts_of_run(latest_drift(read))
    return tuple(sorted(found, key=lambda one: (_GRAVITY[one.grade], -one.value))[:MOST_SHIFTS])


def _shifts_of_run(drift: Sequence[Drift]) -> list[ShiftNow]:
    return [
        ShiftNow(one.scope, one.feature, "psi", one.psi, _GRADE[one.verdict])
        for one in drift
        if one.psi is not None
    ]


def _shifts_of_window(read: RunContents) -> list[ShiftNow]:
    assert read.evaluation is not None
    latest = read.evaluation.windows[-1].name
    return [
        ShiftNow(one.scope, found.subject, found.statistic, found.value, _GRADE[found.verdict])
        for one in read.evaluation.drift
        if one.window == latest
        for found in one.findings
        if found.value is not None
        and found.against == "reference"
        and (found.kind == "covariate" or found.verdict in {"watch", "act"})
    ]


def gap_course(read: RunContents) -> dict[str, tuple[tuple[int, float], ...]]:
    """Per attribute, the demographic parity difference of the model after k rounds."""
    found: dict[str, dict[int, float]] = {}
    for one in read.record.rounds:
        after = one.utility.after_round if one.utility else None
        for scope in one.fairness if after is not None else ():
            for gap in scope.disparities if scope.scope == "overall" else ():
                if gap.metric == COURSE and gap.estimate.value is not None and after is not None:
                    found.setdefault(gap.attribute, {})[after] = gap.estimate.value
    return {name: tuple(sorted(course.items())) for name, course in found.items()}
