"""The Flower ServerApp: thin. It opens the run folder and hands the grid to `coordinate`."""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from federation import config_file
from federation.run_folder import RunFolder
from federation.task_loading import load_task
from server.coordination import Outcome, coordinate
from server.rounds import Observer, Progress
from server.run_failure import failure_told
from server.run_preparation import search_task_folder
from server.run_summary import write_outputs
from server.transport import GridTransport


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
    """Entry of `flwr run`: the run folder that the settings name, or a freshly prepared one."""
    settings = {name: str(value) for name, value in context.run_config.items()}
    folder = RunFolder.open(Path(settings["run"])) if settings["run"] else _prepare(settings)
    with folder.sole_user(), failure_told(folder.failure):
        search_task_folder(folder)
        server_app(folder, "flower", _print_progress, lambda _: None)(grid, context)


def _prepare(settings: dict[str, str]) -> RunFolder:
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
    print(f"round {record.round} {record.kind}: {record.status} {record.reason}")  # noqa: T201 - flwr log shows it
