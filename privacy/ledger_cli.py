"""`hedgerow privacy report`, `verify` and `amend`: what a site's ledger says, and its budget."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from privacy.report.document import PrivacyReport
    from privacy.report.source import CheckedLedger, Trust

app = typer.Typer(add_completion=False, no_args_is_help=True)

PublicKey = Annotated[
    str | None, typer.Option("--public-key", metavar="HEX", help="Of the ledger's site.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the document; write no files.")]
RosterFile = Annotated[
    Path | None,
    typer.Option("--roster", help="roster.json, with the consortium.pub beside it."),
]
WitnessFile = Annotated[
    Path | None, typer.Option("--witness", help="witness.json of a run; needs --roster.")
]


@app.command()
def report(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    ledgers: Annotated[
        list[Path], typer.Argument(metavar="LEDGER...", help="Ledgers, or run folders.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the four files.")] = Path(),
    run: Annotated[
        Path | None, typer.Option(help="A run folder: adds its noise meter and groups' utility.")
    ] = None,
    public_key: PublicKey = None,
    roster: RosterFile = None,
    witness: WitnessFile = None,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Write what was spent, what is left and what that means, as a page, JSON and CSV.

    The files are privacy-report.html, privacy-report.json, privacy-events.csv and dp-registry.json.
    The same ledgers give the same bytes.

    Exit codes: 0 written; 2 a file is missing or cannot be written; 6 a ledger is damaged or behind
    its witness.
    """
    from privacy.report import files  # noqa: PLC0415 - scipy only when it is used
    from privacy.report.terminal import warnings  # noqa: PLC0415 - as above

    sources = files.read_sources(ledgers, run, _trust(public_key, roster, witness))
    document = sources.report()
    if as_json:
        typer.echo(files.document_json(document), nl=False)
        return
    written = files.write_files(sources, document, out)
    Console().print(_table(document))
    for sentence in warnings(document):
        typer.echo(f"warning: {sentence}", err=True)
    for path in written:
        typer.echo(f"wrote {path}")


@app.command()
def verify(
    ledger: Annotated[Path, typer.Argument(help="A ledger.")],
    public_key: PublicKey = None,
    roster: RosterFile = None,
    witness: WitnessFile = None,
) -> None:
    """Check every entry of a ledger, who signed it, and whether others saw more of it.

    Exit codes: 0 whole; 2 a file is missing; 6 damaged, another key's, or behind its witness.
    """
    from privacy.report.source import read_ledger  # noqa: PLC0415 - only when it is used

    checked = read_ledger(ledger, _trust(public_key, roster, witness))
    for line in _verdict(ledger, checked):
        typer.echo(line)


@app.command()
def amend(
    ledger: Annotated[Path, typer.Argument(help="The site's ledger.")],
    policy: Annotated[Path, typer.Option(help="site.toml, with the new budget.")],
    key: Annotated[Path, typer.Option(help="The site's identity, PEM.")],
    reason: Annotated[str, typer.Option(help="Why, in words that stay in the ledger.")],
    role: Annotated[str, typer.Option(help="Who decided, such as: data protection officer.")],
) -> None:
    """Put the budget of a site.toml in force; what was spent stays spent.

    Exit codes: 0 amended; 2 a file is wrong, or nothing changes; 6 the ledger is damaged or another
    key's.
    """
    from federation.errors import UsageError  # noqa: PLC0415 - as above
    from federation.site_policy import SitePolicy  # noqa: PLC0415 - as above
    from privacy.dataset_policy import dataset_policy  # noqa: PLC0415 - as above
    from privacy.open_ledger import open_ledger  # noqa: PLC0415 - as above

    stated = SitePolicy.read(policy)
    with open_ledger(ledger, key) as opened:
        holder = opened.account().holder
        if holder != (stated.site, stated.dataset):
            raise UsageError(
                f"{policy} is of {stated.site}: {stated.dataset}, and the ledger of {holder[0]}: "
                f"{holder[1]}; expected the same site and dataset"
            )
        opened.amend(dataset_policy(stated), reason, role)
        seq, digest = opened.head()
    typer.echo(f"amended: entry {seq}, head {digest}")


def _trust(public_key: str | None, roster: Path | None, witness: Path | None) -> "Trust":
    from privacy.report import source  # noqa: PLC0415 - as above

    return source.Trust(
        None if public_key is None else source.public_key_from(public_key),
        None if roster is None else source.read_roster(roster),
        () if witness is None else source.read_witness(witness),
    )


def _table(document: "PrivacyReport") -> Table:
    from privacy.report.terminal import COLUMNS, rows  # noqa: PLC0415 - as above

    table = Table(box=box.SIMPLE, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in rows(document):
        table.add_row(*row)
    return table


def _verdict(path: Path, checked: "CheckedLedger") -> tuple[str, ...]:
    sources = {
        "given": "the key that was given",
        "roster": "the key that the consortium certified (consortium.pub beside the roster)",
        "ledger": "the key that the ledger itself states; hold it against the roster (--roster)",
    }
    last, first = checked.entries[-1], checked.entries[0]
    others = sorted({one.signer for one in checked.witnesses} - {str(first.body["site"])})
    furthest = max((one.head.seq for one in checked.witnesses), default=0)
    seen = (
        f"up to entry {furthest}, and it holds what they saw; by other sites: "
        f"{', '.join(others) or 'none'}"
        if checked.witnesses
        else "none given; entries cut off at the end would not show (--witness)"
    )
    return (
        f"whole: {path}",
        f"of: {first.body['site']}, dataset {first.body['dataset']}",
        f"entries: {len(checked.entries)}, the last at {last.body['at']}",
        f"head: {last.hash}",
        f"signed by: {checked.public_key}, {sources[checked.key_source]}",
        f"witnessed: {seen}",
    )
