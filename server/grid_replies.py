"""Replies as they come in, none of which holds up another.

Flower's `Grid.pull_messages` waits for every part of a reply whose head has come, one reply after
the other: a site that dies while it sends would stall a round for three minutes past any timeout,
and one that goes on sending parts slowly for as long as it likes (measured, flwr 1.41). Here a
reply is given when it is whole, and whoever waits for it decides for how long.

All that the coordinator's transport uses of Flower beyond its public API is in this module.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from flwr.app import Message
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectUnavailableError,
    inflate_object_from_contents,
)

from federation.envelope import LARGEST_MESSAGE

if TYPE_CHECKING:
    from flwr.superlink.grid.http_grid import HttpGrid

MOST_PARTS = 4096
"""Of one reply; a gibibyte in Flower's pieces of five megabytes is far fewer."""


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A reply that can never be whole; `reason` says why."""

    reason: str


class Replies(Protocol):
    """What came in reply to messages that were pushed."""

    @property
    def can_be_lost(self) -> bool:
        """Whether a message or its reply can get lost on the way with nobody knowing."""
        ...

    def arrived(self, waiting: Iterable[str]) -> Iterator[tuple[str, Message | Spoilt]]:
        """Per message that was answered since the last look, its id and the answer."""
        ...

    def missing(self, name: str) -> int:
        """How many parts of the answer to a message have not come; 0 if nothing of it has."""
        ...


def replies_of(grid: Grid) -> Replies:
    """The replies that come in over a Grid."""
    # Half a second to import, for a simulation's grid is another.
    http = sys.modules.get("flwr.superlink.grid.http_grid")
    return HttpReplies(grid) if http and isinstance(grid, http.HttpGrid) else GridReplies(grid)


@dataclass(frozen=True, slots=True)
class GridReplies:
    """Over a Grid whose replies come whole: within one process, or from Flower's simulation."""

    grid: Grid

    @property
    def can_be_lost(self) -> bool:
        """See `Replies`."""
        return False

    def arrived(self, waiting: Iterable[str]) -> Iterator[tuple[str, Message | Spoilt]]:
        """See `Replies`."""
        for message in self.grid.pull_messages(list(waiting)):
            yield message.metadata.reply_to_message_id, message

    def missing(self, name: str) -> int:  # noqa: ARG002 - replies come whole
        """See `Replies`."""
        return 0


@dataclass
class _Partial:
    """A reply whose head has come; `missing` names the parts that have not, in order."""

    head: str
    missing: list[str]
    contents: dict[str, bytes] = field(default_factory=dict)
    bytes: int = 0


class HttpReplies:
    """Over a SuperLink, where a reply's parts come one by one."""

    def __init__(self, grid: "HttpGrid") -> None:
        """Nothing is waited for yet."""
        self._grid = grid
        self._partial: dict[str, _Partial] = {}

    @property
    def can_be_lost(self) -> bool:
        """See `Replies`."""
        return True

    def arrived(self, waiting: Iterable[str]) -> Iterator[tuple[str, Message | Spoilt]]:
        """See `Replies`. What nobody waits for any more is forgotten."""
        wanted = set(waiting)
        self._partial = {one: part for one, part in self._partial.items() if one in wanted}
        yield from self._begun(wanted - set(self._partial))
        for answered, partial in list(self._partial.items()):
            done = self._continued(partial)
            if done is not None:
                del self._partial[answered]
                yield answered, done

    def missing(self, name: str) -> int:
        """See `Replies`."""
        return len(self._partial[name].missing) if name in self._partial else 0

    def _begun(self, wanted: set[str]) -> Iterator[tuple[str, Spoilt]]:
        """Take the heads that have come; gives those of replies that no site of ours sends."""
        if not wanted:
            return
        asked = PullAppMessagesRequest(message_ids=sorted(wanted))
        told = self._grid._runtime_client.PullMessages(asked)  # noqa: SLF001 - see the module
        for head, tree in zip(told.messages_list, told.message_object_trees, strict=True):
            answered = head.metadata.reply_to_message_id
            names = _names(tree)
            if len(names) > MOST_PARTS:
                yield answered, Spoilt(f"its reply has more than {MOST_PARTS} parts")
                continue
            self._partial[answered] = _Partial(head.metadata.message_id, names)

    def _continued(self, partial: _Partial) -> Message | Spoilt | None:
        """The reply, if all of it has come by now."""
        pull = self._puller()
        try:
            while partial.missing:
                content = pull(partial.missing[0])
                partial.bytes += len(content)
                if partial.bytes > 2 * LARGEST_MESSAGE:
                    return Spoilt(f"its reply is larger than {LARGEST_MESSAGE} bytes")
                partial.contents[partial.missing.pop(0)] = content
        except ObjectUnavailableError:
            return None
        except ObjectPullError:
            return Spoilt("its reply was cut off on the way")
        self._confirm(partial.head)
        message = cast("Message", inflate_object_from_contents(partial.head, partial.contents))
        message.metadata.__dict__["_message_id"] = partial.head
        return message

    def _puller(self) -> Callable[[str], bytes]:
        grid = self._grid
        return make_pull_object_fn_protobuf(
            grid._runtime_client.PullObject,  # noqa: SLF001 - see the module
            grid.node,
            grid.run.run_id,
        )

    def _confirm(self, head: str) -> None:
        """Let the SuperLink forget a reply that was taken."""
        grid = self._grid
        grid._runtime_client.ConfirmMessageReceived(  # noqa: SLF001 - see the module
            ConfirmMessageReceivedRequest(
                node=grid.node, run_id=grid.run.run_id, message_object_id=head
            )
        )


def _names(tree: ObjectTree) -> list[str]:
    """Names of a reply's parts, each once; one more than `MOST_PARTS` of them at most."""
    names: dict[str, None] = {}
    for part in iterate_object_tree(tree):
        names[part.object_id] = None
        if len(names) > MOST_PARTS:
            break
    return list(names)
