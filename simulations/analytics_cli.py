"""`hedgerow analytics run` and `hedgerow analytics init`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.analysis import Analysis, Answer, Released
from federation.durable_file import write_atomically
from federation.errors import Interrupted, UsageError
from simulations.analytics_example import EXAMPLE

app = typer.Typer(add_completion=False, no_args_is_help=True)

NOTHING = "–"
MOST_CELLS = 24
"""Of a histogram on the terminal; all of them are in analytics.json."""

PRIVACY = {
    "record": "every answer is noised at every site",
    "partly": "EXACT ANSWERS AMONG THEM: NO PRIVACY GUARANTEE",
    "none": "EXACT: NO PRIVACY GUARANTEE",
}


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
    _print(analysis)
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


def _print(analysis: Analysis) -> None:
    console = Console()
    told = f"{len(analysis.survivors)} sites; {PRIVACY[analysis.privacy]}"
    table = _table("query", "about", "answer", "noise ±", "rounding ±", "epsilon", title=told)
    for answer in analysis.answers:
        for row in _rows(answer):
            table.add_row(*map(Text, row))
    console.print(table)
    accounts = _table("site", "epsilon spent", "budget", "noise from", title="ledgers")
    for site, account in sorted(analysis.accounts.items()):
        spent, budget = _epsilon(account.epsilon_spent), _epsilon(account.epsilon_budget)
        accounts.add_row(*map(Text, (site, spent, budget, account.noise_source)))
    console.print(accounts)


def _table(*columns: str, title: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE)
    for column in columns:
        words = column in ("query", "about", "site", "noise from")
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    return table


def _rows(answer: Answer) -> Iterator[tuple[str, ...]]:
    spent = "exact" if answer.epsilon is None else f"{answer.epsilon:g}"
    about = " | ".join(
        part for part in (answer.column or "rows", answer.where) if part != "overall"
    )
    if answer.withheld:
        yield answer.name, about, f"withheld: {answer.withheld}", NOTHING, NOTHING, spent
        return
    if answer.released is not None:
        yield answer.name, f"{answer.kind} of {about}", *_released(answer.released), spent
    for quantile in answer.quantiles:
        value, _, rounding = _released(quantile.released)
        noise = f"{quantile.rank_standard_error:.3g} ranks"
        what = f"{quantile.probability:g} quantile of {about}"
        yield answer.name, what, value, noise, rounding, spent
    for cell in answer.cells[:MOST_CELLS]:
        noise = f"{answer.cell_standard_error:.3g}"
        yield answer.name, f"{about}: {cell.label}", str(cell.rows), noise, "0", spent
    if len(answer.cells) > MOST_CELLS:
        more = f"{len(answer.cells) - MOST_CELLS} more in analytics.json"
        yield answer.name, more, NOTHING, NOTHING, NOTHING, spent
    if answer.kind != "count":
        for what, beside in (("rows", answer.rows), ("clipped", answer.clipped)):
            if beside is not None:
                yield "", what, *_released(beside), ""


def _released(released: Released) -> tuple[str, str, str]:
    value, error = released.value, released.standard_error
    return (
        NOTHING if value is None else f"{value:.7g}",
        NOTHING if error is None else f"{error:.3g}",
        f"{released.resolution:.2g}",
    )


def _epsilon(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.4f}"
