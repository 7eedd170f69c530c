"""The Flower ServerApp: thin. It opens a folder and hands the grid to whoever does the work."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from federation import config_file
from federation.errors import ConfigError
from federation.evaluation_record import EvaluationFolder
from federation.run_folder import RunFolder
from federation.task_loading import load_task
from server.cohort_search import CohortQuestion, find_cohorts
from server.coordination import Outcome, coordinate
from server.evaluation_run import Evaluator
from server.question import read_question
from server.rounds import Observer, Progress
from server.run_failure import failure_told
from server.run_preparation import search_task_folder
from server.run_summary import write_outputs
from server.transport import GridTransport
from server.unchanged_config import unchanged_config
from server.window_evaluation import Asked, count_windows

Settings = Mapping[str, str]

DEPLOYED, SIMULATED_OVER_FLOWER = "deployed", "flower"
"""What a summary says of a run whose sites are elsewhere, and of one that `flwr run` simulates."""


def server_app(
    folder: RunFolder,
    backend: str,
    observe: Observer,
    finish: Callable[[Outcome], None],
    poll_seconds: float = 0.1,
) -> ServerApp:
    """A ServerApp that runs one prepared folder and gives the outcome to `finish`."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, _: Context) -> None:
        config = config_file.read(folder.config)
        task = load_task(config.task.name, config.task.options)
        outcome = coordinate(GridTransport(grid, poll_seconds), folder, config, task, observe)
        write_outputs(folder, config, task, outcome, backend)
        finish(outcome)

    return app


app = ServerApp()


@app.main()
def _main(grid: Grid, context: Context) -> None:
    """Entry of `flwr run`: the settings say what to do, and in which folder."""
    settings = {name: str(value) for name, value in context.run_config.items()}
    wanted = settings["work"]
    if wanted not in WORKS:
        raise ConfigError("work", wanted, f"one of {', '.join(WORKS)}")
    WORKS[wanted](grid, context, settings)


def _train(grid: Grid, context: Context, settings: Settings) -> None:
    """Train in the run folder that is named, or in a freshly prepared one."""
    folder = RunFolder.open(Path(settings["run"])) if settings["run"] else _prepare(settings)
    backend = SIMULATED_OVER_FLOWER if folder.holds_sites else DEPLOYED
    with folder.sole_user(), failure_told(folder.failure):
        search_task_folder(folder)
        server_app(folder, backend, _print_progress, lambda _: None)(grid, context)


def _evaluate(grid: Grid, _: Context, settings: Settings) -> None:
    """Count windows for the model of the run folder that is named."""
    asked = read_question(Asked, settings["asked"])
    with _judging(grid, settings) as evaluator:
        count_windows(evaluator, asked)


def _find_cohorts(grid: Grid, _: Context, settings: Settings) -> None:
    """Look for cohorts on a window that was counted in the run folder that is named."""
    asked = read_question(CohortQuestion, settings["asked"])
    with _judging(grid, settings) as evaluator:
        find_cohorts(evaluator, asked, _print_line)


def _answer_queries(grid: Grid, _: Context, settings: Settings) -> None:
    """Ask the queries that stand in the folder that is named."""
    from server.analytics_folder import (  # noqa: PLC0415 - imports scipy's optimizers: a second
        answer_queries,
        open_queries,
    )

    folder = open_queries(Path(settings["run"]))
    with folder.sole_user(), failure_told(folder.failure):
        answer_queries(lambda _: GridTransport(grid), folder)


@contextmanager
def _judging(grid: Grid, settings: Settings) -> Iterator[Evaluator]:
    """Whoever asks about the model of a run that is over."""
    run = RunFolder.open(Path(settings["run"]))
    with run.sole_user(), failure_told(EvaluationFolder.of(run).failure):
        config = unchanged_config(run)
        search_task_folder(run)
        task = load_task(config.task.name, config.task.options)
        yield Evaluator(GridTransport(grid), run, config, task)


WORKS: Mapping[str, Callable[[Grid, Context, Settings], None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "cohorts": _find_cohorts,
    "analytics": _answer_queries,
}
"""What the setting `work` may be."""


def _prepare(settings: Settings) -> RunFolder:
    """Ask the installed preparation for a run folder (a simulation's makes its sites, too)."""
    (preparation,) = entry_points(group="hedgerow.run_preparation")
    path = Path(settings["config"]) if settings["config"] else None
    overrides = [part for part in settings["set"].split(",") if part]
    config = config_file.read(path, overrides) if path else config_file.parse({}, overrides)
    folder: RunFolder = preparation.load()(
        config, Path(settings["runs"]), path.parent if path else None
    )
    return folder


def _print_progress(progress: Progress) -> None:
    record = progress.record.round
    _print_line(f"round {record.round} {record.kind}: {record.status} {record.reason}")


def _print_line(line: str) -> None:
    print(line)  # noqa: T201 - flwr log shows it
