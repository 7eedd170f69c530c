"""What a coordinator's console shows: of a federation directory, a folder of runs, or one run."""

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from federation.certificate_days import days_of_pem, days_of_sites
from federation.console_page.certificate_notice import end_notice
from federation.console_page.page import Notice, gravest_first
from federation.consortium_files import ConsortiumFiles
from federation.errors import HedgerowError
from federation.operation_status import (
    FRESH_SECONDS,
    CertificateAge,
    OperationStatus,
    SiteSeen,
    read_status,
)
from federation.report_page.number_text import duration, listing
from federation.run_folder import RunFolder
from server.console_runs import RunNow, run_now, unreadable

MOST_RUNS = 30
"""The latest; older ones are found in their folder."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Whether the coordinator runs, and whom it reaches.

    Attributes:
        state: `up`, `down`: it runs and its SuperLink does not, or `not running`.
        heard: seconds since its status was written; None if it never was.
        sites: sorted by name.
        certificates: those that end first, first.
    """

    state: str
    heard: float | None
    sites: tuple[SiteSeen, ...]
    certificates: tuple[CertificateAge, ...]


@dataclass(frozen=True, slots=True)
class CoordinatorNow:
    """A whole page.

    Attributes:
        name: of the federation, or of the folder.
        place: where it lies.
        at: UTC, ISO 8601.
        operation: of a federation directory.
        shown: the run that is shown in full; None if there is none yet.
        chosen: whether the reader chose it.
        runs: the latest first.
        left_out: how many older runs are not listed.
        notices: what calls for somebody, the gravest first.
    """

    name: str
    place: str
    at: str
    operation: Operation | None
    shown: RunNow | None
    chosen: bool
    runs: tuple[RunNow, ...]
    left_out: int
    notices: tuple[Notice, ...]


def is_federation(path: Path) -> bool:
    """Whether a folder is a coordinator's federation directory."""
    return (path / "coordinator.toml").is_file()


def is_run(path: Path) -> bool:
    """Whether a folder is one run's."""
    return (path / "config.toml").is_file()


def holds_runs(path: Path) -> bool:
    """Whether a folder holds runs."""
    return any(True for _ in _run_folders(path))


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
    folders = _folders(path, federation=federation)
    listed = folders[:MOST_RUNS]
    if chosen and chosen not in {one.name for one in listed}:
        listed = [*listed, *(one for one in folders if one.name == chosen)]
    runs = {one.name: _run(RunFolder(one), now) for one in listed}
    if chosen and chosen not in runs:
        raise LookupError(chosen)
    under_way = (one.id for one in runs.values() if one.state == "under way")
    shown = runs.get(chosen or next(under_way, next(iter(runs), "")))
    operation, damage = _operation(path, now) if federation else (None, ())
    own = [*damage, *(_operation_notices(operation) if operation else ())]
    return CoordinatorNow(
        name=_name(path) if federation else path.resolve().name,
        place=str(path.resolve()),
        at=datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        operation=operation,
        shown=shown,
        chosen=bool(chosen),
        runs=tuple(runs.values()),
        left_out=len(folders) - len(listed),
        notices=gravest_first([*own, *(shown.notices if shown else ())]),
    )


def _folders(path: Path, *, federation: bool) -> list[Path]:
    """Of runs, the latest first: their names begin with the time."""
    if is_run(path):
        return [path]
    runs = path / "runs" if federation else path
    return sorted(_run_folders(runs), key=lambda one: one.name, reverse=True)


def _run_folders(path: Path) -> Iterator[Path]:
    try:
        yield from (one for one in path.iterdir() if is_run(one))
    except OSError:
        return


def _run(folder: RunFolder, now: float) -> RunNow:
    try:
        return run_now(folder, now)
    except HedgerowError as error:
        return unreadable(folder, error)


def _name(path: Path) -> str:
    try:
        table = tomllib.loads((path / "coordinator.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        table = {}
    name = table.get("name")
    return name if isinstance(name, str) else path.resolve().name


def _operation(path: Path, now: float) -> tuple[Operation, tuple[Notice, ...]]:
    damage: list[Notice] = []
    try:
        status = read_status(path / "status.json")
    except HedgerowError as error:
        damage.append(Notice("Act", "damage", str(error)))
        status = None
    heard = _seconds_since(status.time, now) if status else None
    fresh = status is not None and heard is not None and heard <= FRESH_SECONDS
    certificates = list(status.certificates) if status and fresh else []
    if not certificates:
        try:
            certificates = list(_certificates(path, now))
        except HedgerowError as error:
            damage.append(Notice("Act", "certificates", str(error)))
    operation = Operation(
        state=_state(status, fresh=fresh),
        heard=heard,
        sites=tuple(sorted(status.sites, key=lambda one: one.site)) if status else (),
        certificates=tuple(sorted(certificates, key=lambda one: one.days_left)),
    )
    return operation, tuple(damage)


def _state(status: OperationStatus | None, *, fresh: bool) -> str:
    return status.superlink if status is not None and fresh else "not running"


def _seconds_since(text: str, now: float) -> float | None:
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, now - (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp())


def _certificates(path: Path, now: float) -> Iterator[CertificateAge]:
    """As the files say, while no coordinator runs that would say it.

    Raises:
        HedgerowError: one is not what it should be.
    """
    for what, name in (("CA", "ca/ca.pem"), ("server", "tls/server.pem")):
        days = days_of_pem(path / name, now)
        if days is not None:
            yield CertificateAge(what=what, days_left=days)
    files = ConsortiumFiles(path)
    if files.roster.is_file():
        for site, days in days_of_sites(files.read_roster_of_any_time(), now).items():
            yield CertificateAge(what=f"site {site}", days_left=days)


def _operation_notices(operation: Operation) -> Iterator[Notice]:
    if operation.state == "not running":
        heard = operation.heard
        since = "" if heard is None else f"; last heard of {duration(heard)} ago"
        yield Notice(
            "Watch", "coordinator", f"It is not running{since}. hedgerow coordinator up starts it."
        )
    if operation.state == "down":
        yield Notice("Act", "coordinator", "Its SuperLink is down: no site can reach it.")
    away = tuple(one.site for one in operation.sites if not one.online)
    if away and operation.state == "up":
        yield Notice("Watch", "sites", f"Not online: {listing(away)}.")
    for one in operation.certificates:
        yield from end_notice(one.what, one.days_left)
