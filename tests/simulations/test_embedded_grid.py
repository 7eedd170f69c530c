"""The embedded Grid: Flower's contract, a dead worker's sites, and the way back from its death."""

import os
import select
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Error,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode

from federation.errors import UsageError
from simulations.backends import flower_internals
from simulations.backends.embedded import EmbeddedGrid
from simulations.backends.message_content import LARGE
from simulations.backends.worker_process import FEWEST, MOST_STARTS, how_it_ended


def echo_app() -> ClientApp:
    app = ClientApp()

    @app.query("echo")
    def echo(message, context):
        text = message.content["r"]["text"]
        if text == "raise":
            raise ValueError("as asked")
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "exit":
            sys.exit(3)
        if text == "error":
            return Message(Error(42, "mine"), reply_to=message)
        count = int(context.state["c"]["n"]) + 1 if "c" in context.state else 1
        context.state["c"] = ConfigRecord({"n": count})
        said = {
            "text": text,
            "node": context.node_id,
            "partition": context.node_config["partition-id"],
            "process": os.getpid(),
            "count": count,
            "setting": context.run_config["setting"],
        }
        return Message(RecordDict({"r": ConfigRecord(said)}), reply_to=message)

    @app.query("scribble")
    def scribble(message, context):
        (numbers,) = message.content["a"].to_numpy_ndarrays()
        before = float(numbers.max())
        numbers += context.node_id
        mine = message.content["c"]["list"]
        mine.append(context.node_id)
        record = {"a": ArrayRecord([numbers]), "c": ConfigRecord({"before": before, "list": mine})}
        return Message(RecordDict(record), reply_to=message)

    return app


def app_that_cannot_be_loaded() -> ClientApp:
    raise ImportError("no module named 'absent'")


def app_whose_process_dies() -> ClientApp:
    os._exit(5)


class Flaky:
    """Loads an app that kills its process at all but the last start that it is given."""

    def __init__(self, marks: Path) -> None:
        self.marks = marks

    def __call__(self) -> ClientApp:
        (self.marks / str(os.getpid())).touch()
        if len(list(self.marks.iterdir())) < MOST_STARTS:
            os._exit(5)
        return echo_app()


@pytest.fixture
def grid():
    with EmbeddedGrid(echo_app, 3, {"setting": "x"}, workers=2) as grid:
        yield grid


def ask(grid: EmbeddedGrid, texts: dict[int, str], ttl: float | None = None) -> dict[int, Message]:
    messages = [
        grid.create_message(
            RecordDict({"r": ConfigRecord({"text": text})}), "query.echo", node, "1", ttl
        )
        for node, text in texts.items()
    ]
    replies = list(grid.send_and_receive(messages, timeout=120))
    assert len({reply.metadata.message_id for reply in replies}) == len(replies)
    return {reply.metadata.src_node_id: reply for reply in replies}


def test_it_answers_as_a_flower_grid_does(grid) -> None:
    nodes = list(grid.get_node_ids())
    replies = ask(grid, {node: f"hello {node}" for node in nodes})
    assert set(replies) == set(nodes)
    records = [replies[node].content["r"] for node in nodes]
    assert [r["text"] for r in records] == [f"hello {node}" for node in nodes]
    assert [r["partition"] for r in records] == [0, 1, 2]
    assert {r["setting"] for r in records} == {"x"}
    assert len({r["process"] for r in records}) == 2
    again = ask(grid, dict.fromkeys(nodes, "again"))
    for node in nodes:
        assert again[node].content["r"]["process"] == replies[node].content["r"]["process"]
        assert again[node].content["r"]["count"] == 2


def test_a_reply_has_the_metadata_that_flower_gives_it(grid) -> None:
    first = grid.get_node_ids()[0]
    message = grid.create_message(
        RecordDict({"r": ConfigRecord({"text": "x"})}), "query.echo", first, "7", ttl=500.0
    )
    (reply,) = grid.send_and_receive([message], timeout=120)
    asked, told = message.metadata, reply.metadata
    assert (told.run_id, told.src_node_id, told.dst_node_id) == (asked.run_id, first, 1)
    assert (told.reply_to_message_id, told.group_id) == (asked.message_id, "7")
    assert told.message_type == "query.echo"
    assert asked.created_at <= told.created_at
    assert told.created_at + told.ttl == pytest.approx(asked.created_at + 500)


def test_a_client_that_raises_is_an_error_reply(grid) -> None:
    first, second, third = grid.get_node_ids()
    replies = ask(grid, {first: "raise", second: "fine", third: "error"})
    assert "as asked" in replies[first].error.reason
    assert not replies[second].has_error()
    assert (replies[third].error.code, replies[third].error.reason) == (42, "mine")


@pytest.mark.parametrize(
    ("text", "how"), [("die", "was killed by SIGKILL"), ("exit", "ended with exit code 3")]
)
def test_a_dead_workers_sites_are_lost_by_name_and_it_is_replaced(grid, text, how) -> None:
    first, second, third = grid.get_node_ids()
    replies = ask(grid, {first: text, second: "fine", third: "fine"})
    told = f"worker process 1 of 2 {how}; with it partitions 0, 2"
    assert [replies[node].error.reason for node in (first, third)] == [told, told]
    assert replies[first].error.code == ErrorCode.CLIENT_APP_CRASHED
    assert not replies[second].has_error()
    back = ask(grid, {first: "back", second: "back", third: "back"})
    # What a node remembered lived in the process; the other worker's node still has it.
    assert [back[node].content["r"]["count"] for node in (first, second, third)] == [1, 2, 1]


def test_an_idle_worker_that_is_killed_is_replaced_and_loses_no_message(grid) -> None:
    first = grid.get_node_ids()[0]
    process = ask(grid, {first: "x"})[first].content["r"]["process"]
    ending = os.pidfd_open(process)
    os.kill(process, signal.SIGKILL)
    assert select.select([ending], [], [], 120)[0]
    os.close(ending)
    assert ask(grid, {first: "y"})[first].content["r"]["process"] != process


def test_a_worker_that_cannot_load_the_app_ends_the_run_and_says_why() -> None:
    with (
        EmbeddedGrid(app_that_cannot_be_loaded, 2, {}, 2) as grid,
        pytest.raises(UsageError, match="ImportError: no module named 'absent'"),
    ):
        ask(grid, {10: "x"})


def test_a_worker_that_dies_at_every_start_ends_the_run() -> None:
    with (
        EmbeddedGrid(app_whose_process_dies, 1, {}, 1) as grid,
        pytest.raises(UsageError, match=f"exit code 5 before it was ready, {MOST_STARTS} times"),
    ):
        ask(grid, {10: "x"})


def test_a_worker_that_dies_at_some_starts_loses_no_message(tmp_path) -> None:
    with EmbeddedGrid(Flaky(tmp_path), 1, {"setting": "x"}, 1) as grid:
        assert ask(grid, {10: "x"})[10].content["r"]["text"] == "x"
    assert len(list(tmp_path.iterdir())) == MOST_STARTS


@pytest.mark.parametrize("length", [4, LARGE, 300_000])
def test_what_a_node_does_to_its_message_touches_no_other_node(length: int) -> None:
    with EmbeddedGrid(echo_app, 4, {"setting": "x"}, workers=2) as grid:
        shared = RecordDict({"a": ArrayRecord([np.ones(length)]), "c": ConfigRecord({"list": [0]})})
        nodes = list(grid.get_node_ids())
        for _ in range(2):
            messages = [grid.create_message(shared, "query.scribble", n, "1") for n in nodes]
            replies = list(grid.send_and_receive(messages, timeout=120))
            for reply in replies:
                node = reply.metadata.src_node_id
                assert dict(reply.content["c"]) == {"before": 1.0, "list": [0, node]}
                assert reply.content["a"]["0"].numpy().tolist() == [1.0 + node] * length
            assert len(replies) == 4
        assert shared["a"]["0"].numpy().max() == 1


def test_contents_are_read_when_they_are_pushed(grid) -> None:
    nodes = list(grid.get_node_ids())
    content = RecordDict({"r": ConfigRecord({"text": "before"})})
    names = set(
        grid.push_messages([grid.create_message(content, "query.echo", n, "1") for n in nodes])
    )
    content["r"]["text"] = "after"
    while names:
        for reply in grid.pull_messages(names):
            assert reply.content["r"]["text"] == "before"
            names.remove(reply.metadata.reply_to_message_id)


def test_messages_larger_than_a_pipe_go_both_ways() -> None:
    # A worker that writes a large reply waits for its reader, and so does who writes to it.
    with EmbeddedGrid(echo_app, 5, {"setting": "x"}, workers=1) as grid:
        nodes = list(grid.get_node_ids())
        replies = ask(grid, {node: str(node) * 1_000_000 for node in nodes})
        assert all(replies[node].content["r"]["text"] == str(node) * 1_000_000 for node in nodes)


def test_many_small_messages_are_all_answered_once() -> None:
    with EmbeddedGrid(echo_app, 500, {"setting": "x"}, workers=3) as grid:
        nodes = list(grid.get_node_ids())
        for count in (1, 2):
            replies = ask(grid, {node: f"{node}" for node in nodes})
            assert {node: replies[node].content["r"]["text"] for node in nodes} == {
                node: f"{node}" for node in nodes
            }
            assert {reply.content["r"]["count"] for reply in replies.values()} == {count}


def test_nodes_are_where_the_placement_puts_them() -> None:
    with EmbeddedGrid(echo_app, 4, {"setting": "x"}, 2, placement=(1, 0, 0, 0)) as grid:
        replies = ask(grid, dict.fromkeys(grid.get_node_ids(), "x"))
        process = [replies[node].content["r"]["process"] for node in sorted(replies)]
        assert process[1] == process[2] == process[3] != process[0]


@pytest.mark.parametrize("placement", [(0,), (0, 1, 2), (0, -1)])
def test_a_placement_that_does_not_fit_is_refused(placement) -> None:
    with pytest.raises(ValueError, match="placement"):
        EmbeddedGrid(echo_app, 2, {}, 2, placement=placement)


def test_a_message_that_expired_is_not_answered_by_its_node(grid) -> None:
    first, second, _ = grid.get_node_ids()
    assert ask(grid, {first: "x"}, ttl=-1.0)[first].error.code == ErrorCode.MESSAGE_UNAVAILABLE
    assert ask(grid, {first: "x", second: "x"})[first].content["r"]["count"] == 1


def test_what_is_not_waited_for_is_withdrawn_or_dropped() -> None:
    count = 4 * FEWEST
    with EmbeddedGrid(echo_app, count, {"setting": "x"}, 1) as grid:
        nodes = list(grid.get_node_ids())
        ask(grid, {nodes[0]: "the worker is ready"})
        messages = [
            grid.create_message(RecordDict({"r": ConfigRecord({"text": "y"})}), "query.echo", n, "")
            for n in nodes
        ]
        assert list(grid.send_and_receive(messages, timeout=0)) == []
        replies = ask(grid, dict.fromkeys(nodes, "z"))
        counts = [replies[node].content["r"]["count"] for node in nodes]
        # The first message went to the first node; of the second push a batch was on its way.
        assert counts == [3] + [2] * (2 * FEWEST - 1) + [1] * (count - 2 * FEWEST)
        assert not grid._done
        assert not grid._unwanted


def test_a_reply_that_is_late_is_not_waited_for(grid) -> None:
    assert list(grid.send_and_receive([], timeout=1)) == []
    assert list(grid.pull_messages(["instruction-99"])) == []


def test_the_private_names_of_flower_are_where_we_expect_them() -> None:
    flower_internals.assume_identity(7, 1)
    message = Message(RecordDict(), 10, MessageType.QUERY)
    flower_internals.set_message_id(message, "m-1")
    assert message.metadata.message_id == "m-1"
    assert (message.metadata.run_id, message.metadata.src_node_id) == (7, 1)
    rebuilt = flower_internals.received_message(message.content, message.metadata)
    assert rebuilt.metadata is message.metadata
    fields = flower_internals.metadata_fields(message.metadata)
    again = type(message.metadata)(*fields)
    again.delivered_at = ""
    assert again == message.metadata
    assert flower_internals.empty_run(7).run_id == 7
    for kind, values in (
        (MetricRecord, {"a": 1, "b": [2.5]}),
        (ConfigRecord, {"a": "x", "b": [b"y"]}),
        (ArrayRecord, {"a": Array(np.arange(3.0))}),
        (RecordDict, {"a": MetricRecord({"b": 1})}),
    ):
        assert flower_internals.filled(kind(), values) == kind(values)


def test_the_grid_serves_the_run_it_is_given() -> None:
    with EmbeddedGrid(echo_app, 1, {"setting": "x"}, workers=1) as grid:
        run = flower_internals.empty_run(5)
        grid.set_run(run)
        assert grid.run is run


def test_an_ending_is_told_in_words() -> None:
    assert how_it_ended(-signal.SIGTERM) == "was killed by SIGTERM"
    assert how_it_ended(-signal.SIGRTMIN - 1) == f"was killed by signal {signal.SIGRTMIN + 1}"
    assert how_it_ended(0) == "ended with exit code 0"
