"""kill -9 at the coordinator, in every phase: the model and the charges are the undisturbed run's.

docs/operating/faults-coordinator.md says what is expected of each.
"""

import pytest
from faulty_federation import (
    EDGE,
    SERVERAPP,
    SUPEREXEC,
    SUPERLINK,
    Undisturbed,
    ended,
    eventually,
    faulty,
    kill,
    undisturbed,
)

SITES = ("cleveland", "hungary", "va_long_beach")
HELD = SITES[1]
MOMENTS = ((0, "agree"), (1, "share"), (2, "train"), (4, "advertise"), (4, "sign"), (5, "open"))
"""Each phase once, in order; keys for round 4 are asked for with the vectors of round 3."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    return undisturbed(folder, SITES, "run.rounds=5", task="heart")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", [SERVERAPP, SUPERLINK, SUPEREXEC, EDGE])
def test_a_process_killed_in_every_phase_changes_nothing(expected, tmp_path, role) -> None:
    with faulty(tmp_path, expected) as federation:
        federation.hold(HELD, *MOMENTS[0])
        running = federation.start_run(expected.settings)
        for at, moment in enumerate(MOMENTS):
            federation.wait_held(HELD, *moment)
            federation.kill(role)
            if at + 1 < len(MOMENTS):
                federation.hold(HELD, *MOMENTS[at + 1])
            else:
                federation.let_go(HELD)
        assert ended(running) == 0, "".join(running.lines)
        federation.assert_as_if_undisturbed(expected)
        assert eventually(lambda: not federation.find(SERVERAPP))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_coordinator_goes_on_when_it_is_started_again(expected, tmp_path) -> None:
    """`coordinator up` with all it runs; `coordinator run` waits and goes on by itself."""
    with faulty(tmp_path, expected) as federation:
        federation.hold(HELD, *MOMENTS[1])
        running = federation.start_run(expected.settings)
        for at, moment in enumerate(MOMENTS[1:4], start=1):
            federation.wait_held(HELD, *moment)
            federation.kill_up()
            federation.hold(HELD, *MOMENTS[at + 1])
            federation.up = federation.start_coordinator()
        federation.wait_held(HELD, *MOMENTS[4])
        federation.let_go(HELD)
        assert ended(running) == 0, "".join(running.lines)
        federation.assert_as_if_undisturbed(expected)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_command_is_resumed_and_so_is_all_at_once(expected, tmp_path) -> None:
    with faulty(tmp_path, expected) as federation:
        federation.hold(HELD, 2, "train")
        running = federation.start_run(expected.settings)
        federation.wait_held(HELD, 2, "train")
        kill(running.pid)
        federation.hold(HELD, 4, "sign")
        run = federation.last_run.name
        # The ServerApp works on; whoever resumes goes along with it.
        running = federation.start_run("--resume", run)
        federation.wait_held(HELD, 4, "sign")
        assert any("going along with" in line for line in running.lines), running.lines
        kill(running.pid)
        federation.kill_up()
        federation.let_go(HELD)
        federation.up = federation.start_coordinator()
        running = federation.start_run("--resume", run)
        assert ended(running) == 0, "".join(running.lines)
        federation.assert_as_if_undisturbed(expected)
