"""What a node does when a reply is lost on the way, or a question is put again."""

import threading

import httpx
import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.proto.fleet_pb2 import PushMessagesResponse
from flwr.proto.message_pb2 import PushObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.task_identity import TaskIdentity

from client import fleet
from client.fleet import Bundle, Fleet, Instruction, TooLarge, Unreachable
from client.fleet_node import FleetNode, NodeParts


class SuperLink:
    """Keeps parts as Flower's does: for the session that named them, until there is a newer one.

    `disturb` is called with the count of parts offered so far, before a part is taken.
    """

    def __init__(self, disturb) -> None:
        self._disturb, self._lock = disturb, threading.Lock()
        self.session, self.offered = 0, 0
        self.wanted: set[str] = set()
        self.held: dict[str, bytes] = {}

    def PushMessages(self, asked):  # noqa: N802 - Flower's name
        self.session += 1
        tree = asked.message_object_trees[0]
        self.wanted = {one.object_id for one in iterate_object_tree(tree)}
        return PushMessagesResponse(
            objects_to_push=self.wanted - set(self.held), session_id=str(self.session)
        )

    def PushObject(self, asked):  # noqa: N802 - Flower's name
        with self._lock:
            self.offered += 1
            self._disturb(self)
            stored = asked.session_id == str(self.session)
            if stored:
                self.held[asked.object_id] = asked.object_content
        return PushObjectResponse(stored=stored)


@pytest.fixture
def identity(monkeypatch) -> None:
    for name in ("run_id", "node_id", "task_id"):
        monkeypatch.setattr(TaskIdentity, f"_{name}", 7)


@pytest.fixture
def reply(identity):
    question = Message(RecordDict(), dst_node_id=7, message_type="query.answer")
    question.metadata.__dict__.update(_run_id=7, _message_id="asked")
    arrays = [np.full(8, i, dtype=np.float32) for i in range(5)]
    return Message(RecordDict({"it": ArrayRecord(arrays)}), reply_to=question)


def connected(superlink: SuperLink) -> Fleet:
    made = Fleet(superlink, b"key")
    made._node = Node(node_id=7)
    return made


def test_a_reply_whose_session_is_lost_is_pushed_again_as_far_as_it_lacks(reply) -> None:
    def lose(link: SuperLink) -> None:
        if link.offered == 3:
            link.session += 100

    link = SuperLink(lose)
    assert not connected(link).reply(reply, 0.1)
    assert set(link.held) == link.wanted
    assert link.session > 100
    assert link.offered < 2 * len(link.wanted)


def test_a_line_that_breaks_within_a_reply_loses_nothing(reply) -> None:
    def cut(link: SuperLink) -> None:
        if link.offered in {1, 4, 5}:
            raise httpx.ReadError("cut")

    link = SuperLink(cut)
    connected(link).reply(reply, 0.1)
    assert set(link.held) == link.wanted


def test_a_reply_that_never_gets_through_is_given_up(reply, monkeypatch) -> None:
    monkeypatch.setattr(fleet, "INSIST_SECONDS", 1.0)

    def cut(link: SuperLink) -> None:
        raise httpx.ReadError("cut")

    link = SuperLink(cut)
    with pytest.raises(Unreachable, match="cut"):
        connected(link).reply(reply, 0.1)
    assert link.held == {}
    assert link.session > 1


class Line:
    """A SuperLink's end: gives these instructions, and takes replies as `surely` says of each."""

    def __init__(self, instructions: list[Instruction], surely: list[bool | None], stop) -> None:
        self._instructions, self._surely, self._stop = instructions, surely, stop
        self.replied = 0

    def activate(self) -> int:
        return 7

    def pull(self) -> Instruction | None:
        if self._instructions:
            return self._instructions.pop(0)
        self._stop.set()
        return None

    def bundle_digest(self, run: int) -> str:
        return "ab" * 32

    def bundle(self, run: int, digest: str) -> Bundle:
        return Bundle(digest, b"")

    def reply(self, message: Message, seconds: float) -> bool:
        self.replied += 1
        surely = self._surely.pop(0)
        if surely is None:
            raise TooLarge("413")
        return surely

    def leave(self) -> None: ...

    beat = close = leave


def asked(text: bytes) -> Instruction:
    message = Message(RecordDict({"hedgerow": ConfigRecord({"request": text})}), 7, "query.sign")
    message.metadata.__dict__.update(_message_id=f"of {len(text)}")
    return Instruction(message, 7)


@pytest.mark.parametrize(
    ("texts", "surely", "answered"),
    [
        ((b"a", b"a"), [True], [b"a"]),  # it has the answer: nothing more is sent
        ((b"a", b"a"), [False, True], [b"a", b"a"]),  # it may lack some of it
        ((b"a", b"a", b"b"), [None, True], [b"a", b"b"]),  # it does not get through, ever
        ((b"a", b"b", b"a"), [True, True, True], [b"a", b"b", b"a"]),
    ],
)
def test_a_question_put_again_is_answered_again_unless_the_answer_is_there(
    identity, texts, surely, answered
) -> None:
    stop, told, agent = threading.Event(), [], []
    line = Line([asked(text) for text in texts], surely, stop)

    def ask(bundle: str, request: bytes) -> bytes:
        agent.append(request)
        return b"answer"

    parts = NodeParts(lambda: line, ask, lambda _: None, lambda event, _: told.append(event), stop)
    FleetNode(parts).run()
    assert agent == answered
    assert line.replied == len(answered)
    assert told.count("asked_again") == len(texts) - len(answered)
