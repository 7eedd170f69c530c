"""`hedgerow sweep`: many runs of one configuration with settings varied, side by side."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from federation.errors import UsageError
from simulations.sweep_display import print_results

if TYPE_CHECKING:
    from simulations.sweep.choice import Aim, Limit
    from simulations.sweep.folder import SweepFolder
    from simulations.sweep.plan import SweepPlan
    from simulations.sweep.request import Request

app = typer.Typer(add_completion=False)


@app.command()
def sweep(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    config: Annotated[
        Path | None,
        typer.Argument(help="A federation.toml; without one, the built-in default federation."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Built-in federation: heart, acs-employment or digits."),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECTION.KEY=VALUES",
            help="V1,V2,... or LOW..HIGH[:log][:POINTS]; repeatable, all combinations are run.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="For all runs; repeatable."),
    ] = None,
    random: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="N trials drawn; or poisson:MEAN, geometric:MEAN: a drawn number."
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="How many, or which: 3, or 1,2,3.")] = "3",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; else as many as cores allow.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="MEASURE<=NUMBER", help="The best has to keep to it; repeatable."),
    ] = None,
    maximise: Annotated[
        str | None, typer.Option(help="accuracy (if left out), balanced_accuracy or auc.")
    ] = None,
    reference: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option(help="Also run without privacy, to compare with.")
    ] = True,
    out: Annotated[Path, typer.Option(help="Where sweeps are kept.")] = Path("sweeps"),
    resume: Annotated[
        Path | None, typer.Option(metavar="SWEEP", help="Go on with an interrupted sweep.")
    ] = None,
    quiet: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--quiet", "-q", help="Print the path of the page only.")
    ] = False,
    as_json: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--json", help="Print results.json instead of tables.")
    ] = False,
) -> None:
    """Run a configuration with some settings varied, and say which is best for which epsilon.

    Every setting of every trial is checked before anything runs. Each run is an ordinary run folder
    within the sweep. Writes results.csv, results.parquet, results.json and sweep.html.

    \b
    Exit codes:
      0    all runs ended; what some of them failed by stands in the table
      2    wrong option or configuration; names the trial
      130  interrupted; the sweep can be resumed
      else as hedgerow simulate
    """  # noqa: D301 - \b keeps the lines apart
    if task is not None and config is not None:
        raise UsageError("--task chooses a built-in federation: leave it out with a file")
    console = Console(stderr=as_json, quiet=quiet)
    from simulations.sweep.request import Request  # noqa: PLC0415 - imports scipy: a second

    request = Request(
        config, task, tuple(vary or ()), tuple(settings or ()), random, seeds, reference
    )
    selection = maximise, tuple(limit or ())
    folder, plan, aim, limits = (
        _begun(request, selection, out) if resume is None else _resumed(request, selection, resume)
    )
    console.print(f"[bold]sweep[/] -> {folder.path}", highlight=False)
    from simulations.sweep.course import carry_out  # noqa: PLC0415 - as above

    found = carry_out(folder, plan, (aim, limits), jobs, console)
    print_results(found, folder, quiet=quiet, as_json=as_json)


Selection = tuple[str | None, tuple[str, ...]]
"""What `--maximise` and `--limit` say."""


def _begun(
    request: "Request", selection: Selection, out: Path
) -> "tuple[SweepFolder, SweepPlan, Aim, tuple[Limit, ...]]":
    from simulations.sweep.folder import SweepFolder  # noqa: PLC0415 - imports scipy: a second
    from simulations.sweep.request import parse_aim, parse_limits  # noqa: PLC0415 - as above

    aim, limits = parse_aim(selection[0] or "accuracy"), parse_limits(selection[1])
    plan = request.plan(aim, limits)
    return SweepFolder.create(out, plan, datetime.now(UTC)), plan, aim, limits


def _resumed(
    request: "Request", selection: Selection, path: Path
) -> "tuple[SweepFolder, SweepPlan, Aim, tuple[Limit, ...]]":
    """The plan as recorded; what is best may be asked otherwise, where that is no further cost."""
    from simulations.sweep.folder import SweepFolder  # noqa: PLC0415 - imports scipy: a second
    from simulations.sweep.request import parse_aim, parse_limits  # noqa: PLC0415 - as above

    folder = SweepFolder(path)
    recorded = folder.read_plan()
    aim = recorded.aim if selection[0] is None else parse_aim(selection[0])
    limits = parse_limits(selection[1]) or recorded.limits
    plan = request.resumed(folder, aim, limits)
    if plan.mean and (aim, limits) != (plan.aim, plan.limits):
        raise UsageError(
            "--maximise and --limit cannot be changed where the number of trials was drawn: which "
            "is best had to be settled before, or its cost does not hold"
        )
    return folder, plan, aim, limits
