"""Precision, recall and delay of drift detectors against drift that was injected on purpose.

Precision and recall as in any textbook on classification (scikit-learn's are the tests' oracle),
over windows; delay in windows, as in Basseville and Nikiforov 1993, for the one change injected.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from evaluation.tally_spec import OVERALL
from federation.detection_summary import Detection, DetectionScore, InjectedWindow
from federation.drift_summary import ConceptWatch, WindowDrift
from federation.injected_drift_record import InjectedDriftRecord, InjectedKind

ALL_KINDS: tuple[InjectedKind, ...] = ("covariate", "label", "concept")
LOOKS_FOR: Mapping[str, tuple[InjectedKind, ...]] = {
    "covariate": ("covariate",),
    "prediction": ALL_KINDS,
    "label": ("label",),
    "concept": ("concept",),
}
"""Per kind of finding, the injected kinds that it is there to find."""

ERRORS_OVER_TIME = "errors over time"
ANY = "any of these"


def detection(
    drift: Iterable[WindowDrift],
    concept: Iterable[ConceptWatch],
    windows: Sequence[str],
    injected: InjectedDriftRecord,
) -> Detection:
    """Every detector that looks at all sites together, against the truth.

    Args:
        drift: findings; those against the reference count, and alarm with `watch` or `act`.
        concept: errors followed from window to window.
        windows: that were judged, in order of time.
        injected: the truth.
    """
    truth = [injected.kinds_in(window) for window in windows]
    alarms = _alarms(drift, concept)
    return Detection(
        windows=tuple(
            InjectedWindow(window=window, kinds=tuple(sorted(kinds)))
            for window, kinds in zip(windows, truth, strict=True)
        ),
        scores=tuple(
            score(name, looks_for, truth, [window in alarmed for window in windows])
            for name, looks_for, alarmed in alarms
        ),
    )


def score(
    detector: str,
    looks_for: tuple[InjectedKind, ...],
    truth: Sequence[Collection[InjectedKind]],
    alarms: Sequence[bool],
) -> DetectionScore:
    """One detector's score.

    Args:
        detector: its name.
        looks_for: kinds of drift.
        truth: per window, the kinds injected.
        alarms: per window, whether it alarmed.
    """
    positive = [bool(set(looks_for) & set(kinds)) for kinds in truth]
    clean = [not kinds for kinds in truth]
    hits = sum(was and alarm for was, alarm in zip(positive, alarms, strict=True))
    false = sum(was and alarm for was, alarm in zip(clean, alarms, strict=True))
    return DetectionScore(
        detector=detector,
        looks_for=looks_for,
        positives=sum(positive),
        clean=sum(clean),
        true_positives=hits,
        false_positives=false,
        precision=hits / (hits + false) if hits + false else None,
        recall=hits / sum(positive) if any(positive) else None,
        delay=_delay(positive, alarms),
    )


def _delay(positive: Sequence[bool], alarms: Sequence[bool]) -> int | None:
    if not any(positive):
        return None
    onset = positive.index(True)
    found = (
        at
        for at in range(onset, len(alarms))
        if positive[at] and alarms[at]
    )  # fmt: skip
    first = next(found, None)
    return None if first is None else first - onset


def _alarms(
    drift: Iterable[WindowDrift], concept: Iterable[ConceptWatch]
) -> list[tuple[str, tuple[InjectedKind, ...], set[str]]]:
    """Name, kinds looked for and windows with an alarm, per detector; all together last."""
    alarmed: dict[str, set[str]] = {kind: set() for kind in LOOKS_FOR}
    for one in drift:
        for finding in one.findings if one.scope == OVERALL else ():
            is_alarm = finding.verdict in ("watch", "act") and finding.against == "reference"
            if is_alarm and finding.kind in alarmed:
                alarmed[finding.kind].add(one.window)
    over_time = {
        point.window
        for watch in concept
        if watch.scope == OVERALL
        for point in watch.points
        if point.alarm
    }
    return [
        *((kind, LOOKS_FOR[kind], windows) for kind, windows in alarmed.items()),
        (ERRORS_OVER_TIME, ("concept",), over_time),
        (ANY, ALL_KINDS, set().union(over_time, *alarmed.values())),
    ]
