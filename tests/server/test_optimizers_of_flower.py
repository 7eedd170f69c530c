"""Server optimizers against those of `flwr.serverapp.strategy`, written by others.

Flower departs from Algorithm 2 of arXiv:2003.00295 in two places, which are undone here: its second
moment starts at 0, not at tau^2; and its FedAdam corrects the bias of round r by Adam's factor, but
with the powers r + 1.
"""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvgM, FedYogi

from federation.config import ServerOptimizer
from server import optimizer
from simulations.backends.flower_internals import SERVER_NODE, assume_identity

ROUNDS, SIZE = 8, 5
RULE = {"learning_rate": 0.3, "tau": 1e-2}


def updates() -> np.ndarray:
    return np.random.default_rng(4).normal(0, 1, (ROUNDS, SIZE)) * [1.0, 0.1, 10.0, 1.0, 0.0]


def ours(rule: ServerOptimizer) -> np.ndarray:
    model, models = np.ones(SIZE), []
    state = optimizer.init(rule, SIZE)
    for update in updates():
        state, model = optimizer.apply(rule, state, model, update)
        models.append(model)
    return np.array(models)


def aggregated(strategy, number: int, model: np.ndarray) -> np.ndarray:
    """What the strategy makes of two sites' replies with the same model."""
    assume_identity(1, SERVER_NODE)  # no message is made outside a run
    replies = []
    for node in (1, 2):
        arrays = ArrayRecord({"all": Array(model)})
        content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 7})})
        replies.append(Message(content, node, "train"))
    arrays, _ = strategy.aggregate_train(number, replies)
    return arrays["all"].numpy()


def theirs(strategy, eta=lambda _: RULE["learning_rate"]) -> np.ndarray:
    model, models = np.ones(SIZE), []
    strategy.v_t = {"all": np.full(SIZE, strategy.tau**2)}
    for number, update in enumerate(updates(), start=1):
        strategy.eta = eta(number)
        strategy.current_arrays = {"all": model}
        model = aggregated(strategy, number, model + update)
        models.append(model)
    return np.array(models)


def test_fedyogi_is_flowers_from_its_first_second_moment_on() -> None:
    rule = ServerOptimizer(optimizer="fedyogi", beta_1=0.8, beta_2=0.95, **RULE)
    strategy = FedYogi(beta_1=0.8, beta_2=0.95, tau=RULE["tau"])
    np.testing.assert_allclose(ours(rule), theirs(strategy), rtol=1e-12)


def test_fedadagrad_is_flowers_where_the_first_moment_forgets_at_once() -> None:
    rule = ServerOptimizer(optimizer="fedadagrad", beta_1=0.0, **RULE)
    np.testing.assert_allclose(ours(rule), theirs(FedAdagrad(tau=RULE["tau"])), rtol=1e-12)


def test_fedadam_is_flowers_without_its_bias_correction() -> None:
    beta_1, beta_2 = 0.8, 0.95
    rule = ServerOptimizer(optimizer="fedadam", beta_1=beta_1, beta_2=beta_2, **RULE)
    strategy = FedAdam(beta_1=beta_1, beta_2=beta_2, tau=RULE["tau"])

    def uncorrected(number: int) -> float:
        power = number + 1.0
        return RULE["learning_rate"] * (1 - beta_1**power) / np.sqrt(1 - beta_2**power)

    np.testing.assert_allclose(ours(rule), theirs(strategy, uncorrected), rtol=1e-12)


def test_fedavgm_is_flowers() -> None:
    rule = ServerOptimizer(optimizer="fedavgm", learning_rate=0.3, momentum=0.8)
    strategy = FedAvgM(server_learning_rate=0.3, server_momentum=0.8)
    model, models = np.ones(SIZE), []
    strategy.current_arrays = ArrayRecord({"all": Array(model)})
    for number, update in enumerate(updates(), start=1):
        model = aggregated(strategy, number, model + update)
        models.append(model)
    np.testing.assert_allclose(ours(rule), np.array(models), rtol=1e-12)


@pytest.mark.parametrize(("name", "strategy"), [("fedyogi", FedYogi), ("fedadagrad", FedAdagrad)])
def test_flower_starts_its_second_moment_at_zero(name, strategy) -> None:
    # Where the first update is about tau, that is another first step by far.
    rule = ServerOptimizer(optimizer=name, beta_1=0.0, beta_2=0.9, learning_rate=1.0, tau=0.5)
    _, ours_then = optimizer.apply(rule, optimizer.init(rule, 1), np.zeros(1), np.ones(1))
    flowers = strategy(tau=0.5, eta=1.0)
    if name == "fedyogi":
        flowers.beta_1, flowers.beta_2 = 0.0, 0.9
    flowers.current_arrays = {"all": np.zeros(1)}
    theirs_then = aggregated(flowers, 1, np.ones(1))
    v = {"fedyogi": (0.35, 0.1), "fedadagrad": (1.25, 1.0)}[name]
    np.testing.assert_allclose([ours_then[0], theirs_then[0]], 1 / (np.sqrt(v) + 0.5), rtol=1e-12)
