"""The line to a site's agent: a Unix socket, frames with a length, one greeting, then requests.

A frame is eight bytes of length (big endian) and so many bytes. The first of either side is a
greeting in JSON: who calls and under which app bundle; whether the agent listens to it. After that
every frame of the caller is a request and every frame of the agent the reply to it, both as
`federation.envelope` says. The agent believes nothing of the greeting but what its own file of
approvals says of the bundle that is named: whoever may open the socket was let in by the site.

The standard library only: a courier that lives for one message imports this.
"""

import json
import os
import shlex
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from flwr.app import Context

PROTOCOL = 1
LARGEST_FRAME = (1 << 30) + (1 << 20)
"""Bytes; `federation.envelope` refuses more than a gibibyte by itself."""
LARGEST_GREETING = 1 << 12
PIECE = 1 << 20
"""Bytes read at a time, so that a length that is only claimed reserves no memory."""
LENGTH_BYTES = 8
LONGEST_NAME = 100
"""Bytes of a Unix socket's path; the system has room for 107."""
REFUSAL = "refusal"
"""Asked for instead of answers, under a bundle that is not approved: the agent's signed no."""
NO_BUNDLE = ""
"""Of a caller that carries no app's messages: the site's own commands."""


class LineError(ConnectionError):
    """The agent is not there, speaks otherwise, or does not listen; the text says which."""

    def __init__(self, text: str, code: str = "unreachable") -> None:
        self.code = code
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a caller says of itself.

    Attributes:
        bundle: SHA-256 of the app bundle whose messages it carries, 64 hexadecimal digits, or
            NO_BUNDLE.
        asks: `answers`; `status` for a look at the agent itself; or `refusal`.
        hedgerow: the caller's version.
    """

    bundle: str
    asks: str
    hedgerow: str

    def to_bytes(self) -> bytes:
        """The frame's content."""
        told = {"protocol": PROTOCOL, "bundle": self.bundle, "asks": self.asks}
        return json.dumps(told | {"hedgerow": self.hedgerow}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse and check every field.

        Raises:
            LineError: no greeting, or of another protocol.
        """
        table = _object(data)
        if table.get("protocol") != PROTOCOL:
            raise LineError(
                f"protocol {table.get('protocol')!r}: expected {PROTOCOL}; install one version of "
                "hedgerow for the node and the agent",
                "protocol",
            )
        if set(table) != {"protocol", "bundle", "asks", "hedgerow"}:
            raise LineError("greeting: expected protocol, bundle, asks and hedgerow", "protocol")
        told = (table["bundle"], table["asks"], table["hedgerow"])
        if not all(isinstance(value, str) for value in told):
            raise LineError("greeting: every field is text", "protocol")
        bundle, asks, hedgerow = map(str, told)
        if bundle != NO_BUNDLE and not _is_digest(bundle):
            raise LineError("greeting: bundle is no SHA-256", "protocol")
        if asks not in {"answers", "status", REFUSAL}:
            raise LineError("greeting: asks is neither answers nor status", "protocol")
        return cls(bundle, asks, hedgerow)


class AgentLine:
    """An open line to an agent that listens.

    Raises:
        LineError: nothing answers at the socket, or the agent does not listen to this caller; the
            code is then the agent's own, such as `bundle_not_approved`.
    """

    def __init__(
        self, path: Path, bundle: str, asks: str = "answers", patience: float | None = None
    ) -> None:
        """Open a line.

        Args:
            path: of the agent's socket.
            bundle: whose messages are carried.
            asks: as in a greeting.
            patience: seconds to wait for the agent at most; as long as it takes if None.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience)
        try:
            try:
                with short_name(path) as name:
                    self._socket.connect(name)
            except OSError as error:
                raise LineError(
                    f"no agent answers at {path}: {error.strerror}; start it with: hedgerow site "
                    f"up {shlex.quote(str(path.parent))}"
                ) from error
            self.told = self._greet(Greeting(bundle, asks, version("hedgerow")))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, request: bytes) -> bytes:
        """The agent's reply to a request.

        Raises:
            LineError: the agent ended or hung up.
        """
        try:
            send_frame(self._socket, request)
            return receive_frame(self._socket, LARGEST_FRAME)
        except OSError as error:
            raise LineError(f"the agent hung up: {error}") from error

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _greet(self, greeting: Greeting) -> Mapping[str, object]:
        try:
            send_frame(self._socket, greeting.to_bytes())
            told = _object(receive_frame(self._socket, LARGEST_FRAME))
        except LineError:
            raise
        except OSError as error:
            raise LineError(f"the agent hung up at the greeting: {error}") from error
        if told.get("status") != "ok":
            raise LineError(str(told.get("reason", "")), str(told.get("code", "protocol")))
        return told


STATUS_SECONDS = 5.0
"""An agent tells its status at once, whatever it is at."""


def ask_status(path: Path, patience: float = STATUS_SECONDS) -> Mapping[str, object]:
    """What an agent says of itself; see `client.agent_service.AgentService.status`.

    Raises:
        LineError: none answers at the socket within `patience` seconds.
    """
    with AgentLine(path, NO_BUNDLE, "status", patience) as line:
        return line.told


def connect(context: "Context") -> Callable[[bytes], bytes]:
    """The agent connector of a deployed site: node config says where the socket is.

    Under Flower's own SuperNode: `--node-config 'agent="site" agent-socket="HOME/agent.sock"'`,
    with `agent-bundle` the SHA-256 that the guard in front of it found.
    """
    path = Path(str(context.node_config["agent-socket"]))
    bundle = str(context.node_config.get("agent-bundle", NO_BUNDLE))

    def answer(request: bytes) -> bytes:
        with AgentLine(path, bundle) as line:
            return line.answer(request)

    return answer


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name of a socket that is short enough for the system, wherever the socket lies.

    Raises:
        OSError: its folder cannot be opened.
    """
    if len(os.fsencode(path)) <= LONGEST_NAME:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def send_frame(line: socket.socket, data: bytes) -> None:
    """Send one frame.

    Raises:
        OSError: the other side hung up.
    """
    line.sendall(len(data).to_bytes(LENGTH_BYTES, "big"))
    line.sendall(data)


def receive_frame(line: socket.socket, largest: int) -> bytes:
    """Receive one frame.

    Raises:
        LineError: the other side hung up, or claims more than `largest` bytes.
        OSError: the line broke.
    """
    length = int.from_bytes(_exactly(line, LENGTH_BYTES), "big")
    if length > largest:
        raise LineError(f"a frame of {length} bytes: expected at most {largest}", "protocol")
    return _exactly(line, length)


def _exactly(line: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        piece = line.recv(min(PIECE, count - len(received)))
        if not piece:
            raise LineError("the other side hung up")
        received += piece
    return bytes(received)


def _object(data: bytes) -> Mapping[str, object]:
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LineError("greeting: not JSON", "protocol") from error
    if not isinstance(table, dict):
        raise LineError("greeting: not an object", "protocol")
    return table


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
