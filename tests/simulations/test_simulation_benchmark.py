"""The simulation benchmark compares like with like, and sees where it cannot."""

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace

import process_tree
import pytest
import torch
from batched_grid import BatchedGrid
from flwr.app import Context, RecordDict
from paired_passes import (
    FOREIGN_LIMIT,
    Pass,
    Played,
    paired,
    require_same_clients,
    require_same_models,
)
from process_tree import Mark
from simulation import CASES, Comparison, compared
from simulation_apps import Course, client_app, server_app
from simulation_engines import ENGINES
from simulation_work import Work, initial_model, row_count, rows_of

from simulations.backends.embedded import EmbeddedGrid

WORK = Work("mlp", "plain", clients=5, rounds=2)
ROWS = sum(map(row_count, range(5)))


def played(**changed) -> Played:
    """A run of two rounds of one second that used a processor all the time, alone."""
    marks = tuple(Mark(at, at - 10.0, 100.0 + at - 10.0) for at in (11.0, 12.0, 13.0))
    alone = Played(
        WORK, Mark(10.0, 0.0, 100.0), marks, [[0, 1, 2, 3, 4]] * 2, [ROWS] * 2, [0.0, 1.0], 50.0
    )
    return replace(alone, **changed)


def run_on(grid, work: Work) -> Course:
    course = Course()
    app = server_app(work, course, lambda: None)
    app(grid, Context(grid.run.run_id, 1, {}, RecordDict(), {}))
    return course


def test_a_client_has_the_rows_it_is_counted_with() -> None:
    for client in range(20):
        inputs, targets = rows_of("mlp", client)
        assert len(inputs) == len(targets) == row_count(client)
        assert 50 <= row_count(client) <= 300


@pytest.mark.parametrize(
    "wrong",
    [
        {"participants": [[0, 1, 2, 3], [0, 1, 2, 3, 4]]},
        {"participants": [[0, 1, 2, 3, 4], [0, 1, 2, 3, 3]]},
        {"participants": [[0, 1, 2, 3, 4]], "examples": [ROWS]},
        {"examples": [ROWS, ROWS - 1]},
    ],
)
def test_an_engine_that_left_something_out_is_not_compared(wrong) -> None:
    require_same_clients({"embedded": played()})
    with pytest.raises(SystemExit, match=r"^ray "):
        require_same_clients({"embedded": played(), "ray": played(**wrong)})


def test_engines_that_train_alike_must_come_to_one_model() -> None:
    other, near = played(model=[0.0, 1.001]), played(model=[0.0, 1.00001])
    require_same_models({"embedded": played(), "ray": near})
    require_same_models({"embedded": played(), "batched": other, "pfl": played(model=[])})
    for bad in (other, played(model=[0.0, float("nan")])):
        with pytest.raises(SystemExit, match="embedded and ray"):
            require_same_models({"embedded": played(), "batched": other, "ray": bad})


def test_what_others_used_is_what_the_machine_did_beyond_the_tree() -> None:
    assert played().foreign == 0.0
    crowded = tuple(replace(mark, machine=mark.machine + 1.5) for mark in played().marks)
    assert played(marks=crowded).foreign == pytest.approx(0.5)
    assert played(marks=crowded).foreign > FOREIGN_LIMIT


def test_a_row_is_the_median_of_the_ratios_of_each_pass() -> None:
    by_memory = Comparison("peak", "a", "b", "the peer", lambda run: run.memory, "MiB", 3.0)
    passes = [
        Pass({"a": played(memory=ours), "b": played(memory=theirs)})
        for ours, theirs in ((1.0, 2.0), (2.0, 8.0), (4.0, 12.0))
    ]
    row, each = compared("memory", by_memory, passes)
    assert each == [2.0, 4.0, 3.0]
    assert (row.ours, row.peer_value, row.ratio, row.met) == (2.0, 8.0, 3.0, True)
    assert not compared("memory", replace(by_memory, goal=3.01), passes)[0].met


def test_every_goal_of_the_table_is_there() -> None:
    goals = {
        (name, one.metric): one.goal
        for name, case in CASES.items()
        for one in case.comparisons
        if one.goal is not None
    }
    assert goals == {
        ("start", "wall"): 6, ("noop-1000", "message"): 12, ("plain-mlp-10", "embedded"): 6,
        ("plain-mlp-100", "embedded"): 3, ("plain-mlp-1000", "embedded"): 5,
        ("dp-mlp-100", "embedded"): 2, ("dp-cnn-100", "embedded"): 2,
        ("dp-mlp", "batched"): 12, ("dp-mlp", "fused"): 16, ("dp-mlp-ghost", "fused"): 11,
        ("plain-mlp", "fused"): 7, ("memory-1000", "peak"): 3,
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:Secure RNG turned off")
@pytest.mark.parametrize("mode", ["plain", "dp"])
def test_the_same_apps_come_to_the_same_model_as_the_loop_without_flower(mode) -> None:
    work = replace(WORK, mode=mode)
    with EmbeddedGrid(client_app, work.clients, {}, work.workers) as grid:
        course = run_on(grid, work)
    _, _, expected = ENGINES["loop"](work, lambda: None)
    assert course.participants == [[0, 1, 2, 3, 4]] * 2
    assert course.examples == [ROWS] * 2
    torch.testing.assert_close(course.model, expected, rtol=0, atol=1e-6)
    moved = torch.cat([p.detach().flatten() for p in initial_model(work).parameters()]) - expected
    assert moved.abs().max() > 1e-2


@pytest.mark.parametrize("mode", ["plain", "dp"])
def test_replies_one_a_client_and_fused_come_to_the_model_of_the_core(mode) -> None:
    work = replace(WORK, mode=mode)
    _, _, expected = ENGINES["together"](work, lambda: None)
    for fused in (False, True):
        course = run_on(BatchedGrid(work, fused=fused), work)
        assert course.participants == [[0, 1, 2, 3, 4]] * 2
        assert course.examples == [ROWS] * 2
        torch.testing.assert_close(course.model, expected, rtol=0, atol=1e-6)


def test_clients_that_are_registered_late_are_waited_for() -> None:
    class Late(EmbeddedGrid):
        """As in Flower's simulation: the ServerApp runs before all nodes are registered."""

        asked = 0

        def get_node_ids(self) -> Iterable[int]:
            self.asked += 1
            return list(super().get_node_ids())[: 3 if self.asked <= 2 else None]

    with Late(client_app, WORK.clients, {}, WORK.workers) as grid:
        course = run_on(grid, replace(WORK, mode="noop"))
    assert course.participants == [[0, 1, 2, 3, 4]] * 2


CHILD = """
import subprocess, sys, time
def burn():
    while time.process_time() < 0.3: pass
held = bytearray(b"x" * (64 << 20))
burn()
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"])
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_tree_is_counted_with_its_children_and_those_that_ended() -> None:
    before = process_tree.mark()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"ready\n"
        during = process_tree.mark()
        assert process_tree.proportional_set_size(child.pid) > 64
        assert set(process_tree.family(os.getpid())) >= {os.getpid(), child.pid}
        child.stdin.close()
    after = process_tree.mark()
    assert during.tree - before.tree > 0.55
    assert after.tree >= during.tree
    assert after.machine - before.machine > 0.55


def test_what_reading_the_clocks_takes_is_no_part_of_a_round() -> None:
    read = (Mark(11.0, 1.0, 101.0, (0.25, 0.125)), Mark(12.0, 2.0, 102.0), Mark(13.0, 3.0, 103.0))
    assert played(marks=read).rounds == [(0.75, 0.875), (1.0, 1.0)]
    now = process_tree.mark()
    assert now.reading[0] > 0
    assert now.reading[1] > 0


def test_a_pass_is_played_in_processes_of_its_own_in_alternating_order(capsys) -> None:
    works = {"loop": replace(WORK, mode="noop"), "embedded": replace(WORK, mode="noop")}
    done = paired(works, {}, passes=2, attempts=1)
    assert [list(one.played) for one in done] == [["loop", "embedded"], ["embedded", "loop"]]
    for one in done:
        assert all(run.marks[1].wall < run.marks[2].wall for run in one.played.values())
        assert all(run.memory > 10 for run in one.played.values())
    assert sum(one.loaded for one in done) == capsys.readouterr().err.count("under load")
