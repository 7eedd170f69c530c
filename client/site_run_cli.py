"""`hedgerow site up`, `agent` and `node`: the processes of a deployed site."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)

Home = Annotated[Path, typer.Argument(help="The site's home: the folder with its site.toml.")]


@app.command()
def up(home: Home) -> None:
    """Start the site's agent and node, and keep them running until Ctrl-C or SIGTERM.

    The agent holds rows, keys, ledger and policy and has no network; the node has one connection
    out and hands messages over. Either is started again if it ends. A unit for systemd that runs
    them as two users is in deploy/systemd.
    """
    from client.site_home import SiteHome  # noqa: PLC0415 - imports torch: seconds
    from client.site_processes import keep_up, require_joined  # noqa: PLC0415 - as above

    site = SiteHome(home)
    require_joined(site)
    keep_up(site, _tell)


@app.command()
def agent(home: Home) -> None:
    """Be the site's agent alone, as a service manager starts it."""
    from client.site_home import SiteHome  # noqa: PLC0415 - imports torch: seconds
    from client.site_processes import serve_agent  # noqa: PLC0415 - as above

    serve_agent(SiteHome(home))


@app.command()
def node(home: Home) -> None:
    """Be the site's node alone, as a service manager starts it."""
    from client.site_home import SiteHome  # noqa: PLC0415 - imports Flower: a second
    from client.site_processes import carry_messages, require_joined  # noqa: PLC0415 - as above

    site = SiteHome(home)
    require_joined(site)
    carry_messages(site)


@app.command()
def guard(
    home: Home,
    supernode: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the SuperNode's Runtime API is.")
    ],
    secret: Annotated[
        Path, typer.Option(help="The file it was given as --superexec-auth-secret-file.")
    ],
    ca: Annotated[
        Path | None, typer.Option(help="PEM of the CA of its certificate; none on loopback.")
    ] = None,
) -> None:
    """Stand behind a stock flower-supernode, in place of flower-superexec.

    For a site that has to run Flower's own SuperNode: started with --isolation process and a
    secret, it starts no app by itself. This takes its messages to the site's agent; no code of a
    bundle is unpacked or run. Other sites need `hedgerow site up` alone.
    """
    from client.site_home import SiteHome  # noqa: PLC0415 - imports Flower: a second
    from client.site_processes import guard_supernode  # noqa: PLC0415 - as above

    guard_supernode(SiteHome(home), supernode, secret, ca)


def _tell(name: str, event: str, details: Mapping[str, object]) -> None:
    if details.get("reason") == "stopped":
        details = {}  # as asked for: nothing starts again
    told = ", ".join(f"{key} {value}" for key, value in details.items() if value not in {None, ""})
    typer.echo(f"{name}: {event}{f' ({told})' if told else ''}")
