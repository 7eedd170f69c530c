"""From a site's home to its audit: load the task as the policy says, look, write private files."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.audit_predictions import by_model, out_of_fold
from client.audit_rows import audit_data
from client.home_opening import open_rows
from client.site_home import SiteHome
from evaluation.audit.document import SiteAudit
from evaluation.audit.page import render
from evaluation.audit.site_audit import AuditFacts, site_audit
from federation.durable_file import write_atomically
from federation.errors import ConfigError, UsageError
from federation.run_folder import RunFolder
from federation.site_policy import SitePolicy
from federation.task import SiteRequest
from federation.task_loading import load_task

PAGE, DOCUMENT, LIST = "audit.html", "audit.json", "uncertain.csv"


@dataclass(frozen=True, slots=True)
class AuditChoice:
    """What was asked for.

    Attributes:
        task: a name out of the policy's tasks; None if it has one only.
        model: a model.safetensors; None to train out of fold.
        labels: annotations to compare; None for all.
        top: rows that each ranking lists, >= 0.
    """

    task: str | None = None
    model: Path | None = None
    labels: Sequence[str] | None = None
    top: int = 50


def audit(home: SiteHome, choice: AuditChoice) -> SiteAudit:
    """The audit of the rows that the site's policy speaks of; nothing is written, nothing sent.

    Raises:
        HedgerowError: the home, task, data or model is not what it promises; the text names it.
    """
    if not home.policy.is_file():
        raise UsageError(
            f"{home.path} is no site's home: it holds no site.toml; after hedgerow simulate, they "
            "lie in RUN/sites/NAME"
        )
    _require_rows_of_its_own(home)
    if choice.top < 0:
        raise UsageError(f"--top = {choice.top}: expected a whole number >= 0")
    policy = SitePolicy.read(home.policy)
    name = _task_name(policy, choice.task)
    task = load_task(name, policy.task_options.get(name, {}))
    request = SiteRequest(policy.site, policy.split_seed, open_rows(home, policy))
    data = task.load(request)
    rows = audit_data(task, data, request, choice.labels)
    if choice.model is not None:
        predicted = by_model(task, data, choice.model)
    else:
        predicted = out_of_fold(task, data, rows, policy.split_seed)
    facts = AuditFacts(policy.site, policy.dataset, name, policy.split_seed)
    return site_audit(facts, task.schema, rows, predicted, choice.top)


def _require_rows_of_its_own(home: SiteHome) -> None:
    """Return if the site's rows are those that its policy names.

    Raises:
        UsageError: they are a share of a simulation's partition, which no site knows of.
    """
    run = RunFolder(home.path.resolve().parents[1])
    if run.partition.is_file():
        raise UsageError(
            f"{home.path} is a site of a simulated partition ({run.partition}) and has no rows of "
            f"its own; hedgerow partition show {run.path} says what each site has"
        )


def write_audit(document: SiteAudit, folder: Path) -> tuple[Path, ...]:
    """The page, the document and the list of rows, readable by their owner alone.

    Raises:
        UsageError: the folder cannot be written to.
    """
    contents = {
        PAGE: render(document),
        DOCUMENT: document_json(document),
        LIST: doubtful_rows_csv(document),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, text in contents.items():
            write_atomically(folder / name, text.encode(), mode=0o600)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}; choose --out") from error
    return tuple(folder / name for name in contents)


def document_json(document: SiteAudit) -> str:
    """The document as JSON, with a newline."""
    return document.model_dump_json(indent=1) + "\n"


def doubtful_rows_csv(document: SiteAudit) -> str:
    """Both rankings as one table, the likely mislabelled first; a row may stand in both."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("list", "rank", "split", "row", "table_row", "given", "suggested", "margin", "entropy",
         "self_confidence")
    )  # fmt: skip
    lists = {
        "likely mislabelled": document.likely_mislabelled,
        "most uncertain": document.most_uncertain,
    }
    for name, rows in lists.items():
        for rank, row in enumerate(rows, start=1):
            numbers = (row.margin, row.entropy, row.self_confidence)
            writer.writerow(
                (name, rank, row.split, row.row, "" if row.number is None else row.number,
                 row.given, row.suggested, *(f"{number:.6f}" for number in numbers))
            )  # fmt: skip
    return text.getvalue()


def _task_name(policy: SitePolicy, asked: str | None) -> str:
    if asked is None and len(policy.tasks) == 1:
        return policy.tasks[0]
    if asked is None or asked not in policy.tasks:
        raise ConfigError(
            "--task",
            asked,
            f"one of the tasks that site.toml lists: {', '.join(policy.tasks) or 'none'}",
        )
    return asked
