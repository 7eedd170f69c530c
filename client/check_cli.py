"""`hedgerow site check`: a doctor that says of each thing that it is well, or what to do."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)

FAILED = 2
"""Exit code where a check failed."""


@app.command("check")
def check(
    home: Annotated[Path, typer.Argument(help="The site's home: the folder with its site.toml.")],
    ledger: Annotated[
        Path | None, typer.Option(help="The dataset's ledger; HOME/ledger.sqlite.")
    ] = None,
    offline: Annotated[bool, typer.Option(help="Leave the coordinator out.")] = False,  # noqa: FBT002 - an option
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002 - as above
) -> None:
    """Look at all a site needs, and say of each that it is well, or what to do.

    The site's own files and machine: policy, permissions, keys, ledger, roster, versions, disk,
    budget, approved bundles and task code, rows against the task's schema, audit log, environment,
    agent. And the way to the coordinator: name, port, certificate, clock, registration. It prints
    numbers of rows for the site's own eyes, and never a row.

    \b
    Exit codes:
      0    every line is OK or WARN
      2    a line is FAIL
    """  # noqa: D301 - \b keeps the lines apart
    from client.doctor import check_home, is_joined  # noqa: PLC0415 - imports torch: seconds
    from client.doctor_check import Verdict, worst  # noqa: PLC0415 - as above
    from client.network_doctor import check_network  # noqa: PLC0415 - as above
    from client.site_home import SiteHome  # noqa: PLC0415 - as above

    place = SiteHome(home)
    checks = check_home(place, ledger or place.ledger)
    if not offline and is_joined(place):
        checks += check_network(place)
    verdict = worst(checks)
    if as_json:
        told = {"verdict": verdict, "checks": [asdict(one) for one in checks]}
        typer.echo(json.dumps(told, indent=1))
    else:
        for one in checks:
            typer.echo(f"{one.verdict:4}  {one.name}: {one.finding}")
            if one.remedy:
                typer.echo(f"        -> {one.remedy}")
    if verdict is Verdict.FAIL:
        raise typer.Exit(FAILED)
