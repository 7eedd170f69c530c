"""Judging the model of a simulated run on windows of its sites' rows."""

from pathlib import Path

from federation.errors import UsageError
from federation.evaluation_summary import EvaluationSummary
from federation.run_folder import RunFolder
from federation.task import CURRENT, REFERENCE, Task, window_names
from federation.task_loading import load_task
from server.evaluation_findings import write_findings
from server.evaluation_run import Evaluator
from server.run_preparation import search_task_folder
from server.unchanged_config import unchanged_config
from server.window_evaluation import Asked, count_windows
from simulations.in_process import InProcess
from simulations.injection import injected
from simulations.sites import require_simulated_sites, verify_sites


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
        require_simulated_sites(run, "hedgerow coordinator evaluate FED RUN")
        config = unchanged_config(run)
        search_task_folder(run)
        task = injected(load_task(config.task.name, config.task.options), config)
        _require_known(task, asked)
        verify_sites(run, config)
        sites = InProcess(
            run, config.federation.sites, config.run.seed, lambda loaded: injected(loaded, config)
        )
        count_windows(Evaluator(sites, run, config, task), asked)
        return write_findings(run, config, task)


def _require_known(task: Task, asked: Asked) -> None:
    """Return if the task has all windows that are named.

    Raises:
        UsageError: it has not.
    """
    known = dict.fromkeys((*window_names(task), REFERENCE, CURRENT))
    for window in (*asked.named, asked.reference or REFERENCE):
        if window not in known:
            raise UsageError(
                f"window {window}: the task has none of that name; it has: {', '.join(known)}"
            )
