"""A node of a SuperLink: Flower's Fleet API as six calls, each of which may fail in a named way.

The protocol, its messages and the authentication of nodes are Flower's own; what is ours is what a
failure means. Flower's SuperNode ends itself at one answer and goes silent for ever at another; a
site's node tries again and says what it waits for.

All that this package uses of Flower beyond its public API is in this module.
"""

import hashlib
import math
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self, TypeVar

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.error import FlowerError
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    inflate_object_from_contents,
    pull_objects,
    push_objects,
)
from flwr.supercore.interceptors.http.utils import add_headers
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.runtime_version_compatibility import (
    RuntimeVersionMetadata,
    get_runtime_version_incompatibility_exit_message,
)
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from federation import node_key
from federation.errors import IntegrityError, UsageError
from federation.software import HEADERS

HEARTBEAT_SECONDS = 10.0
"""The shortest that a SuperLink takes; a node that died is noticed, and may return, after two."""
CALL_SECONDS = 30.0
"""Without a byte, until a call counts as lost; whoever answers does so within the second."""
INSIST_SECONDS = 30.0
"""How long the rest of a message is tried for, when the line breaks within it."""
MOST_OBJECTS = 4096
"""Parts of one message; a gibibyte in Flower's pieces of five megabytes is far fewer."""
DEEPEST_OBJECT = 8
LARGEST_BUNDLE = 10 * 2**20
"""Bytes; Flower's own bound on an app bundle."""

R = TypeVar("R")


class FleetError(Exception):
    """A call did not succeed; the class says whether and when to try again."""


class Unreachable(FleetError):
    """Nobody answers, or something between here and the SuperLink does: try again soon."""


class NotTrusted(FleetError):
    """Whoever answers has no certificate that this site believes."""


class NotKnown(FleetError):
    """The SuperLink does not know this node's key, or the clocks differ too much."""


class StillLeased(FleetError):
    """The SuperLink believes that a node with this key is online."""


class Incompatible(FleetError):
    """The SuperLink's Flower is of another version."""


class TooLarge(FleetError):
    """More was sent than the SuperLink, or a proxy before it, takes: no use in insisting."""


class RunEnded(FleetError):
    """The run is over, so nobody waits for a reply."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """A message for this node, and of which run it is."""

    message: Message
    run: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """The app bundle of a run.

    Attributes:
        digest: SHA-256 of `content`, 64 hexadecimal digits, as computed here.
        content: of the file.
    """

    digest: str
    content: bytes


class Fleet:
    """A node's connection to a SuperLink.

    Every method raises a `FleetError` of the class that says what to do.
    """

    def __init__(self, client: FleetHttpClient, public_key: bytes) -> None:
        """Use `connect`."""
        self._client, self._public_key = client, public_key
        self._node: Node | None = None

    @classmethod
    def connect(cls, address: str, authority: Path, key_file: Path) -> Self:
        """A connection, which is made when it is first used.

        Args:
            address: `host:port` of the SuperLink, or of the edge before it.
            authority: PEM of the CA that its certificate must be signed by.
            key_file: the node's private key.

        Raises:
            UsageError: a file is missing or holds something else.
        """
        key = read_node_key(key_file)
        try:
            trusted = ssl.create_default_context(cafile=str(authority))
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"cannot use the CA {authority}: {error}") from error
        trusted.minimum_version = ssl.TLSVersion.TLSv1_2
        public = key.public_key()
        client = FleetHttpClient(
            f"https://{address}",
            interceptors=[_Versions(), NodeAuthHttpInterceptor(key, public)],
            verify=trusted,
            timeout=CALL_SECONDS,
        )
        return cls(client, public_key_to_bytes(public))

    def activate(self) -> int:
        """Come online; the node's id."""
        asked = ActivateNodeRequest(
            public_key=self._public_key, heartbeat_interval=HEARTBEAT_SECONDS
        )
        node = _called(lambda: self._client.ActivateNode(asked)).node_id
        self._node = Node(node_id=node)
        # Flower lets a process make messages only once it knows as whom.
        TaskIdentity.node_id = TaskIdentity.task_id = node
        return node

    def beat(self) -> None:
        """Say that this node is alive."""
        asked = SendNodeHeartbeatRequest(node=self._known(), heartbeat_interval=HEARTBEAT_SECONDS)
        if not _called(lambda: self._client.SendNodeHeartbeat(asked)).success:
            raise NotKnown("the SuperLink does not know this node any more")

    def pull(self) -> Instruction | None:
        """The next message with all it holds, if there is one; it is confirmed, so comes once."""
        node = self._known()
        told = _called(lambda: self._client.PullMessages(PullMessagesRequest(node=node)))
        if not told.messages_list:
            return None
        head, tree = message_from_proto(told.messages_list[0]), told.message_object_trees[0]
        run = head.metadata.run_id
        names = _names(tree)
        pull_one = make_pull_object_fn_protobuf(self._client.PullObject, node, run)
        confirm = make_confirm_message_received_fn_protobuf(
            self._client.ConfirmMessageReceived, node, run
        )
        contents = _insisted(lambda: pull_objects(names, pull_one))
        if any(hashlib.sha256(content).hexdigest() != name for name, content in contents.items()):
            raise Unreachable("a part of a message is not what its name says")
        _insisted(lambda: confirm(tree.object_id))
        message = inflate_object_from_contents(tree.object_id, contents)
        if not isinstance(message, Message):
            raise Unreachable("what came as a message is none")
        message.metadata.__dict__["_message_id"] = tree.object_id
        return Instruction(message, run)

    def bundle_digest(self, run: int) -> str:
        """SHA-256 of the app bundle that the SuperLink names for a run."""
        asked = GetRunRequest(node=self._known(), run_id=run)
        return str(_called(lambda: self._client.GetRun(asked)).run.fab_hash)

    def bundle(self, run: int, digest: str) -> Bundle:
        """The app bundle itself.

        Raises:
            IntegrityError: it is not the one of that digest, or larger than a bundle may be.
        """
        asked = GetFabRequest(node=self._known(), hash_str=digest, run_id=run)
        content = _called(lambda: self._client.GetFab(asked)).fab.content
        found = hashlib.sha256(content).hexdigest()
        if found != digest or len(content) > LARGEST_BUNDLE:
            raise IntegrityError(f"the SuperLink gave {found[:16]}... for bundle {digest[:16]}...")
        return Bundle(digest, content)

    def reply(self, message: Message, seconds: float) -> bool:
        """Send a reply that took so many seconds to make; whether it surely got through.

        It may not have where it had to be sent again: a SuperLink that gave its head away already
        takes no more of it, and says nothing of that.

        Raises:
            RunEnded: nobody waits for it any more.
            TooLarge: it does not get through.
        """
        node, tries = self._known(), 0
        message.metadata.__dict__["_message_id"] = message.object_id
        with no_object_id_recompute():
            tree, parts = get_object_tree(message), get_all_nested_objects(message)
            head = remove_content_from_message(message) if message.has_content() else message
            asked = PushMessagesRequest(
                node=node,
                messages_list=[message_to_proto(head)],
                message_object_trees=[tree],
                clientapp_runtime_list=[seconds],
            )

            def push() -> None:
                nonlocal tries
                tries += 1
                # Whole each time: the SuperLink knows a reply again, names the parts that it still
                # lacks, and takes them in a session of their own; an older one may be lost.
                told = self._client.PushMessages(asked)
                push_one = make_push_object_fn_protobuf(
                    self._client.PushObject, node, message.metadata.run_id, told.session_id
                )
                wanted = set(told.objects_to_push)
                push_objects(parts, push_one, object_ids_to_push=wanted, keep_objects=True)

            _insisted(push)
        return tries == 1

    def leave(self) -> None:
        """Go offline, if that can be said to anyone."""
        if self._node is not None:
            asked = DeactivateNodeRequest(node_id=self._node.node_id)
            _called(lambda: self._client.DeactivateNode(asked))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _known(self) -> Node:
        if self._node is None:
            raise NotKnown("this node is not online yet")
        return self._node


def assume_run(run: int) -> None:
    """Let this process make messages of a run."""
    TaskIdentity.run_id = run


def read_node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The private key that a node proves itself with.

    Raises:
        UsageError: the file cannot be read.
        IntegrityError: it holds no such key.
    """
    try:
        return node_key.read_private(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"cannot read the node's key {path}: {error.strerror}; if it is lost: hedgerow site "
            "rotate-keys HOME --node-key-lost"
        ) from error
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error}") from error


class _Versions:
    """Tells Flower's version, and hears if it does not fit; Flower's own would end the process."""

    def __init__(self) -> None:
        told = RuntimeVersionMetadata.from_local_component("SuperNode")
        self._headers = dict(told.as_metadata()) | {HEADERS["hedgerow"]: version("hedgerow")}

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        add_headers(context.request, self._headers)
        response = call_next(context)
        if response.is_error:
            told = get_runtime_version_incompatibility_exit_message(response.text)
            if told:
                raise Incompatible(told)
        return response


def _insisted(call: Callable[[], R]) -> R:
    """As `_called`, tried again for a while: a message that was begun would be lost otherwise."""
    deadline, pause = math.inf, 0.2
    while True:
        try:
            return _called(call)
        except Unreachable:
            # From the first failure on: a large message may take longer than that by itself.
            deadline = min(deadline, time.monotonic() + INSIST_SECONDS)
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def _called(call: Callable[[], R]) -> R:
    try:
        return call()
    except httpx.HTTPStatusError as error:
        raise _refused(error.response) from error
    except httpx.TransportError as error:
        if _is_about_certificates(error):
            raise NotTrusted(f"{error}") from error
        raise Unreachable(
            f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        ) from error
    except FleetError:
        raise
    except Exception as error:
        # Flower's helpers raise their own classes for parts that did not come or were not taken.
        raise Unreachable(f"{type(error).__name__}: {error}") from error


def _refused(response: httpx.Response) -> FleetError:
    told = FlowerError.from_json(response.text)
    text = f"HTTP {response.status_code}" + (f" [{told.code}] {told.message}" if told else "")
    by_status: Mapping[int, type[FleetError]] = {401: NotKnown, 403: RunEnded, 413: TooLarge}
    if told is not None and told.code == ACTIVATION_REFUSED:
        return StillLeased(text)
    return by_status.get(response.status_code, Unreachable)(text)


ACTIVATION_REFUSED = 2004
"""Flower's error code where a node is unknown, or online already."""


def _is_about_certificates(error: httpx.TransportError) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _names(tree: ObjectTree, depth: int = 1) -> list[str]:
    """The names of all parts of a message.

    Raises:
        Unreachable: more of them, or deeper ones, than a message has.
    """
    if depth > DEEPEST_OBJECT:
        raise Unreachable("a message is nested deeper than messages are")
    names = [name for child in tree.children for name in _names(child, depth + 1)]
    names.append(tree.object_id)
    if len(names) > MOST_OBJECTS:
        raise Unreachable("a message has more parts than messages have")
    return names
