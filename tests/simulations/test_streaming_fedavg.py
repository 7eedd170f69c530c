"""FedAvg in the memory of one model: Flower's result, in any order, of the whole cohort."""

import gc
import threading
import weakref

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp.exception import InconsistentMessageReplies
from flwr.serverapp.strategy import FedAvg
from plain_flower_app import digest, initial, train, training_app

from simulations.backends.embedded import EmbeddedGrid
from simulations.backends.flower_internals import assume_identity
from simulations.backends.message_content import LARGE
from simulations.backends.streaming_fedavg import StreamingFedAvg


def fedavg(nodes: int) -> FedAvg:
    return FedAvg(min_train_nodes=nodes, min_evaluate_nodes=nodes, min_available_nodes=nodes)


def replies(number: int, length: int = 7):
    """A round's, each made when it is asked for."""
    assume_identity(1, 1)
    rng = np.random.default_rng(number)
    for node in range(10, 10 + number):
        instruction = Message(RecordDict(), node, "train")
        model = ArrayRecord([rng.normal(size=length).astype(np.float32), np.array([node])])
        metrics = MetricRecord({"num-examples": node, "loss": float(rng.random())})
        content = RecordDict({"arrays": model, "metrics": metrics})
        yield Message(content, reply_to=instruction)


def test_it_gives_what_flowers_fedavg_gives() -> None:
    ours, theirs = train(StreamingFedAvg(6), 6, 2), train(fedavg(6), 6, 2)
    for one, other in zip(ours.arrays.values(), theirs.arrays.values(), strict=True):
        assert one.numpy().dtype == other.numpy().dtype
        assert one.numpy() == pytest.approx(other.numpy(), rel=1e-5, abs=1e-6)
    assert list(ours.train_metrics_clientapp) == list(theirs.train_metrics_clientapp) == [1, 2]
    for name in ("train_metrics_clientapp", "evaluate_metrics_clientapp"):
        for ours_of, theirs_of in zip(
            getattr(ours, name).values(), getattr(theirs, name).values(), strict=True
        ):
            assert dict(ours_of) == pytest.approx(dict(theirs_of))


def test_any_number_of_workers_gives_the_same_bits() -> None:
    results = [train(StreamingFedAvg(7), 7, workers) for workers in (1, 2, 3, 5)]
    assert len({digest(result.arrays) for result in results}) == 1
    metrics = [
        (result.train_metrics_clientapp, result.evaluate_metrics_clientapp) for result in results
    ]
    assert all(one == metrics[0] for one in metrics)


def test_every_order_of_replies_gives_the_same_bits() -> None:
    strategy = StreamingFedAvg(30)
    arrays, metrics = strategy.aggregate_train(1, replies(30))
    backwards = strategy.aggregate_train(1, reversed(list(replies(30))))
    assert (digest(arrays), metrics) == (digest(backwards[0]), backwards[1])
    theirs, _ = fedavg(30).aggregate_train(1, list(replies(30)))
    for one, other in zip(arrays.values(), theirs.values(), strict=True):
        assert one.numpy().dtype == other.numpy().dtype
        assert one.numpy() == pytest.approx(other.numpy(), rel=1e-5, abs=1e-6)


def test_no_more_than_two_replies_are_ever_alive() -> None:
    alive: weakref.WeakSet[Message] = weakref.WeakSet()
    most = 0

    def watched():
        nonlocal most
        source = replies(20, length=1000)
        for _ in range(20):
            reply = next(source)
            alive.add(reply)
            gc.collect()
            most = max(most, len(alive))
            yield reply
            del reply

    StreamingFedAvg(20).aggregate_train(1, watched())
    assert most <= 2


def test_large_replies_do_not_pile_up_between_workers_and_strategy() -> None:
    alive: weakref.WeakSet[Message] = weakref.WeakSet()
    most = 0

    class Watched(EmbeddedGrid):
        def pull_messages(self, message_ids):
            nonlocal most
            arrived = super().pull_messages(message_ids)
            for message in arrived:
                alive.add(message)
            gc.collect()
            most = max(most, len(alive) + len(self._done))
            return arrived

    model = ArrayRecord([np.zeros(LARGE, np.float32)])
    with Watched(training_app, 24, {}, 2) as grid:
        StreamingFedAvg(24, fraction_evaluate=0).start(grid, model, num_rounds=2)
    # Two workers may each have answered a batch of two, and the strategy has one in hand.
    assert most <= 5


def test_a_round_waits_for_the_whole_cohort() -> None:
    looks: list[int] = []
    trained: set[int] = set()

    # As Flower does it: the ServerApp begins while nodes are still being registered.
    class Growing(EmbeddedGrid):
        def get_node_ids(self):
            looks.append(1)
            return list(super().get_node_ids())[: 1 + len(looks)]

        def push_messages(self, messages):
            messages = list(messages)
            trained.update(message.metadata.dst_node_id for message in messages)
            return super().push_messages(messages)

    strategy = StreamingFedAvg(4, fraction_evaluate=0)
    assert (strategy.min_train_nodes, strategy.min_available_nodes) == (4, 4)
    with Growing(training_app, 4, {}, 2) as grid:
        strategy.start(grid, initial(), num_rounds=1)
        assert trained == set(EmbeddedGrid.get_node_ids(grid))


def test_errors_are_left_out_and_nothing_but_errors_is_no_model() -> None:
    def failing(number):
        for reply in replies(number):
            yield Message(Error(2, "gone"), reply_to=Message(RecordDict(), 9, "train"))
            yield reply

    strategy = StreamingFedAvg(3)
    arrays, metrics = strategy.aggregate_train(1, failing(3))
    expected, _ = strategy.aggregate_train(1, replies(3))
    assert digest(arrays) == digest(expected)
    assert metrics is not None
    errors = [reply for reply in failing(3) if reply.has_error()]
    assert strategy.aggregate_train(1, errors) == (None, None)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["arrays"].update({"more": Array(np.zeros(1))}),
        lambda content: content["arrays"].update({"0": Array(np.zeros(3))}),
        lambda content: content["metrics"].pop("num-examples"),
        lambda content: content["metrics"].update({"num-examples": [1]}),
        lambda content: content.pop("metrics"),
    ],
)
def test_a_reply_that_does_not_fit_the_others_is_refused(change) -> None:
    some = list(replies(3))
    change(some[2].content)
    with pytest.raises(InconsistentMessageReplies):
        StreamingFedAvg(3).aggregate_train(1, some)


def test_a_model_that_is_not_finite_is_refused() -> None:
    some = list(replies(2))
    some[1].content["arrays"]["0"] = Array(np.full(7, np.nan, np.float32))
    with pytest.raises(ValueError, match="expected at most"):
        StreamingFedAvg(2).aggregate_train(1, some)


def test_replies_that_do_not_come_in_time_are_not_waited_for() -> None:
    released = threading.Event()

    class Silent(EmbeddedGrid):
        def pull_messages(self, message_ids):
            released.set()
            return []

    with Silent(training_app, 2, {}, 1) as grid:
        result = StreamingFedAvg(2, fraction_evaluate=0).start(
            grid, initial(), num_rounds=1, timeout=0.2
        )
    assert released.is_set()
    assert not result.train_metrics_clientapp
