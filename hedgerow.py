"""The command `hedgerow`: mounts what each package owns and turns errors into one line each."""

import errno
import os
import signal
import sys
import tempfile
import traceback
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import click
import typer

from federation.errors import HedgerowError, Interrupted, StorageError

DISK_REFUSES = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO
}  # fmt: skip
"""What a full, failing or forbidden disk says: no bug of ours."""

COMMANDS = ("simulations.cli", "simulations.sweep_cli", "evaluation.cli", "simulations.console_cli")
GROUPS = {
    "privacy": "privacy.cli",
    "secure-sum": "privacy.secure_sum_cli",
    "coordinator": "server.coordinator_cli",
    "site": "client.site_cli",
    "analytics": "simulations.analytics_cli",
    "evaluation": "simulations.evaluation_cli",
    "partition": "simulations.partition_cli",
    "runs": "simulations.runs_cli",
    "data": "simulations.data_cli",
    "tasks": "simulations.tasks_cli",
}
"""Where the commands are that each package owns, and the groups of them."""


def command_line(first: str = "") -> click.Command:
    """All commands; of one group alone if `first` is its name.

    A quick question should not wait until the settings of simulations are imported.
    """
    app = typer.Typer(
        name="hedgerow",
        help="Federated learning between sites whose rows never leave.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for module in () if first in GROUPS else COMMANDS:
        app.registered_commands += import_module(module).app.registered_commands
    for name, module in GROUPS.items():
        if first == name or first not in GROUPS:
            app.add_typer(import_module(module).app, name=name)
    return typer.main.get_command(app)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer's callback protocol
    if asked:
        typer.echo(f"hedgerow {version('hedgerow')}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Simulate federations, join one as a site, report what privacy was spent."""


def main() -> None:
    """Entry point of the console script; exits with the code that `federation.errors` lists."""
    command = command_line(*sys.argv[1:2])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        code = command.main(standalone_mode=False) or 0
        if code == Interrupted.exit_code:  # click's own way to end at Ctrl-C
            _fail("interrupted before there was a run to go on with", code)
        sys.exit(code)
    except HedgerowError as error:
        _fail(str(error), error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _fail("interrupted", Interrupted.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SystemExit as ended:
        # click and rich end the program where a reader such as `head` has gone; nothing is wrong.
        sys.exit(0 if isinstance(ended.__context__, BrokenPipeError) else ended.code)
    except OSError as error:
        if error.errno not in DISK_REFUSES:
            _report_bug()
        refused = StorageError(
            f"the disk refuses: {error.strerror}{f': {error.filename}' if error.filename else ''}; "
            "what was recorded is whole: make room, then go on with hedgerow simulate --resume RUN "
            "if a run had begun"
        )
        _fail(str(refused), refused.exit_code)
    except Exception:  # noqa: BLE001 - a bug of ours: say so, keep the details for the report
        _report_bug()


def _report_bug() -> NoReturn:
    details = _keep(traceback.format_exc())
    _fail(f"this is a bug in hedgerow; please report it with {details}", 1)


def _interrupt(number: int, _: object) -> None:
    """End as at Ctrl-C: what is recorded stays, workers end, and the user is told how to go on."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _keep(details: str) -> Path:
    """Write the details of a crash where the user is, or else where anyone may write."""
    for folder in (Path(), Path(tempfile.gettempdir())):
        try:
            (folder / "hedgerow-crash.log").write_text(details, encoding="utf-8")
        except OSError:
            continue
        return folder / "hedgerow-crash.log"
    return Path(os.devnull)


def _fail(text: str, code: int) -> NoReturn:
    typer.echo(f"hedgerow: {text}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
