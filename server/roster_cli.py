"""`hedgerow coordinator roster`: what the consortium signs, and who has countersigned it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.shell_word import quoted

if TYPE_CHECKING:
    from server.federation_home import FederationHome
    from server.roster_signing import Signing

app = typer.Typer(add_completion=False, no_args_is_help=True)

Federation = Annotated[Path, typer.Argument(metavar="FED", help="The federation's folder.")]
KeyPath = Annotated[
    Path | None,
    typer.Option(help="The consortium's private key; FED/consortium/consortium.key if left out."),
]


@app.callback()
def _group() -> None:
    """What the consortium signs, and which sites have countersigned it."""


@app.command("sign")
def sign(fed: Federation, consortium_key: KeyPath = None) -> None:
    """Sign roster and run rules with the consortium's key, and write each site's package."""
    from federation.software import Software  # noqa: PLC0415 - a help text is quick without
    from server import roster_signing  # noqa: PLC0415 - as above
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above

    home = FederationHome.opened(fed)
    with home.claimed():
        key = roster_signing.read_consortium_key(consortium_key or home.consortium_key)
        done = roster_signing.sign(home, key, _now(), Software.installed())
        _tell(home, done, "roster_signed")


@app.command("export")
def export(
    fed: Federation,
    folder: Annotated[Path, typer.Argument(help="A new folder, to be carried to the key.")],
) -> None:
    """Copy what signing needs, and no private key, for a machine that has the consortium's key."""
    from server import roster_signing  # noqa: PLC0415 - a help text is quick without
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above

    home = FederationHome.opened(fed)
    with home.claimed():
        roster_signing.export_unsigned(home, folder)
        home.note("roster_exported", folder=str(folder))
    typer.echo(
        f"wrote {folder}; where the key is: hedgerow coordinator roster sign {quoted(folder)} "
        f"--consortium-key PATH; then here: hedgerow coordinator roster import {quoted(fed)} "
        f"{quoted(folder)}"
    )


@app.command("import")
def import_(
    fed: Federation,
    folder: Annotated[Path, typer.Argument(help="The folder that was signed.")],
) -> None:
    """Take what was signed in an exported folder, if it is what is enrolled here."""
    from server import roster_signing  # noqa: PLC0415 - a help text is quick without
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above

    home = FederationHome.opened(fed)
    with home.claimed():
        _tell(home, roster_signing.import_signed(home, folder), "roster_imported")


@app.command("show")
def show(fed: Federation) -> None:
    """Show the roster in force, its digest, and who has countersigned it."""
    from federation.digest_text import grouped  # noqa: PLC0415 - a help text is quick without
    from server import countersigning, roster_signing  # noqa: PLC0415 - as above
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above

    home = FederationHome.opened(fed)
    members = countersigning.require_membership(home)
    unsigned = countersigning.missing(home, members)
    typer.echo(f"federation {members.federation}, release {members.release.version}")
    typer.echo(f"roster {grouped(members.roster.digest())}")
    typer.echo(f"rules  {grouped(members.signed_rules.digest())}")
    for one in members.roster.certificates:
        end = datetime.fromtimestamp(one.not_after, UTC).date()
        state = "not countersigned" if one.site in unsigned else "countersigned"
        typer.echo(f"  {one.site}: {state}; certificate until {end}")
    for change in roster_signing.unsigned_changes(home, members):
        typer.echo(f"not signed yet: {change}")


@app.command("accept")
def accept(
    fed: Federation,
    countersignatures: Annotated[
        list[Path], typer.Argument(metavar="COUNTERSIGN...", help="Of sites.")
    ],
) -> None:
    """Take sites' countersignatures; runs begin with sites that have signed what is in force."""
    from federation import countersignature  # noqa: PLC0415 - a help text is quick without
    from federation.bounded_file import read_bounded  # noqa: PLC0415 - as above
    from federation.errors import IntegrityError  # noqa: PLC0415 - as above
    from server import countersigning  # noqa: PLC0415 - as above
    from server.federation_home import FederationHome  # noqa: PLC0415 - as above

    home = FederationHome.opened(fed)
    with home.claimed():
        for path in countersignatures:
            data = read_bounded(path, countersignature.LARGEST_BYTES, "the countersignature")
            try:
                site = countersigning.accept(home, data)
            except IntegrityError as error:
                raise IntegrityError(f"{path}: {error}") from error
            home.note("countersignature_accepted", site=site)
            typer.echo(f"{site} has countersigned")
        left = countersigning.missing(home, countersigning.require_membership(home))
    typer.echo(f"still to come: {', '.join(left)}" if left else "every site has countersigned")


def _tell(home: "FederationHome", done: "Signing", event: str) -> None:
    from federation.digest_text import grouped  # noqa: PLC0415 - a help text is quick without

    members = done.membership
    version, digest = members.release.version, members.roster.digest()
    if not done.changes:
        typer.echo(f"nothing has changed: release {version} stays in force")
    else:
        rules = members.signed_rules.digest()
        home.note(event, release=version, roster=digest, rules=rules)
        for change in done.changes:
            typer.echo(change)
        typer.echo(f"signed release {version} with {len(members.roster.keys)} sites")
    if len(members.roster.keys) < members.rules.minimum_quorum:
        typer.echo(
            f"NO RUN CAN BEGIN with so few: the run rules demand {members.rules.minimum_quorum}"
        )
    typer.echo(f"roster {grouped(digest)}")
    typer.echo("read it to each site by phone; packages to send:")
    for site in members.roster.keys:
        typer.echo(f"  {home.package(site)}")


def _now() -> datetime:
    return datetime.now(UTC)
