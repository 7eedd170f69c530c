"""Verdicts on the latest window and the alerts behind them: by size and significance."""

from collections.abc import Iterator

from evaluation.gap_grades import JUDGED_GAPS, GapGrade, GapThresholds, grade
from evaluation.tally_spec import OVERALL
from federation.alert import Alert, Topic
from federation.config import EvaluationRules
from federation.drift_summary import DriftFinding, Verdict
from federation.evaluation_summary import EvaluationSummary, Grade, Tile
from federation.summary import Disparity, Fairness

CRITERIA = {
    "demographic_parity": "demographic_parity_difference",
    "equal_opportunity": "equal_opportunity_difference",
    "equalized_odds": "equalized_odds_difference",
}
"""The gap that each criterion is judged by."""

_GRADES: dict[str, Grade] = {"act": "Act", "watch": "Watch"}
_TOPICS: dict[str, Topic] = {
    "covariate": "drift",
    "prediction": "drift",
    "label": "drift",
    "concept": "performance",
    "data quality": "data",
    "fairness": "fairness",
}


def fairness_verdict(rules: EvaluationRules, fairness: tuple[Fairness, ...]) -> Verdict:
    """The worst of the gaps by the criterion that was named, over attributes and scopes."""
    thresholds = GapThresholds(rules.gap_watch, rules.gap_act)
    grades = [
        grade(gap, thresholds) for one in fairness for gap in one.disparities if _named(rules, gap)
    ]
    return _worst(grades)


def alerts_of(summary: EvaluationSummary) -> tuple[Alert, ...]:
    """What somebody is called for, the gravest first, in a fixed order."""
    found = [*_gaps(summary), *_drift(summary), *_errors(summary), *_sites(summary)]
    return tuple(sorted(found, key=lambda alert: (alert.level != "act", -_gravity(alert))))


def _gravity(alert: Alert) -> float:
    """How far beyond its mark, relatively."""
    return abs(alert.value) / alert.mark if alert.mark else 0.0


def tiles(summary: EvaluationSummary) -> tuple[Tile, ...]:
    """One verdict each on performance, fairness, drift and data."""
    return (_performance(summary), _fairness(summary), _drifted(summary), _data(summary))


def _named(rules: EvaluationRules, gap: Disparity) -> bool:
    wanted = {CRITERIA[rules.criterion], "accuracy_difference"}
    return gap.metric in wanted & set(JUDGED_GAPS)


def _worst(grades: list[GapGrade]) -> Verdict:
    for verdict in ("act", "watch"):
        if verdict in grades:
            return verdict
    return "window too small" if grades and "ok" not in grades else "ok"


def _gaps(summary: EvaluationSummary) -> Iterator[Alert]:
    marks = summary.marks
    thresholds = GapThresholds(marks.gap_watch, marks.gap_act)
    wanted = (CRITERIA[marks.criterion], "accuracy_difference")
    for fairness in summary.fairness:
        for gap in fairness.disparities:
            told = grade(gap, thresholds)
            value = gap.estimate.value
            if gap.metric not in wanted or told not in ("act", "watch") or value is None:
                continue
            yield Alert(
                level=told,
                topic="fairness",
                window=summary.windows[-1].name,
                scope=fairness.scope,
                subject=gap.attribute,
                metric=gap.metric,
                value=value,
                mark=thresholds.act if told == "act" else thresholds.watch,
                sentence=(
                    f"{fairness.scope}: {gap.metric.replace('_', ' ')} of {gap.attribute} is "
                    f"{value:.3f}, between {' and '.join(gap.between)}; beyond chance"
                ),
            )


def _drift(summary: EvaluationSummary) -> Iterator[Alert]:
    latest = summary.windows[-1].name
    for drift in summary.drift:
        for finding in drift.findings if drift.window == latest else ():
            if finding.verdict in ("act", "watch") and finding.value is not None:
                yield _of_finding(finding, drift.scope, latest)


def _of_finding(finding: DriftFinding, scope: str, window: str) -> Alert:
    level = "act" if finding.verdict == "act" else "watch"
    value = 0.0 if finding.value is None else finding.value
    return Alert(
        level=level,
        topic=_TOPICS[finding.kind],
        window=window,
        scope=scope,
        subject=finding.subject,
        metric=finding.statistic,
        value=value,
        mark=finding.act if level == "act" else finding.watch,
        sentence=(
            f"{scope}: {finding.statistic} of {finding.subject} is {value:+.3f} against the "
            f"{finding.against}; beyond chance"
        ),
    )


def _errors(summary: EvaluationSummary) -> Iterator[Alert]:
    for watch in summary.concept:
        point = watch.points[-1]
        if point.alarm:
            yield Alert(
                level="act",
                topic="performance",
                window=point.window,
                scope=watch.scope,
                subject=watch.subject,
                metric="cusum",
                value=point.cusum,
                mark=point.cusum_limit or 0.0,
                sentence=(
                    f"{watch.scope}: errors of {watch.subject} rose, "
                    f"{point.errors} of {point.rows} rows, beyond what happens once in "
                    f"{watch.windows_per_false_alarm:g} windows"
                ),
            )


def _sites(summary: EvaluationSummary) -> Iterator[Alert]:
    for flags in summary.site_flags:
        for level in ("act", "watch"):
            count = (flags.by_level or {}).get(level, 0)
            if count:
                yield Alert(
                    level="act" if level == "act" else "watch",
                    topic="drift",
                    window=summary.windows[-1].name,
                    scope="sites",
                    subject=flags.subject,
                    metric=f"sites at {level}",
                    value=float(count),
                    mark=1.0,
                    sentence=f"{count} of {flags.sites} sites find {flags.subject} to {level} "
                    "in their own rows",
                )


def _of(summary: EvaluationSummary, topic: Topic) -> list[Alert]:
    return [alert for alert in summary.alerts if alert.topic == topic]


def _grade(alerts: list[Alert]) -> Grade:
    levels = {alert.level for alert in alerts}
    return "Act" if "act" in levels else "Watch" if "watch" in levels else "OK"


def _performance(summary: EvaluationSummary) -> Tile:
    now, before = summary.windows[-1], summary.reference
    accuracy, then = now.utility[OVERALL].accuracy, before.utility[OVERALL].accuracy
    alerts = _of(summary, "performance")
    if accuracy.value is None:
        return Tile(
            topic="Performance", grade="Off", headline="not measured", sentence=accuracy.reason
        )
    beaten = now.majority_accuracy is not None and accuracy.value <= now.majority_accuracy
    grade_: Grade = "Act" if beaten else _grade(alerts)
    versus = f"{then.value:.1%} in the reference" if then.value is not None else "no reference"
    sentence = alerts[0].sentence if alerts else f"{versus}; errors have not risen beyond chance"
    if beaten:
        sentence = "always answering the most frequent class is right as often"
    return Tile(
        topic="Performance",
        grade=grade_,
        headline=f"{accuracy.value:.1%} right",
        sentence=_sentence(sentence),
    )


def _fairness(summary: EvaluationSummary) -> Tile:
    wanted = CRITERIA[summary.marks.criterion]
    overall = next(one for one in summary.fairness if one.scope == OVERALL)
    gaps = [gap for gap in overall.disparities if gap.metric == wanted]
    if not gaps:
        gaps = [gap for gap in overall.disparities if gap.metric == "accuracy_difference"]
    known = [gap for gap in gaps if gap.estimate.value is not None]
    if not known:
        reason = gaps[0].estimate.reason if gaps else "the task names no sensitive attribute"
        return Tile(
            topic="Fairness", grade="Off", headline="not estimable", sentence=_sentence(reason)
        )
    worst = max(known, key=lambda gap: gap.estimate.value or 0.0)
    alerts = _of(summary, "fairness")
    chance = "beyond chance" if worst.significant else "within what chance gives"
    sentence = f"{worst.attribute}: between {' and '.join(worst.between)}, {chance}"
    others = [alert for alert in alerts if alert.subject != worst.attribute]
    if others:
        sentence += f"; also {others[0].metric.replace('_', ' ')} of {others[0].subject}"
    return Tile(
        topic="Fairness",
        grade=_grade(alerts),
        headline=f"{worst.metric.replace('_', ' ')} {worst.estimate.value:.3f}",
        sentence=_sentence(sentence),
    )


def _drifted(summary: EvaluationSummary) -> Tile:
    alerts = _of(summary, "drift")
    latest = [one for one in summary.drift if one.window == summary.windows[-1].name]
    small = [one for one in latest if one.verdict == "window too small"]
    if not alerts:
        text = (
            "the window is too small to judge"
            if small and len(small) == len(latest)
            else f"{sum(one.comparisons for one in latest)} comparisons, none that matters"
        )
        return Tile(
            topic="Drift",
            grade="Off" if small and len(small) == len(latest) else "OK",
            headline="window too small" if small and len(small) == len(latest) else "no drift",
            sentence=_sentence(text),
        )
    subjects = list(dict.fromkeys(alert.subject for alert in alerts))
    return Tile(
        topic="Drift",
        grade=_grade(alerts),
        headline=f"{len(subjects)} changed: {', '.join(subjects[:3])}"
        + ("..." if len(subjects) > 3 else ""),
        sentence=_sentence(alerts[0].sentence),
    )


def _data(summary: EvaluationSummary) -> Tile:
    alerts, audit = _of(summary, "data"), summary.audit
    red = [one.name for one in audit.features if one.leak == "red"] if audit else []
    grade_: Grade = "Act" if red else _grade(alerts)
    if red:
        sentence = f"the label is told all but alone by {', '.join(red)}: look for a leak"
    elif alerts:
        sentence = alerts[0].sentence
    else:
        sentence = "missing, undeclared and out-of-range values are as in the reference"
    counted = audit is not None
    return Tile(
        topic="Data",
        grade=grade_,
        headline="to be mended" if grade_ == "Act" else "audited" if counted else "as before",
        sentence=_sentence(sentence),
    )


def _sentence(text: str) -> str:
    return f"{text}." if text else ""
