"""A folder of queries: prepared once, asked until it has its answers.

FED/runs/<utc>-<name>-<short id>/
analytics.toml  environment.json  agreement.json  rounds.jsonl  witness.json
consortium.pub  roster.json  run-rules.json  analytics.json  failure.json
"""

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from federation import canonical
from federation.analysis import Analysis
from federation.analytics_config import AnalyticsConfig, read_analytics
from federation.errors import IntegrityError, UsageError
from federation.run_folder import RunFolder
from federation.task_loading import load_task
from server.analytics_run import analysis_path, analyze
from server.run_preparation import search_task_folder
from server.transport import Transport

QUERIES = "analytics.toml"


def open_queries(path: Path) -> RunFolder:
    """The folder of an interrupted or failed run.

    Raises:
        UsageError: `path` is none.
    """
    if not (path / QUERIES).is_file():
        raise UsageError(f"{path} is no run folder of analytics: it holds no {QUERIES}")
    return RunFolder(path)


def answer_queries(
    transport_to: Callable[[AnalyticsConfig], Transport], folder: RunFolder
) -> Analysis:
    """Ask the queries of a prepared folder; one that has its answers is left as it is.

    Args:
        transport_to: the sites of these queries.
        folder: whose lock the caller holds.

    Raises:
        HedgerowError: see `server.analytics_run.analyze`; the run can be gone on with.
    """
    if analysis_path(folder).is_file():
        return read_analysis(folder)
    config = read_analytics(folder.path / QUERIES)
    recorded = folder.read_environment().config_digest
    if canonical.digest(config.model_dump(mode="json")) != recorded:
        raise IntegrityError(f"{folder.path / QUERIES} was changed since the run began")
    search_task_folder(folder)
    task = load_task(config.task.name, config.task.options)
    return analyze(transport_to(config), folder, config, task)


def read_analysis(folder: RunFolder) -> Analysis:
    """The answers that stand in a folder.

    Raises:
        IntegrityError: they are not what was written.
    """
    path = analysis_path(folder)
    try:
        return Analysis.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise IntegrityError(f"{path} is not what was written") from error
