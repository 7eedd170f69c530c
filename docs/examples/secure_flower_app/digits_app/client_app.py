"""The ClientApp: trains and evaluates on this node's partition."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits_app import task

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the message's model on this partition."""
    arrays = message.content["arrays"].to_numpy_ndarrays()
    images, labels = task.load(*_place(context), held_out=False)
    loss = task.train(arrays, images, labels, float(context.run_config["learning-rate"]))
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(images)})
    return Message(
        RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message
    )


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the message's model on this partition's held-out images."""
    arrays = message.content["arrays"].to_numpy_ndarrays()
    images, labels = task.load(*_place(context), held_out=True)
    loss, accuracy = task.test(arrays, images, labels)
    metrics = {"eval_loss": loss, "eval_acc": accuracy, "num-examples": len(images)}
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)


def _place(context: Context) -> tuple[int, int]:
    return int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
