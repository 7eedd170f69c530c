"""A reply is given when it is whole; one that never is holds up no other."""

from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ObjectTree, PullObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid

from federation.envelope import Phase, Request
from server import grid_replies
from server.grid_replies import MOST_PARTS, HttpReplies, Spoilt
from server.transport import GridTransport, Lost

RUN = 7


class SuperLink:
    """Keeps replies as a SuperLink does: heads given once, parts when they have come."""

    def __init__(self) -> None:
        self.heads, self.trees, self.parts, self.gone = {}, {}, {}, set()
        self.confirmed = []

    def take(self, asked: str, reply: Message, parts: bool = True) -> None:
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute():
            objects = get_all_nested_objects(reply)
            self.trees[asked] = get_object_tree(reply)
            self.heads[asked] = message_to_proto(remove_content_from_message(reply))
        contents = {name: each.deflate() for name, each in objects.items()}
        self.parts |= contents if parts else dict.fromkeys(contents)

    def PullMessages(self, request) -> PullAppMessagesResponse:  # noqa: N802 - Flower's name
        given = [asked for asked in request.message_ids if asked in self.heads]
        return PullAppMessagesResponse(
            messages_list=[self.heads.pop(asked) for asked in given],
            message_object_trees=[self.trees[asked] for asked in given],
        )

    def PullObject(self, request) -> PullObjectResponse:  # noqa: N802 - Flower's name
        content = self.parts.get(request.object_id)
        found = request.object_id in self.parts and request.object_id not in self.gone
        return PullObjectResponse(
            object_found=found, object_available=content is not None, object_content=content or b""
        )

    def ConfirmMessageReceived(self, request) -> None:  # noqa: N802 - Flower's name
        self.confirmed.append(request.message_object_id)


@pytest.fixture
def superlink() -> SuperLink:
    return SuperLink()


@pytest.fixture
def grid(superlink, monkeypatch) -> HttpGrid:
    for name in ("node_id", "task_id", "run_id"):
        monkeypatch.setattr(TaskIdentity, f"_{name}", RUN)
    made = HttpGrid.__new__(HttpGrid)
    made._client, made.node = superlink, Node(node_id=1)
    made._run = SimpleNamespace(run_id=RUN)
    monkeypatch.setattr(HttpGrid, "run", property(lambda _: SimpleNamespace(run_id=RUN)))
    return made


def reply(asked: str, body: bytes = b"yes") -> Message:
    question = Message(RecordDict({"hedgerow": ConfigRecord({"request": b"?"})}), 5, "query.share")
    question.metadata.__dict__["_message_id"] = asked
    return Message(RecordDict({"hedgerow": ConfigRecord({"reply": body})}), reply_to=question)


def arrived(replies: HttpReplies, *waiting: str) -> dict:
    return dict(replies.arrived(waiting))


def test_a_whole_reply_is_given_once_and_confirmed(superlink, grid) -> None:
    replies = HttpReplies(grid)
    assert arrived(replies, "a", "b") == {}
    superlink.take("a", reply("a"))
    (message,) = arrived(replies, "a", "b").values()
    assert message.content["hedgerow"]["reply"] == b"yes"
    assert superlink.confirmed == [message.metadata.message_id]
    assert arrived(replies, "b") == {}


def test_a_half_reply_holds_up_no_other_and_is_given_when_the_rest_comes(superlink, grid) -> None:
    replies = HttpReplies(grid)
    late = reply("a", b"late")
    superlink.take("a", late, parts=False)
    superlink.take("b", reply("b"))
    assert set(arrived(replies, "a", "b")) == {"b"}
    assert replies.missing("a") > 0
    assert replies.missing("b") == 0
    superlink.take("a", late)
    assert set(arrived(replies, "a")) == {"a"}


def test_a_reply_whose_parts_are_gone_is_spoilt(superlink, grid) -> None:
    superlink.take("a", reply("a"), parts=False)
    superlink.gone |= set(superlink.parts)
    (spoilt,) = arrived(HttpReplies(grid), "a").values()
    assert spoilt == Spoilt("its reply was cut off on the way")


def test_a_reply_of_more_parts_than_replies_have_is_not_pulled(superlink, grid) -> None:
    superlink.take("a", reply("a"))
    names = [ObjectTree(object_id=f"{n:064x}") for n in range(MOST_PARTS + 1)]
    superlink.trees["a"] = ObjectTree(object_id="f" * 64, children=names)
    (spoilt,) = arrived(HttpReplies(grid), "a").values()
    assert spoilt == Spoilt(f"its reply has more than {MOST_PARTS} parts")


def test_a_reply_larger_than_any_message_is_not_pulled_to_its_end(
    superlink, grid, monkeypatch
) -> None:
    monkeypatch.setattr(grid_replies, "LARGEST_MESSAGE", 1000)
    superlink.take("a", reply("a", bytes(5000)))
    (spoilt,) = arrived(HttpReplies(grid), "a").values()
    assert spoilt == Spoilt("its reply is larger than 1000 bytes")


def test_an_exchange_ends_at_its_timeout_and_says_what_did_not_come(superlink, grid) -> None:
    transport = GridTransport(grid, poll_seconds=0.01)
    grid.push_messages = lambda messages: ["a", None, "c"][: len(list(messages))]
    superlink.take("a", reply("a"))
    superlink.take("c", reply("c", b"else"), parts=False)
    asked = Request("r", 1, 1, Phase.SHARE, "0" * 32, 4e9)
    told = dict(transport.exchange({1: asked, 2: asked, 3: asked}, 0.1))
    assert told[1] == b"yes"
    assert told[2] == Lost("the SuperLink did not take the message: the node is not registered")
    assert told[3].reason.startswith("no reply within 0.1 s; ")
    assert told[3].reason.endswith("parts of one did not get through")
