"""What a site's console shows, out of the site's own home; nothing is written, nobody is asked.

No key is read, and no row: a window's report holds counts that the site's own rows gave, of which
only what changed is shown.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from client import console_contents
from client.console_account import AccountNow, ledger_of, read_account
from client.console_contents import ApprovalNow, EventNow, Fact, WindowNow
from client.console_processes import NOT_RUNNING, ProcessNow, agent_now, node_now
from client.site_home import SiteHome
from federation.certificate_days import days_of_pem, days_of_sites
from federation.console_page.certificate_notice import end_notice
from federation.console_page.page import Notice, gravest_first, shown_place
from federation.errors import HedgerowError
from federation.kept_file import kept
from federation.report_page.number_text import duration, percent, size
from federation.site_policy import SitePolicy

Read = TypeVar("Read")

NEARLY = 0.8
"""Share of a budget from which on it is nearly used."""

LOW_DISK, NO_DISK = 1_000_000_000, 200_000_000
"""Bytes left on the disk: a ledger, a journal and their copies must fit."""

CA = "the coordinator's CA"
RECENT_FAULT = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class SiteNow:
    """A whole page.

    Attributes:
        place: the home.
        at: UTC, ISO 8601.
        processes: agent and, once it was up, node.
        account: None if the ledger is damaged, or not there yet.
        no_account: why there is none.
        certificates: of the site and of the coordinator's CA: whose, and days until it ends.
        approvals: the latest first.
        events: of the audit log, the latest first.
        windows: the latest first.
        cohort: in which discovered one the site is; empty if none was.
        notices: what calls for somebody, the gravest first.
    """

    site: str
    place: str
    at: str
    federation: str
    policy: tuple[Fact, ...]
    processes: tuple[ProcessNow, ...]
    account: AccountNow | None
    no_account: str
    certificates: tuple[tuple[str, float], ...]
    approvals: tuple[ApprovalNow, ...]
    events: tuple[EventNow, ...]
    windows: tuple[WindowNow, ...]
    cohort: str
    disk_left: int
    notices: tuple[Notice, ...]


def site_now(path: Path, clock: Callable[[], float]) -> SiteNow:
    """What is shown now.

    Args:
        path: of the home.
        clock: seconds since the epoch.
    """
    now, home = clock(), SiteHome(path)
    notices: list[Notice] = []
    policy = _whole(lambda: kept(home.policy, SitePolicy.read), "policy", notices)
    account, no_account = _account(path)
    if no_account:
        notices.append(Notice("Act", "ledger", no_account))
    certificates = _whole(lambda: _certificates(home, now), "certificates", notices) or ()
    site = policy.site if policy else path.resolve().name
    events = (
        _whole(lambda: kept(path / "audit.jsonl", console_contents.events), "audit log", notices)
        or ()
    )
    approvals = _whole(
        lambda: kept(path / "approvals.json", console_contents.approvals), "approvals", notices
    )
    windows = _whole(lambda: console_contents.windows(path), "windows", notices) or ()
    cohort = _whole(lambda: kept(home.cohort, console_contents.cohort), "cohort", notices) or ""
    disk_left = shutil.disk_usage(path).free
    agent = _whole(lambda: agent_now(home, now), "agent", notices)
    node = _whole(lambda: node_now(home, now), "node", notices)
    notices += _account_notices(account, policy, now)
    notices += [one for what, days in certificates for one in end_notice(what, days)]
    notices += _disk_notices(disk_left)
    notices += _fault_notices(home.faults, now)
    notices += _window_notices(windows)
    if agent is not None and not agent.is_well:
        text = f"It is {agent.state}" if agent.state == NOT_RUNNING else f"It {agent.state}"
        notices.append(Notice("Watch", "agent", f"{text}: the site takes part in nothing."))
    elif node is not None and not node.is_well:
        notices.append(Notice("Watch", "node", f"It is {node.state} {node.doing}."))
    return SiteNow(
        site=site,
        place=shown_place(path),
        at=datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        federation=_federation(home),
        policy=tuple(console_contents.nutshell(policy)) if policy else (),
        processes=tuple(one for one in (agent, node) if one is not None),
        account=account,
        no_account=no_account,
        certificates=tuple(one for one in certificates if one[0] in {f"site {site}", CA}),
        approvals=approvals or (),
        events=events,
        windows=windows,
        cohort=cohort,
        disk_left=disk_left,
        notices=gravest_first(notices),
    )


def _whole(read: Callable[[], Read | None], topic: str, notices: list[Notice]) -> Read | None:
    """What is read; if it is damaged, nothing, and a notice of it."""
    try:
        return read()
    except HedgerowError as error:
        notices.append(Notice("Act", topic, str(error)))
        return None
    except OSError as error:
        notices.append(Notice("Act", topic, f"cannot be read: {error.strerror}"))
        return None


def _account(home: Path) -> tuple[AccountNow | None, str]:
    ledger = ledger_of(home)
    try:
        account = kept(ledger, read_account, home)
    except HedgerowError as error:
        return None, str(error)
    return account, "" if account else f"There is no ledger at {ledger}."


def _federation(home: SiteHome) -> str:
    try:
        return home.given.read_roster_of_any_time().federation
    except HedgerowError:
        return ""  # the certificates' notice says why


def _certificates(home: SiteHome, now: float) -> tuple[tuple[str, float], ...]:
    found: list[tuple[str, float]] = []
    if home.given.roster.is_file():
        days = days_of_sites(home.given.read_roster_of_any_time(), now)
        found += [(f"site {site}", left) for site, left in days.items()]
    left = days_of_pem(home.path / "ca.pem", now)
    if left is not None:
        found.append((CA, left))
    return tuple(sorted(found, key=lambda one: one[1]))


def _account_notices(
    account: AccountNow | None, policy: SitePolicy | None, now: float
) -> Iterator[Notice]:
    if account is not None and account.share is not None and account.share >= NEARLY:
        words = f"{percent(account.share)} of the budget is spent"
        if account.more is False:
            words += ", and it has no room for one more charge like the last"
        yield Notice("Watch", "budget", f"{words}.")
    if account is not None and not account.trusted:
        yield Notice(
            "Watch", "ledger", "It is checked against the key that it states of itself: no roster."
        )
    ends = policy.budget_expires if policy else None
    if ends and datetime.fromisoformat(ends).timestamp() <= now:
        yield Notice("Watch", "budget", "It has expired: nothing is charged any more.")


def _disk_notices(left: int) -> Iterator[Notice]:
    if left < LOW_DISK:
        words = f"{size(left)} are left: make room, or nothing can be charged."
        yield Notice("Act" if left < NO_DISK else "Watch", "disk", words)


def _fault_notices(faults: Path, now: float) -> Iterator[Notice]:
    """That there was one; its text may tell of rows, and stays in the file."""
    try:
        since = now - faults.stat().st_mtime
    except OSError:
        return
    if since < RECENT_FAULT:
        yield Notice(
            "Watch", "faults", f"{faults.name} grew {duration(max(0.0, since))} ago: read it."
        )


def _window_notices(windows: tuple[WindowNow, ...]) -> Iterator[Notice]:
    if windows and windows[0].verdict in {"act", "watch"}:
        latest = windows[0]
        subjects = ", ".join(dict.fromkeys(one.subject for one in latest.changes))
        yield Notice(
            "Act" if latest.verdict == "act" else "Watch",
            "own rows",
            f"Window {latest.name} differs from {latest.reference}: {subjects}.",
        )
