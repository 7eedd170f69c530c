"""From the sums of an evaluation to what people read: findings, page, alerts, metrics.

No site is asked, and it does not matter over which transport the sums came.
"""

import hashlib
from importlib.metadata import version

from evaluation.assessment import Judged, assess
from evaluation.monitoring.detection_metrics import detection
from evaluation.report.evaluation_page import render
from federation.agreement import Agreement
from federation.config import FederationConfig
from federation.durable_file import write_atomically
from federation.errors import UsageError
from federation.evaluation_record import EvaluationFolder, evaluating_command
from federation.evaluation_summary import EvaluationSummary, Subject
from federation.initial_model import parameter_count
from federation.injected_drift_record import read_injected
from federation.mitigated_task import mitigated
from federation.run_folder import RunFolder
from federation.task import Task
from server.alert_sinks import write_lines
from server.metrics_text import metrics_text
from server.run_record import read_record


def write_findings(run: RunFolder, config: FederationConfig, task: Task) -> EvaluationSummary:
    """Everything that is made of the sums that are kept: JSON, page, alerts, metrics.

    Raises:
        UsageError: nothing was evaluated yet.
        IntegrityError: a kept sum is not what was written.
    """
    folder = EvaluationFolder.of(run)
    reference, windows = folder.read_reference(), folder.read_windows()
    if reference is None or not windows:
        raise UsageError(
            f"{run.path}: nothing was evaluated yet; {evaluating_command(run)} does it"
        )
    summary = assess(judged_by(run, config, task), reference, windows)
    truth = read_injected(run)
    if truth is not None:
        names = [window.name for window in summary.windows]
        found = detection(summary.drift, summary.concept, names, truth)
        summary = summary.model_copy(update={"detection": found})
    text = summary.model_dump_json(indent=1).encode() + b"\n"
    write_atomically(folder.summary, text)
    write_atomically(folder.report, render(summary).encode())
    write_lines(folder.alerts, summary.alerts)
    write_atomically(folder.metrics, metrics_text(summary).encode())
    return summary


def judged_by(run: RunFolder, config: FederationConfig, task: Task) -> Judged:
    """What is known of a run's model beside the sums."""
    agreement = Agreement.from_bytes(run.agreement.read_bytes())
    trained = read_record(run)
    schema = task.schema
    return Judged(
        subject=Subject(
            run=run.id,
            name=config.run.name,
            task=config.task.name,
            rounds=trained.completed_rounds,
            sites=len(agreement.sites),
            cohorts={name: len(sites) for name, sites in sorted(agreement.cohorts.items())},
            model_sha256=hashlib.sha256(run.model.read_bytes()).hexdigest(),
            model_parameters=parameter_count(mitigated(task, agreement.mitigation), agreement.seed),
            epsilon=agreement.privacy.target_epsilon if agreement.privacy else None,
            label=schema.label,
            positive_class=schema.classes[1] if schema.is_binary else "",
        ),
        schema=schema,
        rules=config.evaluation,
        cohorts=agreement.cohorts,
        config_sha256=run.read_environment().config_digest,
        hedgerow=version("hedgerow"),
        impact=EvaluationFolder.of(run).read_impact(),
    )
