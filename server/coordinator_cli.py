"""`hedgerow coordinator`: setting up a federation, enrolling its sites, running it."""

import typer

from server import enrolment_cli, operation_cli, question_cli

app = typer.Typer(add_completion=False, no_args_is_help=True)
for part in (enrolment_cli, operation_cli, question_cli):
    app.registered_commands += part.app.registered_commands
    app.registered_groups += part.app.registered_groups


@app.callback()
def _group() -> None:
    """Set up a federation, enroll its sites, and run it."""
