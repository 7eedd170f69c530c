"""The Flower ServerApp and ClientApp that every Flower engine of the simulation benchmark runs.

They know no engine. A reply's metrics name the clients that it stands for, so that a round in
which an engine left clients out is seen.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, Strategy
from simulation_work import (
    Work,
    build_model,
    generator_of,
    initial_model,
    rows_of,
    train,
)

Tick = Callable[[], None]
MakeStrategy = Callable[[int, Callable[[list[RecordDict], str], MetricRecord]], Strategy]


@dataclass
class Course:
    """What a ServerApp saw.

    Attributes:
        participants: per round, the clients that trained, ascending.
        examples: per round, rows that they trained on.
        model: final parameters, shape (d,), in the order of the model's state.
    """

    participants: list[list[int]] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)
    model: torch.Tensor = field(default_factory=lambda: torch.zeros(0))


def fedavg(clients: int, metrics: Callable[[list[RecordDict], str], MetricRecord]) -> FedAvg:
    """Flower's FedAvg over all clients.

    Without `min_train_nodes`, FedAvg samples from the nodes registered so far, and Flower's own
    simulation starts the ServerApp before it has registered them.
    """
    return FedAvg(
        fraction_evaluate=0.0,
        min_train_nodes=clients,
        min_available_nodes=clients,
        train_metrics_aggr_fn=metrics,
    )


def server_app(
    work: Work, course: Course, tick: Tick, make_strategy: MakeStrategy = fedavg
) -> ServerApp:
    """A ServerApp that runs the rounds; `tick` is called before the first and after each."""
    app = ServerApp()

    def count(replies: list[RecordDict], _: str) -> MetricRecord:
        told = [reply["metrics"] for reply in replies]
        course.participants.append(sorted(int(k) for one in told for k in one["clients"]))
        course.examples.append(sum(int(one["num-examples"]) for one in told))
        return MetricRecord({"num-examples": course.examples[-1]})

    @app.main()
    def main(grid: Grid, _: Context) -> None:
        config = ConfigRecord({"model": work.model, "mode": work.mode, "hidden": list(work.hidden)})
        result = make_strategy(work.clients, count).start(
            grid=grid,
            initial_arrays=ArrayRecord(initial_model(work).state_dict()),
            num_rounds=work.rounds,
            timeout=3600,
            train_config=config,
            evaluate_fn=lambda *_: tick(),
        )
        state = result.arrays.to_torch_state_dict()
        course.model = torch.cat([value.flatten() for value in state.values()])

    return app


def client_app() -> ClientApp:
    """A ClientApp that trains as its instructions say; it keeps nothing between messages."""
    app = ClientApp()

    @app.train()
    def train_one(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        config, client = message.content["config"], int(context.node_config["partition-id"])
        kind, mode, hidden = config["model"], config["mode"], config["hidden"]
        arrays, loss, rows = message.content["arrays"], 0.0, rows_of(kind, client)
        if mode != "noop":
            model = build_model(kind, hidden)
            model.load_state_dict(arrays.to_torch_state_dict())
            loss = train(model, mode, rows, generator_of(config["server-round"], client))
            arrays = ArrayRecord(model.state_dict())
        told = MetricRecord({"loss": loss, "num-examples": len(rows[1]), "clients": [client]})
        return Message(RecordDict({"arrays": arrays, "metrics": told}), reply_to=message)

    return app
