"""`hedgerow simulate` and `hedgerow init`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from federation import config_file
from federation.config import FederationConfig
from federation.durable_file import write_atomically
from federation.errors import Interrupted, PrivacyRefusal, RoundFailed, UsageError
from federation.run_folder import RunFolder
from federation.summary import Summary
from server.run_display import print_summary, rounds_bar
from simulations.backends.fork_server import start_fork_server
from simulations.backends.uncollected_imports import uncollected_imports
from simulations.defaults import BUILT_IN, DEFAULT_TASK, default_config
from simulations.example_config import example
from simulations.offline import go_offline

if TYPE_CHECKING:
    from simulations.run_control import ReadyRun

app = typer.Typer(add_completion=False)


@app.command()
def simulate(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    config: Annotated[
        Path | None,
        typer.Argument(help="A federation.toml; without one, the built-in default federation."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help=f"Built-in federation: {', '.join(BUILT_IN)}."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a setting; repeatable"),
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Training rounds (run.rounds).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the whole run (run.seed).")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes (simulation.workers).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run folder.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the path of the report only.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print summary.json instead of tables.")
    ] = False,
) -> None:
    """Train one model over simulated sites and write a report.

    CONFIG is a federation.toml; without one, the built-in default federation runs.

    \b
    Exit codes:
      0    all rounds ran
      1    a bug in hedgerow, kept in hedgerow-crash.log
      2    wrong option or configuration
      3    wrong data
      4    a privacy guarantee or budget refused the work
      5    too few sites were left
      6    something durable is damaged, or the disk refuses
      130  interrupted; the run can be resumed
    """  # noqa: D301 - \b keeps the lines apart
    options = {"run.rounds": rounds, "run.seed": seed, "simulation.workers": workers}
    overrides = [*(settings or []), *(f"{k}={v}" for k, v in options.items() if v is not None)]
    if resume is not None and config is not None:
        raise UsageError("give a federation.toml or --resume RUN, not both")
    if task is not None and (resume is not None or config is not None):
        raise UsageError(
            "--task chooses a built-in federation: leave it out with a file or --resume"
        )
    console = Console(stderr=as_json, quiet=quiet)
    run = _go_on(resume, overrides) if resume is not None else _start(config, task, overrides, out)
    console.print(f"[bold]{run.config.run.name}[/] -> {run.folder.path}", highlight=False)
    partition = run.folder.read_environment().partition
    if partition is not None:
        console.print(f"{partition.text}; sha256 {partition.sha256[:16]}", highlight=False)
    summary = _play(run, console)
    print_summary(summary, run.folder, quiet=quiet, as_json=as_json)
    if summary.run.status == "stopped":
        refused = summary.run.stopped_by_budget or summary.run.stopped_by_refusal
        raise typer.Exit(PrivacyRefusal.exit_code if refused else RoundFailed.exit_code)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("federation.toml"),
    task: Annotated[
        str, typer.Option(help=f"{', '.join(BUILT_IN)}, or module:attribute.")
    ] = "heart",
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Write a commented federation.toml to start from."""
    if path.exists() and not force:
        raise UsageError(f"{path} exists already; choose another name, or --force to replace it")
    text = example(task)
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    typer.echo(f"wrote {path}; run it with: hedgerow simulate {path}")


def _start(path: Path | None, task: str | None, overrides: list[str], out: Path) -> "ReadyRun":
    """A new run of a file's configuration, or of a task's built-in federation."""
    # First, for it takes no time: what is wrong with it is told at once.
    config = (
        default_config(task or DEFAULT_TASK, overrides)
        if path is None
        else config_file.read(path, overrides)
    )
    _get_ready(config)
    with uncollected_imports():
        from simulations.run_control import start  # noqa: PLC0415 - imports torch: seconds

    return start(config, path, out)


def _go_on(path: Path, overrides: list[str]) -> "ReadyRun":
    """An interrupted run."""
    folder = RunFolder.open(path)
    config = config_file.read(folder.config, overrides)
    _get_ready(config)
    with uncollected_imports():
        from simulations.run_control import go_on  # noqa: PLC0415 - imports torch: seconds

    return go_on(folder, config)


def _get_ready(config: FederationConfig) -> None:
    """What comes before torch is imported: workers import it at the same time, on another core."""
    go_offline()
    if config.simulation.backend == "embedded":
        start_fork_server()


def _play(run: "ReadyRun", console: Console) -> Summary:
    """Run to the end with a bar on the terminal; Ctrl-C says how to go on."""
    from server.round_line import round_line  # noqa: PLC0415 - imports torch: seconds

    try:
        with rounds_bar(console) as bar:
            bar_id = bar.add_task("rounds", total=run.config.run.rounds + 1, line="")
            return run.play(
                lambda told: bar.update(
                    bar_id,
                    completed=min(told.record.round.round, run.config.run.rounds + 1),
                    line=round_line(told),
                )
            )
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted; go on with: hedgerow simulate --resume {run.folder.path}"
        ) from error
