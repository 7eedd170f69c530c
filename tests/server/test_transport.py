"""A question to which nothing more comes is put again; the first answer that is whole counts."""

from collections.abc import Iterable, Iterator

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity

from federation.envelope import Phase, Request
from server.transport import (
    BACK_SECONDS,
    LARGEST_WHOLE,
    NOT_TAKEN,
    RECORD,
    GridTransport,
    Lost,
    _Quiet,
)

NODE, OTHER = 3, 4


class Question:
    """What the transport reads of a request."""

    phase, round = Phase.SIGN, 2

    def parts(self) -> tuple[bytes, ...]:
        return (b"who was there?",)


class LossyReplies:
    """A Grid and its replies: of the first message to `NODE`, so many parts are missing.

    Attributes:
        pushed: name and node of every message, in order.
    """

    def __init__(
        self, later: bool, whole: bool = True, lacks: int = 2, can_be_lost: bool = True
    ) -> None:
        self.pushed: list[tuple[str, int]] = []
        self.can_be_lost = can_be_lost
        self._later, self._whole, self._lacks = later, whole, lacks

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        names = []
        for message in messages:
            names.append(f"message {len(self.pushed)}")
            self.pushed.append((names[-1], message.metadata.dst_node_id))
            self._question = message
        return names

    def arrived(self, waiting: Iterable[str]) -> Iterator[tuple[str, Message]]:
        asked = dict(self.pushed)
        for name in sorted(waiting):
            second = len(self.pushed) > 2
            if asked[name] == OTHER or (second and self._whole and self._is_given(name)):
                content = RecordDict({RECORD: ConfigRecord({"reply": name.encode()})})
                yield name, Message(content, reply_to=self._question)

    def _is_given(self, name: str) -> bool:
        """The late first one, or the one that was asked for again."""
        return self._later == (name == "message 0")

    def missing(self, name: str) -> int:
        return 0 if dict(self.pushed)[name] == OTHER else self._lacks


@pytest.fixture(autouse=True)
def _as_a_task(monkeypatch) -> None:
    for name in ("run_id", "node_id", "task_id"):
        monkeypatch.setattr(TaskIdentity, f"_{name}", 1)


def exchanged(replies: LossyReplies, timeout: float) -> list[tuple[int, bytes | Lost]]:
    transport = GridTransport(replies, poll_seconds=0.01)
    transport._replies = replies
    return list(transport.exchange({NODE: Question(), OTHER: Question()}, timeout))


@pytest.mark.parametrize("lacks", [0, 2])
@pytest.mark.parametrize("later", [False, True])
def test_what_stays_away_is_asked_for_again_and_given_once(later, lacks) -> None:
    replies = LossyReplies(later, lacks=lacks)
    given = exchanged(replies, 2.0)
    assert [node for node, _ in given] == [OTHER, NODE]
    assert [node for _, node in replies.pushed] == [NODE, OTHER, NODE]
    assert given[1][1] == (b"message 0" if later else b"message 2")


class Expiring(LossyReplies):
    """What is asked again expires before anybody answers."""

    def arrived(self, waiting: Iterable[str]) -> Iterator[tuple[str, Message]]:
        yield from super().arrived(waiting)
        if "message 2" in waiting:
            error = Error(ErrorCode.MESSAGE_UNAVAILABLE)
            yield "message 2", Message(error, reply_to=self._question)


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        (2, "no reply within 1 s; 2 parts of one did not get through"),
        (0, "no reply before the message expired"),
    ],
)
def test_that_half_a_reply_came_is_told_before_that_the_rest_expired(lacks, says) -> None:
    replies = Expiring(later=False, whole=False, lacks=lacks)
    assert exchanged(replies, 1.0)[1] == (NODE, Lost(says))


def test_where_nothing_can_get_lost_nothing_is_asked_again() -> None:
    replies = LossyReplies(later=False, whole=False, lacks=0, can_be_lost=False)
    assert exchanged(replies, 0.3)[1] == (NODE, Lost("no reply within 0.3 s"))
    assert len(replies.pushed) == 2


def test_what_stalls_to_the_end_is_lost_with_what_is_missing_of_it() -> None:
    replies = LossyReplies(later=False, whole=False)
    given = exchanged(replies, 1.0)
    assert given[1] == (NODE, Lost("no reply within 1 s; 2 parts of one did not get through"))
    assert len(given) == 2
    assert 3 <= len(replies.pushed) <= 7  # each of NODE's messages is put again once at most


def test_a_reply_that_goes_on_however_slowly_is_waited_for(monkeypatch) -> None:
    now = 0.0
    monkeypatch.setattr("server.transport.time.monotonic", lambda: now)
    quiet = _Quiet(10.0)
    told = []
    for missing in (0, 0, 5, 5, 4, 4, 3, 3, 3):
        now += 9.0
        told.append(quiet.too_long("it", missing))
    assert told == [False] * 8 + [True]
    now += 1000.0
    assert not quiet.too_long("it", 3)


class Clock:
    """Time that passes by what is done, not by itself."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class RestartedSuperLink(LossyReplies):
    """It answers the first look after `outage` seconds, and then holds `NODE` offline for a time.

    Attributes:
        offline: seconds after the outage until `NODE` has given a sign of life.
        put_out: whether it is not registered any more after the first message.
    """

    def __init__(
        self, clock: Clock, outage: float, offline: float, *, put_out: bool = False
    ) -> None:
        super().__init__(later=False)
        self.offline, self.put_out = offline, put_out
        self._clock, self._outage, self._back = clock, outage, 0.0
        self._forgotten: set[str] = set()

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        again = bool(self.pushed)
        names = super().push_messages(messages)
        return ["" for _ in names] if again and self.put_out else names

    def arrived(self, waiting: Iterable[str]) -> Iterator[tuple[str, Message]]:
        self._clock.now += self._outage
        if self._outage:
            self._outage, self._back = 0.0, self._clock.now
        asked = dict(self.pushed)
        for name in sorted(waiting):
            assert name not in self._forgotten
            if asked[name] == NODE and self._clock.now < self._back + self.offline:
                self._forgotten.add(name)
                error = Error(ErrorCode.NODE_UNAVAILABLE)
                yield name, Message(error, reply_to=self._question)
            else:
                content = RecordDict({RECORD: ConfigRecord({"reply": name.encode()})})
                yield name, Message(content, reply_to=self._question)

    def missing(self, name: str) -> int:
        return 0


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("server.transport.time", clock)
    return clock


def test_a_node_that_an_outage_left_behind_is_asked_until_it_is_back(clock) -> None:
    replies = RestartedSuperLink(clock, outage=29.0, offline=21.0)
    given = exchanged(replies, 120.0)
    assert given[0] == (OTHER, b"message 1")
    assert given[1] == (NODE, f"message {len(replies.pushed) - 1}".encode())
    assert len(given) == 2
    assert 10 <= len(replies.pushed) <= 13  # every two seconds
    assert {node for _, node in replies.pushed[2:]} == {NODE}


def test_a_node_that_stays_away_after_an_outage_is_lost_before_the_timeout(clock) -> None:
    replies = RestartedSuperLink(clock, outage=29.0, offline=500.0)
    began = clock.now
    assert exchanged(replies, 120.0)[1] == (NODE, Lost("the site's node is offline"))
    assert 29 + BACK_SECONDS <= clock.now - began <= 29 + BACK_SECONDS + 3


def test_a_timeout_is_kept_while_a_node_is_waited_for(clock) -> None:
    replies = RestartedSuperLink(clock, outage=29.0, offline=500.0)
    assert exchanged(replies, 40.0)[1] == (NODE, Lost("no reply within 40 s"))


def test_a_node_that_is_put_out_meanwhile_is_lost(clock) -> None:
    replies = RestartedSuperLink(clock, outage=29.0, offline=500.0, put_out=True)
    assert exchanged(replies, 120.0)[1] == (NODE, NOT_TAKEN)


def test_without_an_outage_a_node_that_is_offline_is_lost_at_once(clock) -> None:
    replies = RestartedSuperLink(clock, outage=0.0, offline=5000.0)
    assert exchanged(replies, 120.0)[0] == (NODE, Lost("the site's node is offline"))
    assert len(replies.pushed) == 2


class TakingGrid:
    """A Grid that keeps what it is given, and says whether it takes requests in pieces."""

    def __init__(self, takes_pieces: bool) -> None:
        self.takes_pieces, self.pushed = takes_pieces, []

    def push_messages(self, messages):
        self.pushed += messages
        return [str(k) for k in range(len(self.pushed))]

    def pull_messages(self, message_ids):
        return []


@pytest.mark.parametrize("takes_pieces", [True, False])
def test_a_model_is_not_copied_for_every_site_where_the_grid_takes_pieces(takes_pieces) -> None:
    model = bytes(LARGEST_WHOLE)
    requests = {
        node: Request(
            "run", 1, 1, Phase.TRAIN, f"{node:032x}", 9.0, pieces=(b"", model, b"%d" % node)
        )
        for node in (1, 2, 3)
    }
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 7, 1, 1
    grid = TakingGrid(takes_pieces)
    list(GridTransport(grid).exchange(requests, 0.0))
    for message, request in zip(grid.pushed, requests.values(), strict=True):
        array = message.content["hedgerow"]["request"]
        assert array.data == request.to_bytes()
        assert array.shape == (len(request.to_bytes()),)
        assert any(one is model for one in getattr(array, "pieces", ())) == takes_pieces
