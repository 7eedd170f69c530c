"""A reply whose parts never come ends with its deadline, and costs the others nothing."""

import time
from collections.abc import Iterable

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.supercore.inflatable import inflatable_utils
from flwr.superlink.grid import http_grid

from federation.envelope import Phase, Request
from server import transport
from server.bounded_pull import pulls_end
from server.transport import GridTransport, Lost
from simulations.backends.flower_internals import SERVER_NODE, assume_identity

STALLED, PROMPT, LATE = 1, 2, 3


def never(_object_id: str) -> bytes:
    raise inflatable_utils.ObjectUnavailableError(_object_id)


def test_parts_that_never_come_are_given_up() -> None:
    # Without the bound this takes two hours, and the suite's time limit ends it.
    with (
        pulls_end(time.monotonic() + 0.1, least=0.1),
        pytest.raises(inflatable_utils.ObjectPullError),
    ):
        http_grid.pull_objects(object_ids=["part"], pull_object_fn=never)


def test_parts_that_are_there_come_after_the_deadline_too() -> None:
    with pulls_end(time.monotonic() - 100.0, least=0.1):
        pulled = http_grid.pull_objects(object_ids=["a", "b"], pull_object_fn=str.encode)
    assert pulled == {"a": b"a", "b": b"b"}


def test_flwr_is_as_it_was_afterwards() -> None:
    before = http_grid.pull_objects
    with pulls_end(0.0):
        assert http_grid.pull_objects is not before
    assert http_grid.pull_objects is before is inflatable_utils.pull_objects


class StallingGrid:
    """Of one node's reply the parts never come; another's reply comes while that is waited for."""

    def __init__(self) -> None:
        assume_identity(7, SERVER_NODE)
        self.asked: dict[str, Message] = {}
        self.stalled_once = False

    def get_node_ids(self) -> Iterable[int]:
        return (STALLED, PROMPT, LATE)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        for number, message in enumerate(messages):
            message.metadata.__dict__["_message_id"] = f"question {number}"
            self.asked[f"question {number}"] = message
        return list(self.asked)

    def pull_messages(self, ids: Iterable[str]) -> list[Message]:
        """As HttpGrid does: one reply after the other, whatever each of them takes."""
        came = []
        for asked in map(self.asked.__getitem__, ids):
            node = asked.metadata.dst_node_id
            if node == STALLED:
                try:
                    http_grid.pull_objects(object_ids=["part"], pull_object_fn=never)
                except inflatable_utils.ObjectPullError:
                    error = Error(15, "the parts did not come")
                    came.append(Message(error, reply_to=asked))
                    self.stalled_once = True
            elif node == PROMPT or self.stalled_once:
                content = RecordDict({"hedgerow": ConfigRecord({"reply": b"yes"})})
                came.append(Message(content, reply_to=asked))
        return came


def test_who_answered_in_time_is_heard_though_another_stalls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "pulls_end", lambda deadline: pulls_end(deadline, 0.05))
    line = GridTransport(StallingGrid(), 0.01)  # type: ignore[arg-type]
    question = Request("run", 0, 0, Phase.ENLIST, "0" * 32, time.time() + 60)
    heard = dict(line.exchange(dict.fromkeys((STALLED, PROMPT, LATE), question), 0.2))
    assert heard[PROMPT] == b"yes"
    assert heard[LATE] == b"yes"
    assert heard[STALLED] == Lost("the parts did not come")
