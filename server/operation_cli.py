"""`hedgerow coordinator up`, `status`, `run` and `bundle`: operating a federation."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from federation.errors import Interrupted, PrivacyRefusal, RoundFailed, UsageError
from federation.shell_word import quoted
from server.federation_home import FederationHome

if TYPE_CHECKING:
    from federation.run_folder import RunFolder
    from federation.summary import Summary
    from server.app_bundle import AppBundle
    from server.coordinator_status import CoordinatorStatus
    from server.deployed_run import DeployedRun

app = typer.Typer(add_completion=False)

Fed = Annotated[Path, typer.Argument(metavar="FED", help="The federation's folder.")]


@app.command()
def up(fed: Fed) -> None:
    """Run the coordinator: SuperLink, SuperExec and the public port; until Ctrl-C.

    Sites that the roster in force names are let in, revoked ones are put out. What ends is started
    again. FED/log holds what the processes say; http://127.0.0.1:METRICS_PORT/metrics is for
    Prometheus.
    """
    from rich.live import Live  # noqa: PLC0415 - quick help

    from server.coordinator_service import bring_up  # noqa: PLC0415 - imports flwr: seconds

    console = Console()
    home = FederationHome(fed)
    config = home.config()
    console.print(f"[bold]{config.name}[/] on {config.superlink}; Ctrl-C ends it", highlight=False)

    def tell(line: str) -> None:
        console.print(f"{time.strftime('%H:%M:%S')} {line}", highlight=False, markup=False)

    try:
        if not console.is_terminal:
            bring_up(home, lambda _: None, tell)
            return
        with Live(console=console, auto_refresh=False) as live:
            bring_up(home, lambda status: live.update(_picture(status), refresh=True), tell)
    except KeyboardInterrupt:
        console.print("ended; nothing of it runs any more")


@app.command()
def status(
    fed: Fed,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,  # noqa: FBT002
) -> None:
    """Show how the coordinator, its sites and its runs are doing.

    Exit code 1 if there is something to look at.
    """
    from server.coordinator_service import (  # noqa: PLC0415 - imports flwr: seconds
        ANSWER_SECONDS,
        latest_status,
        superlink_control,
    )
    from server.coordinator_status import observe  # noqa: PLC0415

    home = FederationHome(fed)
    config = home.config()
    with superlink_control(home, config, ANSWER_SECONDS) as control:
        seen = observe(home, config, control, {})
    told = latest_status(home)
    if told is not None:
        seen = seen.model_copy(update={"processes": told.processes})
    if as_json:
        typer.echo(seen.model_dump_json(indent=1))
    else:
        Console().print(_picture(seen))
    if seen.warnings:
        raise typer.Exit(1)


@app.command()
def bundle(fed: Fed) -> None:
    """Build the app bundle that runs ship, and print its SHA-256, which sites approve.

    The same hedgerow makes the same bundle, byte for byte, on every machine.
    """
    from server import app_bundle  # noqa: PLC0415

    home = FederationHome(fed)
    home.config()
    built = app_bundle.build()
    built.write(home.bundle(built.version))
    typer.echo(f"{built.sha256}  {home.bundle(built.version)}")


@app.command()
def run(
    fed: Fed,
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="A federation.toml.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a setting; repeatable"),
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with an interrupted run, by its name.")
    ] = None,
    quiet: Annotated[  # noqa: FBT002
        bool, typer.Option("--quiet", "-q", help="Print the path of the report only.")
    ] = False,
    as_json: Annotated[  # noqa: FBT002
        bool, typer.Option("--json", help="Print summary.json instead of tables.")
    ] = False,
) -> None:
    """Train one model over the federation's sites; `hedgerow coordinator up` has to be running.

    Every site has to have countersigned the roster and approved the app bundle. A coordinator that
    dies on the way is started again by `up`, and the run goes on from its last recorded round.
    [site_policy] and [simulation] of CONFIG are for simulated sites: real ones have policies of
    their own.

    \b
    Exit codes: those of hedgerow simulate.
    """  # noqa: D301 - \b keeps the lines apart
    from server.coordinator_service import superlink_control  # noqa: PLC0415 - imports flwr
    from server.deployed_run import DeployedRun  # noqa: PLC0415
    from server.run_display import print_summary  # noqa: PLC0415

    if (config is None) == (resume is None):
        raise UsageError("give a federation.toml or --resume RUN, and not both")
    if resume is not None and settings:
        raise UsageError("--set: a run is resumed as it began; leave it out with --resume")
    home = FederationHome(fed)
    console = Console(stderr=as_json, quiet=quiet)
    with superlink_control(home, home.config()) as control:
        control.nodes()  # nothing is prepared for a SuperLink that is not there
        folder, bundle = _ready_folder(home, config, settings or [], resume)
        console.print(f"[bold]{folder.id}[/] -> {folder.path}", highlight=False)
        deployed = DeployedRun(
            control,
            folder,
            bundle.content,
            lambda line: console.print(line, highlight=False, markup=False),
        )
        summary = _play(home, deployed, console)
    print_summary(summary, folder, quiet=quiet, as_json=as_json)
    if summary.run.status == "stopped":
        refused = summary.run.stopped_by_budget or summary.run.stopped_by_refusal
        raise typer.Exit(PrivacyRefusal.exit_code if refused else RoundFailed.exit_code)


def _ready_folder(
    home: FederationHome, config: Path | None, settings: list[str], resume: str | None
) -> "tuple[RunFolder, AppBundle]":
    """A run folder to play, and the bundle to ship, as far as the release in force allows both."""
    from federation import config_file  # noqa: PLC0415 - quick help
    from federation.run_folder import RunFolder  # noqa: PLC0415
    from server.app_bundle import build  # noqa: PLC0415
    from server.run_preparation import prepare, require_same_release  # noqa: PLC0415 - imports torch

    bundle = build()
    bundle.write(home.bundle(bundle.version))
    if config is None:
        assert resume is not None
        folder = RunFolder.open(home.runs.absolute() / Path(resume).name)
        if not folder.summary.is_file():
            require_same_release(home, folder, bundle, "start a new run")
        return folder, bundle
    wanted = config_file.read(config, settings)
    own_task = config.resolve().parent if ":" in wanted.task.name else None
    return prepare(home, wanted, bundle, own_task), bundle


def _play(home: FederationHome, deployed: "DeployedRun", console: Console) -> "Summary":
    """Run to the end with a bar on the terminal; Ctrl-C says how to go on."""
    from federation import config_file  # noqa: PLC0415
    from federation.audit_log import AuditLog  # noqa: PLC0415
    from server.round_line import round_line  # noqa: PLC0415 - imports torch: seconds
    from server.run_display import rounds_bar  # noqa: PLC0415

    audit, folder = AuditLog(home.audit), deployed.folder
    total = config_file.read(folder.config).run.rounds + 1
    audit.append("run_begun", run=folder.id)
    how = "failed"
    try:
        with rounds_bar(console) as bar:
            bar_id = bar.add_task("rounds", total=total, line="")
            summary = deployed.play(
                lambda told: bar.update(
                    bar_id, completed=min(told.record.round.round, total), line=round_line(told)
                )
            )
        how = summary.run.status
    except Interrupted as error:
        how = "interrupted"
        raise Interrupted(
            f"{error}; go on with: hedgerow coordinator run {quoted(home.path)} --resume "
            f"{folder.id}"
        ) from error
    finally:
        audit.append("run_ended", run=folder.id, status=how)
    return summary


def _picture(status: "CoordinatorStatus") -> Table:
    """The status as a table of tables, one idea a row."""
    whole = Table(box=None, show_header=False, pad_edge=False)
    release = "no roster in force" if status.release is None else f"release {status.release}"
    superlink = "SuperLink answers" if status.superlink else "[red]SuperLink does not answer[/]"
    whole.add_row(f"[bold]{status.federation}[/]  {release}  {superlink}  {status.time}")
    if status.processes:
        processes = _table("process", "state", "pid", "restarts", "")
        for one in status.processes:
            processes.add_row(
                one.name, one.phase, str(one.pid or ""), str(one.restarts), one.reason
            )
        whole.add_row(processes)
    if status.sites:
        sites = _table("site", "state", "last seen", "certificate", "countersigned")
        for site in status.sites:
            seen = "" if site.last_seen is None else f"{_ago(site.last_seen)} ago"
            days = f"{site.certificate_days:.0f} days"
            sites.add_row(site.name, site.state, seen, days, "yes" if site.countersigned else "no")
        whole.add_row(sites)
    if status.certificates:
        own = ", ".join(f"{one.name} {one.days:.0f} days" for one in status.certificates)
        whole.add_row(f"certificates end in: {own}")
    if status.runs:
        runs = _table("run", "state", "rounds", "failed", "s / round")
        for latest in status.runs[:5]:
            pace = latest.seconds_per_round
            runs.add_row(
                latest.id,
                latest.state,
                str(latest.rounds_completed),
                str(latest.rounds_failed),
                "" if pace is None else f"{pace:.1f}",
            )
        whole.add_row(runs)
    for warning in status.warnings:
        whole.add_row(f"[yellow]![/] {warning}")
    return whole


def _table(*columns: str) -> Table:
    table = Table(*columns, box=box.SIMPLE, header_style="bold")
    table.columns[0].overflow = "fold"
    return table


def _ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
