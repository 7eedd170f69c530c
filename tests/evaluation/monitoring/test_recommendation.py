"""What to do follows from which kinds of drift there are."""

import pytest

from evaluation.monitoring.recommendation import recommendation
from federation.drift_summary import ConceptWatch, DriftFinding, WatchPoint, WindowDrift


def finding(kind, verdict, subject="age"):
    return DriftFinding(
        kind=kind, subject=subject, statistic="psi", against="reference", rows_before=100,
        rows_now=100, value=0.4, critical=0.1, watch=0.1, act=0.25, p_value=0.001,
        significant=True, verdict=verdict,
    )  # fmt: skip


def drift(*findings, verdict="act"):
    return WindowDrift(
        scope="overall", window="May", reference="r", previous=None, rows=100, sites=5,
        noise_variance=0, comparisons=9, false_alarms=0.05, verdict=verdict, findings=findings,
    )  # fmt: skip


def watched(alarm, later=()):
    points = [
        WatchPoint(window=str(place), rows=100, errors=30, cusum=9, cusum_limit=6, page_hinkley=1,
                   page_hinkley_limit=9, alarm=each)
        for place, each in enumerate((alarm, *later))
    ]  # fmt: skip
    return ConceptWatch(scope="overall", subject="overall", reference_rows=10, reference_errors=1,
                        windows_per_false_alarm=100, points=tuple(points))  # fmt: skip


@pytest.mark.parametrize(
    ("drifts", "watches", "fairness", "action", "reason"),
    [
        ([drift(finding("concept", "act"))], [], "ok", "retrain", "age: psi"),
        ([drift()], [watched(alarm=True)], "ok", "retrain", "errors rose"),
        ([drift()], [watched(alarm=True, later=(False,))], "ok", "none", "no change"),
        ([drift(finding("covariate", "act"))], [], "ok", "investigate", "age: psi"),
        ([drift(finding("covariate", "act"), finding("label", "act"))], [], "ok", "retrain", "age"),
        ([drift(finding("data quality", "act"), finding("concept", "act"))], [], "ok",
         "investigate", "mend the data"),
        ([drift()], [], "act", "investigate", "gap between groups"),
        ([drift(finding("covariate", "watch"))], [], "ok", "watch", "age: psi"),
        ([drift()], [], "watch", "watch", "gap between groups"),
        ([drift(finding("covariate", "ok"))], [], "ok", "none", "no change"),
        ([drift(verdict="window too small")], [], "ok", "none", "too small to judge"),
        ([], [], "ok", "none", "no change"),
    ],
)  # fmt: skip
def test_the_gravest_reason_decides(drifts, watches, fairness, action, reason) -> None:
    found = recommendation(drifts, watches, fairness)
    assert found.action == action
    assert reason in found.reasons[0]


def test_many_reasons_are_counted() -> None:
    found = recommendation([drift(*(finding("covariate", "act", f"f{n}") for n in range(40)))], [])
    assert found.reasons[-1] == "and 28 more"
    assert len(found.reasons) == 13
