"""A canary's gradient is one coordinate of its own; real rows are as they were."""

import numpy as np
import pytest
import torch

from federation.config import FederationConfig
from federation.entropy import SeededEntropy
from federation.initial_model import initial_model
from federation.task_loading import load_task
from privacy.audit.canaries import (
    CanaryCoordinates,
    WithCanaries,
    canary_rows,
    loss_with_canaries,
    steep_loss,
)
from privacy.audit.training import step_weights
from privacy.dp_sgd import Descent, train_privately
from privacy.model_validation import require_private_layers, require_records_apart
from privacy.per_sample_gradients import per_sample_gradients
from privacy.plan import DpSgdPlan


@pytest.fixture
def task():
    return load_task("heart", {"hidden": (4,)})


def test_gradients_of_canaries_and_of_rows_stand_apart(task) -> None:
    inputs, targets = torch.randn(5, 26), torch.tensor([0, 1, 1, 0, 1])
    own = initial_model(task, 1)
    width = next(own.parameters()).shape[1]
    inputs = torch.randn(5, width)
    model = WithCanaries(own, inputs.shape[1:], 3)
    rows = canary_rows(inputs, targets, torch.tensor([0, 2]))
    gradients = per_sample_gradients(model, rows, loss_with_canaries(task.loss, 7.0))
    alone = per_sample_gradients(initial_model(task, 1), (inputs, targets), task.loss)
    assert torch.allclose(gradients[:5, :-3], alone)
    assert not gradients[:5, -3:].any()
    assert not gradients[5:, :-3].any()
    assert gradients[5:, -3:].tolist() == [[-7.0, 0.0, 0.0], [0.0, 0.0, -7.0]]


def test_the_model_with_canaries_may_be_trained_privately(task) -> None:
    width = next(initial_model(task, 1).parameters()).shape[1]
    model = WithCanaries(initial_model(task, 1), torch.Size([width]), 3)
    rows = canary_rows(torch.randn(5, width), torch.ones(5, dtype=torch.long), torch.tensor([1]))
    require_private_layers(model)
    require_records_apart(model, loss_with_canaries(task.loss, 7.0), rows)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("proximal_mu", [0.0, 0.3])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_step_weights_are_what_production_training_does(steps, momentum, proximal_mu) -> None:
    descent = Descent(0.5, momentum, proximal_mu)
    plan = DpSgdPlan(1.0, steps, 1e-9, 2.0, 4.0, 1e-3)
    rows = (torch.arange(1)[:, None], torch.zeros(1, dtype=torch.long))
    update = train_privately(
        CanaryCoordinates(2), rows, steep_loss(200.0), plan, descent, SeededEntropy(1)
    )
    expected = step_weights(steps, descent).sum() * plan.max_grad_norm / plan.expected_batch_size
    assert update.delta == pytest.approx([expected, 0.0], abs=1e-6)


def test_the_default_configuration_is_one_that_can_be_audited() -> None:
    assert FederationConfig().privacy.mode == "record"
    assert np.isfinite(FederationConfig().privacy.delta)
