"""`hedgerow coordinator`: a federation's folder, and who is in it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.shell_word import quoted
from server import certificate_cli, roster_cli

if TYPE_CHECKING:
    from federation.site_request import SiteEnrolment
    from server.federation_home import FederationHome

app = typer.Typer(add_completion=False, no_args_is_help=True)
app.add_typer(roster_cli.app, name="roster")
app.add_typer(certificate_cli.app, name="certificate")

Federation = Annotated[Path, typer.Argument(metavar="FED", help="The federation's folder.")]
Request = Annotated[Path, typer.Argument(metavar="REQUEST", help="A site's .request file.")]


@app.callback()
def _group() -> None:
    """What a federation's coordinator does."""


@app.command("init")
def init(
    fed: Federation,
    name: Annotated[str, typer.Option(help="The federation's name: lower case, digits, - and _.")],
    host: Annotated[
        list[str],
        typer.Option(help="DNS name or IP address that sites reach it by; more than once is fine."),
    ],
    port: Annotated[int, typer.Option(help="The one port that sites must reach.")] = 8443,
    existing_ca: Annotated[
        Path | None,
        typer.Option(help="Certificate of a CA that there is already: makes a request for it."),
    ] = None,
    consortium_pub: Annotated[
        Path | None,
        typer.Option(help="Public key of a consortium that keeps its private key elsewhere."),
    ] = None,
) -> None:
    """Make the folder of a federation: settings, CA, certificate, run rules, empty roster.

    \b
    Exit codes:
      0    made
      2    the folder is not empty, or a value or file is wrong
    """  # noqa: D301 - \b keeps the lines apart
    from federation import settings_file  # noqa: PLC0415 - a help text is quick without
    from federation.digest_text import grouped  # noqa: PLC0415 - as above
    from federation.errors import ConfigError  # noqa: PLC0415 - as above
    from server.coordinator_config import CoordinatorConfig  # noqa: PLC0415 - as above
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above
    from server.federation_setup import set_up  # noqa: PLC0415 - as above

    home = FederationHome(fed)
    values: dict[str, object] = {"name": name, "hosts": host, "port": port}
    try:
        config = settings_file.validated(CoordinatorConfig, values)
    except ConfigError as wrong:
        options = {"name": "--name", "hosts": "--host", "port": "--port"}
        raise settings_file.as_typed(wrong, options) from wrong
    set_up(home, config, _now(), existing_ca=existing_ca, consortium=consortium_pub)
    key = home.given.read_consortium().key.hex()
    home.note("federation_made", name=name, consortium_key=key)
    typer.echo(f"made {fed}; settings: {home.config_file}; run rules: {home.rules_draft}")
    typer.echo(f"consortium's public key: {grouped(key)}")
    if consortium_pub is None:
        typer.echo(
            f"MOVE {home.consortium_key} off this machine: whoever holds it decides who is a site "
            "and what every run must keep to, and the coordinator should not. Commands that sign "
            "take it with --consortium-key PATH."
        )
    if existing_ca is not None:
        typer.echo(
            f"have your CA sign {home.server_request}, then: hedgerow coordinator certificate "
            f"install {quoted(fed)} SERVER.pem"
        )
    typer.echo(f"next: hedgerow coordinator enroll {quoted(fed)} SITE.request...")


@app.command("enroll")
def enroll(
    fed: Federation,
    requests: Annotated[list[Path], typer.Argument(metavar="REQUEST...", help="Of sites.")],
) -> None:
    """Verify what sites sent and take them in; they are in the roster once that is signed.

    Compare the digest that is shown with the one that the site's own people read to you.
    """
    from federation.digest_text import grouped  # noqa: PLC0415 - a help text is quick without
    from federation.software import Software  # noqa: PLC0415 - as above
    from server import enrolment  # noqa: PLC0415 - as above
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above

    home = FederationHome.opened(fed)
    with home.claimed():
        for path in requests:
            request = enrolment.read_request(path)
            enrolment.enroll(home, request, _now(), Software.installed())
            _note(home, "site_enrolled", request)
            typer.echo(
                f"enrolled {request.site}: {request.public_rows} rows declared, delta "
                f"{request.delta:g}\n  request {grouped(request.digest())}"
            )
    typer.echo(f"next, when all sites are in: hedgerow coordinator roster sign {quoted(fed)}")


@app.command("revoke")
def revoke(
    fed: Federation,
    site: Annotated[str, typer.Argument(help="Name of the site.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
) -> None:
    """Shut a site out: its node cannot connect from now on, and the next roster is without it."""
    from server import enrolment  # noqa: PLC0415 - a help text is quick without
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above

    home = FederationHome.opened(fed)
    with home.claimed():
        request = enrolment.revoke(home, site, _now())
        _note(home, "site_revoked", request, reason=reason)
    typer.echo(f"revoked {site}: both its keys are good for nothing any more")
    typer.echo(
        f"next: hedgerow coordinator roster sign {quoted(fed)}, and send every site its package"
    )


@app.command("rotate")
def rotate(
    fed: Federation,
    request: Request,
    node_key_lost: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option(help="The site says by phone that it lost its node key.")
    ] = False,
) -> None:
    """Exchange a site's keys, as asked for with `hedgerow site rotate-keys`."""
    from federation.digest_text import grouped  # noqa: PLC0415 - a help text is quick without
    from federation.software import Software  # noqa: PLC0415 - as above
    from server import enrolment  # noqa: PLC0415 - as above
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above

    home = FederationHome.opened(fed)
    with home.claimed():
        read = enrolment.read_request(request)
        enrolment.rotate(home, read, _now(), Software.installed(), node_lost=node_key_lost)
        _note(home, "keys_exchanged", read, node_key_lost=node_key_lost)
    typer.echo(f"exchanged keys of {read.site}\n  request {grouped(read.digest())}")
    typer.echo(
        f"next: hedgerow coordinator roster sign {quoted(fed)}, and send every site its package"
    )


def _note(
    home: "FederationHome", event: str, request: "SiteEnrolment", **details: str | bool
) -> None:
    home.note(event, site=request.site, request=request.digest(), **details)


def _now() -> datetime:
    return datetime.now(UTC)
