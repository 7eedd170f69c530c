"""A plain Flower ClientApp and the ServerApp loop that trains with it: nothing of hedgerow's."""

import hashlib
import os
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from simulations.backends.embedded import EmbeddedGrid


def training_app() -> ClientApp:
    """Moves the model towards numbers of the node's own, and counts its rounds in its state."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        partition = int(context.node_config["partition-id"])
        seen = int(context.state["seen"]["rounds"]) + 1 if "seen" in context.state else 1
        context.state["seen"] = ConfigRecord({"rounds": seen})
        rng = np.random.default_rng([partition, seen])
        arrays = [
            array + rng.normal(size=array.shape).astype(array.dtype)
            for array in message.content["arrays"].to_numpy_ndarrays()
        ]
        metrics = MetricRecord({"num-examples": partition + 1, "loss": float(rng.random())})
        return Message(
            RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message
        )

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        loss = float(np.random.default_rng(context.node_id).random())
        metrics = MetricRecord({"num-examples": context.node_id, "loss": loss})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def busy_app() -> ClientApp:
    """Says which process it is in; or, told where to say so, works on its message for ever."""
    app = ClientApp()

    @app.query("who")
    def who(message: Message, context: Context) -> Message:
        said = ConfigRecord({"pid": os.getpid()})
        return Message(RecordDict({"c": said, "a": message.content["a"]}), reply_to=message)

    @app.query("work")
    def work(message: Message, context: Context) -> Message:
        numbers = message.content["a"].to_numpy_ndarrays()
        with Path(str(message.content["c"]["tell"])).open("w") as told:
            told.write(f"{os.getpid()}\n")
        while numbers:
            numbers[0][:] += 1
        raise AssertionError("it has numbers")

    return app


def initial(length: int = 5) -> ArrayRecord:
    return ArrayRecord([np.zeros((2, length), np.float32), np.ones(3, np.float64)])


def train(strategy, nodes: int, workers: int, rounds: int = 2, arrays: ArrayRecord | None = None):
    """What a strategy makes of some rounds over an EmbeddedGrid."""
    with EmbeddedGrid(training_app, nodes, {}, workers) as grid:
        return strategy.start(grid, initial() if arrays is None else arrays, num_rounds=rounds)


def digest(arrays: ArrayRecord) -> str:
    numbers = b"".join(array.numpy().tobytes() for array in arrays.values())
    return hashlib.sha256(numbers).hexdigest()
