"""However a simulation ends, nothing of it is left: no process, no descriptor, no memory."""

import gc
import multiprocessing
import os
import select
import signal
import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, RecordDict
from interruptible_process import started
from plain_flower_app import busy_app

from simulations.backends.embedded import EmbeddedGrid
from simulations.backends.message_content import LARGE

HERE = Path(__file__).parent
PATIENCE = 120.0
"""Seconds after which a test fails that waits for another process."""


def who(grid: EmbeddedGrid) -> set[int]:
    """Processes of the nodes, asked with something that goes through shared memory."""
    large = RecordDict({"a": ArrayRecord([np.ones(LARGE)])})
    messages = [grid.create_message(large, "query.who", n, "1") for n in grid.get_node_ids()]
    replies = list(grid.send_and_receive(messages, timeout=PATIENCE))
    assert all(reply.content["a"]["0"].numpy().all() for reply in replies)
    return {int(reply.content["c"]["pid"]) for reply in replies}


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def has_ended(pid: int) -> bool:
    """Whether a process has, within the time that tests have."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE)[0])
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def _fork_server_runs() -> None:
    # It stays for the next grid, with descriptors of its own, until this process ends.
    with EmbeddedGrid(busy_app, 1, {}, 1) as grid:
        who(grid)


@pytest.mark.usefixtures("_fork_server_runs")
@pytest.mark.parametrize("is_raised", [False, True])
def test_a_closed_grid_leaves_no_process_and_no_descriptor(is_raised: bool) -> None:
    before = descriptors()
    processes: set[int] = set()
    try:
        with EmbeddedGrid(busy_app, 6, {}, 3) as grid:
            processes = who(grid) | who(grid)
            assert len(processes) == 3
            os.kill(min(processes), signal.SIGKILL)
            assert has_ended(min(processes))
            processes |= who(grid) | who(grid)
            if is_raised:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert is_raised
    assert all(has_ended(pid) for pid in processes)
    assert multiprocessing.active_children() == []
    assert descriptors() == before


@pytest.mark.usefixtures("_fork_server_runs")
def test_closing_before_a_worker_has_started_leaves_nothing_either() -> None:
    before = descriptors()
    EmbeddedGrid(busy_app, 2, {}, 2).close()
    assert multiprocessing.active_children() == []
    assert descriptors() == before


SCRIPT = """
import sys
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from plain_flower_app import busy_app
from simulations.backends.embedded import EmbeddedGrid

with EmbeddedGrid(busy_app, 2, {}, 2) as grid:
    model = ArrayRecord([np.ones(1 << 20)])
    grid.send_and_receive([
        grid.create_message(
            RecordDict({"a": model, "c": ConfigRecord({"tell": tell})}), "query.work", node, "1"
        )
        for node, tell in zip(grid.get_node_ids(), sys.argv[1:])
    ])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(tmp_path: Path, number: int) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(SCRIPT)
    tells = [tmp_path / "first", tmp_path / "second"]
    for tell in tells:
        os.mkfifo(tell)
    parent = started(None, script, *map(str, tells), also=(HERE,))
    # Opening a pipe waits for its writer: a worker that is in the middle of its work.
    workers = [int(tell.read_text()) for tell in tells]
    maps = [Path(f"/proc/{worker}/maps").read_text() for worker in workers]
    assert all("memfd:hedgerow" in one and "/dev/shm/" not in one for one in maps)
    group = os.getpgid(parent.pid)
    parent.send_signal(number)
    try:
        _, said = parent.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(group, signal.SIGKILL)
        raise
    assert all(has_ended(worker) for worker in workers)
    assert parent.returncode == -number, said
    # Its fork server and resource tracker, too: nothing is left of the whole group.
    assert all(has_ended(pid) for pid in members(group))


def members(group: int) -> set[int]:
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if os.getpgid(int(folder.name)) == group:
                    found.add(int(folder.name))
            except ProcessLookupError:
                continue
    return found


def test_a_script_without_a_guard_runs_once_where_its_app_is_in_a_module(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        from flwr.serverapp.strategy import FedAvg
        from plain_flower_app import train
        with open(sys.argv[1], "a") as log:
            log.write("ran\\n")
        train(FedAvg(), 2, 2, 1)
        """)
    )
    log = tmp_path / "log"
    process = started(None, script, str(log), also=(HERE,))
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert log.read_text() == "ran\n"


def test_a_script_without_a_guard_that_holds_the_app_is_told_at_once(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent("""
        from flwr.serverapp.strategy import FedAvg
        import plain_flower_app
        def my_app():
            return plain_flower_app.training_app()
        from simulations.backends.embedded import EmbeddedGrid
        with EmbeddedGrid(my_app, 2, {}, 2) as grid:
            FedAvg().start(grid, plain_flower_app.initial(), num_rounds=1)
        """)
    )
    process = started(None, script, also=(HERE,))
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    (last,) = [line for line in said.splitlines() if line.startswith("federation.errors")]
    assert "if __name__ == '__main__':" in last
    assert said.count("Traceback") == 1


def test_an_app_in_a_guarded_script_is_run(tmp_path: Path) -> None:
    script = tmp_path / "guarded.py"
    script.write_text(
        textwrap.dedent("""
        from plain_flower_app import busy_app
        def my_app():
            return busy_app()
        if __name__ == "__main__":
            import test_embedded_endings
            from simulations.backends.embedded import EmbeddedGrid
            with EmbeddedGrid(my_app, 2, {}, 2) as grid:
                assert len(test_embedded_endings.who(grid)) == 2
        """)
    )
    process = started(None, script, also=(HERE, HERE.parent))
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
