"""A federation grows the trees that one site with all rows would, and pays for every level."""

from pathlib import Path

import dp_accounting
import numpy as np
import pytest
import torch
from dp_accounting import pld
from federation_in_process import SMALL, Federation
from safetensors.torch import load

from client.site_home import SiteHome
from federation import config_file
from federation.entropy import SeededEntropy
from federation.errors import ConfigError
from federation.initial_model import initial_model
from federation.summary import Summary
from federation.task import SiteRequest
from federation.task_loading import load_task
from federation.tree_growth import grown
from privacy.audit.shadow import shadow
from privacy.dp_sgd import Descent, train_without_privacy
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.ledger import verify
from privacy.plan import NonPrivatePlan
from simulations.run_control import start
from simulations.sites import prepare

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
HISTOGRAM = {"tree_splits": "histogram", "tree_l2": 1.0, "tree_minimum_hessian": 1.0}
OFF = {"privacy": {"mode": "off"}}
COINS = SeededEntropy(0)


def trees(rounds: int = 3, **options: object) -> dict[str, object]:
    return {
        "run": {"name": "test", "rounds": rounds},
        "task": {"name": "heart", "options": {"model": "boosted_trees", **options}},
        "training": {"local_steps": 1},
    }


def exactly(table: dict) -> dict:
    """The same without privacy, from all rows in each round."""
    return table | OFF | {"training": table["training"] | {"sampling_rate": 1.0}}


def by_protocol(runs: Path, table: dict, *settings: str) -> tuple[Summary, bytes]:
    federation = Federation(runs, table, *settings)
    federation.play()
    return federation.folder.read_summary(), federation.model


def by_arithmetic(runs: Path, table: dict, *settings: str) -> tuple[Summary, bytes]:
    arithmetic = "simulation.secure_aggregation=arithmetic"
    run = start(config_file.parse(SMALL | table, [arithmetic, *settings]), None, runs)
    summary = run.play(lambda _: None)
    return summary, run.folder.model.read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> bytes:
    """Of a run with nothing but trees."""
    _, model = by_arithmetic(tmp_path_factory.mktemp("plain"), trees())
    return model


def nodes_of(model: bytes) -> np.ndarray:
    return load(model)["trees.weight"].numpy()


@pytest.mark.parametrize("options", [{}, HISTOGRAM])
def test_arithmetic_and_protocol_and_any_workers_give_the_same_trees(tmp_path, options) -> None:
    real, model = by_protocol(tmp_path / "protocol", trees(**options))
    summed, same = by_arithmetic(tmp_path / "one", trees(**options), "simulation.workers=1")
    _, again = by_arithmetic(tmp_path / "two", trees(**options), "simulation.workers=2")
    assert model == same == again
    assert summed.utility == real.utility
    assert summed.fairness == real.fairness
    assert real.fairness
    assert real.strategy.algorithm == "boosted_trees"
    assert nodes_of(model)[0, 0] == 3


def pooled() -> tuple[torch.Tensor, torch.Tensor]:
    task = load_task("heart", {})
    parts = [task.load(SiteRequest(site, 2026)).train for site in SITES]
    return torch.cat([p.inputs for p in parts]), torch.cat([p.targets for p in parts])


@pytest.mark.parametrize("options", [{}, HISTOGRAM | {"tree_depth": 3}])
def test_sites_together_grow_the_trees_of_all_rows_in_one_place(tmp_path, options) -> None:
    table = exactly(trees(6, **options))
    _, model = by_protocol(tmp_path, table, "training.learning_rate=0.3")
    task, rows = load_task("heart", table["task"]["options"]), pooled()
    alone = initial_model(task, 2026)
    parameters, count = flat_parameters(alone).astype(float), len(rows[1])
    for _ in range(6):
        update = train_without_privacy(
            alone, rows, task.loss, NonPrivatePlan(1.0, 1, count), Descent(0.3), COINS
        )
        parameters = grown(alone.shape, parameters, update.delta, count, 0.3)
        load_flat_parameters(alone, parameters)
    found, expected = nodes_of(model), alone.trees.weight.detach().numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)  # the sum is in fixed point
    assert (found[1:] != 0).sum() > 10


def test_every_level_is_charged_as_a_step_of_dp_sgd(tmp_path) -> None:
    table = trees(4, tree_splits="histogram") | {"privacy": {"epsilon": 2.0, "delta": 1e-3}}
    federation = Federation(tmp_path, table, "training.sampling_rate=0.5")
    noise = federation.play().agreement.privacy.noise_multiplier
    account = federation.folder.read_summary().privacy.sites["cleveland"]
    assert (account.committed, account.delta) == (4, 1e-3)
    theirs = pld.PLDAccountant()
    step = dp_accounting.PoissonSampledDpEvent(0.5, dp_accounting.GaussianDpEvent(noise))
    theirs.compose(step, 4)
    assert account.epsilon_spent == pytest.approx(theirs.get_epsilon(1e-3), abs=2e-3)
    assert 1.98 < account.epsilon_spent <= 2.0
    key = SiteHome(federation.folder.site_home("cleveland")).read_identity().public_key()
    entries = list(verify(federation.folder.ledger("cleveland"), key))
    (plan,) = [entry.body for entry in entries if entry.kind == "plan"]
    assert plan["event"] == {
        "mechanism": "poisson_sampled_gaussian", "sampling_rate": 0.5, "noise_multiplier": noise,
        "count": 1,
    }  # fmt: skip
    assert [entry.kind for entry in entries].count("commit") == 4


def test_a_round_that_fails_is_a_level_later(tmp_path) -> None:
    lost = [{"site": site, "round": 2, "phase": "train"} for site in SITES[:2]]
    table = exactly(trees(4, **HISTOGRAM, tree_depth=2))
    table["run"] |= {"on_failed_round": "continue"}
    failing = table | {"simulation": {"dropouts": lost, "baselines": False}}
    summary, model = by_protocol(tmp_path / "failing", failing)
    assert [r.status for r in summary.rounds[:4]] == ["completed", "failed", *["completed"] * 2]
    table["run"] |= {"rounds": 3}
    _, without = by_protocol(tmp_path / "without", table)
    np.testing.assert_array_equal(nodes_of(model), nodes_of(without))


@pytest.mark.parametrize("options", [{}, HISTOGRAM])
def test_sites_that_are_trained_at_once_are_trained_alike(tmp_path, options) -> None:
    alone, _ = by_arithmetic(tmp_path / "alone", trees(**options))
    table = trees(**options)
    together, _ = by_arithmetic(tmp_path / "together", table, "simulation.engine=batched")
    assert (alone.run.engine, together.run.engine) == ("per-site", "batched")
    for one, other in zip(alone.utility, together.utility, strict=True):
        # A round's update agrees to 1e-5; leaves are made of it, and the next level of them.
        assert other.overall.log_loss == pytest.approx(one.overall.log_loss, rel=5e-5)


@pytest.mark.parametrize(
    "settings",
    [
        ("privacy.shared_noise.colluders=1",),
        (
            "privacy.site_level.epsilon=50",
            "privacy.site_level.delta=1e-3",
            "training.update_clip=0.5",
        ),
        ("federation.rounding=stochastic", "federation.update_bits=16", "training.update_clip=4"),
        ("sampling.kind=fixed", "sampling.sites=3"),
        (
            "mitigation.method=reweighing",
            "mitigation.attribute=sex",
            "mitigation.criterion=demographic_parity",
            "mitigation.weights=[[2.0, 0.5], [0.5, 2.0]]",
        ),
    ],
)
def test_it_goes_with_what_changes_the_sum(tmp_path, settings, plain) -> None:
    summary, model = by_protocol(tmp_path / "run", trees(), *settings)
    assert summary.run.status == "completed"
    assert nodes_of(model)[0, 0] == 3
    assert np.isfinite(nodes_of(model)).all()
    assert not np.array_equal(nodes_of(model), nodes_of(plain))
    _, same = by_arithmetic(tmp_path / "arithmetic", trees(), *settings)
    assert same == model


def test_a_median_of_groups_grows_trees_too(tmp_path) -> None:
    groups = ["robustness.aggregate=median", "robustness.groups=3", "federation.sites=9",
              "simulation.partition.kind=iid"]  # fmt: skip
    summary, model = by_arithmetic(tmp_path / "run", exactly(trees(4)), *groups)
    assert summary.robustness.aggregate == "median"
    assert (nodes_of(model)[0, 0], summary.rounds[-1].status) == (4, "completed")
    assert summary.utility[-1].overall.auc.value > 0.8


def test_weights_are_those_of_rows_in_the_histogram(tmp_path) -> None:
    """Weighing all rows by 2 is having each of them twice: so with half of the l2."""
    weights = [
        "mitigation.method=reweighing", "mitigation.attribute=sex",
        "mitigation.criterion=demographic_parity", "mitigation.weights=[[2.0, 2.0], [2.0, 2.0]]",
    ]  # fmt: skip
    rare = {"tree_minimum_hessian": 1e-3}
    _, twice = by_protocol(tmp_path / "a", exactly(trees(2, tree_l2=2.0, **rare)), *weights)
    _, once = by_protocol(tmp_path / "b", exactly(trees(2, tree_l2=1.0, **rare)))
    np.testing.assert_allclose(nodes_of(twice), nodes_of(once), atol=1e-5)
    assert (nodes_of(once)[1:3] != 0).sum() > 10


def test_without_privacy_they_do_as_well_as_a_network(tmp_path) -> None:
    table = exactly(trees(40, **HISTOGRAM, trees=10))
    grown_trees, _ = by_arithmetic(tmp_path, table)
    network = {"task": {"name": "heart", "options": {"model": "mlp"}}, **OFF}
    trained, _ = by_arithmetic(tmp_path, network, "run.rounds=20")
    best, other = grown_trees.utility[-1].overall, trained.utility[-1].overall
    assert best.accuracy.value > other.accuracy.value - 0.03
    assert best.auc.value > other.auc.value - 0.03


@pytest.mark.slow
def test_random_trees_are_as_good_as_a_network_at_the_same_epsilon(tmp_path) -> None:
    acs = {"privacy": {"epsilon": 2.0, "delta": 1e-4}, "run": {"name": "acs", "rounds": 20}}
    options = {"name": "acs-employment", "options": {"model": "boosted_trees"}}
    forest, _ = by_arithmetic(tmp_path, trees() | acs | {"task": options})
    network, _ = by_arithmetic(tmp_path, acs | {"task": {"name": "acs-employment"}})
    best, other = forest.utility[-1].overall, network.utility[-1].overall
    assert best.accuracy.value > other.accuracy.value - 0.02
    assert best.auc.value > other.auc.value - 0.02


def test_the_yardstick_is_the_same_trees_in_one_place(tmp_path) -> None:
    table = exactly(trees(4, **HISTOGRAM)) | {"simulation": {"baselines": True}}
    summary, _ = by_arithmetic(tmp_path, table)
    beside = {one.name: one.utility for one in summary.baselines}
    federated = summary.utility[-1].overall
    assert beside["centralized"].log_loss == pytest.approx(federated.log_loss, abs=1e-4)
    assert beside["alone: switzerland"].log_loss > federated.log_loss


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (("training.local_steps=3",), "training.local_steps = 3: expected 1 with model"),
        (("training.algorithm=scaffold",), "training.algorithm = 'scaffold': expected 'sgd'"),
        (("training.momentum=0.9",), "training.momentum = 0.9: expected 0.0"),
        (("training.proximal_mu=0.1",), "training.proximal_mu = 0.1: expected 0.0"),
        (('training.local_layers=["trees.*"]',), "training.local_layers = "),
        (("server.optimizer=fedadam",), "server.optimizer = 'fedadam': expected 'fedavg'"),
        (("server.learning_rate=0.5",), "server.learning_rate = 0.5: expected 1.0"),
        (
            ("mitigation.method=adversarial", "mitigation.attribute=sex",
             "mitigation.criterion=demographic_parity"),
            "mitigation.method = 'adversarial': expected 'none' or 'reweighing'",
        ),
        (("run.rounds=21",), "run.rounds = 21: expected at most 20.*set task.options.trees = 21"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_trees_is_refused_before_a_run(tmp_path, settings, text) -> None:
    config = config_file.parse(SMALL | trees(), settings)
    with pytest.raises(ConfigError, match=text):
        prepare(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_as_many_rounds_as_there_is_room_for_may_be_run(tmp_path) -> None:
    table = trees(6, trees=2, tree_splits="histogram", tree_depth=3)
    prepare(config_file.parse(SMALL | table), tmp_path)
    with pytest.raises(ConfigError, match=r"run.rounds = 7: .* at most 6, of .* 2 trees, 3 e"):
        prepare(config_file.parse(SMALL | table, ["run.rounds=7"]), tmp_path)


def test_an_audit_of_training_says_that_it_grows_no_trees() -> None:
    config = config_file.parse(SMALL | trees())
    task = load_task("heart", {"model": "boosted_trees"})
    with pytest.raises(ConfigError, match=r"task.options.model = 'boosted_trees': expected one"):
        shadow(task, config)
