"""How the coordinator is doing, as one JSON document: for `status`, the metrics and the console.

Nothing in it tells of a single site's data: names, times of contact, certificates, rounds.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography import x509
from pydantic import BaseModel, ConfigDict

from federation.child_processes import ChildState, Phase
from federation.errors import HedgerowError
from federation.membership import Membership, read_membership
from federation.run_folder import RunFolder
from federation.timestamp import utc_now
from server.coordinator_config import CoordinatorConfig
from server.countersigning import missing
from server.federation_home import FederationHome
from server.flower_control import FlowerControl, FlowerNode, SuperLinkUnavailable
from server.node_registry import nodes_by_site, strangers
from server.run_record import finished_rounds

SECONDS_PER_DAY = 86_400.0
LATEST_RUNS = 10


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProcessStatus(_Part):
    """One of the coordinator's processes; `pid` and `reason` as `ChildState` has them."""

    name: str
    phase: str
    pid: int | None
    restarts: int
    reason: str


class SiteStatus(_Part):
    """One site of the roster.

    Attributes:
        state: online, offline, never (it has not come yet) or unregistered.
        last_seen: Unix time of its last heartbeat; None before the first.
        certificate_days: until its certificate in the roster ends.
        countersigned: whether it signed the roster and rules in force.
    """

    name: str
    state: Literal["online", "offline", "never", "unregistered", "unknown"]
    last_seen: float | None
    certificate_days: float
    countersigned: bool


class CertificateStatus(_Part):
    """A certificate of the coordinator's own, and the days until it ends."""

    name: str
    days: float


class RunStatus(_Part):
    """One run folder.

    Attributes:
        state: running (a process is at work in it), completed, stopped (it ended before its last
            round) or interrupted (it can be resumed).
        seconds_per_round: of the latest ten completed rounds, on average; None before the first.
    """

    id: str
    state: Literal["running", "completed", "stopped", "interrupted"]
    rounds_completed: int
    rounds_failed: int
    last_round: int
    seconds_per_round: float | None


class CoordinatorStatus(_Part):
    """All of it.

    Attributes:
        time: UTC, ISO 8601.
        superlink: whether it answers.
        processes: as the process that runs them sees them; empty if another one asks.
        strangers: nodes that may connect although no release names them.
        warnings: what somebody should look at, in words.
    """

    version: Literal[1] = 1
    federation: str
    time: str
    superlink: bool
    release: int | None
    processes: tuple[ProcessStatus, ...]
    sites: tuple[SiteStatus, ...]
    strangers: int
    certificates: tuple[CertificateStatus, ...]
    runs: tuple[RunStatus, ...]
    warnings: tuple[str, ...]


def observe(
    home: FederationHome,
    config: CoordinatorConfig,
    control: FlowerControl,
    states: Mapping[str, ChildState],
) -> CoordinatorStatus:
    """Look at everything once.

    Args:
        home: of the federation.
        config: its settings.
        control: of its SuperLink, which may be down.
        states: of the processes, if they are this process's children.

    Raises:
        HedgerowError: the folder is not what was written.
    """
    membership = read_membership(home.given)
    try:
        nodes: tuple[FlowerNode, ...] | None = control.nodes()
    except SuperLinkUnavailable:
        nodes = None
    sites = () if membership is None else _sites(home, membership, nodes)
    unnamed = 0 if membership is None or nodes is None else len(strangers(nodes, membership))
    certificates = _certificates(home)
    processes = tuple(
        ProcessStatus(
            name=state.name,
            phase=str(state.phase),
            pid=state.pid,
            restarts=state.restarts,
            reason="" if state.phase is Phase.READY else state.reason,
        )
        for state in states.values()
    )
    status = CoordinatorStatus(
        federation=config.name,
        time=utc_now(),
        superlink=nodes is not None,
        release=None if membership is None else membership.release.version,
        processes=processes,
        sites=sites,
        strangers=unnamed,
        certificates=certificates,
        runs=_runs(home),
        warnings=(),
    )
    return status.model_copy(update={"warnings": _warnings(status, config.warn_days)})


def _sites(
    home: FederationHome, membership: Membership, nodes: tuple[FlowerNode, ...] | None
) -> tuple[SiteStatus, ...]:
    named = {} if nodes is None else nodes_by_site(nodes, membership)
    unsigned = missing(home, membership)
    now = time.time()
    return tuple(
        SiteStatus(
            name=certificate.site,
            state="unknown" if nodes is None else _state(named.get(certificate.site)),
            last_seen=_last_seen(named.get(certificate.site)),
            certificate_days=(certificate.not_after - now) / SECONDS_PER_DAY,
            countersigned=certificate.site not in unsigned,
        )
        for certificate in membership.roster.certificates
    )


def _state(
    node: FlowerNode | None,
) -> Literal["online", "offline", "never", "unregistered"]:
    if node is None:
        return "unregistered"
    if node.is_online:
        return "online"
    return "offline" if node.last_seen else "never"


def _last_seen(node: FlowerNode | None) -> float | None:
    return None if node is None else node.last_seen or None


def _certificates(home: FederationHome) -> tuple[CertificateStatus, ...]:
    found = (
        ("ca", home.ca),
        ("server", home.server_certificate),
        ("loopback", home.loopback_certificate),
    )
    return tuple(
        CertificateStatus(name=name, days=days)
        for name, path in found
        if (days := _days_left(path)) is not None
    )


def _days_left(path: Path) -> float | None:
    """Until the first certificate of a file ends; None if there is no such file."""
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return None
    ends = min(certificate.not_valid_after_utc for certificate in certificates)
    return (ends - datetime.now(UTC)).total_seconds() / SECONDS_PER_DAY


def _runs(home: FederationHome) -> tuple[RunStatus, ...]:
    """The latest runs, the latest first."""
    if not home.runs.is_dir():
        return ()
    folders = sorted((path for path in home.runs.iterdir() if path.is_dir()), reverse=True)
    return tuple(
        run_status(RunFolder(path))
        for path in folders[:LATEST_RUNS]
        if (path / "config.toml").is_file()
    )


def run_status(folder: RunFolder) -> RunStatus:
    """How far a run has come."""
    rounds = [record.round for record in finished_rounds(folder)]
    completed = [one for one in rounds if one.status == "completed"]
    seconds = [one.seconds for one in completed[-10:]]
    return RunStatus(
        id=folder.id,
        state=_run_state(folder),
        rounds_completed=len(completed),
        rounds_failed=len(rounds) - len(completed),
        last_round=max((one.round for one in rounds), default=0),
        seconds_per_round=sum(seconds) / len(seconds) if seconds else None,
    )


def _run_state(
    folder: RunFolder,
) -> Literal["running", "completed", "stopped", "interrupted"]:
    if folder.is_in_use:
        return "running"
    if not folder.summary.is_file():
        return "interrupted"
    try:
        return "completed" if folder.read_summary().run.status == "completed" else "stopped"
    except HedgerowError:
        return "interrupted"


def _warnings(status: CoordinatorStatus, warn_days: int) -> tuple[str, ...]:
    warnings = [] if status.superlink else ["the SuperLink does not answer"]
    warnings += [
        f"the certificate {certificate.name} ends in {certificate.days:.0f} days"
        for certificate in status.certificates
        if certificate.days < warn_days
    ]
    for site in status.sites:
        if site.certificate_days < warn_days:
            warnings.append(
                f"the roster's certificate of {site.name} ends in {site.certificate_days:.0f} days"
            )
        if not site.countersigned:
            warnings.append(f"{site.name} has not countersigned yet")
    if status.strangers:
        warnings.append(
            f"{status.strangers} registered node(s) may connect that no release names: "
            "find out who registered them"
        )
    if status.release is None:
        warnings.append("there is no roster in force yet")
    return tuple(warnings)
