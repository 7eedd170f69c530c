"""A site: a few steps of logistic regression in numpy, so that what is timed is the carrying."""

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()
ROWS = 200


@app.train()
def train(message: Message, context: Context) -> Message:
    """The model after a step, as Flower's strategies expect it."""
    (weights,) = message.content["arrays"].to_numpy_ndarrays()
    rows, labels = _rows(context, len(weights))
    guess = 1 / (1 + np.exp(-rows @ weights))
    weights = (weights - 0.5 * rows.T @ (guess - labels) / ROWS).astype(np.float32)
    counted = MetricRecord({"num-examples": ROWS})
    return Message(
        RecordDict({"arrays": ArrayRecord([weights]), "metrics": counted}), reply_to=message
    )


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """How many of the site's rows the model has right."""
    (weights,) = message.content["arrays"].to_numpy_ndarrays()
    rows, labels = _rows(context, len(weights))
    right = float(np.mean((rows @ weights > 0) == labels))
    told = MetricRecord({"num-examples": ROWS, "accuracy": right})
    return Message(RecordDict({"metrics": told}), reply_to=message)


def _rows(context: Context, parameters: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(context.node_id % 2**32)
    rows = generator.normal(size=(ROWS, parameters)).astype(np.float32)
    return rows, rows[:, 0] > 0
