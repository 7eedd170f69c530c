"""Behind a stock SuperNode: takes its tasks before any code of a bundle could start.

For a site that has to run Flower's own SuperNode, started with `--isolation process` and a secret.
Flower's SuperExec would start the bundle's ClientApp in a process per message; this takes its
place, asks the agent under the SHA-256 of the bundle as it came, and carries the message with the
courier that is installed. Nothing is unpacked, installed or cached, so nothing of that can be
tampered with.
"""

import hashlib
import threading
import time
from pathlib import Path

import httpx
from flwr.common.constant import SubStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from client.relay import Ask, Relay, Told, about
from federation.errors import UsageError

LOOK_SECONDS = 0.1
PAUSE_SECONDS = 2.0
BEAT_SECONDS = 10.0
"""A task whose heart is silent for a minute is given up by the SuperNode."""
ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})
LEAST_SECRET = 16
"""Bytes."""


class SupernodeGuard:
    """Takes the tasks of one SuperNode, one after the other."""

    def __init__(
        self,
        address: str,
        authority: bytes | None,
        secret: bytes,
        ask: Ask,
        tell: Told,
        stopping: threading.Event,
    ) -> None:
        """Nothing is asked yet.

        Args:
            address: `host:port` of the SuperNode's Runtime API, on this machine.
            authority: PEM of the CA of its certificate; None if it has none, for loopback only.
            secret: that it was started with.
            ask: reaches the agent.
            tell: given what happens, for the site's log.
            stopping: set to end `run`.

        Raises:
            UsageError: without a certificate, and not on loopback.
        """
        if authority is None and address.rsplit(":", 1)[0] not in {"127.0.0.1", "localhost"}:
            raise UsageError(
                f"the SuperNode at {address} is not on this machine: give its CA, --ssl-ca-certfile"
            )
        self._address, self._authority, self._secret = address, authority, secret
        self._relay, self._tell, self._stopping = Relay(ask, tell), tell, stopping

    def run(self) -> None:
        """Go on until `stopping` is set; a SuperNode that is away is waited for."""
        proof = SuperExecAuthHttpInterceptor(master_secret=self._secret, protected_methods=ACQUIRE)
        client, told = self._client(proof), ""
        wanted = AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP])
        while not self._stopping.is_set():
            try:
                found = client.AcquireTask(wanted)
                if found.HasField("task") and found.token:
                    self._take(found.token)
                told = ""
                self._stopping.wait(LOOK_SECONDS)
            except httpx.HTTPError as error:
                if told != str(error):
                    told = str(error)
                    self._tell("offline", {"reason": f"SuperNode: {told}"})
                self._stopping.wait(PAUSE_SECONDS)
        client.close()

    def _take(self, token: str) -> None:
        client = self._client(RuntimeTokenHttpInterceptor(token))
        try:
            with _TaskHeart(client):
                message, context, _, fab = pull_task_input(client)
                TaskIdentity.node_id, began = context.node_id, time.monotonic()
                digest = hashlib.sha256(fab.content).hexdigest()
                reply = self._relay.reply_to(message, digest)
                push_message(client, reply, context)
                push_task_output(client, context, SubStatus.COMPLETED, "")
            if not reply.has_error():
                seconds = round(time.monotonic() - began, 3)
                self._tell("carried", about(message) | {"seconds": seconds})
        finally:
            client.close()

    def _client(self, proof: ProtobufClientInterceptor) -> RuntimeHttpClient:
        return RuntimeHttpClient.from_server_address(
            self._address,
            self._authority is None,
            self._authority,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"), proof],
        )


class _TaskHeart:
    """Says that a task is being worked at, also while the agent trains."""

    def __init__(self, client: RuntimeHttpClient) -> None:
        self._client, self._ended = client, threading.Event()
        self._thread = threading.Thread(target=self._run, name="task-heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
            except httpx.HTTPError:
                continue  # the reply will say whether the SuperNode is there


def read_secret(path: Path) -> bytes:
    """The secret that SuperNode and guard share, as Flower reads it.

    Raises:
        UsageError: it cannot be read, or is too short to be one.
    """
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the secret {path}: {error.strerror}") from error
    if len(secret) < LEAST_SECRET:
        raise UsageError(f"{path} holds {len(secret)} bytes: expected at least {LEAST_SECRET}")
    return secret
