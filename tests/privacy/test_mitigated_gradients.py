"""Mitigated losses under DP-SGD: one gradient per record, and none moves a sum past the clip."""

import numpy as np
import pytest
import torch

from federation.config import Mitigation
from federation.entropy import SeededEntropy
from federation.initial_model import initial_model
from federation.mitigated_task import at_its_strongest, mitigated
from federation.task import SiteRequest
from privacy.clipped_sum import clipped_gradient_sum
from privacy.dp_sgd import Descent, train_privately
from privacy.flat_parameters import trainable
from privacy.model_validation import require_private_layers, require_records_apart
from privacy.per_sample_gradients import per_sample_gradients
from privacy.plan import DpSgdPlan
from simulations.tasks.heart import HeartTask

CLIP = 0.05
CASES = [
    Mitigation(method="reweighing", criterion="demographic_parity", attribute="sex",
               weights=((0.5, 10.0), (1.1, 0.8))),
    *(Mitigation(method=method, criterion=criterion, attribute="sex", strength=50.0)
      for method in ("adversarial", "constrained")
      for criterion in ("demographic_parity", "equal_opportunity", "equalized_odds")),
]  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda m: f"{m.method} {m.criterion}")
def case(request):
    """The task at its strongest, its model, and a few rows of which one is of unknown group."""
    task = at_its_strongest(mitigated(HeartTask(hidden=(5,)), request.param))
    rows = task.load(SiteRequest("cleveland", 1)).train
    targets = rows.targets[:9].clone()
    targets[0] = 4 + targets[0] % 2
    return task, initial_model(task, 5), (rows.inputs[:9], targets)


def test_every_record_has_a_gradient_of_its_own(case) -> None:
    task, model, rows = case
    require_private_layers(model)
    require_records_apart(model, task.loss, rows)
    found = per_sample_gradients(model, rows, task.loss)
    for place in range(len(rows[1])):
        one = slice(place, place + 1)
        losses = task.loss(model(rows[0][one]), rows[1][one])
        parts = torch.autograd.grad(losses.sum(), trainable(model), allow_unused=True)
        alone = torch.cat([
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(trainable(model), parts, strict=True)
        ])  # fmt: skip
        assert (found[place] - alone).norm() <= 1e-5 * alone.norm() + 1e-7


def test_no_record_moves_the_clipped_sum_past_the_clip(case) -> None:
    task, model, rows = case
    longest = per_sample_gradients(model, rows, task.loss).norm(dim=1)
    assert longest.max() > CLIP  # else nothing is shown
    whole, left_out = clipped_gradient_sum(model, rows, task.loss, CLIP)
    assert left_out == 0
    for place in range(len(rows[1])):
        kept = torch.arange(len(rows[1])) != place
        rest, _ = clipped_gradient_sum(model, (rows[0][kept], rows[1][kept]), task.loss, CLIP)
        assert np.linalg.norm(whole - rest) <= CLIP * (1 + 1e-6)


def test_private_training_repeats_bit_for_bit(case) -> None:
    task, model, rows = case
    plan = DpSgdPlan(
        sampling_rate=0.5, steps=3, max_grad_norm=CLIP, noise_multiplier=1.0,
        expected_batch_size=4.0,
        delta=1e-3,
    )  # fmt: skip
    first, again = (
        train_privately(model, rows, task.loss, plan, Descent(0.5), SeededEntropy(3)).delta
        for _ in range(2)
    )
    assert np.array_equal(first, again)
    assert np.all(np.isfinite(first))
