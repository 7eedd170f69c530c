"""`hedgerow tasks`: what is built in."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The built-in tasks and their models."
)


@app.callback()
def tasks() -> None:
    """The built-in tasks and their models."""


@app.command("list")
def list_tasks(
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a table of Markdown.")] = False,
) -> None:
    """Every task with every model that `task.options.model` may name, the default first.

    Counts of parameters that are trained, and so travel, and of those that are frozen; rows and
    sites; where the rows come from. Those marked "fetched" take `hedgerow data fetch TASK` first.
    """
    from simulations.task_catalogue import COLUMNS, table  # noqa: PLC0415 - imports torch: seconds

    if markdown:
        for line in (COLUMNS, ("---",) * len(COLUMNS), *table()):
            typer.echo(f"| {' | '.join(line)} |")
        return
    shown = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        shown.add_column(column, no_wrap=column != "source")
    before = ""
    for line in table():
        task, *of_model, _, _, _ = line
        shown.add_row(*(line if task != before else ("", *of_model, "", "", "")))
        before = task
    Console().print(shown)
