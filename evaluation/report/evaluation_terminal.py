"""The evaluation in a few lines for a terminal: verdicts, what to do, gaps, drift, alerts."""

import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator

from evaluation.report.group_tables import metric_name, p_value
from evaluation.report.scope_tables import GAP_OF
from evaluation.report.trust_facts import OVERALL, overall_fairness
from federation.drift_summary import Verdict, WindowDrift
from federation.evaluation_summary import EvaluationSummary
from federation.report_page.number_text import count, estimate, interval
from federation.summary import Disparity

WIDTH = 100
MOST_ALERTS = 8


def lines(summary: EvaluationSummary) -> list[str]:
    """At most 100 columns wide, without characters that could steer a terminal."""
    parts = (
        _head(summary),
        _tiles(summary),
        _advice(summary),
        _gaps(summary),
        _drift(summary),
        _sites(summary),
        _alerts(summary),
        _detection(summary),
    )
    return [line for part in parts for text in part for line in _wrapped(text)]


def _head(summary: EvaluationSummary) -> Iterator[str]:
    latest, subject = summary.windows[-1], summary.subject
    rows = latest.utility[OVERALL].rows if OVERALL in latest.utility else None
    yield (
        f"{subject.name}: window {latest.name} against the reference {summary.reference.name}, "
        f"{count(rows)} held-out rows of {latest.sites} of {subject.sites} sites"
    )
    if latest.noise_variance:
        yield f"  counts carry noise of standard deviation {latest.noise_variance**0.5:.3g}"


def _tiles(summary: EvaluationSummary) -> Iterator[str]:
    for tile in summary.verdicts:
        yield f"  {tile.grade:<6} {tile.topic + ':':<13} {tile.headline}. {tile.sentence}"


def _advice(summary: EvaluationSummary) -> Iterator[str]:
    yield f"recommendation: {summary.recommendation.action}"
    for reason in summary.recommendation.reasons:
        yield f"  - {reason}"


def _gaps(summary: EvaluationSummary) -> Iterator[str]:
    """The judged gap of each attribute over all sites; of accuracy where there is no other."""
    fairness = overall_fairness(summary)
    if fairness is None or not fairness.groups:
        yield "groups: the task names no sensitive attribute"
        return
    wanted = GAP_OF[summary.marks.criterion]
    by_attribute: dict[str, dict[str, Disparity]] = {}
    for gap in fairness.disparities:
        by_attribute.setdefault(gap.attribute, {})[gap.metric] = gap
    yield "gaps between groups, all sites:"
    for attribute, gaps in by_attribute.items():
        told = gaps.get(wanted) or gaps.get("accuracy_difference")
        if told is not None:
            yield f"  {attribute}: {_gap(told)}"
    hidden = sum(group.suppressed for group in fairness.groups)
    if hidden:
        yield f"  {hidden} of {len(fairness.groups)} groups are suppressed"


def _gap(gap: Disparity) -> str:
    name = metric_name(gap).lower()
    if gap.estimate.value is None:
        return f"{name} not estimable, {gap.estimate.reason}"
    between = (
        f", lowest {gap.between[0]}, highest {gap.between[1]}" if len(gap.between) == 2 else ""
    )
    within = f" ({interval(gap.estimate)})" if interval(gap.estimate) else ""
    chance = f", adjusted p {p_value(gap.p_value)}" if gap.p_value is not None else ""
    return f"{name} {estimate(gap.estimate)}{within}{between}{chance}"


def _drift(summary: EvaluationSummary) -> Iterator[str]:
    latest = [one for one in summary.drift if one.window == summary.windows[-1].name]
    if latest:
        yield "drift:"
    for one in latest:
        yield f"  {one.scope}: {_verdicts(one)}"


def _verdicts(drift: WindowDrift) -> str:
    counted = Counter(finding.verdict for finding in drift.findings)
    order: tuple[Verdict, ...] = ("act", "watch", "ok", "window too small")
    told = ", ".join(f"{counted[word]} {word}" for word in order if counted[word])
    return f"{told or 'nothing compared'}, of {len(drift.findings)} comparisons"


def _sites(summary: EvaluationSummary) -> Iterator[str]:
    flagged = [
        f"{flags.subject}: "
        + ", ".join(
            f"{flags.by_level[level]} of {flags.sites} sites {level}"
            for level in ("act", "watch")
            if flags.by_level.get(level)
        )
        for flags in summary.site_flags
        if flags.by_level and any(flags.by_level.get(level) for level in ("act", "watch"))
    ]
    if flagged:
        yield "sites in their own rows:"
        yield from (f"  {text}" for text in flagged)


def _alerts(summary: EvaluationSummary) -> Iterator[str]:
    meaning = ("nothing to watch", "something to watch", "something to act on")[summary.exit_code]
    yield f"alerts: {len(summary.alerts)} ({meaning})"
    for alert in summary.alerts[:MOST_ALERTS]:
        yield f"  {alert.level}: {alert.sentence}"
    if len(summary.alerts) > MOST_ALERTS:
        yield f"  and {len(summary.alerts) - MOST_ALERTS} more"


def _detection(summary: EvaluationSummary) -> Iterator[str]:
    """Detectors against what a simulation had injected; nothing otherwise."""
    if summary.detection is None:
        return
    yield "detectors against what was injected, in windows:"
    for one in summary.detection.scores:
        delay = "never found" if one.delay is None else f"found after {one.delay}"
        found = f", {delay}" if one.positives else ""
        yield (
            f"  {one.detector}: alarmed in {one.true_positives} of {one.positives} drifted and "
            f"{one.false_positives} of {one.clean} clean ones{found}"
        )


def _wrapped(text: str) -> list[str]:
    plain = "".join("?" if unicodedata.category(one)[0] == "C" else one for one in text)
    indent = " " * (len(plain) - len(plain.lstrip()) + 4)
    return textwrap.wrap(plain, WIDTH, subsequent_indent=indent, drop_whitespace=True)
