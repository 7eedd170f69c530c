"""`hedgerow evaluation`: judge a trained model on windows of rows, and keep an eye on it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from federation.errors import Interrupted, UsageError
from server.findings_output import tell_findings, unknown_if_wrong

app = typer.Typer(add_completion=False, no_args_is_help=True)

RunArgument = Annotated[Path, typer.Argument(help="The folder of a run that has a model.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]


@app.callback()
def _group() -> None:
    """Per-group fairness and drift of a trained model, learned as sums over sites."""


@app.command()
def run(
    run_folder: RunArgument,
    window: Annotated[
        list[str] | None,
        typer.Option(help="A window of the task's rows, in order of time; repeat for several."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The window that the others are compared with.")
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(help="Where alerts are sent as JSON, by POST over https.")
    ] = None,
    check: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--check", help="End with the exit codes of `check`.")
    ] = False,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Count windows of held-out rows by secure sums, and judge the model on them.

    The first time, the reference window is counted and frozen, the bins of every feature with it.
    A window that was counted is not counted again. RUN_FOLDER/evaluation holds what comes of it:
    the page evaluation.html, evaluation.json, alerts.jsonl and metrics.prom.

    \b
    Exit codes:
      0    done; with --check: and nothing is wrong
      1    with --check: something to watch
      2    wrong option; with --check: something to act on
      3    wrong data; with --check: an error, whichever
      4    a site's policy or budget refused
      5    too few sites were left
      6    something durable is damaged, or the disk refuses
      130  interrupted; the same command goes on and costs no site anything more
    """  # noqa: D301 - \b keeps the lines apart
    with unknown_if_wrong(check=check):
        from server.alert_sinks import require_webhook  # noqa: PLC0415 - with the rest
        from server.window_evaluation import Asked  # noqa: PLC0415 - with the rest
        from simulations.evaluation import evaluate  # noqa: PLC0415 - imports torch: seconds

        if webhook is not None:
            require_webhook(webhook)
        try:
            summary = evaluate(run_folder, Asked(tuple(window or ()), reference))
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; the same command goes on") from error
        tell_findings(run_folder, summary, webhook, as_json=as_json)
    if check:
        raise typer.Exit(summary.exit_code)


@app.command("check")
def check_(run_folder: RunArgument) -> None:
    """Say what there is to watch or to act on, from the evaluations there are; asks no site.

    \b
    Exit codes, as monitoring plugins have them:
      0  nothing
      1  something to watch
      2  something to act on
      3  no answer: nothing was evaluated, or an error
    """  # noqa: D301 - \b keeps the lines apart
    with unknown_if_wrong(check=True):
        from federation.evaluation_summary import read_evaluation  # noqa: PLC0415 - as below

        summary = read_evaluation(_existing(run_folder))
        for alert in summary.alerts:
            typer.echo(f"{alert.level}: {alert.sentence}")
        if not summary.alerts:
            typer.echo("nothing to watch")
    raise typer.Exit(summary.exit_code)


@app.command()
def report(
    run_folder: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write; RUN_FOLDER/evaluation/evaluation.html by default."),
    ] = None,
) -> None:
    """Write the page again, from evaluation.json alone.

    Exit codes: 0 written; 2 nothing was evaluated, or no page can be written; 6 it is damaged.
    """
    from evaluation.report.evaluation_page import render  # noqa: PLC0415 - jinja2
    from federation.durable_file import write_atomically  # noqa: PLC0415 - with the rest
    from federation.evaluation_record import EvaluationFolder  # noqa: PLC0415 - with the rest
    from federation.evaluation_summary import read_evaluation  # noqa: PLC0415 - with the rest
    from federation.run_folder import RunFolder  # noqa: PLC0415 - with the rest

    page = render(read_evaluation(_existing(run_folder)))
    target = out or EvaluationFolder.of(RunFolder(run_folder)).report
    try:
        write_atomically(target, page.encode())
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}; choose --out") from error
    typer.echo(f"wrote {target}")


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="The folder of a run, usually not mitigated.")],
    after: Annotated[Path, typer.Argument(help="That of a run of the same task and sites.")],
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Two runs side by side: accuracy and every gap, parity and odds, with intervals.

    Exit codes: 0 compared; 2 a run has not ended; 6 a summary is damaged.
    """
    from evaluation.mitigation import comparison  # noqa: PLC0415 - numpy and scipy
    from federation.run_folder import RunFolder  # noqa: PLC0415 - with the rest

    first, second = (RunFolder(_existing(one)).read_summary() for one in (before, after))
    found = comparison.compare(first, second)
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json")))
        return
    typer.echo(comparison.text_table(found), nl=False)


@app.command("privacy-impact")
def privacy_impact_(
    run_folder: RunArgument,
    epsilon: Annotated[
        list[float], typer.Option(help="An epsilon to train at; repeat for several.")
    ],
    seed: Annotated[
        list[int] | None, typer.Option(help="A seed to train with; repeat; 1, 2, 3 if left out.")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Train the run's federation again, without privacy and at each epsilon: whom it costs most.

    A simulation beside the run: it charges no ledger and needs all rows on this machine. What comes
    of it is shown per group, and on the page of `hedgerow evaluation run` if there is one.

    Exit codes: 0 done; 2 wrong option; others as of `hedgerow simulate`.
    """
    from simulations.impact_of_run import impact_of_run, lines  # noqa: PLC0415 - imports torch

    found = impact_of_run(
        _existing(run_folder), epsilon, seed or [1, 2, 3], lambda text: typer.echo(text, err=True)
    )
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json")))
        return
    for line in lines(found):
        typer.echo(line)


@app.command()
def cohorts(
    run_folder: RunArgument,
    clusters: Annotated[int, typer.Option(help="How many cohorts to look for.")],
    window: Annotated[
        str | None,
        typer.Option(help="A window that was counted; the reference window if left out."),
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Discover cohorts of sites whose rows are alike, by secure sums alone.

    What a cohort holds becomes known, and how many sites are in it; which, only to each site
    itself. Sites allow it with allow_cohort_discovery, once per window. RUN_FOLDER/evaluation
    gets cohorts.json.

    \b
    Exit codes:
      0    done, or done before; also if fewer cohorts were found than asked for
      2    wrong option, noised counts or declared cohorts
      3    wrong data
      4    a site's policy refused, or a cohort came out too small
      5    a site is missing; the same command goes on when it is back
      6    something durable is damaged, or the disk refuses
      130  interrupted; the same command goes on
    """  # noqa: D301 - \b keeps the lines apart
    from server.cohort_search import lines  # noqa: PLC0415 - imports torch
    from simulations.cohort_discovery import find_cohorts  # noqa: PLC0415 - as above

    try:
        found = find_cohorts(run_folder, clusters, window, lambda text: typer.echo(text, err=True))
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted; the same command goes on") from error
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json")))
        return
    for line in lines(found):
        typer.echo(line)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give the folder of a run")
    return folder
