"""`hedgerow coordinator certificate`: the coordinator's TLS certificate."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from federation.shell_word import quoted

app = typer.Typer(add_completion=False, no_args_is_help=True)

Federation = Annotated[Path, typer.Argument(metavar="FED", help="The federation's folder.")]


@app.callback()
def _group() -> None:
    """The coordinator's TLS certificate."""


@app.command("install")
def install_certificate(
    fed: Federation,
    certificate: Annotated[Path, typer.Argument(help="PEM: the server's, then intermediates.")],
) -> None:
    """Take the certificate that an existing CA signed, if sites will accept it."""
    from server import coordinator_certificates  # noqa: PLC0415 - a help text is quick without
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above

    home = FederationHome.opened(fed)
    with home.claimed():
        coordinator_certificates.install(home, certificate, _now())
        home.note("certificate_installed", file=str(certificate))
    typer.echo(f"wrote {home.server_certificate}; restart hedgerow coordinator up")


@app.command("renew")
def renew(
    fed: Federation,
    new_key: Annotated[bool, typer.Option(help="Make a new key for the server, too.")] = False,  # noqa: FBT002
    new_authority: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option(help="Make a new CA, too: sites must join with new packages.")
    ] = False,
) -> None:
    """Issue the server's certificate anew; with an existing CA, write a new request for it."""
    from server import coordinator_certificates  # noqa: PLC0415 - a help text is quick without
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above

    home = FederationHome.opened(fed)
    with home.claimed():
        path = coordinator_certificates.renew(
            home, _now(), new_server_key=new_key, new_ca=new_authority
        )
        home.note("certificate_renewed", file=path.name, new_authority=new_authority)
    typer.echo(f"wrote {path}")
    if path == home.server_request:
        typer.echo(f"next: hedgerow coordinator certificate install {quoted(fed)} SERVER.pem")
    elif new_authority:
        typer.echo(
            f"next: hedgerow coordinator roster sign {quoted(fed)}, and send every site its package"
        )


@app.command("authority")
def authority(
    fed: Federation,
    ca: Annotated[Path, typer.Argument(help="PEM: the certificate of another existing CA.")],
) -> None:
    """Use another existing CA from now on: writes a request for it."""
    from server import coordinator_certificates  # noqa: PLC0415 - a help text is quick without
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above

    home = FederationHome.opened(fed)
    with home.claimed():
        coordinator_certificates.replace_authority(home, ca)
        home.note("authority_replaced", file=str(ca))
    typer.echo(
        f"wrote {home.ca} and {home.server_request}; next: hedgerow coordinator certificate "
        f"install {quoted(fed)} SERVER.pem, then hedgerow coordinator roster sign {quoted(fed)}"
    )


@app.command("show")
def show_certificates(fed: Federation) -> None:
    """Show how long each certificate is still good."""
    from server import coordinator_certificates  # noqa: PLC0415 - a help text is quick without
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above

    home = FederationHome.opened(fed)
    warn = home.config().warn_days
    for one in coordinator_certificates.expiries(home, _now()):
        state = "EXPIRED" if one.days <= 0 else "RENEW SOON" if one.days <= warn else "good"
        typer.echo(f"{one.what}: {one.days:.0f} days left, {state}")


def _now() -> datetime:
    return datetime.now(UTC)
