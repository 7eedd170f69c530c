"""`hedgerow coordinator evaluate`, `cohorts` and `analytics`: what is asked beside training."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.errors import Interrupted, UsageError
from server.federation_home import FederationHome
from server.findings_output import tell_findings, unknown_if_wrong

if TYPE_CHECKING:
    from federation.run_folder import RunFolder
    from server.app_bundle import AppBundle
    from server.deployed_work import Work

app = typer.Typer(add_completion=False)

Fed = Annotated[Path, typer.Argument(metavar="FED", help="The federation's folder.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run of it that has a model.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]


@app.command()
def evaluate(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    fed: Fed,
    run: Run,
    window: Annotated[
        list[str] | None,
        typer.Option(help="A window of the sites' rows, in order of time; repeat for several."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The window that the others are compared with.")
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(help="Where alerts are sent as JSON, by POST over https.")
    ] = None,
    check: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--check", help="End with the exit codes of `evaluation check`.")
    ] = False,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Judge a model on windows of its sites' rows; `hedgerow coordinator up` has to be running.

    As `hedgerow evaluation run` does over simulated sites: the first time, the reference window is
    counted and frozen; a window that was counted is not counted again, and asks no site.
    FED/runs/RUN/evaluation holds what comes of it, and `hedgerow evaluation check`, `report` and
    `compare` work on FED/runs/RUN.

    \b
    Exit codes: those of hedgerow evaluation run.
    """  # noqa: D301 - \b keeps the lines apart
    with unknown_if_wrong(check=check):
        from federation.task_loading import load_task  # noqa: PLC0415 - quick help
        from server.alert_sinks import require_webhook  # noqa: PLC0415 - as above
        from server.deployed_questions import (  # noqa: PLC0415 - as above
            let_ask,
            trained_run,
            windows_of,
        )
        from server.evaluation_findings import write_findings  # noqa: PLC0415 - as above
        from server.run_preparation import search_task_folder  # noqa: PLC0415 - as above
        from server.window_evaluation import Asked  # noqa: PLC0415 - as above

        if webhook is not None:
            require_webhook(webhook)
        home = FederationHome.opened(fed)
        folder, config = trained_run(home, run)
        asked = Asked(tuple(window or ()), reference)
        work = windows_of(folder, asked, _say)
        if not work.is_done():
            with _noted(home, "evaluation", folder):
                _ask(home, work, lambda bundle: let_ask(home, folder, config, bundle))
        with folder.sole_user():
            search_task_folder(folder)
            task = load_task(config.task.name, config.task.options)
            summary = write_findings(folder, config, task)
        tell_findings(folder.path, summary, webhook, as_json=as_json)
    if check:
        raise typer.Exit(summary.exit_code)


@app.command()
def cohorts(
    fed: Fed,
    run: Run,
    clusters: Annotated[int, typer.Option(help="How many cohorts to look for.")],
    window: Annotated[
        str | None,
        typer.Option(help="A window that was counted; the reference window if left out."),
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Discover cohorts of sites whose rows are alike; `hedgerow coordinator up` has to be running.

    As `hedgerow evaluation cohorts` does over simulated sites. Sites allow it with
    allow_cohort_discovery, once per window.

    \b
    Exit codes: those of hedgerow evaluation cohorts.
    """  # noqa: D301 - \b keeps the lines apart
    from server.cohort_search import (  # noqa: PLC0415 - quick help
        CohortQuestion,
        found_before,
        lines,
    )
    from server.deployed_questions import (  # noqa: PLC0415 - as above
        cohorts_of,
        let_ask,
        trained_run,
    )

    home = FederationHome.opened(fed)
    folder, config = trained_run(home, run)
    question = CohortQuestion(clusters, window)
    work = cohorts_of(folder, config, question, _say)
    if not work.is_done():
        with _noted(home, "cohorts", folder):
            _ask(home, work, lambda bundle: let_ask(home, folder, config, bundle))
    found = found_before(folder, config, question)
    assert found is not None
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json")))
        return
    for line in lines(found):
        typer.echo(line)


@app.command()
def analytics(
    fed: Fed,
    queries: Annotated[
        Path | None, typer.Argument(metavar="QUERIES", help="An analytics.toml.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with interrupted queries, by name.")
    ] = None,
    as_json: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--json", help="Print analytics.json instead of tables.")
    ] = False,
) -> None:
    """Ask about the pooled rows of all sites; `hedgerow coordinator up` has to be running.

    QUERIES is an analytics.toml; `hedgerow analytics init` writes one to start from. Its
    [site_policy] is for simulated sites: real ones answer by their own site.toml. The answers are
    written to a folder of their own in FED/runs.

    \b
    Exit codes: those of hedgerow analytics run.
    """  # noqa: D301 - \b keeps the lines apart
    from federation.analytics_config import read_analytics  # noqa: PLC0415 - quick help
    from server.analysis_display import print_analysis  # noqa: PLC0415 - as above
    from server.analytics_folder import open_queries, read_analysis  # noqa: PLC0415 - as above
    from server.analytics_run import analysis_path  # noqa: PLC0415 - as above
    from server.deployed_questions import Queries  # noqa: PLC0415 - as above
    from server.query_preparation import prepare_queries  # noqa: PLC0415 - as above
    from server.run_preparation import require_same_release  # noqa: PLC0415 - as above

    if (queries is None) == (resume is None):
        raise UsageError("give an analytics.toml or --resume RUN, and not both")
    home = FederationHome.opened(fed)
    bundle = _bundle(home)
    if queries is not None:
        config = read_analytics(queries)
        beside = queries.resolve().parent if ":" in config.task.name else None
        _require_superlink(home)  # nothing is prepared for a SuperLink that is not there
        folder = prepare_queries(home, config, bundle, beside)
    else:
        assert resume is not None
        folder = open_queries(home.runs.absolute() / Path(resume).name)
    typer.echo(f"{folder.id} -> {folder.path}", err=True)
    work = Queries(folder)
    if not work.is_done():
        again = f"hedgerow coordinator analytics {home.path} --resume {folder.id}"
        with _noted(home, "analytics", folder, again):
            _ask(
                home,
                work,
                lambda bundle: require_same_release(home, folder, bundle, "ask the queries anew"),
            )
    analysis = read_analysis(folder)
    if as_json:
        typer.echo(json.dumps(analysis.model_dump(mode="json")))
        return
    print_analysis(analysis)
    typer.echo(f"answers: {analysis_path(folder)}")


def _ask(home: FederationHome, work: "Work", prepare: Callable[["AppBundle"], None]) -> None:
    """Have a ServerApp do the work, once `prepare` has found that it may."""
    from server.coordinator_service import superlink_control  # noqa: PLC0415 - imports flwr
    from server.deployed_work import DeployedWork  # noqa: PLC0415 - as above

    bundle = _bundle(home)
    with superlink_control(home, home.config()) as control:
        control.nodes()  # a SuperLink that is not there is told of right here
        prepare(bundle)
        DeployedWork(control, work, bundle.content, _say).to_the_end()


def _require_superlink(home: FederationHome) -> None:
    from server.coordinator_service import superlink_control  # noqa: PLC0415 - imports flwr

    with superlink_control(home, home.config()) as control:
        control.nodes()


def _bundle(home: FederationHome) -> "AppBundle":
    from server.app_bundle import build  # noqa: PLC0415 - quick help

    bundle = build()
    bundle.write(home.bundle(bundle.version))
    return bundle


@contextmanager
def _noted(
    home: FederationHome, event: str, folder: "RunFolder", again: str = "the same command"
) -> Iterator[None]:
    """Begin and end are in the audit log; Ctrl-C says how to go on."""
    how = "failed"
    home.note(f"{event}_begun", run=folder.id)
    try:
        yield
        how = "completed"
    except (Interrupted, KeyboardInterrupt) as error:
        how = "interrupted"
        raise Interrupted(f"interrupted; go on with: {again}") from error
    finally:
        home.note(f"{event}_ended", run=folder.id, status=how)


def _say(line: str) -> None:
    typer.echo(line, err=True)
