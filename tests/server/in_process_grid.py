"""A Flower Grid that calls a ClientApp in this process and keeps all that crosses."""

import copy

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid

from simulations.backends.flower_internals import (
    SERVER_NODE,
    assume_identity,
    empty_run,
    received_message,
    set_message_id,
)

FIRST_NODE = 10


class InProcessGrid(Grid):
    """Nodes of one process.

    Attributes:
        replies: everything that left a node, per node.
        lost: given a node and its message, whether the node stays silent.
        altered: what becomes of a message on its way to its node.
    """

    def __init__(self, client_app, nodes: int, run_config: dict | None = None) -> None:
        self._app, self._run = client_app, empty_run(7)
        assume_identity(self._run.run_id, SERVER_NODE)
        self._contexts = {
            FIRST_NODE + k: Context(
                7, FIRST_NODE + k, {"partition-id": k, "num-partitions": nodes}, RecordDict(),
                dict(run_config or {}),
            )
            for k in range(nodes)
        }  # fmt: skip
        self.asked: list[Message] = []
        self.replies: list[tuple[int, Message]] = []
        self.lost = lambda node, message: False
        self.altered = lambda node, content: content

    def set_run(self, run) -> None:
        self._run = run

    @property
    def run(self):
        return self._run

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None):
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self):
        return list(self._contexts)

    def push_messages(self, messages):
        raise NotImplementedError

    def pull_messages(self, message_ids):
        raise NotImplementedError

    def send_and_receive(self, messages, *, timeout=None):
        return [self.deliver(message) for message in messages]

    def deliver(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        self.asked.append(message)
        set_message_id(message, f"instruction-{len(self.asked)}")
        if self.lost(node, message):
            return Message(Error(code=5, reason="the node is gone"), reply_to=message)
        content = self.altered(node, copy.deepcopy(message.content))
        try:
            reply = self._app(received_message(content, message.metadata), self._contexts[node])
        except Exception as error:  # noqa: BLE001 - as Flower does
            reply = Message(Error(code=2, reason=str(error)), reply_to=message)
        self.replies.append((node, reply))
        return reply

    def refusals(self) -> set[str]:
        return {reply.error.reason for _, reply in self.replies if reply.has_error()}
