"""`hedgerow data`: public data sets that are fetched, checked and kept on this machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from federation.errors import DataError
from simulations import public_data

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Public data sets, each for the task of its name: where they are, and bringing them.",
)

Name = Annotated[str, typer.Argument(help="One of those that `hedgerow data list` names.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar=public_data.FOLDER_VARIABLE,
        help="Where sets are kept; simulations look where HEDGEROW_DATA says.",
        show_default="this user's cache",
        show_envvar=True,
    ),
]


@app.command("list")
def list_sets(data: Folder = None) -> None:
    """What there is, under which licence, how large, and whether it is here."""
    folder = data or public_data.data_folder()
    table = Table("set", "what", "licence", "MB", "here", box=None, pad_edge=False)
    for name, known in public_data.SETS.items():
        states = public_data.states(name, folder)
        here = sum(state == "here" for state in states.values())
        said = "yes" if here == len(states) else f"{here} of {len(states)} files" if here else "no"
        table.add_row(name, known.title, known.licence, f"{known.size / 1e6:.1f}", said)
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"\nkept in {folder}", highlight=False)


@app.command()
def fetch(name: Name, data: Folder = None) -> None:
    """Download a set, check its SHA-256 and keep it."""
    folder = data or public_data.data_folder()
    for path in public_data.fetch(name, folder):
        typer.echo(path)
    typer.echo(f"{name}: whole, as published; {public_data.SETS[name].licence}")


@app.command()
def verify(name: Name, data: Folder = None) -> None:
    """Say of each file whether it is here and is the published one; exit code 3 if not.

    Files that were carried in by hand are checked so.
    """
    folder = data or public_data.data_folder()
    known, states = public_data.known_set(name), public_data.states(name, folder)
    typer.echo(f"SHA-256: {known.pinned_from}")
    for file in known.files:
        typer.echo(f"{states[file.name]:8}{folder / name / file.name}")
        if states[file.name] != "here":
            typer.echo(f"        wanted from {file.url}\n        SHA-256 {file.sha256}")
    wrong = [file for file, state in states.items() if state != "here"]
    if wrong:
        raise DataError(f"{name}: {', '.join(wrong)}: missing, or not as published")
