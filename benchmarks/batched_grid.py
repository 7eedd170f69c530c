"""A Flower Grid whose nodes are trained together, in this process, by the batched core.

The ServerApp and its strategy see what they see on any Grid. `fused` gives one reply a chunk, the
weighted mean of its clients: the same model for a strategy that takes a weighted mean, and wrong
for any other.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from batched_cohort import Cohort
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from simulation_work import Work, row_count

from simulations.backends.local_grid import LocalGrid

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
        replies = []
        for chunk in self._cohort.chunks:
            clients = [client for client in chunk if client in asked]
            trained = [start + delta for delta in self._cohort.updates(round_, clients)]
            if self._fused:
                weights = np.array([row_count(client) for client in clients], float)
                mean = np.einsum("k,kd->d", weights / weights.sum(), np.stack(trained))
                replies.append(_reply(asked[clients[0]], state, mean, clients))
                continue
            replies += [
                _reply(asked[client], state, parameters, [client])
                for client, parameters in zip(clients, trained, strict=True)
            ]
        return replies


def _reply(
    message: Message,
    like: dict[str, torch.Tensor],
    parameters: npt.NDArray[np.float64],
    clients: Sequence[int],
) -> Message:
    parts = torch.from_numpy(parameters).float().split([part.numel() for part in like.values()])
    state = {
        name: part.reshape(shape.shape)
        for (name, shape), part in zip(like.items(), parts, strict=True)
    }
    told = MetricRecord({
        "loss": 0.0,
        "num-examples": sum(map(row_count, clients)),
        "clients": list(clients),
    })  # fmt: skip
    return Message(RecordDict({"arrays": ArrayRecord(state), "metrics": told}), reply_to=message)
