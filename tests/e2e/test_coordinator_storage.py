"""Full disks and copied folders at the coordinator: refused, or gone on with; never paid twice."""

import resource
import shutil
from contextlib import contextmanager

import pytest
from faulty_federation import (
    SERVERAPP,
    SUPERLINK,
    Undisturbed,
    ended,
    eventually,
    faulty,
    half_written,
    kill,
    undisturbed,
)
from loopback_federation import PORTS, free_port

from federation.audit_log import AuditLog
from federation.errors import RoundFailed, StorageError, UsageError
from federation.run_folder import RunFolder
from server.coordinator_config import CoordinatorConfig
from server.federation_home import FederationHome

SITES = ("cleveland", "hungary", "va_long_beach")
HELD = SITES[1]


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    return undisturbed(folder, SITES, "run.rounds=3", task="heart")


@contextmanager
def full_disk(*pids: int, at: int = 1):
    """Files of these processes grow no further than that; there is room again afterwards."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (at, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            try:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
            except ProcessLookupError:
                continue


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("round_", "phase"), [(1, "train"), (2, "open")])
def test_a_full_disk_ends_the_run_with_a_clear_error_and_it_resumes(
    expected, tmp_path, round_, phase
) -> None:
    with faulty(tmp_path, expected) as federation:
        federation.hold(HELD, round_, phase)
        running = federation.start_run(expected.settings)
        federation.wait_held(HELD, round_, phase)
        folder = RunFolder.open(federation.last_run)
        (serverapp,) = federation.find(SERVERAPP)
        # Just what `rounds.jsonl` has by now: the next line of it does not fit.
        with full_disk(serverapp, at=folder.rounds.stat().st_size):
            federation.let_go(HELD)
            assert ended(running) == StorageError.exit_code, "".join(running.lines)
        assert "the disk refuses: File too large" in "".join(running.lines)
        assert half_written(federation.fed) == []
        folder.read_rounds()
        running = federation.start_run("--resume", folder.id)
        assert ended(running) == 0, "".join(running.lines)
        federation.assert_as_if_undisturbed(expected)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_superlink_on_a_full_disk_is_waited_for(expected, tmp_path) -> None:
    with faulty(tmp_path, expected) as federation:
        federation.hold(HELD, 2, "train")
        running = federation.start_run(expected.settings)
        federation.wait_held(HELD, 2, "train")
        (superlink,) = federation.find(SUPERLINK)
        with full_disk(superlink, federation.up.pid):
            federation.let_go(HELD)
            # No message gets into a database that cannot grow: the node says so and goes on trying.
            log = federation.fed / "log" / "edge.jsonl"
            assert eventually(lambda: b"the SuperLink answered 5" in log.read_bytes())
        assert ended(running) == 0, "".join(running.lines)
        federation.assert_as_if_undisturbed(expected)
        AuditLog(FederationHome(federation.fed).audit).verify()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_copy_of_the_folder_is_refused_beside_it_and_finds_no_site_elsewhere(
    expected, tmp_path
) -> None:
    with faulty(tmp_path / "one", expected) as federation:
        copy = tmp_path / "copy"
        shutil.copytree(federation.fed, copy)
        second = federation.start("coordinator", "up", copy)
        assert ended(second) == UsageError.exit_code
        assert "Address already in use" in "".join(second.lines)

        # Another machine: the address that the sites were told is not where it listens.
        settings = FederationHome(copy).config_file
        elsewhere = {name: free_port() for name in PORTS} | {"bind": "127.0.0.2"}
        CoordinatorConfig.read(settings).model_copy(update=elsewhere).write(settings)
        federation.start("coordinator", "up", copy, says="all processes are ready")
        alone = federation.start("coordinator", "run", copy, expected.settings)
        assert ended(alone) == RoundFailed.exit_code, "".join(alone.lines)
        assert "0 of 3 sites are online" in "".join(alone.lines)
        assert federation.charges(HELD) == []

        # All the while the federation itself is as it was.
        running = federation.start_run(expected.settings)
        assert ended(running) == 0, "".join(running.lines)
        federation.assert_as_if_undisturbed(expected)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_of_a_folder_restored_from_an_old_copy_is_refused(expected, tmp_path) -> None:
    """The sites say nothing twice; the budget that the lost run has spent stays spent."""
    with faulty(tmp_path / "one", expected) as federation:
        federation.hold(HELD, 1, "open")
        running = federation.start_run(expected.settings)
        federation.wait_held(HELD, 1, "open")
        old = tmp_path / "old"
        shutil.copytree(federation.fed, old)
        federation.hold(HELD, 3, "sign")
        federation.wait_held(HELD, 3, "sign")
        kill(running.pid)
        federation.kill_up()
        federation.let_go(HELD)
        before = {site: federation.charges(site) for site in SITES}
        shutil.rmtree(federation.fed)
        shutil.copytree(old, federation.fed)
        federation.up = federation.start_coordinator()
        running = federation.start_run("--resume", federation.last_run.name)
        assert ended(running) == RoundFailed.exit_code, "".join(running.lines)
        assert "round 1 failed" in "".join(running.lines)
        assert {site: federation.charges(site) for site in SITES} == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_run_is_followed_by_two_commands_and_played_once(expected, tmp_path) -> None:
    with faulty(tmp_path, expected) as federation:
        federation.hold(HELD, 2, "share")
        first = federation.start_run(expected.settings)
        federation.wait_held(HELD, 2, "share")
        second = federation.start_run("--resume", federation.last_run.name)
        second.wait_for("going along with")
        federation.let_go(HELD)
        assert ended(first) == 0, "".join(first.lines)
        assert ended(second) == 0, "".join(second.lines)
        federation.assert_as_if_undisturbed(expected)
