"""From ledgers and run folders to the report's four files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from federation.durable_file import write_atomically
from federation.errors import UsageError
from federation.run_folder import RunFolder
from federation.summary import Summary
from privacy.report.build import privacy_report
from privacy.report.document import PrivacyReport
from privacy.report.events_csv import events_csv
from privacy.report.registry import registry_entry
from privacy.report.source import CheckedLedger, Trust, read_ledger, read_roster, read_witness


@dataclass(frozen=True, slots=True)
class Sources:
    """What a report is made from."""

    ledgers: tuple[CheckedLedger, ...]
    summaries: tuple[Summary, ...] = ()

    def report(self) -> PrivacyReport:
        """The document.

        Raises:
            UsageError: no ledger, or one twice.
        """
        return privacy_report(self.ledgers, self.summaries)


def read_sources(paths: Sequence[Path], run: Path | None, trust: Trust) -> Sources:
    """Ledgers, and for each folder among `paths` all ledgers of that run.

    Args:
        paths: of ledgers or run folders.
        run: a further run folder; its summary, roster and witness are read, not its ledgers.
        trust: what ledgers are held against; a run folder brings its own roster and witness.

    Raises:
        UsageError: a file is missing.
        IntegrityError: a ledger is damaged; names the entry.
    """
    ledgers: list[CheckedLedger] = []
    folders = [path for path in paths if path.is_dir()]
    for path in paths:
        if path in folders:
            ledgers += _of_run(path, trust)
        else:
            ledgers.append(read_ledger(path, trust if run is None else _with_run(trust, run)))
    runs = [RunFolder(folder) for folder in folders]
    summaries = [one.read_summary() for one in runs if one.summary.is_file()]
    if run is not None:
        summaries.append(RunFolder(run).read_summary())
    return Sources(tuple(ledgers), tuple(summaries))


def write_files(sources: Sources, report: PrivacyReport, folder: Path) -> tuple[Path, ...]:
    """The page, the document, the charges and the registry's form, each written atomically.

    Raises:
        UsageError: the folder cannot be written to.
    """
    from privacy.report.page import render  # noqa: PLC0415 - jinja2 only when a page is made

    contents = {
        "privacy-report.html": render(report),
        "privacy-report.json": document_json(report),
        "privacy-events.csv": events_csv(sources.ledgers),
        "dp-registry.json": json.dumps(
            registry_entry(report), indent=1, ensure_ascii=False, allow_nan=False
        )
        + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            write_atomically(folder / name, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}; choose --out") from error
    return tuple(folder / name for name in contents)


def document_json(report: PrivacyReport) -> str:
    """The document as JSON, with a newline."""
    return report.model_dump_json(indent=1) + "\n"


def _of_run(folder: Path, trust: Trust) -> list[CheckedLedger]:
    paths = sorted((folder / "ledgers").glob("*.sqlite"))
    run = RunFolder(folder)
    if not paths and run.config.is_file() and not run.holds_sites:
        raise UsageError(
            f"{folder} holds no ledgers: its sites are elsewhere, and each keeps its own; at a "
            f"site: hedgerow privacy report HOME/ledger.sqlite"
        )
    if not paths:
        raise UsageError(f"{folder} holds no ledgers/*.sqlite: expected a ledger or a run folder")
    own = _with_run(trust, folder)
    return [read_ledger(path, own) for path in paths]


def _with_run(trust: Trust, folder: Path) -> Trust:
    """What was given, or else a run folder's own roster and witness."""
    run, roster = RunFolder(folder), folder / "roster.json"
    if trust.roster is not None or trust.public_key is not None or not roster.is_file():
        return trust
    statements = read_witness(run.witness) if run.witness.is_file() else ()
    return replace(trust, roster=read_roster(roster), statements=statements)
