"""Server optimizers against their textbook formulas and torch's own implementation."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from federation.config import ServerOptimizer
from server import optimizer

vectors = arrays(np.float64, (4, 3), elements=st.floats(-10, 10))


def run(rule: ServerOptimizer, updates: np.ndarray) -> np.ndarray:
    model = np.ones(updates.shape[1])
    state = optimizer.init(rule, len(model))
    for update in updates:
        state, model = optimizer.apply(rule, state, model, update)
    return model


def run_torch(make, updates: np.ndarray) -> np.ndarray:
    parameter = torch.nn.Parameter(torch.ones(updates.shape[1], dtype=torch.float64))
    step = make([parameter])
    for update in updates:
        parameter.grad = -torch.from_numpy(update)  # a pseudo-gradient (Reddi et al., section 2)
        step.step()
    return parameter.detach().numpy()


@given(vectors)
def test_fedavg_adds_the_mean_update(updates: np.ndarray) -> None:
    np.testing.assert_allclose(run(ServerOptimizer(), updates), 1 + updates.sum(0), atol=1e-9)


@given(vectors)
def test_fedavgm_is_sgd_with_momentum_on_the_pseudo_gradient(updates: np.ndarray) -> None:
    rule = ServerOptimizer(optimizer="fedavgm", learning_rate=0.3, momentum=0.8)
    theirs = run_torch(lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.8), updates)
    np.testing.assert_allclose(run(rule, updates), theirs, atol=1e-9)


def test_fedadam_follows_algorithm_2() -> None:
    rule = ServerOptimizer(
        optimizer="fedadam", learning_rate=0.5, beta_1=0.9, beta_2=0.99, tau=1e-2
    )
    first, second = np.array([1.0, -2.0]), np.array([0.5, 0.5])
    m1, v1 = 0.1 * first, 0.99 * 1e-4 + 0.01 * first**2
    m2, v2 = 0.9 * m1 + 0.1 * second, 0.99 * v1 + 0.01 * second**2
    expected = 1 + 0.5 * m1 / (np.sqrt(v1) + 1e-2) + 0.5 * m2 / (np.sqrt(v2) + 1e-2)
    np.testing.assert_allclose(run(rule, np.array([first, second])), expected, rtol=1e-12)


@pytest.mark.parametrize("name", get_args(ServerOptimizer.model_fields["optimizer"].annotation))
def test_apply_changes_neither_state_nor_model_in_place(name: str) -> None:
    rule = ServerOptimizer(optimizer=name)
    model, update = np.ones(2), np.ones(2)
    state = optimizer.init(rule, 2)
    before = {key: value.copy() for key, value in state.items()}
    optimizer.apply(rule, state, model, update)
    np.testing.assert_array_equal(model, np.ones(2))
    for key, value in before.items():
        np.testing.assert_array_equal(state[key], value)
