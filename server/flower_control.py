"""The SuperLink's Control API: runs and registered nodes. The one place that touches its client.

flwr's own command line prints for people and exits 0 when a run fails; this calls the client
beneath it, which is private to flwr 1.41 (superlink.require_flwr says so when it is another).
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto import control_pb2 as proto
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.error import FlowerError
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from federation.errors import DataError, HedgerowError, UsageError

CLIENT_HEADER = {"x-flwr-client": "cli"}
RUN_ALREADY_FINISHED = 18
PUBLIC_KEY_ALREADY_IN_USE = 23
NODE_NOT_FOUND = 24

FINISHED = "finished"


class SuperLinkUnavailable(UsageError):
    """Nobody answers where the SuperLink should be."""


class FlowerRefused(HedgerowError):
    """The SuperLink answered no; `code` is flwr's own."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(f"the SuperLink refused: {text} (flwr code {code})")


@dataclass(frozen=True, slots=True)
class FlowerRun:
    """A run as Flower sees it.

    Attributes:
        status: pending, starting, running or finished.
        sub_status: of a finished one: completed, failed or stopped; else empty.
        details: flwr's words on it.
        settings: that it was submitted with.
        bundle: SHA-256 of its app bundle.
    """

    id: int
    status: str
    sub_status: str
    details: str
    settings: Mapping[str, str]
    bundle: str

    @property
    def is_finished(self) -> bool:
        """It will not go on."""
        return self.status == FINISHED

    @property
    def is_completed(self) -> bool:
        """Its ServerApp ended without an error."""
        return self.is_finished and self.sub_status == "completed"


@dataclass(frozen=True, slots=True)
class FlowerNode:
    """A registered node.

    Attributes:
        public_key: PEM, as flwr stores it; `stored_key` gives the same of an OpenSSH line.
        status: registered (never came yet), online, offline or unregistered.
        online_until: Unix time until which its last heartbeat counts; 0 before the first one.
        since: ISO 8601 UTC of the latest change between online and offline; empty before.
    """

    id: int
    public_key: bytes
    status: str
    online_until: float
    since: str
    heartbeat_seconds: float

    @property
    def is_online(self) -> bool:
        """Its heartbeat is not overdue."""
        return self.status == "online"

    @property
    def last_seen(self) -> float:
        """Unix time of the last heartbeat; 0 before the first one."""
        # flwr lets two beats fail before it calls a node offline (HEARTBEAT_PATIENCE).
        return max(0.0, self.online_until - 2 * self.heartbeat_seconds)


class FlowerControl:
    """A connection to the Control API of the SuperLink on this machine."""

    def __init__(self, address: str, ca: Path, timeout: float = 30.0) -> None:
        """Open it; nothing is sent yet.

        Args:
            address: host:port.
            ca: certificate file that the SuperLink is verified by.
            timeout: seconds for an answer.

        Raises:
            UsageError: the certificate file cannot be read.
        """
        self._address = address
        try:
            context = ssl.create_default_context(cafile=ca)
        except OSError as error:
            raise UsageError(f"cannot read {ca}: {error.strerror}") from error
        self._client = ControlHttpClient(
            f"https://{address}",
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
            verify=context,
        )
        self._client.close()
        # A proxy of the environment must not get to see, or break, what stays on this machine.
        self._client._client = httpx.Client(  # noqa: SLF001 - flwr offers no other way
            verify=context, timeout=timeout, trust_env=False, headers=CLIENT_HEADER
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def start_run(self, bundle: bytes, settings: Mapping[str, str]) -> int:
        """Submit a bundle; returns the run's number at Flower.

        Args:
            bundle: the app bundle.
            settings: of its [tool.flwr.app.config]; other keys are refused.
        """
        fab = Fab(sha256(bundle).hexdigest(), bundle, {})
        request = proto.StartRunRequest(
            fab=fab_to_proto(fab), override_config=user_config_to_proto(dict(settings))
        )
        with self._clear_errors():
            answer = self._client.StartRun(request)
        if not answer.HasField("run_id"):
            raise FlowerRefused(0, "the run was not started, without a reason; see its log")
        return int(answer.run_id)

    def stop_run(self, run: int) -> bool:
        """Stop a run; False if it had ended already."""
        try:
            with self._clear_errors():
                return bool(self._client.StopRun(proto.StopRunRequest(run_id=run)).success)
        except FlowerRefused as refused:
            if refused.code == RUN_ALREADY_FINISHED:
                return False
            raise

    def run(self, number: int) -> FlowerRun:
        """One run."""
        with self._clear_errors():
            answer = self._client.ListRuns(proto.ListRunsRequest(run_id=number))
        return _run(answer.run_dict[number])

    def runs(self, limit: int = 20) -> tuple[FlowerRun, ...]:
        """The latest runs, the latest first."""
        with self._clear_errors():
            answer = self._client.ListRuns(proto.ListRunsRequest(limit=limit))
        found = sorted(answer.run_dict.values(), key=lambda run: run.pending_at, reverse=True)
        return tuple(map(_run, found))

    def log(self, run: int) -> str:
        """What the ServerApp of a finished run wrote; of a running one this waits for its end."""
        with self._clear_errors():
            parts = self._client.StreamLogs(proto.StreamLogsRequest(run_id=run))
            return "".join(part.log_output for part in parts)

    def nodes(self) -> tuple[FlowerNode, ...]:
        """All nodes that were ever registered."""
        with self._clear_errors():
            answer = self._client.ListNodes(proto.ListNodesRequest())
        return tuple(
            FlowerNode(
                id=int(node.node_id),
                public_key=bytes(node.public_key),
                status=str(node.status),
                online_until=float(node.online_until) if node.HasField("online_until") else 0.0,
                since=str(
                    node.last_activated_at if node.status == "online" else node.last_deactivated_at
                ),
                heartbeat_seconds=float(node.heartbeat_interval),
            )
            for node in answer.nodes_info
        )

    def register_node(self, public_key: bytes) -> int:
        """Let the owner of this key (PEM, see `stored_key`) connect; returns the node's number.

        Raises:
            UsageError: the key is or was in use: one that was unregistered never comes back.
        """
        try:
            with self._clear_errors():
                request = proto.RegisterNodeRequest(public_key=public_key)
                return int(self._client.RegisterNode(request).node_id)
        except FlowerRefused as refused:
            if refused.code == PUBLIC_KEY_ALREADY_IN_USE:
                raise UsageError(
                    "node key: expected one that was never registered here; a revoked key cannot "
                    "come back (the site makes a new one: hedgerow site rotate)"
                ) from refused
            raise

    def unregister_node(self, number: int) -> None:
        """Refuse this node from now on, for good; unknown ones are none of our business."""
        try:
            with self._clear_errors():
                self._client.UnregisterNode(proto.UnregisterNodeRequest(node_id=number))
        except FlowerRefused as refused:
            if refused.code != NODE_NOT_FOUND:
                raise

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise SuperLinkUnavailable(
                f"no SuperLink answers at {self._address} ({error}); is it running? "
                "hedgerow coordinator up FED starts it"
            ) from error
        except httpx.HTTPStatusError as error:
            response = error.response
            known = FlowerError.from_json(response.text)
            if known is None:
                raise FlowerRefused(0, f"HTTP {response.status_code}") from error
            words = " ".join(filter(None, (known.message, known.public_details)))
            raise FlowerRefused(int(known.code), words) from error


def stored_key(openssh: str) -> bytes:
    """A node's public key as flwr stores it, of its OpenSSH line.

    Raises:
        DataError: it is no elliptic-curve key.
    """
    try:
        key = load_ssh_public_key(openssh.encode())
    except (ValueError, NotImplementedError, UnsupportedAlgorithm) as error:
        raise DataError(f"node key {openssh[:40]!r}: expected an OpenSSH public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise DataError(f"node key {openssh[:40]!r}: expected an elliptic-curve key")
    return public_key_to_bytes(key)


def _run(run: "proto.Run") -> FlowerRun:  # type: ignore[name-defined]  # flwr/proto has no re-export
    return FlowerRun(
        id=int(run.run_id),
        status=str(run.status.status),
        sub_status=str(run.status.sub_status),
        details=str(run.status.details),
        settings={name: str(value.string) for name, value in run.override_config.items()},
        bundle=str(run.fab_hash),
    )
