"""A Flower Grid whose nodes are trained together, in this process, by the batched core.

The ServerApp and its strategy see what they see on any Grid. `fused` gives one reply a chunk, the
weighted mean of its clients: the same model for a strategy that takes a weighted mean, and wrong
for any other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from batched_cohort import Cohort, weighted_mean
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from simulation_work import Work, row_count

from simulations.backends.local_grid import LocalGrid
from simulations.backends.received_array import NUMPY, ReceivedArray

Floats = npt.NDArray[np.float64]

FIRST_NODE = 10


class BatchedGrid(LocalGrid):
    """Node k is client k - FIRST_NODE."""

    def __init__(self, work: Work, *, fused: bool) -> None:
        """No process is started."""
        super().__init__(1, range(FIRST_NODE, FIRST_NODE + work.clients))
        self._cohort, self._fused = Cohort(work), fused

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not offered: a chunk is trained when all its messages are there."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not offered."""
        raise NotImplementedError

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Train the clients that the messages are for; they all carry the same model."""
        del timeout
        messages = list(messages)
        if not messages:
            return []
        asked = {message.metadata.dst_node_id - FIRST_NODE: message for message in messages}
        for message in asked.values():
            self.identify(message)
        content = next(iter(asked.values())).content
        state = content["arrays"].to_torch_state_dict()
        self._cohort.parameters = torch.cat([value.flatten() for value in state.values()])
        start, round_ = self._cohort.parameters.double().numpy(), content["config"]["server-round"]
        form, replies = ReplyForm.of(state), []
        for chunk in self._cohort.chunks:
            clients = [client for client in chunk if client in asked]
            deltas = self._cohort.updates(round_, clients)
            if self._fused:
                mean = weighted_mean(deltas, [row_count(client) for client in clients])
                replies.append(form.reply(asked[clients[0]], start + mean, clients))
                continue
            replies += [
                form.reply(asked[client], start + delta, [client])
                for client, delta in zip(clients, deltas, strict=True)
            ]
        return replies


@dataclass(frozen=True)
class ReplyForm:
    """What replies have in common: of each array its name, .npy header, shape and length."""

    arrays: Sequence[tuple[str, bytes, tuple[int, ...], int]]

    @classmethod
    def of(cls, state: Mapping[str, torch.Tensor]) -> "ReplyForm":
        """The form of a model's state in float32."""
        arrays = []
        for name, value in state.items():
            empty = Array(np.zeros(value.shape, np.float32)).data
            arrays.append((name, empty[: -value.nbytes], tuple(value.shape), value.numel()))
        return cls(arrays)

    def reply(self, message: Message, parameters: Floats, clients: Sequence[int]) -> Message:
        """As the embedded engine hands replies over: arrays that know their numbers' place."""
        numbers, begin, record = parameters.astype(np.float32), 0, ArrayRecord()
        for name, header, shape, length in self.arrays:
            data = header + numbers[begin : begin + length].tobytes()
            record[name] = ReceivedArray("float32", shape, NUMPY, data)
            begin += length
        told = MetricRecord({
            "loss": 0.0,
            "num-examples": sum(map(row_count, clients)),
            "clients": list(clients),
        })  # fmt: skip
        return Message(RecordDict({"arrays": record, "metrics": told}), reply_to=message)
