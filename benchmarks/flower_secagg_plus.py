"""One round of Flower's own secure aggregation, with the CPU seconds of its two ends.

The client is `secaggplus_mod`, the server `SecAggPlusWorkflow` with `FedAvg`, both as flwr ships
them. Only the grid between them stands in, and every choice left open favours Flower: nothing is
serialised on the way, the model that goes out has one coordinate, and what the client app does to
hand over its trained vector is not counted.
"""

import logging
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.compat.common import recorddict_compat as compat
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.supercore.task_identity import TaskIdentity
from round_cost import Floats, RoundCost

EXAMPLES = 1000
"""Of each client, and the workflow's `max_weight`: every update counts in full."""
CONFIGURE = "configure"
WORD_BITS = 64
"""Flower sends int64, whatever the modulus."""


class TimedGrid:
    """The two ends in one process: it calls the clients and keeps the time of either end."""

    def __init__(self, vectors: Sequence[Floats], lost: Collection[int]) -> None:
        """Nodes are numbered from 1, in the order of `vectors`; so are the `lost` ones."""
        self.vectors, self.lost = vectors, lost
        self.contexts = {
            node: Context(1, node, {}, RecordDict(), {}) for node in range(1, len(vectors) + 1)
        }
        self.client_seconds: dict[str, dict[int, float]] = defaultdict(dict)
        self.server_seconds: dict[str, float] = {}
        self.upload: dict[int, int] = defaultdict(int)
        self._serving, self._since = CONFIGURE, 0.0

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Every node's reply; the lost ones fail from the masked vector on."""
        del timeout
        self.stop()
        replies = [self._reply(message) for message in messages]
        self.start()
        return replies

    def start(self) -> None:
        """From here on it is the server's time."""
        self._since = time.process_time()

    def stop(self) -> None:
        """Book the server's time since it last got replies, under the stage that gave them."""
        self.server_seconds[self._serving] = time.process_time() - self._since

    def _reply(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        # The workflow puts one record in all messages and the mod takes its stage out.
        configs = ConfigRecord(dict(message.content.config_records[RECORD_KEY_CONFIGS]))
        message.content = RecordDict({RECORD_KEY_CONFIGS: configs})
        stage = self._serving = str(configs[Key.STAGE])
        if node in self.lost and stage in {Stage.COLLECT_MASKED_VECTORS, Stage.UNMASK}:
            return Message(Error(0, "lost"), reply_to=message)
        app = _TrainedApp(self.vectors[node - 1])
        began = time.process_time()
        reply = secaggplus_mod(message, self.contexts[node], app)
        self.client_seconds[stage][node] = time.process_time() - began - app.seconds
        self.upload[node] += reply.content.config_records[RECORD_KEY_CONFIGS].count_bytes()
        return reply


class _TrainedApp:
    """A client app whose training is done; it times itself."""

    def __init__(self, vector: Floats) -> None:
        self.vector, self.seconds = vector, 0.0

    def __call__(self, message: Message, context: Context) -> Message:
        del context
        began = time.process_time()
        trained = FitRes(Status(Code.OK, ""), ndarrays_to_parameters([self.vector]), EXAMPLES, {})
        reply = Message(compat.fitres_to_recorddict(trained, keep_input=False), reply_to=message)
        self.seconds = time.process_time() - began
        return reply


def round_cost(
    vectors: Sequence[Floats], shares: int, threshold: int, lost: Collection[int]
) -> RoundCost:
    """Play one round.

    Args:
        vectors: per client, shape (d,).
        shares: into which each secret is split: k + 1, or all clients for the complete graph.
        threshold: fewest shares that give a secret back.
        lost: indices of the clients that fail when they should send their masked vector.

    Raises:
        SystemExit: the round failed, or its mean is not the survivors'.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)
    random.seed(0)  # the workflow shuffles its graph by this generator
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 0
    grid = TimedGrid(vectors, {index + 1 for index in lost})
    context = _server_context(grid, len(vectors))
    workflow = SecAggPlusWorkflow(shares, threshold, max_weight=float(EXAMPLES))
    grid.start()
    workflow(grid, context)
    grid.stop()
    survivors = [node for node in grid.contexts if node not in grid.lost]
    client = _mean_per_stage(grid.client_seconds, survivors)
    return RoundCost(
        client=client,
        first_client=client,
        server=grid.server_seconds,
        upload=statistics.fmean(grid.upload[node] for node in survivors),
        vector_message=float("nan"),
        word_bits=WORD_BITS,
        mean=_aggregate(context, sum(vectors[node - 1] for node in survivors) / len(survivors)),
    )


def _server_context(grid: TimedGrid, clients: int) -> LegacyContext:
    manager = SimpleClientManager()
    for node in grid.contexts:
        manager.register(GridClientProxy(node, grid, run_id=1))
    strategy = FedAvg(fraction_fit=1.0, min_fit_clients=clients, min_available_clients=clients)
    context = LegacyContext(
        Context(1, 0, {}, RecordDict(), {}), strategy=strategy, client_manager=manager
    )
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    model = ndarrays_to_parameters([np.zeros(1)])
    context.state.array_records[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(
        model, keep_input=False
    )
    return context


def _mean_per_stage(
    seconds: Mapping[str, Mapping[int, float]], survivors: Collection[int]
) -> dict[str, float]:
    return {
        stage: statistics.fmean(of_node[node] for node in survivors)
        for stage, of_node in seconds.items()
    }


def _aggregate(context: LegacyContext, expected: Floats) -> Floats:
    record = context.state.array_records[MAIN_PARAMS_RECORD]
    (mean,) = parameters_to_ndarrays(compat.arrayrecord_to_parameters(record, keep_input=True))
    if mean.shape != expected.shape or np.max(np.abs(mean - expected)) > 1e-4:
        raise SystemExit("Flower's aggregate is not the mean of the survivors' vectors")
    return mean
