"""`hedgerow report`: make the page again from a run's summary."""

from pathlib import Path
from typing import Annotated

import typer

from federation.durable_file import write_atomically
from federation.errors import UsageError
from federation.run_folder import RunFolder

app = typer.Typer(add_completion=False)


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(help="A folder that holds a summary.json.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; RUN_FOLDER/report.html by default.")
    ] = None,
) -> None:
    """Write a run's report again, from its summary.json alone.

    RUN_FOLDER is the folder of the run, which holds the summary.json.

    Exit codes: 0 written; 2 no summary there, or no page can be written; 6 the summary is damaged.
    """
    from evaluation.report.page import render  # noqa: PLC0415 - jinja2 only when a page is made

    if not run_folder.is_dir():
        raise UsageError(f"{run_folder} is no folder; give a run folder, with its summary.json")
    folder = RunFolder(run_folder)
    target = folder.report if out is None else out
    page = render(folder.read_summary())
    try:
        write_atomically(target, page.encode())
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}; choose --out") from error
    typer.echo(f"wrote {target}")
