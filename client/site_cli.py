"""`hedgerow site`: what a site's own people do at the site."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from client import approval_cli, check_cli, joining_cli, site_run_cli, site_status_cli

if TYPE_CHECKING:
    from evaluation.audit.document import SiteAudit

app = typer.Typer(add_completion=False, no_args_is_help=True)
for part in (joining_cli, check_cli, site_run_cli, site_status_cli, approval_cli):
    app.registered_commands += part.app.registered_commands

AsJson = Annotated[bool, typer.Option("--json", help="Print the document; write no files.")]


@app.callback()
def _group() -> None:
    """What a site's own people do at the site."""


@app.command("audit-data")
def audit_data(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    home: Annotated[Path, typer.Argument(help="The site's home: the folder with its site.toml.")],
    task: Annotated[
        str | None, typer.Option(help="Which of the policy's tasks; needed if it lists several.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="A run's model.safetensors, to hold labels against; without it, models are "
            "trained here on the other folds, without privacy, and forgotten."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the files; HOME/audit.")] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="COLUMN,COLUMN", help="Label columns of annotators to compare."),
    ] = None,
    top: Annotated[int, typer.Option(help="How many rows each ranking lists.")] = 50,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Look for what is wrong with a site's own rows: for the site alone, nothing leaves it.

    HOME is the folder with the site's site.toml; a simulated site's is RUN/sites/NAME.

    Writes audit.html, audit.json and uncertain.csv, which tell of single rows: readable by their
    owner alone. Checks missing, impossible and unknown values, constant columns, duplicates,
    conflicting labels, class balance, held-out rows in training, leakage, wrong labels, and how far
    annotators agree. docs/data-audit.md has the rules.

    \b
    Exit codes:
      0    written (whatever the verdicts)
      2    no home, unknown task or label column, or the files cannot be read or written
      3    the data or the model is not what it should be
    """  # noqa: D301 - \b keeps the lines apart
    from client.data_audit import AuditChoice, audit, document_json, write_audit  # noqa: PLC0415 - imports torch: seconds
    from client.site_home import SiteHome  # noqa: PLC0415 - as above
    from federation.task_loading import add_search_folder  # noqa: PLC0415 - as above

    add_search_folder(Path())  # where a task of the site's own may lie
    columns = None if labels is None else [name.strip() for name in labels.split(",")]
    document = audit(SiteHome(home), AuditChoice(task, model, columns, top))
    if as_json:
        typer.echo(document_json(document), nl=False)
        return
    written = write_audit(document, home / "audit" if out is None else out)
    Console().print(_table(document))
    typer.echo("for this site alone: the files tell of single rows, and nothing was sent")
    for path in written:
        typer.echo(f"wrote {path}")


def _table(document: "SiteAudit") -> Table:
    table = Table(box=box.SIMPLE, header_style="bold")
    for column in ("check", "verdict", "finding"):
        table.add_column(column, overflow="fold")
    for check in document.checks:
        table.add_row(check.name, check.verdict, Text(check.finding))
    return table
