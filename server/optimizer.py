"""Server optimizers on the mean update, as `init` and `apply`.

FedAdagrad, FedAdam and FedYogi: Reddi et al. 2021, "Adaptive Federated Optimization",
arXiv:2003.00295, Algorithm 2, with v_-1 = tau^2 and without bias correction; FedAvgM from Hsu et
al. 2019, arXiv:1909.06335. All arithmetic is float64 on one vector, in one order, so that a run
gives the same model on every backend.
"""

from collections.abc import Mapping

import numpy as np

from federation.config import ServerOptimizer
from federation.task import Floats

State = Mapping[str, Floats]


def init(rule: ServerOptimizer, parameters: int) -> dict[str, Floats]:
    """State before the first round; every array has shape (parameters,), float64."""
    if rule.optimizer == "fedavg":
        return {}
    if rule.optimizer == "fedavgm":
        return {"velocity": np.zeros(parameters)}
    return {"mean": np.zeros(parameters), "variance": np.full(parameters, rule.tau**2)}


def apply(
    rule: ServerOptimizer, state: State, model: Floats, update: Floats
) -> tuple[dict[str, Floats], Floats]:
    """State and model after one round.

    Args:
        rule: which optimizer and its settings.
        state: from `init` or the round before.
        model: shape (d,), float64.
        update: weighted mean of the sites' updates (local - global), shape (d,), float64.
    """
    if rule.optimizer == "fedavg":
        return {}, model + rule.learning_rate * update
    if rule.optimizer == "fedavgm":
        velocity = rule.momentum * state["velocity"] + update
        return {"velocity": velocity}, model + rule.learning_rate * velocity
    mean = rule.beta_1 * state["mean"] + (1 - rule.beta_1) * update
    variance = _second_moment(rule, state["variance"], update**2)
    step = mean / (np.sqrt(variance) + rule.tau)
    return {"mean": mean, "variance": variance}, model + rule.learning_rate * step


def _second_moment(rule: ServerOptimizer, variance: Floats, squared: Floats) -> Floats:
    """v_t of Algorithm 2: Adam forgets by a factor, Yogi by a step at most, Adagrad never."""
    if rule.optimizer == "fedadagrad":
        return variance + squared
    if rule.optimizer == "fedyogi":
        return variance - (1 - rule.beta_2) * squared * np.sign(variance - squared)
    return rule.beta_2 * variance + (1 - rule.beta_2) * squared
