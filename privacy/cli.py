"""`hedgerow privacy`: what privacy costs, and what attacks show of it."""

import typer

from privacy.audit.cli import app as audit_commands

app = typer.Typer(add_completion=False, no_args_is_help=True)
app.add_typer(audit_commands, name="audit")


@app.callback()
def _group() -> None:
    """Look into what is promised about privacy."""
