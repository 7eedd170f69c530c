"""A run by arithmetic is the run of the whole protocol, bit for bit, without the protocol."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from federation_in_process import SMALL, Federation

from federation import config_file
from federation.errors import ConfigError, UsageError
from federation.summary import Summary
from privacy.arithmetic import Arithmetic
from server.run_record import read_record
from simulations import chunk_workers
from simulations.run_control import go_on, start
from simulations.simulate import require_resumable
from simulations.sites import read_config
from simulations.training_device import TrainingDevice

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
ARITHMETIC = "simulation.secure_aggregation=arithmetic"


def by_arithmetic(runs: Path, table: dict[str, object], *settings: str) -> tuple[Summary, bytes]:
    """Summary and model of a run in two worker processes."""
    run = start(config_file.parse(SMALL | table, [ARITHMETIC, *settings]), None, runs)
    summary = run.play(lambda _: None)
    return summary, run.folder.model.read_bytes()


def by_protocol(runs: Path, table: dict[str, object], *settings: str) -> tuple[Summary, bytes]:
    """The same of a run of agents."""
    federation = Federation(runs, table, *settings)
    federation.play()
    return federation.folder.read_summary(), federation.model


def as_settings(*settings: str) -> object:
    return pytest.param(settings, id=" ".join(settings) or "as usual")


@pytest.mark.parametrize(
    "settings",
    [
        as_settings(),
        as_settings("federation.rounding=stochastic", "federation.update_bits=16"),
        as_settings("privacy.site_level.epsilon=50", "privacy.site_level.delta=1e-3"),
        as_settings(
            "privacy.site_level.noise_multiplier=0.5",
            "privacy.site_level.delta=1e-3",
            "privacy.site_level.remove_surplus=true",
        ),
        as_settings(
            "mitigation.method=constrained",
            "mitigation.attribute=sex",
            "mitigation.criterion=demographic_parity",
        ),
        as_settings("sampling.kind=fixed", "sampling.sites=3"),
        as_settings("simulation.engine=batched"),
        as_settings("training.algorithm=scaffold"),
        as_settings('training.local_layers=["0.bias"]'),
    ],
)
def test_it_gives_the_same_model_and_the_same_numbers(tmp_path, settings) -> None:
    real, model = by_protocol(tmp_path / "protocol", {}, *settings)
    summed, same_model = by_arithmetic(tmp_path / "arithmetic", {}, *settings)
    assert same_model == model
    assert summed.utility == real.utility
    assert summed.fairness == real.fairness
    assert summed.drift == real.drift
    assert [r.survivors for r in summed.rounds] == [r.survivors for r in real.rounds]
    assert [r.noise for r in summed.rounds] == [r.noise for r in real.rounds]
    for site, account in real.privacy.sites.items():
        assert summed.privacy.sites[site] == account.model_copy(update={"ledger_head": ""})
    assert summed.privacy.site_level == real.privacy.site_level
    assert (summed.secure_sum.method, real.secure_sum.method) == ("arithmetic", "protocol")


@pytest.mark.parametrize(
    "settings",
    [
        as_settings(),
        as_settings("training.algorithm=scaffold"),
        as_settings('training.local_layers=["0.bias"]'),
    ],
)
def test_sites_that_are_trained_at_once_are_trained_alike(tmp_path, settings) -> None:
    alone, _ = by_arithmetic(tmp_path / "alone", {}, *settings)
    together, _ = by_arithmetic(tmp_path / "together", {}, "simulation.engine=batched", *settings)
    assert (alone.run.engine, together.run.engine) == ("per-site", "batched")
    for one, other in zip(alone.utility, together.utility, strict=True):
        assert other.overall.log_loss == pytest.approx(one.overall.log_loss, abs=2e-6)


def test_cohorts_are_counted_apart(tmp_path) -> None:
    table = {
        "task": {"name": "acs-employment"},
        "privacy": {"epsilon": 2.0, "delta": 1e-4},
        "cohorts": {
            "first": ["region-01", "region-02", "region-03"],
            "second": ["region-04", "region-05", "region-06"],
        },
    }
    sites = "federation.sites=6"
    real, model = by_protocol(tmp_path / "protocol", table, sites)
    summed, same_model = by_arithmetic(tmp_path / "arithmetic", table, sites)
    assert same_model == model
    assert summed.utility == real.utility
    assert set(summed.utility[-1].cohorts) == {"first", "second"}


def test_training_losses_are_summed_without_privacy(tmp_path) -> None:
    table = {"privacy": {"mode": "off"}, "training": {"momentum": 0.5}}
    real, model = by_protocol(tmp_path / "protocol", table)
    summed, same_model = by_arithmetic(tmp_path / "arithmetic", table)
    assert same_model == model
    assert summed.utility == real.utility


def test_groups_of_sites_are_summed_apart(tmp_path) -> None:
    table = {
        "task": {"name": "acs-employment"},
        "privacy": {"epsilon": 2.0, "delta": 1e-4},
        "robustness": {"aggregate": "median", "groups": 3},
        "simulation": {
            "baselines": False,
            "attackers": [
                {"site": "region-02", "kind": "scaled_update", "factor": -9.0},
                {"site": "region-03", "kind": "label_flip"},
            ],
        },
    }
    sites = "federation.sites=9"
    real, model = by_protocol(tmp_path / "protocol", table, sites, "run.rounds=2")
    summed, same_model = by_arithmetic(tmp_path / "arithmetic", table, sites, "run.rounds=2")
    assert same_model == model
    assert [r.groups for r in summed.rounds] == [r.groups for r in real.rounds]


def test_an_attacker_is_mitigated_as_it_is_by_the_protocol(tmp_path) -> None:
    table = {
        "mitigation": {
            "method": "adversarial",
            "attribute": "sex",
            "criterion": "demographic_parity",
        },
        "simulation": {
            "baselines": False,
            "attackers": [
                {"site": "hungary", "kind": "label_flip"},
                {"site": "cleveland", "kind": "noise_update", "factor": 0.5},
            ],
        },
    }
    real, model = by_protocol(tmp_path / "protocol", table, "run.rounds=2")
    summed, same_model = by_arithmetic(tmp_path / "arithmetic", table, "run.rounds=2")
    assert same_model == model
    assert summed.utility == real.utility


@pytest.mark.parametrize("phase", ["advertise", "train", "sign", "open"])
def test_a_site_is_lost_as_it_is_by_the_protocol(tmp_path, phase) -> None:
    lost = {"site": "hungary", "round": 2, "phase": phase}
    table = {
        "run": {"name": "test", "rounds": 2},
        "simulation": {"baselines": False, "dropouts": [lost]},
    }
    real, model = by_protocol(tmp_path / "protocol", table)
    summed, same_model = by_arithmetic(tmp_path / "arithmetic", table)
    assert [r.survivors for r in summed.rounds] == [r.survivors for r in real.rounds]
    assert same_model == model
    spent = {site: account.epsilon_spent for site, account in real.privacy.sites.items()}
    assert {s: account.epsilon_spent for s, account in summed.privacy.sites.items()} == spent


def test_a_chunk_is_trained_on_the_device_of_its_engine(tmp_path) -> None:
    batched = "simulation.engine=batched"
    run = start(config_file.parse(SMALL, [ARITHMETIC, batched]), None, tmp_path)
    run.play(lambda _: None)
    player = chunk_workers.open_player(run.folder.path)
    model = np.random.default_rng(3).normal(scale=0.1, size=player.layouts.parameters)
    usual = player.updates(SITES, model, 1)
    # The processor's short floats stand for a device that computes otherwise.
    device = TrainingDevice(Arithmetic(torch.device("cpu"), torch.bfloat16), 2**28, "another")
    player.engine = replace(player.engine, device=device)
    other = player.updates(SITES, model, 1)
    for site in SITES:
        apart = np.linalg.norm(other[site].delta - usual[site].delta)
        assert 0 < apart < 0.05 * np.linalg.norm(usual[site].delta)


class _Dies:
    """A player that kills its process over one chunk, as often as the file says."""

    def __init__(self, player: object, left: Path) -> None:
        self._player, self._left = player, left

    def play(self, work, parameters):
        times = int(self._left.read_text())
        if "hungary" in work.sites and work.round == 2 and times:
            self._left.write_text(str(times - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return self._player.play(work, parameters)


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """Lets workers be killed so many times over the chunk of one site."""
    left, real = tmp_path / "left", chunk_workers.open_player

    def arrange(times: int) -> None:
        left.write_text(str(times))
        monkeypatch.setattr(chunk_workers, "_serve", _serving_what_dies(left, real))

    return arrange


def _serving_what_dies(left, open_player):
    return _Serving(left)


class _Serving:
    """A worker's life with a player that dies; a class, so that it travels to the process."""

    def __init__(self, left: Path) -> None:
        self._left = left

    def __call__(self, pipe, path) -> None:
        opened = chunk_workers.open_player
        chunk_workers.open_player = lambda path: _Dies(opened(path), self._left)
        _SERVE(pipe, path)


_SERVE = chunk_workers._serve


def test_a_killed_worker_is_replaced_and_its_chunk_done_again(tmp_path, killed) -> None:
    _, model = by_arithmetic(tmp_path / "undisturbed", {})
    killed(1)
    summary, same_model = by_arithmetic(tmp_path / "disturbed", {})
    assert same_model == model
    assert all(len(r.survivors) == 4 for r in summary.rounds)


def test_a_chunk_that_kills_workers_twice_is_given_up_and_named(tmp_path, killed) -> None:
    killed(2)
    with_chunks_of_one = "simulation.workers=2"
    summary, _ = by_arithmetic(tmp_path / "runs", {}, with_chunks_of_one)
    assert summary.run.status == "stopped"
    assert "died over its chunk, the second time (exit code -9)" in summary.run.stopped_because


def test_it_goes_on_where_it_was_stopped(tmp_path) -> None:
    _, model = by_arithmetic(tmp_path / "undisturbed", {})
    run = start(config_file.parse(SMALL, [ARITHMETIC]), None, tmp_path / "stopped")

    def stop(told) -> None:
        if told.record.round.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.play(stop)
    assert read_record(run.folder).last_trained == 2
    summary = go_on(run.folder, read_config(run.folder.path)).play(lambda _: None)
    assert run.folder.model.read_bytes() == model
    assert {account.committed for account in summary.privacy.sites.values()} == {3}


def test_a_budget_that_is_spent_stops_it(tmp_path) -> None:
    settings = ("privacy.noise_multiplier=1.0", "site_policy.epsilon_budget=6.0")
    table = {"privacy": {"delta": 1e-3}, "run": {"name": "test", "rounds": 30}}
    real, model = by_protocol(tmp_path / "protocol", table, *settings)
    summed, same_model = by_arithmetic(tmp_path / "arithmetic", table, *settings)
    assert summed.run.stopped_by_budget
    assert real.run.stopped_by_budget
    assert summed.run.rounds_completed == real.run.rounds_completed < 30
    assert same_model == model


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (("evaluation.epsilon=1.0",), "evaluation.epsilon"),
        (("simulation.backend=ray",), "simulation.backend"),
    ],
)
def test_what_needs_agents_is_refused(settings, named) -> None:
    with pytest.raises(ConfigError, match=named):
        config_file.parse(SMALL, [ARITHMETIC, *settings])


@pytest.mark.parametrize(
    "setting",
    [
        "simulation.secure_aggregation=real",
        "simulation.engine=batched",
        "simulation.faults.dropout_rate.train=0.5",
        "run.rounds=9",
    ],
)
def test_what_changes_a_result_cannot_be_changed_on_resuming(tmp_path, setting) -> None:
    run = start(config_file.parse(SMALL, [ARITHMETIC]), None, tmp_path)
    with pytest.raises(UsageError, match=r"cannot be changed, only simulation\.backend"):
        require_resumable(run.folder, config_file.read(run.folder.config, [setting]))
    require_resumable(run.folder, config_file.read(run.folder.config, ["simulation.workers=1"]))
