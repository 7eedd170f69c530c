"""`hedgerow privacy`: mounts the commands about privacy, each in a file of its own."""

import typer

from privacy.accounting_cli import app as accounting_commands
from privacy.audit.cli import app as audit_commands
from privacy.count_noise_cli import app as count_noise_commands
from privacy.ledger_cli import app as ledger_commands

app = typer.Typer(name="privacy", add_completion=False, no_args_is_help=True)
for commands in (accounting_commands, count_noise_commands, ledger_commands):
    app.registered_commands += commands.registered_commands
app.add_typer(audit_commands, name="audit")


@app.callback()
def _group() -> None:
    """Say what noise costs, plan how much it takes, attack it, look at what was spent."""
