"""`hedgerow console`: a page to look at, of a coordinator, of runs, or of a site."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.errors import UsageError

if TYPE_CHECKING:
    from federation.console_page.page import Source

app = typer.Typer(add_completion=False)


@app.command()
def console(
    path: Annotated[
        Path,
        typer.Argument(
            help="A coordinator's federation directory, a site's home, a folder of runs, or a run."
        ),
    ] = Path("runs"),
    port: Annotated[int, typer.Option(help="Of 127.0.0.1; a free one if 0.", min=0, max=65535)] = 0,
) -> None:
    """Serve a read-only page on this machine: what runs, what was spent, what calls for somebody.

    Prints an address to open in a browser; it is good once, for whoever opens it first, and
    answers to this machine only. Nothing is changed, and no row is shown. Ctrl-C ends it.

    \b
    Exit codes:
      0    ended by Ctrl-C
      2    PATH holds nothing to show, or the port is in use
    """  # noqa: D301 - \b keeps the lines apart
    from federation.console_server import bind, serve  # noqa: PLC0415 - imports a web server

    if not path.is_dir():
        raise UsageError(f"there is no folder {path}; hedgerow console --help says what it shows")
    source = _source(path)
    serve(source, bind(port), lambda url: typer.echo(f"open {url}\nCtrl-C ends it"))
    typer.echo("ended")


def _source(path: Path) -> "Source":
    """The pages of whatever the folder is.

    Raises:
        UsageError: it is nothing that can be shown.
    """
    from server.console_place import has_something_to_show  # noqa: PLC0415 - settings: a while

    if (path / "site.toml").is_file():
        from client.console import site_source  # noqa: PLC0415 - imports scipy: a second

        return site_source(path, time.time)
    if not has_something_to_show(path):
        raise UsageError(
            f"{path} holds nothing to show: expected a federation directory (coordinator.toml), a "
            "site's home (site.toml), a run (config.toml), or a folder of runs"
        )
    from server.console import coordinator_source  # noqa: PLC0415 - imports scipy: a second

    return coordinator_source(path, time.time)
