"""What to do about a model after its latest windows, and why; rules, in order of gravity.

Retraining mends what has changed between rows and outcomes; it does not mend broken data, and a
shift of features that costs no accuracy does not need it. So the action follows from which kinds
of drift there are, not from how many.
"""

from collections.abc import Sequence

from evaluation.monitoring.comparison import SEVERITY
from federation.drift_summary import (
    ConceptWatch,
    DriftFinding,
    Recommendation,
    Verdict,
    WindowDrift,
)

MOST_REASONS = 12


def recommendation(
    window_drifts: Sequence[WindowDrift],
    detectors: Sequence[ConceptWatch],
    fairness_verdict: Verdict = "ok",
) -> Recommendation:
    """The gravest action that a reason calls for.

    `investigate`: data quality to act on, features or scores to act on without a loss that is
    measured, fairness to act on. `retrain`: errors or calibration to act on, or a detector's alarm
    in its last window, unless the data are broken too (then the data come first); labels to act on
    together with features. `watch`: anything to watch.

    Args:
        window_drifts: the latest window of each scope.
        detectors: of each scope and group that is followed.
        fairness_verdict: of the fairness findings on the latest window.
    """
    findings = [(drift, each) for drift in window_drifts for each in drift.findings]
    acting = [(drift, each) for drift, each in findings if each.verdict == "act"]
    alarms = [
        (watch, watch.points[-1]) for watch in detectors if watch.points and watch.points[-1].alarm
    ]
    broken = [pair for pair in acting if pair[1].kind == "data quality"]
    kinds = {each.kind for _, each in acting}
    learned = [pair for pair in acting if pair[1].kind == "concept"]
    shifted = {"label", "covariate"} <= kinds
    reasons = [_sentence(drift, each) for drift, each in (*broken, *learned)]
    reasons += [
        f"{watch.scope}, {watch.subject}: errors rose beyond the limit in window {point.window} "
        f"({point.errors} of {point.rows} rows)"
        for watch, point in alarms
    ]
    rest = [pair for pair in acting if pair not in broken and pair not in learned]
    reasons += [_sentence(drift, each) for drift, each in rest]
    if fairness_verdict == "act":
        reasons.append("fairness: a gap between groups is to be acted on")
    if broken:
        hint = "mend the data before retraining on them"
        return Recommendation(action="investigate", reasons=_shortened([hint, *reasons]))
    if learned or alarms or shifted:
        return Recommendation(action="retrain", reasons=_shortened(reasons))
    if reasons:
        return Recommendation(action="investigate", reasons=_shortened(reasons))
    watched = [_sentence(drift, each) for drift, each in findings if each.verdict == "watch"]
    if fairness_verdict == "watch":
        watched.append("fairness: a gap between groups is to be watched")
    if watched:
        return Recommendation(action="watch", reasons=_shortened(watched))
    small = [drift for drift in window_drifts if drift.verdict == SEVERITY[1]]
    text = [f"{drift.scope}: window {drift.window} is too small to judge" for drift in small]
    return Recommendation(
        action="none", reasons=_shortened(text) or ("no change beyond chance that matters",)
    )


def _sentence(drift: WindowDrift, finding: DriftFinding) -> str:
    value = 0.0 if finding.value is None else finding.value
    return (
        f"{drift.scope}, {finding.subject}: {finding.statistic} {value:+.3g} against the "
        f"{finding.against} (chance alone stays below {finding.critical or 0.0:.3g})"
    )


def _shortened(reasons: Sequence[str]) -> tuple[str, ...]:
    unique = tuple(dict.fromkeys(reasons))
    if len(unique) <= MOST_REASONS:
        return unique
    return (*unique[:MOST_REASONS], f"and {len(unique) - MOST_REASONS} more")
