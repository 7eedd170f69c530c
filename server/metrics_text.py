"""An evaluation's findings as metrics for Prometheus; names end in their unit."""

from collections.abc import Iterator

from federation.evaluation_summary import EvaluationSummary
from server.alert_sinks import Labels, Sample, prometheus_text

HELP = {
    "hedgerow_evaluation_accuracy_ratio": "Share of the latest window's rows predicted right.",
    "hedgerow_evaluation_alerts": "Alerts by level.",
    "hedgerow_evaluation_drift": "Statistic of a comparison with the reference, latest window.",
    "hedgerow_evaluation_gap": "Gap between groups in the latest window.",
    "hedgerow_evaluation_rows": "Rows counted in the latest window.",
    "hedgerow_evaluation_sites": "Sites whose rows are in the latest window.",
    "hedgerow_evaluation_state": "0: nothing; 1: something to watch; 2: something to act on.",
}


def metrics_text(summary: EvaluationSummary) -> str:
    """The text that a collector reads from a file."""
    return prometheus_text(sorted(_samples(summary)), HELP)


def _samples(summary: EvaluationSummary) -> Iterator[Sample]:
    of_run: Labels = (("run", summary.subject.run),)
    latest = summary.windows[-1]
    yield "hedgerow_evaluation_state", of_run, float(summary.exit_code)
    yield "hedgerow_evaluation_sites", of_run, float(latest.sites)
    for level in ("act", "watch"):
        count = sum(alert.level == level for alert in summary.alerts)
        yield "hedgerow_evaluation_alerts", (*of_run, ("level", level)), float(count)
    for scope, utility in latest.utility.items():
        labels = (*of_run, ("scope", scope))
        yield "hedgerow_evaluation_rows", labels, float(utility.rows)
        if utility.accuracy.value is not None:
            yield "hedgerow_evaluation_accuracy_ratio", labels, utility.accuracy.value
    for fairness in summary.fairness:
        for gap in fairness.disparities:
            if gap.estimate.value is not None:
                labels = (
                    *of_run,
                    ("scope", fairness.scope),
                    ("attribute", gap.attribute),
                    ("metric", gap.metric),
                )
                yield "hedgerow_evaluation_gap", labels, gap.estimate.value
    for drift in summary.drift:
        for finding in drift.findings if drift.window == latest.name else ():
            if finding.value is not None and finding.against == "reference":
                labels = (
                    *of_run,
                    ("scope", drift.scope),
                    ("kind", finding.kind),
                    ("subject", finding.subject),
                    ("statistic", finding.statistic),
                )
                yield "hedgerow_evaluation_drift", labels, finding.value
