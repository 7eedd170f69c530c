"""Requests to nodes and replies from them, over any Flower Grid: embedded, Ray or a SuperLink."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from federation.envelope import Phase, Request
from server.grid_replies import Spoilt, replies_of
from server.pieced_array import PiecedArray

T = TypeVar("T")
RECORD = "hedgerow"
BYTES = "hedgerow.bytes"
"""What Flower is told that an array of ours holds."""
LARGEST_WHOLE = 1 << 20
"""Bytes that travel in one piece; Flower cuts the arrays that larger ones travel as into pieces."""
GROWTH, MOST_TIMES = 1.2, 5.0
"""Of the time between two looks for replies, from one to the next, and at most."""
QUIET_SHARE = 0.2
"""Of the timeout, without anything more of a reply: then the question is put again.

Two things are lost for good where a process dies at the wrong moment: a question that a node was
just taking, which counts as delivered, and the parts of a reply whose head the SuperLink gave away,
since it forgets the question with that. A site gives the same question the same answer.
"""

OUTAGE_SECONDS = 3.0
"""A SuperLink that takes so long to answer one call was away, as far as anybody can tell here."""
BACK_SECONDS, ASK_AGAIN_SECONDS = 30.0, 2.0
"""How long nodes may take to be back after an outage; they try every 24 seconds at the least.

Till then a SuperLink that was killed holds nodes offline whose last sign of life is too old,
answers for them, and forgets the question with that: it is put again as often.
"""

FLOWERS_OWN = {
    ErrorCode.MESSAGE_UNAVAILABLE: "no reply before the message expired",
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "no reply before the message expired",
    ErrorCode.NODE_UNAVAILABLE: "the site's node is offline",
}
"""What a SuperLink's own errors mean for a site."""


@dataclass(frozen=True, slots=True)
class Lost:
    """No reply came; `reason` says what is known."""

    reason: str


NOT_TAKEN = Lost("the SuperLink did not take the message: the node is not registered")


class Transport(Protocol):
    """Carries one request per node and brings back what came in time, as it comes."""

    def nodes(self) -> list[int]:
        """Nodes that are online."""
        ...

    def exchange(
        self, requests: Mapping[int, Request], timeout: float
    ) -> Iterator[tuple[int, bytes | Lost]]:
        """Send all requests; give one reply or loss per node within `timeout` seconds.

        Each is given when it arrives, so that whoever adds them up need not hold them all.
        """
        ...


class GridTransport:
    """A `Transport` over a Flower Grid, with pushes and pulls of its own.

    `Grid.send_and_receive` polls every three seconds on a SuperLink; this polls every
    `poll_seconds` at first, because a round is several exchanges, and less often while sites train.
    """

    def __init__(self, grid: Grid, poll_seconds: float = 0.1) -> None:
        self._grid, self._replies = grid, replies_of(grid)
        self._poll_seconds = poll_seconds
        self._takes_pieces = bool(getattr(grid, "takes_pieces", False))
        self._outage = _Outage()

    def nodes(self) -> list[int]:
        """Node ids, sorted."""
        return sorted(self._grid.get_node_ids())

    def exchange(
        self, requests: Mapping[int, Request], timeout: float
    ) -> Iterator[tuple[int, bytes | Lost]]:
        """See `Transport`. Replies that come later are dropped."""
        deadline = time.monotonic() + timeout
        waiting = self._push(requests, timeout)
        for node in set(requests) - set(waiting.values()):
            yield node, NOT_TAKEN
        quiet, away = _Quiet(QUIET_SHARE * timeout), _Away(self._outage)
        pause = self._poll_seconds
        while waiting or away:
            for name, message in self._outage.watched(self._replies.arrived(waiting)):
                if name not in waiting:
                    continue
                node = waiting[name]
                if away.puts_off(node, message):
                    waiting = {one: at for one, at in waiting.items() if one != name}
                    continue
                payload = self._told(message, waiting, node, timeout)
                away.forget(node)
                waiting = {one: at for one, at in waiting.items() if at != node}
                yield node, payload
            left = deadline - time.monotonic()
            if left < 0:
                break
            again = self._unheard(waiting, quiet) | away.due()
            waiting |= self._push({node: requests[node] for node in again}, left)
            for node in again - set(waiting.values()):
                yield node, NOT_TAKEN
            if waiting or away:
                time.sleep(pause)
                pause = min(GROWTH * pause, MOST_TIMES * self._poll_seconds)
        for node in dict.fromkeys([*waiting.values(), *away.nodes]):
            yield node, Lost(_too_late(self._most_missing(waiting, node), timeout))

    def _unheard(self, waiting: Mapping[str, int], quiet: "_Quiet") -> set[int]:
        """Nodes of which nothing more has come for long, where it can have been lost."""
        if not self._replies.can_be_lost:
            return set()
        missing = self._replies.missing
        return {node for name, node in waiting.items() if quiet.too_long(name, missing(name))}

    def _told(
        self, message: Message | Spoilt, waiting: Mapping[str, int], node: int, timeout: float
    ) -> bytes | Lost:
        """What a reply holds; of a loss, half a reply that came is the better reason."""
        payload = _payload(message)
        parts = self._most_missing(waiting, node) if isinstance(payload, Lost) else 0
        return Lost(_too_late(parts, timeout)) if parts else payload

    def _most_missing(self, waiting: Mapping[str, int], node: int) -> int:
        """How many parts are missing of what a node has begun to send."""
        missing = (self._replies.missing(name) for name, at in waiting.items() if at == node)
        return max(missing, default=0)

    def _push(self, requests: Mapping[int, Request], timeout: float) -> dict[str, int]:
        """Send requests; the nodes that the SuperLink takes one for, by the name of the message."""
        if not requests:
            return {}
        messages = [self._message(node, request, timeout) for node, request in requests.items()]
        began = time.monotonic()
        pushed = list(self._grid.push_messages(messages))
        self._outage.note(began)
        # The SuperLink names no message to a node that was put out, and none of too large a push.
        return {name: node for name, node in zip(pushed, requests, strict=False) if name}

    def _message(self, node: int, request: Request, timeout: float) -> Message:
        kind = "train" if request.phase is Phase.TRAIN else f"query.{request.phase}"
        return Message(
            RecordDict({RECORD: _record(request.parts(), takes_pieces=self._takes_pieces)}),
            node,
            kind,
            # Past the deadline nobody waits for the answer, so no site should work for it.
            ttl=timeout,
            group_id=str(request.round),
        )


@dataclass
class _Quiet:
    """Tells of which messages nothing more has come for so many seconds; of each, once."""

    seconds: float
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def too_long(self, name: str, missing: int) -> bool:
        """Whether it is so now, where so many parts of the reply are missing (0: none has come)."""
        now = time.monotonic()
        before, since = self._seen.setdefault(name, (missing, now))
        if missing != before:
            self._seen[name] = missing, now
            return False
        if now - since <= self.seconds:
            return False
        self._seen[name] = missing, math.inf
        return True


class _Outage:
    """Whether the SuperLink has been away lately."""

    def __init__(self) -> None:
        self._back = -math.inf

    def watched(self, answers: Iterable[T]) -> Iterator[T]:
        """The same answers; the time that each takes is looked at."""
        began = time.monotonic()
        for answer in answers:
            self.note(began)
            yield answer
            began = time.monotonic()
        self.note(began)

    def note(self, began: float) -> None:
        """A call that began then has been answered now."""
        now = time.monotonic()
        if now - began > OUTAGE_SECONDS:
            self._back = now

    def is_recent(self) -> bool:
        """Whether nodes may not be back yet."""
        return time.monotonic() - self._back < BACK_SECONDS


@dataclass
class _Away:
    """Nodes that may only seem to be offline, and when each is asked again."""

    outage: _Outage
    nodes: dict[int, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.nodes)

    def puts_off(self, node: int, message: Message | Spoilt) -> bool:
        """Whether this reply says that the node is offline, and it may be back in a moment."""
        offline = (
            not isinstance(message, Spoilt)
            and message.has_error()
            and message.error.code == ErrorCode.NODE_UNAVAILABLE
        )
        if not offline or not self.outage.is_recent():
            return False
        self.nodes[node] = time.monotonic() + ASK_AGAIN_SECONDS
        return True

    def forget(self, node: int) -> None:
        """It has answered."""
        self.nodes.pop(node, None)

    def due(self) -> set[int]:
        """Those whose time has come; they are not kept any more."""
        now = time.monotonic()
        due = {node for node, at in self.nodes.items() if now >= at}
        self.nodes = {node: at for node, at in self.nodes.items() if node not in due}
        return due


def _too_late(missing: int, timeout: float) -> str:
    cut = f"; {missing} parts of one did not get through" if missing else ""
    return f"no reply within {timeout:g} s{cut}"


def _record(parts: tuple[bytes, ...], *, takes_pieces: bool) -> ArrayRecord | ConfigRecord:
    """A request as the courier reads it."""
    length = sum(len(part) for part in parts)
    if length <= LARGEST_WHOLE:
        return ConfigRecord({"request": b"".join(parts)})
    if takes_pieces:
        record = ArrayRecord()
        # Not through the constructor: it makes new arrays, and so would join this one.
        record["request"] = PiecedArray("uint8", BYTES, parts)
        return record
    return ArrayRecord({"request": Array("uint8", (length,), BYTES, b"".join(parts))})


def _payload(message: Message | Spoilt) -> bytes | Lost:
    if isinstance(message, Spoilt):
        return Lost(message.reason)
    if message.has_error():
        said = FLOWERS_OWN.get(message.error.code)
        return Lost(said or message.error.reason or "the node reported an error without a reason")
    record = message.content.get(RECORD)
    reply = record.get("reply") if isinstance(record, ArrayRecord | ConfigRecord) else None
    data = reply.data if isinstance(reply, Array) else reply
    return data if isinstance(data, bytes) else Lost("the node's reply holds no answer")
