"""Judging the model of a simulated run on windows of its sites' rows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from evaluation.assessment import Judged, assess
from evaluation.report.evaluation_page import render
from federation.agreement import Agreement
from federation.config import FederationConfig
from federation.durable_file import write_atomically
from federation.errors import IntegrityError, UsageError
from federation.evaluation_record import EvaluationFolder, FrozenReference
from federation.evaluation_summary import EvaluationSummary, Subject
from federation.initial_model import parameter_count
from federation.mitigated_task import mitigated
from federation.run_folder import RunFolder
from federation.task import CURRENT, REFERENCE, Task, window_names
from federation.task_loading import load_task
from server.alert_sinks import write_lines
from server.evaluation_run import Evaluator
from server.metrics_text import metrics_text
from server.run_preparation import search_task_folder
from server.run_record import read_record
from simulations.in_process import InProcess
from simulations.sites import verify_sites
from simulations.unchanged_config import unchanged_config


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants judged.

    Attributes:
        windows: in order of time; empty means the task's current window.
        reference: what they are compared with; None means the one that is frozen already, or the
            task's reference window.
    """

    windows: tuple[str, ...] = ()
    reference: str | None = None


def evaluate(path: Path, asked: Asked) -> EvaluationSummary:
    """Count what was not counted yet, and judge all windows together.

    Args:
        path: folder of a run that has a model.
        asked: which windows.

    Raises:
        HedgerowError: what is counted stays, and is not counted again.
    """
    run = RunFolder.open(path)
    with run.sole_user():
        config = unchanged_config(run)
        search_task_folder(run)
        task = load_task(config.task.name, config.task.options)
        windows = _known(task, asked.windows or (CURRENT,))
        verify_sites(run, config)
        sites = InProcess(run, config.federation.sites, config.run.seed)
        evaluator = Evaluator(sites, run, config, task)
        evaluator.folder.path.mkdir(exist_ok=True, mode=0o700)
        reference = _reference(evaluator, asked.reference)
        counted = {record.window for record in evaluator.folder.read_windows()}
        for window in windows:
            if window == reference.record.window:
                raise UsageError(
                    f"--window {window}: it is the reference; choose another to compare with it"
                )
            if window not in counted:
                evaluator.window(reference, window)
        return write_findings(run, config, task)


def write_findings(run: RunFolder, config: FederationConfig, task: Task) -> EvaluationSummary:
    """Everything that is made of the sums that are kept: JSON, page, alerts, metrics.

    Raises:
        UsageError: nothing was evaluated yet.
        IntegrityError: a kept sum is not what was written.
    """
    folder = EvaluationFolder.of(run)
    reference, windows = folder.read_reference(), folder.read_windows()
    if reference is None or not windows:
        raise UsageError(f"{run.path}: nothing was evaluated yet; hedgerow evaluation run does it")
    summary = assess(judged_by(run, config, task), reference, windows)
    text = summary.model_dump_json(indent=1).encode() + b"\n"
    write_atomically(folder.summary, text)
    write_atomically(folder.report, render(summary).encode())
    write_lines(folder.alerts, summary.alerts)
    write_atomically(folder.metrics, metrics_text(summary).encode())
    return summary


def _reference(evaluator: Evaluator, wanted: str | None) -> FrozenReference:
    frozen = evaluator.folder.read_reference()
    if frozen is None:
        (window,) = _known(evaluator.task, (wanted or REFERENCE,))
        return evaluator.freeze(window)
    if wanted not in (None, frozen.record.window):
        raise UsageError(
            f"--reference {wanted}: this run's reference is frozen already, on the window "
            f"{frozen.record.window}; later windows are compared with that one"
        )
    if frozen.record.spec_sha256 != evaluator.spec.digest():
        raise IntegrityError(
            f"{evaluator.folder.reference} was counted for another schema of the task; the task "
            "was changed since"
        )
    return frozen


def _known(task: Task, windows: Sequence[str]) -> tuple[str, ...]:
    known = dict.fromkeys((*window_names(task), REFERENCE, CURRENT))
    for window in windows:
        if window not in known:
            raise UsageError(
                f"window {window}: the task has none of that name; it has: {', '.join(known)}"
            )
    return tuple(dict.fromkeys(windows))


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
