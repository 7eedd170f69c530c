"""Detectors against injected drift: scikit-learn's precision and recall, and delay by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score

from evaluation.monitoring.detection_metrics import ALL_KINDS, ERRORS_OVER_TIME, detection, score
from federation.drift_summary import ConceptWatch, DriftFinding, WatchPoint, WindowDrift
from federation.injected_drift_record import InjectedChange, InjectedDriftRecord

KINDS = st.sets(st.sampled_from(ALL_KINDS))


@given(
    st.lists(st.tuples(KINDS, st.booleans()), min_size=1, max_size=40), st.sampled_from(ALL_KINDS)
)
def test_precision_and_recall_are_scikit_learns_on_positive_and_clean_windows(course, kind) -> None:
    truth, alarms = [kinds for kinds, _ in course], [alarm for _, alarm in course]
    found = score("x", (kind,), truth, alarms)
    kept = [(kind in kinds, alarm) for kinds, alarm in course if kind in kinds or not kinds]
    positive, alarmed = [one for one, _ in kept], [two for _, two in kept]
    assert (found.precision is None) == (not any(alarmed))
    assert (found.recall is None) == (not any(positive))
    if any(alarmed):
        assert found.precision == pytest.approx(precision_score(positive, alarmed))
    if any(positive):
        assert found.recall == pytest.approx(recall_score(positive, alarmed))


@pytest.mark.parametrize(
    ("drifted", "alarmed", "delay"),
    [
        ("..###", "..#..", 0),
        ("..###", "....#", 2),
        ("..###", "##...", None),  # before the onset is no detection
        ("..#..", "...#.", None),  # nor is it after the drift
        (".....", "#....", None),
    ],
)
def test_delay_counts_windows_from_the_onset(drifted: str, alarmed: str, delay: int | None) -> None:
    truth = [{"label"} if one == "#" else set() for one in drifted]
    found = score("x", ("label",), truth, [one == "#" for one in alarmed])
    assert found.delay == delay


def finding(kind: str, verdict: str, against: str = "reference") -> DriftFinding:
    return DriftFinding(
        kind=kind, subject="age", statistic="psi", against=against, rows_before=100, rows_now=100,
        value=0.5, critical=0.1, watch=0.1, act=0.2, p_value=0.001, significant=True,
        verdict=verdict,
    )  # fmt: skip


def window(name: str, *findings: DriftFinding, scope: str = "overall") -> WindowDrift:
    return WindowDrift(
        scope=scope, window=name, reference="r", previous=None, rows=100, sites=4,
        noise_variance=0.0, comparisons=1, false_alarms=0.05, verdict="ok", findings=findings,
    )  # fmt: skip


def watch(scope: str, *alarms: bool) -> ConceptWatch:
    points = tuple(
        WatchPoint(
            window=f"w{at}", rows=100, errors=9, cusum=1.0, cusum_limit=1.0, page_hinkley=1.0,
            page_hinkley_limit=1.0, alarm=alarm,
        )
        for at, alarm in enumerate(alarms)
    )  # fmt: skip
    return ConceptWatch(
        scope=scope, subject="overall", reference_rows=100, reference_errors=5,
        windows_per_false_alarm=20, points=points,
    )  # fmt: skip


def injected(*windows: tuple[str, str]) -> InjectedDriftRecord:
    changes = tuple(
        InjectedChange(
            window=name, kind=kind, how="resample", feature="", level="", above=None, strength=1.0,
            sites=("a",),
        )
        for name, kind in windows
    )  # fmt: skip
    return InjectedDriftRecord(windows=("w0", "w1", "w2"), changes=changes)


def test_each_detector_is_judged_by_what_it_looks_for() -> None:
    drift = [
        window("w0", finding("covariate", "watch"), finding("label", "ok")),
        window("w1", finding("covariate", "act"), finding("concept", "act", "previous window")),
        window("w2", finding("covariate", "window too small")),
        window("w2", finding("covariate", "act"), scope="north"),
    ]
    concept = [watch("overall", False, False, True), watch("north", True, True, True)]
    found = detection(
        drift, concept, ["w0", "w1", "w2"], injected(("w1", "covariate"), ("w2", "concept"))
    )
    by_name = {one.detector: one for one in found.scores}
    covariate = by_name["covariate"]  # w0 is clean and alarmed, w1 is found, w2 is another's
    assert (covariate.positives, covariate.clean) == (1, 1)
    assert (covariate.true_positives, covariate.false_positives) == (1, 1)
    assert (by_name["concept"].true_positives, by_name["concept"].positives) == (0, 1)
    assert by_name[ERRORS_OVER_TIME].recall == 1.0
    assert by_name["label"].recall is None
    assert by_name["any of these"].true_positives == 2
    assert [one.kinds for one in found.windows] == [(), ("covariate",), ("concept",)]
