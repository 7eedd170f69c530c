"""`hedgerow runs`: list, show and compare run folders; nothing is changed."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.errors import UsageError
from federation.report_page.number_text import duration, epsilon, moment, rate, significant

if TYPE_CHECKING:
    from simulations.run_comparison import Difference, Fact, RunFacts
    from simulations.run_listing import RunLine

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List, show and compare run folders."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


WIDE_ENOUGH = 120
"""Columns of a terminal for all columns of the list; `--json` has them on any."""

FURTHER = ("task", "sites", "started", "took")
"""Columns that a narrow terminal has no room for."""


@app.command(name="list")
def list_runs(
    folder: Annotated[
        Path, typer.Argument(help="A folder of runs or sweeps, a sweep, or a federation directory.")
    ] = Path("runs"),
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """List runs, the latest first: state, task, rounds, accuracy, epsilon, worst-group gap.

    Folders that are no runs, and runs that are damaged, are named with the reason.

    \b
    Exit codes:
      0    printed
      2    there is no such folder, or it holds no run
    """  # noqa: D301 - \b keeps the lines apart
    from simulations.run_listing import run_lines  # noqa: PLC0415 - imports scipy: a second

    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    lines = run_lines(folder)
    if not lines:
        raise UsageError(f"{folder} holds no runs")
    if as_json:
        typer.echo(json.dumps([asdict(line) for line in lines], allow_nan=False))
        return
    console = Console()
    console.print(_list_table(folder, lines, is_wide=console.width >= WIDE_ENOUGH))
    for line in lines:
        for damage in line.damage:
            console.print(Text(f"{_within(folder, line.path)}: {damage}"))


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Show one run: its settings, what it reached and cost, and what it ran on.

    \b
    Exit codes:
      0    printed
      2    it is no run folder
    """  # noqa: D301 - \b keeps the lines apart
    from simulations.run_comparison import PARTS, run_facts  # noqa: PLC0415 - as above

    facts = run_facts(_run(run))
    if as_json:
        typer.echo(json.dumps(asdict(facts), allow_nan=False))
        return
    console = Console()
    for part in reversed(PARTS):
        table = _table(f"{part} of {facts.name}", ("", ""))
        table.show_header = False
        for name, value in facts.part(part).items():
            table.add_row(Text(name), Text(_fact(name, value)))
        console.print(table)
    for damage in facts.damage:
        console.print(Text(damage))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, two or more.")],
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Show in what runs differ, and nothing else: settings, results, epsilon, versions.

    Numbers of later runs stand with their difference from the first run's.

    \b
    Exit codes:
      0    printed
      2    one is no run folder, or there is only one
    """  # noqa: D301 - \b keeps the lines apart
    from simulations.run_comparison import PARTS, differences, run_facts  # noqa: PLC0415 - as above

    facts = [run_facts(_run(path)) for path in runs]
    found = differences(facts)
    if as_json:
        told = {
            "runs": [one.name for one in facts],
            "differences": [asdict(one) for one in found],
            "damage": {one.name: one.damage for one in facts if one.damage},
        }
        typer.echo(json.dumps(told, allow_nan=False))
        return
    console = Console()
    for number, one in enumerate(facts, start=1):
        console.print(Text(f"run {number}: {one.name}"))
    for part in PARTS:
        _print_part(console, part, [one for one in found if one.part == part], facts)
    for one in facts:
        for damage in one.damage:
            console.print(Text(f"{one.name}: {damage}"))


def _print_part(
    console: Console, part: str, found: "list[Difference]", facts: "list[RunFacts]"
) -> None:
    if not found:
        console.print(Text(f"{part}: no difference"))
        return
    table = _table(part, ("", *(f"run {place}" for place in range(1, len(facts) + 1))))
    for one in found:
        cells = (
            Text(_fact(one.name, value) + _change(one.name, change if place else None))
            for place, (value, change) in enumerate(zip(one.values, one.changes, strict=True))
        )
        table.add_row(Text(one.name), *cells)
    console.print(table)


def _run(path: Path) -> Path:
    """A run by its path, by its name in ./runs, or by the folder of a sweep's run that holds it."""
    named = Path("runs") / path
    found = named if not path.exists() and named.is_dir() else path
    within = [one.parent for one in found.glob("*/config.toml")]
    return within[0] if len(within) == 1 and not (found / "config.toml").is_file() else found


def _list_table(folder: Path, lines: "list[RunLine]", *, is_wide: bool) -> Table:
    table = Table(
        title=f"{len(lines)} runs in {folder}", title_justify="left", box=box.SIMPLE,
        header_style="bold", padding=(0, 1, 0, 0),
    )  # fmt: skip
    table.add_column("run", overflow="fold")
    for name in ("status", "rounds", "accuracy", "epsilon", "gap", *(FURTHER if is_wide else ())):
        table.add_column(name, no_wrap=True)
    for line in lines:
        cells = (
            line.status,
            f"{line.rounds} of {line.planned}" if line.planned else "",
            rate(line.accuracy),
            epsilon(line.epsilon),
            rate(line.worst_gap),
        )
        further = (
            line.task,
            str(line.sites or ""),
            moment(line.started).removesuffix(" UTC"),
            "" if line.seconds is None else duration(line.seconds),
        )
        row = (_within(folder, line.path), *cells, *(further if is_wide else ()))
        table.add_row(*map(Text, row))
    return table


def _within(folder: Path, path: str) -> str:
    """A run by its place in the folder; one of a sweep by its trial and seed."""
    found = Path(path)
    named = found.parent if found.parent.parent.name == "runs" and found != folder else found
    return str(named.relative_to(folder)) if named.is_relative_to(folder) else found.name


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _fact(name: str, value: "Fact") -> str:
    if value is None:
        return "–"
    if name == "epsilon" and isinstance(value, float):
        return epsilon(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _change(name: str, change: float | None) -> str:
    if not change or name == "run.seed":
        return ""
    shown = f"{change:g}".replace("-", "−") if change.is_integer() else significant(change)
    return f" ({'+' if change > 0 else ''}{shown})"
