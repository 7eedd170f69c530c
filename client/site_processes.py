"""The two processes of a deployed site, and the third that keeps both up.

The agent holds rows, keys, ledger and policy and has no network; the node holds the key that
Flower's SuperLink knows it by and one connection out, and reads nothing of the rest.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from client.agent_socket import LineError, ask_status
from client.returning_agent import ReturningAgent
from client.site_home import SiteHome
from federation.audit_log import AuditLog
from federation.child_processes import Child, Supervisor, log_tail
from federation.durable_file import write_atomically
from federation.errors import UsageError
from federation.file_lock import hold
from federation.json_log import JsonLog, open_log
from federation.shell_word import quoted
from federation.site_connection import SiteConnection
from federation.timestamp import utc_now

FLOWER_SWITCHES = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""Flower calls home and installs what a bundle asks for unless it is told not to."""
AGENT_GRACE = 600.0
"""Seconds: what the agent is at when it is to end is finished first, for it was paid for."""
READY_SECONDS = 120.0
LEAVING_SECONDS = 10.0
"""How long a node, or `site up`, that was just killed may take to be gone."""
Told = Callable[[str, Mapping[str, str | int | float]], None]
WARNED_OF = frozenset({"offline", "not_answered", "answered_no", "turned_away"})


def require_joined(home: SiteHome) -> None:
    """Return if the site has what its consortium sends it.

    Raises:
        UsageError: it has not joined.
    """
    home.require()
    missing = [path.name for path in (home.connection, home.authority) if not path.is_file()]
    if missing:
        raise UsageError(
            f"{home.path} lacks {' and '.join(missing)}: this site has not joined; ask the "
            f"coordinator for its package, then: hedgerow site join {quoted(home.path)} PACKAGE"
        )


def serve_agent(home: SiteHome) -> None:
    """Be the site's agent until SIGTERM or SIGINT.

    Raises:
        HedgerowError: the home is not whole, or an agent is running; the text says what to do.
    """
    from client.agent_service import AgentService  # noqa: PLC0415 - imports torch: seconds
    from client.deployed_agent import open_deployed_agent  # noqa: PLC0415 - as above

    os.umask(0o077)
    deployed = open_deployed_agent(home)
    site, choice = deployed.policy.site, deployed.policy.log
    log = open_log(home.log("agent"), choice.level, choice.fields)
    service = AgentService(
        home.socket, site, deployed.answer, deployed.is_approved, _teller(log), deployed.refuse
    )
    AuditLog(home.audit).append("agent_started", pid=os.getpid())
    with _ended_by_signals(service.stopping):
        _say(f"agent of {site} listens at {home.socket}")
        service.serve()
    AuditLog(home.audit).append("agent_ended", pid=os.getpid())


def carry_messages(home: SiteHome) -> None:
    """Be the site's node until SIGTERM or SIGINT.

    Raises:
        HedgerowError: the site has not joined, or a file is not what it should be.
    """
    os.environ.update(FLOWER_SWITCHES)
    from client.fleet import Bundle, Fleet  # noqa: PLC0415 - imports Flower: a second
    from client.fleet_node import FleetNode, NodeParts  # noqa: PLC0415 - as above

    os.umask(0o077)
    log, connection = open_log(home.log("node")), SiteConnection.read(home.connection)
    state = _NodeState(home.node_state, _teller(log))

    def connect() -> Fleet:
        # Read anew each time: after `site join` with a newer package the next try uses it.
        there = SiteConnection.read(home.connection)
        return Fleet.connect(there.superlink, home.authority, home.node_key)

    def keep(bundle: Bundle) -> None:
        path = home.bundles / f"{bundle.digest}.fab"
        if not path.exists():
            home.bundles.mkdir(exist_ok=True, mode=0o700)
            write_atomically(path, bundle.content, mode=0o600)

    stopping = threading.Event()
    ask = ReturningAgent(home.socket, stopping).ask
    parts = NodeParts(connect, ask, keep, state.tell, stopping)
    with _alone(home, "node"), _ended_by_signals(parts.stopping):
        _say(f"node of {connection.site} for {connection.superlink}")
        FleetNode(parts).run()
    state.tell("stopped", {})


def guard_supernode(home: SiteHome, address: str, secret: Path, authority: Path | None) -> None:
    """Be the executor behind a stock SuperNode until SIGTERM or SIGINT.

    Args:
        home: whose agent answers.
        address: of the SuperNode's Runtime API.
        secret: the file that the SuperNode was started with.
        authority: PEM of the CA of its certificate.

    Raises:
        UsageError: a file cannot be read.
    """
    os.environ.update(FLOWER_SWITCHES)
    from client.supernode_guard import SupernodeGuard, read_secret  # noqa: PLC0415 - as above

    os.umask(0o077)
    tell, ending = _teller(open_log(home.log("guard"))), threading.Event()
    try:
        trusted = None if authority is None else authority.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the CA {authority}: {error.strerror}") from error
    ask = ReturningAgent(home.socket, ending).ask
    guard = SupernodeGuard(address, trusted, read_secret(secret), ask, tell, ending)
    with _ended_by_signals(ending):
        _say(f"guard behind the SuperNode at {address}")
        guard.run()


def site_children(home: SiteHome) -> tuple[Child, Child]:
    """Agent and node as processes of their own."""

    def listens() -> bool:
        try:
            return ask_status(home.socket)["status"] == "ok"
        except LineError:
            return False

    def child(name: str, **rest: object) -> Child:
        command = (sys.executable, "-P", "-m", "hedgerow", "site", name, str(home.path))
        environment = dict(os.environ) | FLOWER_SWITCHES
        return Child(
            name=name,
            command=command,
            log_path=_output(home, name),
            env=environment,
            **rest,  # type: ignore[arg-type]
        )

    agent = child("agent", is_ready=listens, is_healthy=listens, ready_within=READY_SECONDS,
                  grace=AGENT_GRACE)  # fmt: skip
    return agent, child("node", after=("agent",))


def keep_up(home: SiteHome, report: Callable[[str, str, Mapping[str, object]], None]) -> None:
    """Keep agent and node running until SIGTERM or SIGINT; also tell whether the node is online."""
    ending, told = threading.Event(), dict(read_node_state(home))

    def tell(name: str, event: str, details: Mapping[str, object]) -> None:
        if event == "ended" and details.get("reason") != "stopped":
            # Why it ended, it said itself: to its own log, where nobody looks first.
            said = log_tail(_output(home, name), lines=1)
            details = {**details, "said": said.removeprefix("hedgerow: ")}
        report(name, event, details)

    def is_ending() -> bool:
        state = dict(read_node_state(home))
        if state not in ({}, told):
            told.clear()
            told.update(state)
            report("node", str(state["state"]), {"reason": state.get("reason", "")})
        return ending.is_set()

    with (
        _alone(home, "up"),
        _ended_by_signals(ending),
        Supervisor(site_children(home), tell) as supervisor,
    ):
        supervisor.run(until=is_ending)


def read_node_state(home: SiteHome) -> Mapping[str, object]:
    """What the node last said of itself: state, since, reason and advice; empty before the first.

    A node that said it was online and was killed says nothing more; its state is `gone` then.

    Raises:
        UsageError: the file is not what was written.
    """
    try:
        state = json.loads(home.node_state.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UsageError(f"{home.node_state} is not what was written; remove it") from error
    if not isinstance(state, dict):
        return {}
    if state.get("state") in {"online", "reached"} and not _is_held(home.path / ".node.lock"):
        return state | {"state": "gone", "reason": "its process was killed"}
    return state


def _output(home: SiteHome, name: str) -> Path:
    """What a process of the site writes to its terminal."""
    return home.log(name).with_suffix(".out")


def _is_held(lock: Path) -> bool:
    """Whether a process holds a lock; one that is not ours to look at is taken to be held."""
    try:
        os.close(hold(lock))
    except (BlockingIOError, UsageError):
        return True
    return False


class _NodeState:
    """Logs what happens to a node, and keeps whether it is online."""

    STATES = ("online", "offline", "reached", "stopped")

    def __init__(
        self, path: Path, log: Callable[[str, Mapping[str, str | int | float]], None]
    ) -> None:
        self._path, self._log = path, log

    def tell(self, event: str, fields: Mapping[str, str | int | float]) -> None:
        """Log the event; keep it if it changes whether the node is online."""
        self._log(event, fields)
        if event not in self.STATES:
            return
        state = {"state": "online" if event == "reached" else event, "since": utc_now(), **fields}
        with suppress(OSError):  # a full disk stops no node
            write_atomically(self._path, json.dumps(state).encode(), mode=0o600)
        _say(
            ": ".join(
                [event, *(str(fields[name]) for name in ("reason", "remedy") if name in fields)]
            )
        )


def _teller(log: JsonLog) -> Told:
    def tell(event: str, fields: Mapping[str, str | int | float]) -> None:
        say = log.warning if event in WARNED_OF else log.info
        say(event, **fields)

    return tell


@contextmanager
def _alone(home: SiteHome, name: str) -> Iterator[None]:
    """Be the only process of this kind over a home.

    Raises:
        UsageError: there is one already; two would take each other's messages and sockets.
    """
    path = home.path / f".{name}.lock"
    try:
        lock = hold(path, LEAVING_SECONDS)
    except BlockingIOError as error:
        raise UsageError(
            f"another hedgerow site {name} is running for {home.path}; a site has one"
        ) from error
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def _ended_by_signals(ending: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set the event instead of ending the process where it stands."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: ending.set()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - systemd's journal and the terminal read it
