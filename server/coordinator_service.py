"""`hedgerow coordinator up`: runs the processes, lets the right nodes in, knows how it is going."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from federation.audit_log import AuditLog
from federation.child_processes import Supervisor, log_tail
from federation.durable_file import write_atomically
from federation.errors import HedgerowError, StorageError, UsageError
from federation.file_lock import hold
from federation.json_log import JsonLog, open_log
from federation.membership import read_membership
from federation.shell_word import quoted
from server import app_bundle, superlink
from server.coordinator_config import CoordinatorConfig
from server.coordinator_metrics import coordinator_metrics
from server.coordinator_status import CoordinatorStatus, observe
from server.federation_home import FederationHome
from server.flower_control import FlowerControl, FlowerRefused, SuperLinkUnavailable
from server.free_ports import require_free
from server.metrics_endpoint import serve_metrics
from server.node_registry import settle_registry
from server.process_group import coordinator_children

LOOK_SECONDS = 2.0
"""Between two looks at the SuperLink, the sites and the runs."""
POLL_SECONDS = 0.2
ANSWER_SECONDS = 5.0
STATUS_FILE = "status.json"
MOST_UNRECORDED = 10_000
"""Events that a full audit log has not taken yet; the oldest go first."""

Show = Callable[[CoordinatorStatus], None]
Tell = Callable[[str], None]


def superlink_control(
    home: FederationHome, config: CoordinatorConfig, timeout: float = 30.0
) -> FlowerControl:
    """The Control API of a federation's SuperLink.

    Raises:
        UsageError: flwr is another version, or the certificate cannot be read.
    """
    superlink.require_flwr()
    address = f"{superlink.LOOPBACK}:{config.superlink_port}"
    return FlowerControl(address, home.loopback_ca, timeout)


def bring_up(
    home: FederationHome, show: Show, tell: Tell, until: Callable[[], bool] = lambda: False
) -> None:
    """Run everything until told to end, by `until`, Ctrl-C or SIGTERM; then nothing of it is left.

    Args:
        home: of the federation.
        show: gets the status every few seconds.
        tell: gets a line of text when something happens.
        until: asked several times a second.

    Raises:
        UsageError: another process runs this federation, or something is missing.
        HedgerowError: the folder is not what was written.
    """
    os.umask(0o077)
    config = home.config()
    require_certificate(home)
    superlink.furnish(home)
    bundle = app_bundle.build()
    bundle.write(home.bundle(bundle.version))
    with (
        _sole_coordinator(home),
        superlink_control(home, config, ANSWER_SECONDS) as control,
    ):
        require_free(config)
        service = Coordinator(home, config, control, show, tell)
        with (
            serve_metrics(config.metrics_port, service.metrics),
            Supervisor(coordinator_children(home, config), service.note) as supervisor,
        ):
            service.run(supervisor, until)


@dataclass
class Coordinator:
    """What `bring_up` runs, beside the processes.

    Attributes:
        status: of the latest look.
        settled: when roster and revocations were last written, as far as nodes follow them.
        unrecorded: events that the audit log has not taken yet.
    """

    home: FederationHome
    config: CoordinatorConfig
    control: FlowerControl
    show: Show
    tell: Tell
    status: CoordinatorStatus | None = None
    settled: tuple[int, ...] | None = None
    looked: float = 0.0
    unrecorded: deque[tuple[str, dict[str, str | int]]] = field(
        default_factory=lambda: deque(maxlen=MOST_UNRECORDED)
    )
    log: JsonLog = field(init=False)
    audit: AuditLog = field(init=False)

    def __post_init__(self) -> None:
        self.log = open_log(self.home.log / "coordinator.jsonl")
        self.audit = AuditLog(self.home.audit)

    def run(self, supervisor: Supervisor, until: Callable[[], bool]) -> None:
        """Poll the processes, and look at the rest from time to time."""
        self.record("coordinator_up", pid=os.getpid())
        was_ready = False
        try:
            while not until():
                supervisor.poll()
                if supervisor.is_ready() != was_ready:
                    was_ready = not was_ready
                    self.tell("all processes are ready" if was_ready else "not all are ready")
                if time.monotonic() - self.looked >= LOOK_SECONDS:
                    self._look(supervisor)
                time.sleep(POLL_SECONDS)
        finally:
            self.record("coordinator_down", pid=os.getpid())
            (self.home.superlink / STATUS_FILE).unlink(missing_ok=True)

    def metrics(self) -> str:
        """Of the latest look."""
        status = self.status
        return "" if status is None else coordinator_metrics(status)

    def note(self, process: str, event: str, details: Mapping[str, object]) -> None:
        """Log what happened to a process; tell a person if it is not as it should be."""
        reason, pid, status = (details.get(name) for name in ("reason", "pid", "status"))
        say = self.log.info if event in ("started", "ready") else self.log.warning
        say(
            f"process_{event}",
            process=process,
            pid=pid if isinstance(pid, int) else None,
            exit_code=status if isinstance(status, int) else None,
            reason=None if reason is None else str(reason),
        )
        if event == "ended" and reason != "stopped":
            tail = log_tail(self.home.log / f"{process}.log", 3)
            self.tell(f"{process} ended: {reason}; it is started again\n{tail}".rstrip())
            self.record("process_ended", process=process, reason=str(reason))
            self.settled = None

    def record(self, event: str, **details: str | int) -> None:
        """Add to the audit log, as soon as the disk takes it.

        A full disk must not end the processes that could go on: what it refuses is kept, in order,
        and added later, with a note that it comes late.

        Raises:
            IntegrityError: the log is not what was written.
        """
        self.unrecorded.append((event, details))
        try:
            self._record_kept()
        except StorageError as error:
            self.unrecorded[-1] = (event, details | {"late": True})
            if len(self.unrecorded) == 1:
                self.tell(f"the audit log waits: {error}")
            self.log.warning("audit_log_waits", count=len(self.unrecorded))

    def _record_kept(self) -> None:
        while self.unrecorded:
            event, details = self.unrecorded[0]
            self.audit.append(event, **details)
            self.unrecorded.popleft()

    def _look(self, supervisor: Supervisor) -> None:
        self.looked = time.monotonic()
        with suppress(StorageError):  # it was told when it began
            self._record_kept()
        with suppress(SuperLinkUnavailable):
            self._settle_nodes()
        try:
            self.status = observe(self.home, self.config, self.control, supervisor.states())
        except HedgerowError as error:
            self.log.warning("status_unknown", kind=type(error).__name__)
            self.tell(f"cannot tell how it is going: {error}")
            return
        document = self.status.model_dump_json(indent=1).encode() + b"\n"
        with suppress(OSError):  # a full disk must not end the processes that could go on
            write_atomically(self.home.superlink / STATUS_FILE, document, mode=0o600)
        self.show(self.status)

    def _settle_nodes(self) -> None:
        """Let in whom the release in force names, whenever it or the revocations change."""
        now = _written_at(self.home.given.membership, self.home.revoked)
        if now == self.settled:
            return
        try:
            membership = read_membership(self.home.given)
            revoked = self.home.revocations()
            changes = (
                () if membership is None else settle_registry(self.control, membership, revoked)
            )
        except FlowerRefused as error:
            self.tell(str(error))
            return
        for change in changes:
            self.tell(f"node of {change.site}: {change.event} {change.reason}".rstrip())
            event = f"node_{change.event}"
            self.log.info(event, site=change.site, node=change.node, reason=change.reason)
            self.record(event, site=change.site, node=str(change.node), reason=change.reason)
        self.settled = now


def require_certificate(home: FederationHome) -> None:
    """Return if the public port has a certificate and its key.

    Raises:
        UsageError: it has not; the text says which command makes it.
    """
    missing = [str(one) for one in (home.server_certificate, home.server_key) if not one.is_file()]
    if not missing:
        return
    fed = quoted(home.path)
    renew = f"hedgerow coordinator certificate renew {fed} --new-key"
    install = f"hedgerow coordinator certificate install {fed} SERVER.pem"
    if home.ca_key.is_file() or not home.server_key.is_file():
        remedy = renew
    else:
        remedy = f"have your CA sign {home.server_request}, then: {install}"
    raise UsageError(f"there is no {' and no '.join(missing)}: {remedy}")


def latest_status(home: FederationHome) -> CoordinatorStatus | None:
    """What the running `coordinator up` last saw; None if none runs, or it is silent.

    The processes of it are known to nobody else.
    """
    path = home.superlink / STATUS_FILE
    try:
        if time.time() - path.stat().st_mtime > 10 * LOOK_SECONDS:
            return None
        return CoordinatorStatus.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


@contextmanager
def _sole_coordinator(home: FederationHome) -> Iterator[None]:
    try:
        lock = hold(home.superlink / ".up.lock")
    except BlockingIOError as error:
        raise UsageError(f"hedgerow coordinator up {home.path} runs already") from error
    try:
        yield
    finally:
        os.close(lock)


def _written_at(*paths: Path) -> tuple[int, ...]:
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)
