"""`hedgerow site status`, `ledger`, `log`: what a deployed site did, spent and allows."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.audit_log import AuditEntry, AuditLog

app = typer.Typer(add_completion=False)

LOOK_AGAIN_SECONDS = 0.5

Home = Annotated[Path, typer.Argument(help="The site's home: the folder with its site.toml.")]
LedgerPath = Annotated[
    Path | None, typer.Option("--ledger", help="The dataset's ledger; HOME/ledger.sqlite.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("status")
def status(home: Home, ledger: LedgerPath = None, as_json: AsJson = False) -> None:  # noqa: FBT002 - an option
    """Say in short what the site allows, what is spent, what is approved, and if its agent is up.

    \b
    Exit codes:
      0    told, also if the agent is down
      2    no home, or its policy cannot be read
      6    the ledger, the approvals or the audit log is not what was written
    """  # noqa: D301 - \b keeps the lines apart
    from client.site_home import SiteHome  # noqa: PLC0415 - imports torch: seconds
    from client.site_status import read_status  # noqa: PLC0415 - as above

    place = SiteHome(home)
    told = read_status(place, ledger or place.ledger)
    if as_json:
        typer.echo(json.dumps(told, indent=1))
        return
    for name, value in told.items():
        typer.echo(f"{name.replace('_', ' '):22} {_words(value)}")


@app.command("ledger")
def ledger(home: Home, ledger: LedgerPath = None, as_json: AsJson = False) -> None:  # noqa: FBT002 - an option
    """List the ledger's entries after its whole chain is verified under the site's own key.

    \b
    Exit codes:
      0    whole
      2    no ledger, or no key
      6    damaged; the text names the entry
    """  # noqa: D301 - \b keeps the lines apart
    from client.site_home import SiteHome  # noqa: PLC0415 - imports torch: seconds
    from privacy.ledger import verify  # noqa: PLC0415 - as above

    place = SiteHome(home)
    place.require()
    entries = verify(ledger or place.ledger, place.read_identity().public_key())
    if as_json:
        plain = [{"hash": e.hash} | e.body for e in entries]
        typer.echo(json.dumps(plain, indent=1))
        return
    table = Table(box=box.SIMPLE, header_style="bold")
    for column in ("entry", "when", "kind", "run", "round", "charge"):
        table.add_column(column, overflow="fold")
    for e in entries:
        told = [str(e.body.get(key, "")) for key in ("at", "kind", "run", "round", "charge")]
        table.add_row(str(e.seq), *(Text(text) for text in told))
    Console().print(table)
    typer.echo(f"whole: {len(entries)} entries, the last has hash {entries[-1].hash}")


@app.command("log")
def log(
    home: Home,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,  # noqa: FBT002 - an option
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """List what was done at the site, after the chain of its audit log is verified.

    \b
    Exit codes:
      0    whole
      2    no home, or the log cannot be read
      6    a line was altered, added, moved or lost; the text names it
    """  # noqa: D301 - \b keeps the lines apart
    from client.site_home import SiteHome  # noqa: PLC0415 - imports torch: seconds
    from federation.audit_log import AuditLog  # noqa: PLC0415 - help is quick

    place = SiteHome(home)
    place.require()
    audit = AuditLog(place.audit)
    shown = _print_entries(audit, 0, as_json=as_json)
    if not as_json:
        number, digest = audit.verify()
        typer.echo(f"whole: {number} entries, the last has hash {digest}")
    while follow:
        time.sleep(LOOK_AGAIN_SECONDS)
        shown = _print_entries(audit, shown, as_json=as_json)


def _print_entries(audit: "AuditLog", shown: int, *, as_json: bool) -> int:
    """Print what follows the first `shown` entries; returns how many there are."""
    entries: Sequence[AuditEntry] = audit.entries()
    for entry in entries[shown:]:
        if as_json:
            typer.echo(entry.model_dump_json())
        else:
            details = "  ".join(f"{key}={value}" for key, value in entry.details.items())
            typer.echo(f"{entry.seq:>6}  {entry.time}  {entry.event:22} {details}")
    return len(entries)


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{key} {_words(item)}" for key, item in value.items()) or "none"
    return "none" if value is None else str(value)
