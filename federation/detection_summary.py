"""How well drift detectors found what a simulation had injected: part of `evaluation.json`."""

from federation.injected_drift_record import InjectedKind
from federation.summary import Part


class DetectionScore(Part):
    """One detector, judged window by window.

    A window is positive if a kind of drift was injected that the detector looks for, and clean if
    nothing was injected at all. Windows of other kinds are left out: a change of P(x) may rightly
    move a rate that looks for something else.

    Attributes:
        detector: its name.
        looks_for: kinds of injected drift.
        positives: windows.
        clean: windows.
        true_positives: positive windows in which it alarmed.
        false_positives: clean windows in which it alarmed.
        precision: true positives over all its alarms; None if there are none.
        recall: true positives over positives; None if there are none.
        delay: windows from the first positive one to its first alarm in one; None without one.
    """

    detector: str
    looks_for: tuple[InjectedKind, ...]
    positives: int
    clean: int
    true_positives: int
    false_positives: int
    precision: float | None
    recall: float | None
    delay: int | None


class InjectedWindow(Part):
    """What was injected into a window that was judged."""

    window: str
    kinds: tuple[InjectedKind, ...]


class Detection(Part):
    """All detectors against what was injected; simulations only.

    Attributes:
        windows: that were judged, in order.
        scores: over all sites together, each against the frozen reference.
    """

    windows: tuple[InjectedWindow, ...]
    scores: tuple[DetectionScore, ...]
