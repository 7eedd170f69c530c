"""A reply that has begun and does not go on is asked for again; the first that is whole counts."""

from collections.abc import Iterable, Iterator

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from federation.envelope import Phase
from server.transport import RECORD, GridTransport, Lost, _Stalls

NODE, OTHER = 3, 4


class Question:
    """What the transport reads of a request."""

    phase, round = Phase.SIGN, 2

    def to_bytes(self) -> bytes:
        return b"who was there?"


class HalfReplies:
    """A Grid and its replies: of the first message to `NODE` only the head comes.

    Attributes:
        pushed: name and node of every message, in order.
    """

    def __init__(self, later: bool, whole: bool = True) -> None:
        self.pushed: list[tuple[str, int]] = []
        self._later, self._whole = later, whole

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
        return 0 if dict(self.pushed)[name] == OTHER else 2


@pytest.fixture(autouse=True)
def _as_a_task(monkeypatch) -> None:
    for name in ("run_id", "node_id", "task_id"):
        monkeypatch.setattr(TaskIdentity, f"_{name}", 1)


def exchanged(replies: HalfReplies, timeout: float) -> list[tuple[int, bytes | Lost]]:
    transport = GridTransport(replies, poll_seconds=0.01)
    transport._replies = replies
    return list(transport.exchange({NODE: Question(), OTHER: Question()}, timeout))


@pytest.mark.parametrize("later", [False, True])
def test_a_reply_that_stalls_is_asked_for_again_and_given_once(later) -> None:
    replies = HalfReplies(later)
    given = exchanged(replies, 2.0)
    assert [node for node, _ in given] == [OTHER, NODE]
    assert [node for _, node in replies.pushed] == [NODE, OTHER, NODE]
    assert given[1][1] == (b"message 0" if later else b"message 2")


def test_what_stalls_to_the_end_is_lost_with_what_is_missing_of_it() -> None:
    replies = HalfReplies(later=False, whole=False)
    given = exchanged(replies, 1.0)
    assert given[1] == (NODE, Lost("no reply within 1 s; 2 parts of one did not get through"))
    assert len(given) == 2
    assert 3 <= len(replies.pushed) <= 7  # each of NODE's messages is put again once at most


def test_a_reply_that_goes_on_however_slowly_does_not_stall(monkeypatch) -> None:
    now = 0.0
    monkeypatch.setattr("server.transport.time.monotonic", lambda: now)
    stalls = _Stalls(10.0)
    told = []
    for missing in (0, 0, 5, 5, 4, 4, 3, 3, 3):
        now += 9.0
        told.append(stalls.stalls("it", missing))
    assert told == [False] * 8 + [True]
    now += 1000.0
    assert not stalls.stalls("it", 3)
