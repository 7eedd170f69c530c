"""What lies in a site's home for its own people to see: policy, approvals, events, own windows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from federation.approvals import Approvals
from federation.audit_log import AuditEntry, AuditLog
from federation.cohort_record import OwnCohort
from federation.drift_summary import DriftFinding, WindowDrift
from federation.errors import IntegrityError
from federation.kept_file import kept
from federation.report_page.number_text import setting
from federation.site_policy import SitePolicy

LATEST_EVENTS, LATEST_WINDOWS, MOST_CHANGES = 10, 4, 6


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the policy in a nutshell."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class EventNow:
    """One line of the audit log."""

    at: str
    event: str
    details: str


@dataclass(frozen=True, slots=True)
class ApprovalNow:
    """A bundle or a task's code that the site approved."""

    what: str
    sha256: str
    at: str
    note: str


@dataclass(frozen=True, slots=True)
class WindowNow:
    """What the site found in its own rows of a window; `changes` are to be watched or acted on."""

    name: str
    reference: str
    verdict: str
    rows: int
    changes: tuple[DriftFinding, ...]
    more: int


def approvals(path: Path) -> tuple[ApprovalNow, ...]:
    """What the site approved, the latest first.

    Raises:
        HedgerowError: the file is not what was written.
    """
    approved = Approvals.read(path)
    found = [
        *(
            ApprovalNow(f"bundle, version {one.version}", digest, one.approved, one.note)
            for digest, one in approved.bundles.items()
        ),
        *(
            ApprovalNow(f"code of task {name}", one.sha256, one.approved, "")
            for name, one in approved.tasks.items()
        ),
    ]
    return tuple(sorted(found, key=lambda one: one.at, reverse=True))


def events(path: Path) -> tuple[EventNow, ...]:
    """Of the audit log, the latest first, after the whole chain is checked.

    Raises:
        IntegrityError: a line is not what was written.
    """
    return tuple(map(_event, AuditLog(path).entries()[: -LATEST_EVENTS - 1 : -1]))


def _event(entry: AuditEntry) -> EventNow:
    told = ", ".join(
        f"{name.replace('_', ' ')} {_said(value)}" for name, value in entry.details.items()
    )
    return EventNow(entry.time, entry.event.replace("_", " "), told)


def _said(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def windows(home: Path) -> tuple[WindowNow, ...]:
    """Own reports, the latest by when they were written first.

    Raises:
        IntegrityError: one is not what was written.
    """
    try:
        files = sorted((home / "windows").glob("*.json"), key=lambda one: -one.stat().st_mtime)
    except OSError:
        return ()
    found = (kept(one, _window) for one in files[:LATEST_WINDOWS])
    return tuple(one for one in found if one is not None)


def _window(path: Path) -> WindowNow:
    try:
        report = WindowDrift.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise IntegrityError(f"{path} is not what was written") from error
    changes = [one for one in report.findings if one.verdict in {"act", "watch"}]
    changes.sort(
        key=lambda one: (one.verdict != "act", 1.0 if one.p_value is None else one.p_value)
    )
    return WindowNow(
        name=report.window,
        reference=report.reference,
        verdict=report.verdict,
        rows=report.rows,
        changes=tuple(changes[:MOST_CHANGES]),
        more=max(0, len(changes) - MOST_CHANGES),
    )


def cohort(path: Path) -> str:
    """In which discovered cohort the site is; empty if in none.

    Raises:
        IntegrityError: the file is not what was written.
    """
    try:
        own = OwnCohort.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise IntegrityError(f"{path} is not what was written") from error
    return f"{own.cohort} (window {own.window})" if own.cohort else ""


def nutshell(policy: SitePolicy) -> Iterator[Fact]:
    """The policy, line by line."""
    yield Fact("Dataset", policy.dataset)
    yield Fact("Rows, as declared", f"{policy.public_rows:,}")
    yield Fact("Tasks", ", ".join(policy.tasks) or "none")
    yield Fact("Budget", _budget(policy))
    yield Fact("Fewest sites in a sum", str(policy.minimum_quorum))
    yield Fact("Fewest that can open", str(policy.minimum_threshold))
    yield Fact("Without privacy", "allowed" if policy.allow_without_privacy else "refused")
    yield Fact("Shared noise", "allowed" if policy.allow_shared_noise else "refused")
    yield Fact("Exact counts per window", str(policy.exact_evaluations_per_window))
    yield Fact("Queries about", ", ".join(policy.analytics_columns) or "nothing")
    yield Fact("Named with its flags", "yes" if policy.name_with_flags else "no")
    yield Fact("Device", policy.device)
    yield Fact(
        "Hours", f"{', '.join(policy.hours)} {policy.timezone}" if policy.hours else "always"
    )
    if policy.noise_factor > 1:
        yield Fact("Own noise", f"{setting(policy.noise_factor)} times what was agreed")


def _hours(policy: SitePolicy) -> str:
    return f"{', '.join(policy.hours)} {policy.timezone}" if policy.hours else "always"


def _budget(policy: SitePolicy) -> str:
    if policy.epsilon_budget is None:
        return "none"
    until = f", until {policy.budget_expires[:10]}" if policy.budget_expires else ""
    return f"ε = {setting(policy.epsilon_budget)} at δ = {setting(policy.delta)}{until}"
