"""How the commands that evaluate answer: words or JSON, alerts, exit codes."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from federation.errors import HedgerowError

if TYPE_CHECKING:
    from federation.evaluation_summary import EvaluationSummary

UNKNOWN = 3
"""Exit code of a check that has no answer, as monitoring plugins have it."""


def tell_findings(
    run: Path, summary: "EvaluationSummary", webhook: str | None, *, as_json: bool
) -> None:
    """Print what was found, and send the alerts; a webhook that does not answer is told of.

    Args:
        run: folder of the run.
        summary: of its evaluations.
        webhook: where alerts go, if anywhere.
        as_json: for programs.
    """
    from evaluation.report.evaluation_terminal import lines  # noqa: PLC0415 - quick help
    from server.alert_sinks import send  # noqa: PLC0415 - as above

    if as_json:
        typer.echo(json.dumps(summary.model_dump(mode="json")))
    else:
        for line in lines(summary):
            typer.echo(line)
        typer.echo(f"report: {run / 'evaluation' / 'evaluation.html'}")
    if webhook is not None and summary.alerts:
        problem = send(webhook, run.name, summary.alerts)
        if problem:
            typer.echo(f"hedgerow: {problem}", err=True)


@contextmanager
def unknown_if_wrong(*, check: bool) -> Iterator[None]:
    """In a check, 1 and 2 are answers: an error must not look like one."""
    try:
        yield
    except HedgerowError as error:
        if not check:
            raise
        typer.echo(f"hedgerow: {error}", err=True)
        sys.exit(UNKNOWN)
