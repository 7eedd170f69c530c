"""FedAvg that adds every reply when it comes and keeps none: as much memory as a model takes.

Flower's FedAvg holds all replies of a round, and those of the round before while they come in. This
one is given them one by one, over any Grid, and what it makes of them does not depend on the order
in which they come: `OrderFreeSum`. It also does not start a round with fewer nodes than the cohort
has. Flower starts a ServerApp before all nodes are registered, and FedAvg samples a fraction of
those that are there: in Flower's own simulation of 1000 nodes (flwr 1.41 on Ray) its first round
had between 398 and 785 of them.
"""

import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from logging import INFO
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, MetricRecordValues, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.exception import InconsistentMessageReplies
from flwr.serverapp.strategy import FedAvg, Result
from flwr.serverapp.strategy.strategy_utils import validate_message_reply_consistency
from flwr.supercore.run import Run
from numpy.typing import NDArray

from simulations.backends.order_free_sum import OrderFreeSum
from simulations.backends.received_array import read_only

PAUSE_SECONDS = 0.01
"""Between two looks at a grid that had nothing; the embedded one waits by itself."""


class StreamingFedAvg(FedAvg):
    """Federated averaging (McMahan et al. 2017) of a fixed cohort, in the memory of one model."""

    def __init__(
        self,
        cohort: int,
        *,
        fraction_evaluate: float = 1.0,
        weighted_by_key: str = "num-examples",
        arrayrecord_key: str = "arrays",
        configrecord_key: str = "config",
    ) -> None:
        """Train all of a cohort in every round.

        Args:
            cohort: number of nodes; no round begins before as many are there.
            fraction_evaluate: of the cohort, in [0, 1].
            weighted_by_key: the metric that a reply counts by.
            arrayrecord_key: name of the model in messages.
            configrecord_key: name of the settings in messages.
        """
        super().__init__(
            fraction_train=1.0,
            fraction_evaluate=fraction_evaluate,
            min_train_nodes=cohort,
            min_evaluate_nodes=round(fraction_evaluate * cohort),
            min_available_nodes=cohort,
            weighted_by_key=weighted_by_key,
            arrayrecord_key=arrayrecord_key,
            configrecord_key=configrecord_key,
        )

    def start(self, grid: Grid, *args: Any, **kwargs: Any) -> Result:
        """As Flower's, with replies given to `aggregate_train` as they come."""
        return super().start(_AsTheyCome(grid), *args, **kwargs)

    def aggregate_train(
        self,
        server_round: int,  # noqa: ARG002 - Flower's signature
        replies: Iterable[Message],
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The mean of the models, weighted, and of the metrics; None of no replies.

        Raises:
            InconsistentMessageReplies: a reply has not what the others have.
            ValueError: a model is not finite, or too large for an exact sum.
        """
        mean = _Mean(self.weighted_by_key)
        failures = 0
        for reply in replies:
            if reply.has_error():
                failures += 1
                node, reason = reply.metadata.src_node_id, reply.error.reason
                log(INFO, "\t> Received error in reply from node %d: %s", node, reason)
            else:
                mean.add(reply)
            del reply  # before the next one is there
        log(
            INFO,
            "aggregate_train: Received %s results and %s failures",
            len(mean.metrics),
            failures,
        )
        if not mean.metrics:
            return None, None
        by_node = [mean.metrics[node] for node in sorted(mean.metrics)]
        return mean.arrays(), self.train_metrics_aggr_fn(by_node, self.weighted_by_key)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """As Flower's, in the order of nodes."""
        in_order = sorted(replies, key=lambda reply: reply.metadata.src_node_id)
        return super().aggregate_evaluate(server_round, in_order)


@dataclass
class _Mean:
    """Replies of one round, added up.

    Attributes:
        weighted_by: the metric that a reply counts by.
        metrics: what came with the models, per node.
    """

    weighted_by: str
    metrics: dict[int, RecordDict] = field(default_factory=dict)
    _first: RecordDict | None = None
    _kinds: list[tuple[str, type, list[str]]] = field(default_factory=list)
    _shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = field(default_factory=dict)
    _sum: OrderFreeSum | None = None
    _weights: list[float] = field(default_factory=list)

    def add(self, reply: Message) -> None:
        """Add one; nothing of its arrays is kept."""
        content = reply.content
        self._require_alike(content)
        record = next(one for one in content.values() if isinstance(one, ArrayRecord))
        numbers = {key: read_only(array) for key, array in record.items()}
        if self._sum is None:
            self._shapes = {key: (one.shape, one.dtype) for key, one in numbers.items()}
            self._sum = OrderFreeSum(sum(one.size for one in numbers.values()))
        if {key: one.shape for key, one in numbers.items()} != {
            key: shape for key, (shape, _) in self._shapes.items()
        }:
            raise InconsistentMessageReplies("the arrays of two replies have different shapes")
        weight = float(cast("float", self._weight(content)))
        self._sum.add(_flat([numbers[key] for key in self._shapes]), weight)
        self._weights.append(weight)
        small = self.metrics[reply.metadata.src_node_id] = RecordDict()
        for name, one in content.items():
            if not isinstance(one, ArrayRecord):
                small[name] = one

    def arrays(self) -> ArrayRecord:
        """The mean model; what is not floating-point becomes double precision, as in Flower."""
        assert self._sum is not None
        # fsum is exact, and so knows no order either.
        mean = self._sum.value()
        mean /= math.fsum(self._weights)
        record, start = ArrayRecord(), 0
        for key, (shape, dtype) in self._shapes.items():
            stop = start + math.prod(shape)
            kind = dtype if np.issubdtype(dtype, np.floating) else np.dtype(np.float64)
            record[key] = Array(mean[start:stop].reshape(shape).astype(kind))
            start = stop
        return record

    def _weight(self, content: RecordDict) -> MetricRecordValues:
        metrics = next(one for one in content.values() if isinstance(one, MetricRecord))
        return metrics[self.weighted_by]

    def _require_alike(self, content: RecordDict) -> None:
        """Return if a reply has the keys of the first one, and what a mean needs.

        Raises:
            InconsistentMessageReplies: it has not.
        """
        kinds = [(name, type(record), list(record)) for name, record in content.items()]
        if kinds == self._kinds and not isinstance(self._weight(content), list):
            return
        # Flower's own look, and its words, for what is new.
        pair = [content] if self._first is None else [self._first, content]
        validate_message_reply_consistency(pair, self.weighted_by, check_arrayrecord=True)
        if self._first is None:
            self._kinds = kinds
            empty = Array(np.zeros(0))
            names = {
                name: ArrayRecord(dict.fromkeys(one, empty))
                if isinstance(one, ArrayRecord)
                else one
                for name, one in content.items()
            }
            self._first = RecordDict(names)


def _flat(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """All numbers in a row; a single array is not copied."""
    rows = [array.reshape(-1) for array in arrays]
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


@dataclass(frozen=True, slots=True)
class _AsTheyCome(Grid):
    """Another grid, whose replies are given when they are there; it need not hold them all."""

    grid: Grid

    def set_run(self, run: Run) -> None:
        self.grid.set_run(run)

    @property
    def run(self) -> Run:
        return self.grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return self.grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        return self.grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self.grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        waiting = set(self.grid.push_messages(messages))
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while waiting and time.monotonic() < deadline:
            arrived = deque(self.grid.pull_messages(waiting))
            waiting -= {reply.metadata.reply_to_message_id for reply in arrived}
            if not arrived:
                time.sleep(PAUSE_SECONDS)
            while arrived:
                yield arrived.popleft()
