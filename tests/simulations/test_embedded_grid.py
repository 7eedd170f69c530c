"""The embedded Grid: Flower's contract, a dead worker's sites, and nothing left behind."""

import os
import signal

import pytest
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp

from simulations.backends import embedded, flower_internals
from simulations.backends.embedded import EmbeddedGrid


def echo_app() -> ClientApp:
    app = ClientApp()

    @app.query("echo")
    def echo(message, context):
        text = message.content["r"]["text"]
        if text == "raise":
            raise ValueError("as asked")
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
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

    return app


@pytest.fixture
def grid():
    with EmbeddedGrid(echo_app, 3, {"setting": "x"}, workers=2) as grid:
        yield grid


def ask(grid: EmbeddedGrid, texts: dict[int, str]) -> dict[int, Message]:
    messages = [
        grid.create_message(
            RecordDict({"r": ConfigRecord({"text": text})}), "query.echo", node, "1"
        )
        for node, text in texts.items()
    ]
    replies = list(grid.send_and_receive(messages, timeout=60))
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


def test_a_client_that_raises_is_an_error_reply(grid) -> None:
    first, second, third = grid.get_node_ids()
    replies = ask(grid, {first: "raise", second: "fine", third: "fine"})
    assert replies[first].has_error()
    assert "as asked" in replies[first].error.reason
    assert not replies[second].has_error()


def test_a_dead_workers_sites_are_lost_by_name_and_it_is_replaced(grid) -> None:
    first, second, third = grid.get_node_ids()
    replies = ask(grid, {first: "die", second: "fine", third: "fine"})
    assert "worker process died (exit code -9)" in replies[first].error.reason
    assert not replies[second].has_error()
    back = ask(grid, {first: "back", third: "back"})
    assert back[first].content["r"]["text"] == "back"


def test_messages_larger_than_a_pipe_go_both_ways() -> None:
    # A worker that writes a large reply waits for its reader, and so does who writes to it.
    with EmbeddedGrid(echo_app, 3, {"setting": "x"}, workers=1) as grid:
        nodes = list(grid.get_node_ids())
        replies = ask(grid, dict.fromkeys(nodes, "x" * 3_000_000))
        assert all(len(replies[node].content["r"]["text"]) == 3_000_000 for node in nodes)


def test_closing_leaves_no_process() -> None:
    grid = EmbeddedGrid(echo_app, 2, {"setting": "x"}, workers=5)
    processes = [worker.process for worker in grid._workers]
    assert len(processes) == 2
    grid.close()
    assert not any(process.is_alive() for process in processes)


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
    assert flower_internals.empty_run(7).run_id == 7


def test_the_grid_serves_the_run_it_is_given() -> None:
    with EmbeddedGrid(echo_app, 1, {"setting": "x"}, workers=1) as grid:
        run = embedded.empty_run(5)
        grid.set_run(run)
        assert grid.run is run
