"""Secure runs over the embedded grid: the same bits however it plays them; deaths are dropouts."""

import os
import signal

import pytest

from simulations.defaults import default_config
from simulations.simulate import run
from simulations.sites import prepare, read_config, rows_of_sites

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")


def prepared(tmp_path, *overrides: str):
    settings = ["run.rounds=2", "simulation.baselines=false", *overrides]
    return prepare(default_config("heart", settings), tmp_path)


def model(tmp_path, *overrides: str) -> bytes:
    folder = prepared(tmp_path, *overrides)
    assert run(folder, read_config(folder.path), lambda _: None).run.status == "completed"
    return folder.model.read_bytes()


@pytest.fixture(scope="module")
def of_one_worker(tmp_path_factory) -> bytes:
    return model(tmp_path_factory.mktemp("one"), "simulation.workers=1")


# Two workers play the requests in pieces, below.
@pytest.mark.parametrize("workers", [3, 5])
def test_any_number_of_workers_gives_the_same_bits(tmp_path, of_one_worker, workers: int) -> None:
    assert model(tmp_path, f"simulation.workers={workers}") == of_one_worker


def test_requests_in_pieces_give_the_same_bits(tmp_path, of_one_worker, monkeypatch) -> None:
    # As the requests of a large model travel.
    monkeypatch.setattr("server.transport.LARGEST_WHOLE", 0)
    assert model(tmp_path, "simulation.workers=2") == of_one_worker


def test_sites_are_dealt_by_the_rows_that_their_policies_name(tmp_path) -> None:
    folder = prepared(tmp_path)
    rows = rows_of_sites(folder, read_config(folder.path))
    assert len(rows) == len(SITES)
    assert rows == [len_of_training(folder, site) for site in SITES]


def len_of_training(folder, site: str) -> int:
    from federation.task import SiteRequest  # noqa: PLC0415
    from federation.task_loading import load_task  # noqa: PLC0415

    config = read_config(folder.path)
    task = load_task(config.task.name, config.task.options)
    return len(task.load(SiteRequest(site, config.run.seed)).train)


def test_a_killed_worker_is_a_dropout_of_its_sites_and_the_run_goes_on(
    tmp_path, monkeypatch
) -> None:
    from simulations.backends.worker_process import Worker  # noqa: PLC0415

    folder = prepared(tmp_path, "simulation.workers=4", "federation.quorum=3")
    started: list[Worker] = []
    begun = Worker.__init__

    def noted(self, *arguments) -> None:
        begun(self, *arguments)
        started.append(self)

    monkeypatch.setattr(Worker, "__init__", noted)

    processes: list[int] = []

    def kill_one(told) -> None:
        processes.append(started[0].process.pid)
        if len(processes) == 1:
            os.kill(processes[0], signal.SIGKILL)

    summary = run(folder, read_config(folder.path), kill_one)
    assert summary.run.status == "completed"
    assert processes[0] != processes[-1]
