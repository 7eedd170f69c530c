"""`hedgerow analytics run` and `hedgerow analytics init`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from federation.durable_file import write_atomically
from federation.errors import Interrupted, UsageError
from server.analysis_display import print_analysis
from simulations.analytics_example import EXAMPLE

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Ask about the pooled rows of all sites: counts, sums, means, histograms, quantiles."""


@app.command()
def run(
    queries: Annotated[Path | None, typer.Argument(help="An analytics.toml.")] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run folder.")
    ] = None,
    as_json: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--json", help="Print analytics.json instead of tables.")
    ] = False,
) -> None:
    """Answer the queries over the simulated sites of a task.

    QUERIES is an analytics.toml; `hedgerow analytics init` writes one to start from.

    \b
    Exit codes:
      0    answered
      2    wrong option or query
      3    wrong data
      4    a site's policy or budget refused
      5    too few sites were left
      6    something durable is damaged, or the disk refuses
      130  interrupted; --resume goes on and costs no site anything more
    """  # noqa: D301 - \b keeps the lines apart
    from federation.analytics_config import read_analytics  # noqa: PLC0415 - with the rest below
    from simulations import analytics  # noqa: PLC0415 - imports torch: seconds

    if (queries is None) == (resume is None):
        raise UsageError("give an analytics.toml, or --resume RUN")
    if queries is not None:
        config = read_analytics(queries)
        beside = queries.resolve().parent if ":" in config.task.name else None
        folder = analytics.prepare(config, runs, beside)
    else:
        assert resume is not None
        folder = analytics.go_on(resume)
    try:
        analysis = analytics.run(folder)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted; go on with: hedgerow analytics run --resume {folder.path}"
        ) from error
    if as_json:
        typer.echo(json.dumps(analysis.model_dump(mode="json")))
        return
    print_analysis(analysis)
    typer.echo(f"answers: {folder.path / 'analytics.json'}")


@app.command()
def init(
    path: Annotated[Path | None, typer.Argument(help="The file to write.")] = None,
) -> None:
    """Print a commented analytics.toml to start from, or write it to PATH.

    Exit codes: 0 done; 2 the file exists already, or cannot be written.
    """
    if path is None:
        typer.echo(EXAMPLE, nl=False)
        return
    if path.exists():
        raise UsageError(f"{path} exists already; choose another name")
    try:
        write_atomically(path, EXAMPLE.encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    typer.echo(f"wrote {path}; ask it with: hedgerow analytics run {path}")
