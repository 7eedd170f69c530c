"""How a run looks on a terminal: a bar while it goes on, tables at its end."""

import json

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from evaluation.report.terminal import summary_tables
from federation.run_folder import RunFolder
from federation.summary import Summary

WIDE_ENOUGH_FOR_A_BAR = 100
"""Columns of a terminal; on a narrower one the numbers need all there is."""

WORDS = ("grade", "why")
"""Columns of text rather than of numbers."""


def rounds_bar(console: Console) -> Progress:
    """A bar whose task has a field `line` of text."""
    wide = (BarColumn(), TimeElapsedColumn()) if console.width >= WIDE_ENOUGH_FOR_A_BAR else ()
    return Progress(
        TextColumn("round"),
        MofNCompleteColumn(),
        *wide,
        TextColumn("{task.fields[line]}"),
        console=console,
        disable=console.quiet,
    )


def print_summary(summary: Summary, folder: RunFolder, *, quiet: bool, as_json: bool) -> None:
    """The summary as tables, or as JSON, or its report's path alone."""
    if as_json:
        typer.echo(json.dumps(json.loads(folder.summary.read_text(encoding="utf-8"))))
        return
    if not quiet:
        console = Console()
        for plain in summary_tables(summary):
            console.print(Text(f"\n{plain.title}", style="italic"))
            table = Table(header_style="bold", box=box.SIMPLE)
            for index, column in enumerate(plain.columns):
                words = index == 0 or column in WORDS
                table.add_column(column, justify="left" if words else "right", overflow="fold")
            for row in plain.rows:
                table.add_row(*map(Text, row))
            console.print(table)
    typer.echo(f"report: {folder.report}")
    if summary.run.stopped_because:
        typer.echo(f"hedgerow: stopped: {summary.run.stopped_because}", err=True)
