"""What a coordinator's console shows: of a federation directory, a folder of runs, or one run."""

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from federation.certificate_days import days_of_pem, days_of_sites
from federation.console_page.certificate_notice import end_notice
from federation.console_page.page import Notice, gravest_first, shown_place
from federation.errors import HedgerowError
from federation.operation_status import (
    FRESH_SECONDS,
    CertificateAge,
    OperationStatus,
    ProcessSeen,
    SiteSeen,
    read_status,
)
from federation.report_page.number_text import duration, listing
from federation.run_folder import RunFolder
from server.console_place import is_federation, is_run, run_folders
from server.console_runs import RunNow, run_line, run_now, unreadable
from server.federation_home import FederationHome

_SAID_ABOVE = ("certificate", "SuperLink")
"""Words of the coordinator's own warnings that are shown here from what they were told of."""

MOST_RUNS = 30
"""The latest; older ones are found in their folder."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Whether the coordinator runs, and whom it reaches.

    Attributes:
        state: `up`, `down`: it runs and its SuperLink does not, or `not running`.
        heard: seconds since its status was written; None if it never was.
        sites: sorted by name.
        processes: of the coordinator, as it sees them now.
        warnings: in its own words.
        certificates: those that end first, first.
    """

    state: str
    heard: float | None
    sites: tuple[SiteSeen, ...]
    processes: tuple[ProcessSeen, ...]
    warnings: tuple[str, ...]
    certificates: tuple[CertificateAge, ...]


@dataclass(frozen=True, slots=True)
class CoordinatorNow:
    """A whole page.

    Attributes:
        name: of the federation, or of the folder.
        place: where it lies.
        now: seconds since the epoch.
        at: the same as UTC, ISO 8601.
        operation: of a federation directory.
        shown: the run that is shown in full; None if there is none yet.
        chosen: whether the reader chose it.
        runs: the latest first.
        left_out: how many older runs are not listed.
        notices: what calls for somebody, the gravest first.
    """

    name: str
    place: str
    now: float
    at: str
    operation: Operation | None
    shown: RunNow | None
    chosen: bool
    runs: tuple[RunNow, ...]
    left_out: int
    notices: tuple[Notice, ...]


def coordinator_now(path: Path, chosen: str, clock: Callable[[], float]) -> CoordinatorNow:
    """What is shown now.

    Args:
        path: a federation directory, a folder of runs, or a run's.
        chosen: id of the run to show; the one under way, or else the latest, if empty.
        clock: seconds since the epoch.

    Raises:
        LookupError: there is no such run.
    """
    now = clock()
    federation = is_federation(path)
    folders = run_folders(path)
    listed = folders[:MOST_RUNS]
    if chosen and chosen not in {one.name for one in listed}:
        listed = [*listed, *(one for one in folders if one.name == chosen)]
    runs = {one.name: _run(RunFolder(one), now, run_line) for one in listed}
    if chosen and chosen not in runs:
        raise LookupError(chosen)
    under_way = (one.id for one in runs.values() if one.state == "under way")
    wanted = chosen or next(under_way, next(iter(runs), ""))
    paths = {one.name: one for one in listed}
    shown = _run(RunFolder(paths[wanted]), now, run_now) if wanted else None
    operation, damage = _operation(path, now) if federation else (None, ())
    own = [*damage, *(_operation_notices(operation) if operation else ())]
    return CoordinatorNow(
        name=_name(path, federation=federation, shown=shown),
        place=shown_place(path),
        now=now,
        at=datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        operation=operation,
        shown=shown,
        chosen=bool(chosen),
        runs=tuple(runs.values()),
        left_out=len(folders) - len(listed),
        notices=gravest_first([*own, *(shown.notices if shown else ())]),
    )


def _run(folder: RunFolder, now: float, read: Callable[[RunFolder, float], RunNow]) -> RunNow:
    try:
        return read(folder, now)
    except HedgerowError as error:
        return unreadable(folder, error)


def _name(path: Path, *, federation: bool, shown: RunNow | None) -> str:
    if not federation:
        return shown.name if shown is not None and is_run(path) else path.resolve().name
    try:
        table = tomllib.loads(FederationHome(path).config_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        table = {}
    name = table.get("name")
    return name if isinstance(name, str) else path.resolve().name


def _operation(path: Path, now: float) -> tuple[Operation, tuple[Notice, ...]]:
    home = FederationHome(path)
    damage: list[Notice] = []
    try:
        status = read_status(home.superlink / "status.json")
    except HedgerowError as error:
        damage.append(Notice("Act", "damage", str(error)))
        status = None
    heard = _seconds_since(status.time, now) if status else None
    fresh = status is not None and heard is not None and heard <= FRESH_SECONDS
    certificates: list[CertificateAge] = []
    try:
        certificates = list(_certificates(home, now))
    except HedgerowError as error:
        damage.append(Notice("Act", "certificates", str(error)))
    operation = Operation(
        state=_state(status, fresh=fresh),
        heard=heard,
        sites=tuple(sorted(status.sites, key=lambda one: one.name)) if status else (),
        processes=status.processes if status and fresh else (),
        warnings=status.warnings if status and fresh else (),
        certificates=tuple(sorted(certificates, key=lambda one: one.days)),
    )
    return operation, tuple(damage)


def _state(status: OperationStatus | None, *, fresh: bool) -> str:
    if status is None or not fresh:
        return "not running"
    return "up" if status.superlink else "down"


def _seconds_since(text: str, now: float) -> float | None:
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, now - (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp())


def _certificates(home: FederationHome, now: float) -> Iterator[CertificateAge]:
    """As the files say, whether or not a coordinator runs.

    Raises:
        HedgerowError: one is not what it should be.
    """
    for name, path in (("the CA", home.ca), ("the server", home.server_certificate)):
        days = days_of_pem(path, now)
        if days is not None:
            yield CertificateAge(name=name, days=days)
    if home.given.roster.is_file():
        for site, days in days_of_sites(home.given.read_roster_of_any_time(), now).items():
            yield CertificateAge(name=f"site {site}", days=days)


def _operation_notices(operation: Operation) -> Iterator[Notice]:
    if operation.state == "not running":
        heard = operation.heard
        since = "" if heard is None else f"; last heard of {duration(heard)} ago"
        yield Notice(
            "Watch", "coordinator", f"It is not running{since}. hedgerow coordinator up starts it."
        )
    if operation.state == "down":
        yield Notice("Act", "coordinator", "Its SuperLink is down: no site can reach it.")
    for process in operation.processes:
        if process.reason:
            yield Notice("Act", process.name, f"It is {process.phase}: {process.reason}")
    away = tuple(one.name for one in operation.sites if one.state != "online")
    if away and operation.state == "up":
        yield Notice("Watch", "sites", f"Not online: {listing(away)}.")
    for one in operation.certificates:
        yield from end_notice(one.name, one.days)
    for text in operation.warnings:
        if not any(word in text for word in _SAID_ABOVE):
            yield Notice("Watch", "coordinator", f"{text[0].upper()}{text[1:]}.")
