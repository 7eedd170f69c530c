"""One comparison of a window with an earlier one, before and after all of them are known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.holm import holm
from evaluation.monitoring.window_counts import DriftRules, Marks
from federation.drift_summary import (
    Baseline,
    Distances,
    DriftFinding,
    Kind,
    ShareChart,
    Verdict,
)

SEVERITY: tuple[Verdict, ...] = ("ok", "window too small", "watch", "act")


@dataclass(frozen=True, slots=True)
class Test:
    """What chance alone would do.

    Attributes:
        p_value: chance of a change of this size, if nothing changed.
        critical: the size that is exceeded with a given chance.
    """

    p_value: float
    critical: Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A change and its test; `test` is None, with a `reason`, where there is none to make."""

    kind: Kind
    subject: str
    statistic: str
    against: Baseline
    rows: tuple[int, int]
    marks: Marks
    value: float | None = None
    test: Test | None = None
    before: float | None = None
    now: float | None = None
    chart: ShareChart | None = None
    distances: Distances | None = None
    reason: str = ""


def judged(comparisons: Sequence[Comparison], rules: DriftRules) -> tuple[DriftFinding, ...]:
    """Findings on all comparisons of a window, in their order."""
    tested = [one for one in comparisons if one.test is not None]
    family = holm(np.array([one.test.p_value for one in tested if one.test]), rules.false_alarms)
    places = {id(one): place for place, one in enumerate(tested)}
    findings = []
    for one in comparisons:
        if one.test is None:
            findings.append(_finding(one, None, None, significant=False))
            continue
        place = places[id(one)]
        adjusted, level = float(family.adjusted[place]), float(family.level[place])
        size = abs(one.value or 0.0)
        significant = adjusted <= rules.false_alarms
        critical = one.test.critical(level)
        # Exact tests of counts and the critical value's smooth law may differ at the border.
        critical = min(critical, size) if significant else max(critical, size)
        findings.append(_finding(one, adjusted, critical, significant=significant))
    return tuple(findings)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The gravest; `window too small` only where nothing could be told, `ok` of none."""
    told = [verdict for verdict in verdicts if verdict != "window too small"]
    return max(told or verdicts, key=SEVERITY.index, default="ok")


def _finding(
    one: Comparison, p_value: float | None, critical: float | None, *, significant: bool
) -> DriftFinding:
    return DriftFinding(
        kind=one.kind,
        subject=one.subject,
        statistic=one.statistic,
        against=one.against,
        rows_before=one.rows[0],
        rows_now=one.rows[1],
        before=one.before,
        now=one.now,
        value=one.value,
        critical=critical,
        watch=one.marks.watch,
        act=one.marks.act,
        p_value=p_value,
        significant=significant,
        verdict=_verdict(one, critical, significant=significant),
        reason=one.reason,
        chart=one.chart,
        distances=one.distances,
    )


def _verdict(one: Comparison, critical: float | None, *, significant: bool) -> Verdict:
    if one.value is None or critical is None:
        return "window too small"
    size = abs(one.value)
    if significant and size > one.marks.watch:
        return "act" if size > one.marks.act else "watch"
    return "window too small" if critical > one.marks.act else "ok"
