"""`hedgerow site`: set a site up, join a federation, exchange keys."""

import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from client.joining import Joining

app = typer.Typer(add_completion=False, no_args_is_help=True)

Home = Annotated[Path, typer.Argument(metavar="HOME", help="The site's folder.")]

OPTIONS = {
    "site": "--name",
    "federation": "--federation",
    "dataset": "--dataset",
    "public_rows": "--rows",
    "tasks": "--task",
    "epsilon_budget": "--epsilon",
    "delta": "--delta",
    "records_per_person": "--records-per-person",
    "split_seed": "--split-seed",
}
"""Of `site init`, by the setting of site.toml that each gives."""


@app.callback()
def _group() -> None:
    """What a site's own people do at the site."""


@app.command("init")
def init(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    home: Home,
    name: Annotated[str, typer.Option(help="The site's name: lower case, digits, - and _.")],
    federation: Annotated[str, typer.Option(help="Name of the federation to join.")],
    task: Annotated[list[str], typer.Option(help="A task the site runs; more than once is fine.")],
    dataset: Annotated[str, typer.Option(help="Names the rows that the budget is for.")],
    rows: Annotated[int, typer.Option(min=1, help="Training rows, declared in public.")],
    epsilon: Annotated[float, typer.Option(help="The dataset's budget, over all runs.")],
    delta: Annotated[
        float | None,
        typer.Option(help="Of the budget; the largest power of ten up to 1 / rows if left out."),
    ] = None,
    records_per_person: Annotated[
        int, typer.Option(min=1, help="The most records that the rows hold of one person.")
    ] = 1,
    split_seed: Annotated[
        int | None, typer.Option(min=0, help="Of which rows are held out; drawn if left out.")
    ] = None,
) -> None:
    """Make a site's folder: keys that never leave it, policy, ledger, and a request to be enrolled.

    \b
    Exit codes:
      0    made
      2    the folder is not empty, or a value is wrong
    """  # noqa: D301 - \b keeps the lines apart
    from client import site_setup  # noqa: PLC0415 - a help text is quick without
    from client.policy_text import FirstPolicy, usual_delta  # noqa: PLC0415 - as above
    from client.site_home import SiteHome  # noqa: PLC0415 - as above
    from federation.digest_text import grouped  # noqa: PLC0415 - as above
    from federation.errors import ConfigError  # noqa: PLC0415 - as above
    from federation.settings_file import as_typed  # noqa: PLC0415 - as above
    from federation.software import Software  # noqa: PLC0415 - as above
    from federation.task_loading import require_task_name  # noqa: PLC0415 - as above
    from federation.timestamp import utc_now  # noqa: PLC0415 - as above

    for one in task:
        require_task_name(one)
    if delta is not None and delta > 1 / rows:
        raise ConfigError(
            "--delta", delta, f"at most 1 / rows = {1 / rows:.3g}", "leave it out for the usual one"
        )
    site = SiteHome(home)
    policy = FirstPolicy(
        site=name,
        dataset=dataset,
        public_rows=rows,
        tasks=tuple(task),
        split_seed=secrets.randbits(62) if split_seed is None else split_seed,
        epsilon=epsilon,
        delta=usual_delta(rows) if delta is None else delta,
        records_per_person=records_per_person,
    )
    try:
        request = site_setup.set_up(site, policy, federation, Software.installed(), utc_now())
    except ConfigError as wrong:
        raise as_typed(wrong, OPTIONS) from wrong
    _note(site.audit, "site_set_up", request=request.digest(), dataset=dataset)
    typer.echo(f"made {home}: keys, policy ({site.policy}) and ledger; keys stay here")
    typer.echo(f"budget: epsilon {policy.epsilon:g} at delta {policy.delta:g} over all runs")
    typer.echo(f"send {site.request(name)} to the coordinator, and read its digest by phone:")
    typer.echo(f"  request {grouped(request.digest())}")


@app.command("request")
def request(home: Home) -> None:
    """Write the request to be enrolled anew, with the same keys: one expires after 30 days."""
    from client import site_setup  # noqa: PLC0415 - a help text is quick without
    from client.site_home import SiteHome  # noqa: PLC0415 - as above
    from federation.digest_text import grouped  # noqa: PLC0415 - as above
    from federation.software import Software  # noqa: PLC0415 - as above
    from federation.timestamp import utc_now  # noqa: PLC0415 - as above

    site = SiteHome(home)
    made = site_setup.renew_request(site, Software.installed(), utc_now())
    _note(site.audit, "request_renewed", request=made.digest())
    typer.echo(f"wrote {site.request(made.site)}\n  request {grouped(made.digest())}")


@app.command("join")
def join(
    home: Home,
    package: Annotated[Path, typer.Argument(metavar="PACKAGE", help="The .hedgerow file.")],
    roster_digest: Annotated[
        str | None,
        typer.Option(help="As the coordinator and the other sites read it to you by phone."),
    ] = None,
) -> None:
    """Install what the consortium signed, after you compared the roster's digest by phone.

    Shows what changes. At a terminal it asks whether the digests agree; elsewhere it needs
    --roster-digest.

    \b
    Exit codes:
      0    installed and countersigned
      2    not compared, the agent is running, or a file cannot be read
      6    the package was altered, is not for this site, or is older than what is in force
    """  # noqa: D301 - \b keeps the lines apart
    from client import joining  # noqa: PLC0415 - a help text is quick without
    from client.site_home import SiteHome  # noqa: PLC0415 - as above
    from federation.software import Software  # noqa: PLC0415 - as above

    site = SiteHome(home)
    found = joining.examine(site, package, Software.installed(), datetime.now(UTC))
    _show(found)
    _compare(found, roster_digest)
    signed = joining.install_package(site, found)
    members = found.package.membership
    _note(
        site.audit,
        "federation_joined",
        release=members.release.version,
        roster=signed.roster_digest,
        rules=signed.rules_digest,
        superlink=members.release.superlink,
    )
    typer.echo(f"joined {members.federation}, release {members.release.version}")
    typer.echo(f"send {site.countersignature(signed.site)} back to the coordinator")


@app.command("rotate-keys")
def rotate_keys(
    home: Home,
    node_key_lost: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option(help="The present node key is gone: only the identity key signs.")
    ] = False,
    identity: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option(help="Exchange the identity key, too; the ledger goes on under it.")
    ] = False,
) -> None:
    """Make a new node key, and the request that the coordinator exchange the present one for it.

    With --identity a new identity key, too: when you join with the package that certifies it, the
    ledger notes the exchange, signed by both, and all that was spent stays spent.
    """
    from client import site_setup  # noqa: PLC0415 - a help text is quick without
    from client.site_home import SiteHome  # noqa: PLC0415 - as above
    from federation.digest_text import grouped  # noqa: PLC0415 - as above
    from federation.software import Software  # noqa: PLC0415 - as above
    from federation.timestamp import utc_now  # noqa: PLC0415 - as above

    site = SiteHome(home)
    made = site_setup.rotate_keys(
        site,
        Software.installed(),
        utc_now(),
        node_key_lost=node_key_lost,
        with_identity=identity,
    )
    _note(site.audit, "key_exchange_requested", request=made.digest(), identity=identity)
    typer.echo(f"send {site.exchange(made.site)} to the coordinator, and read its digest by phone:")
    typer.echo(f"  request {grouped(made.digest())}")
    typer.echo("the present keys are in force until you join with the package that names the new")


def _show(found: "Joining") -> None:
    from federation.digest_text import grouped  # noqa: PLC0415 - a help text is quick without

    members = found.package.membership
    release, rules = members.release, members.rules
    typer.echo(f"federation {members.federation}, release {release.version}, {release.superlink}")
    typer.echo(
        f"rules version {rules.version}: quorum {rules.minimum_quorum}, threshold "
        f"{rules.minimum_threshold}, update clip {rules.largest_update_clip:g}, without privacy: "
        f"{'allowed' if rules.allow_without_privacy else 'never'}"
    )
    for change in found.changes or ["nothing changes"]:
        typer.echo(f"  {change}")
    typer.echo(f"consortium {grouped(members.consortium.key.hex())}")
    typer.echo(f"roster     {grouped(members.roster.digest())}")


def _compare(found: "Joining", told: str | None) -> None:
    """Return if somebody compared the digest that was told by another way.

    Raises:
        UsageError: nobody did.
        IntegrityError: it is another one.
    """
    from federation.digest_text import grouped, parse_digest  # noqa: PLC0415 - as above
    from federation.errors import IntegrityError, UsageError  # noqa: PLC0415 - as above

    shown = found.package.membership.roster.digest()
    if told is not None:
        if parse_digest(told) != shown:
            raise IntegrityError(
                f"the roster's digest is {grouped(shown)}, and you were told another one: nothing "
                "was installed; somebody may have altered the package on its way"
            )
        return
    if not _is_terminal():
        raise UsageError(
            "nobody compared the roster's digest: ask the coordinator for it by phone, and give it "
            "with --roster-digest"
        )
    typer.echo(
        "Call the coordinator, and one other site, at numbers you know; let them read theirs."
    )
    if not typer.confirm("Do all 16 groups of the roster agree?", default=False):
        raise UsageError("the digests were not compared, or differ: nothing was installed")


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _note(path: Path, event: str, **details: str | float) -> None:
    from federation.audit_log import AuditLog  # noqa: PLC0415 - a help text is quick without

    AuditLog(path).append(event, **details)
