"""DP-SGD: what a round does with the clipped sum, and what it may and may not depend on."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from federation.entropy import SeededEntropy
from federation.errors import ConfigError, PrivacyRefusal
from privacy.dp_sgd import (
    BATCHES,
    Descent,
    train_for_shared_noise,
    train_privately,
    train_without_privacy,
)
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.plan import ClippedStepPlan, DpSgdPlan, NonPrivatePlan
from privacy.poisson_sampling import poisson_sample

PLAN = DpSgdPlan(0.5, 3, 1.0, 1.0, 8.0, 1e-3)
DESCENT = Descent(0.1)


def loss(output, target):
    return cross_entropy(output, target, reduction="none")


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )


def rows_for(model: nn.Module, n: int, seed: int = 1):
    torch.manual_seed(seed)
    shape = (n, 1, 6, 6) if isinstance(model[0], nn.Conv2d) else (n, 4)
    return torch.randn(shape), torch.randint(0, 3, (n,))


def test_the_model_is_left_as_it_was() -> None:
    model = mlp()
    before, names = flat_parameters(model), list(model.state_dict())
    train_privately(model, rows_for(model, 20), loss, PLAN, DESCENT, SeededEntropy(1))
    np.testing.assert_array_equal(flat_parameters(model), before)
    assert list(model.state_dict()) == names
    assert all(
        p.grad is None and getattr(p, "grad_sample", None) is None for p in model.parameters()
    )
    assert not model[0]._forward_hooks
    assert not model[0]._backward_hooks


bad_rows = st.sampled_from(["fine", "zero", "huge", "nan", "inf"])


def test_an_empty_batch_is_a_step_of_noise_only() -> None:
    model = mlp()
    inputs, targets = rows_for(model, 0)
    update = train_privately(model, (inputs, targets), loss, PLAN, DESCENT, SeededEntropy(1))
    assert np.all(update.delta != 0)
    expected = DESCENT.learning_rate * np.sqrt(PLAN.steps) / PLAN.expected_batch_size
    assert update.delta.std() == pytest.approx(expected, rel=0.3)


def test_the_noise_has_the_plans_deviation() -> None:
    model = nn.Sequential(nn.Linear(400, 50))
    plan = replace(PLAN, steps=1, noise_multiplier=2.0, max_grad_norm=3.0, expected_batch_size=10.0)
    rows = (torch.zeros(0, 400), torch.zeros(0, dtype=torch.int64))
    delta = train_privately(model, rows, loss, plan, Descent(1.0), SeededEntropy(3)).delta
    assert delta.std() == pytest.approx(2.0 * 3.0 / 10.0, rel=0.02)  # 20,050 values: 4 sd of std
    assert abs(delta.mean()) < 4 * 0.6 / np.sqrt(len(delta))


def test_without_clip_or_noise_it_is_plain_sgd() -> None:
    model = mlp()
    rows = rows_for(model, 30)
    private = replace(PLAN, noise_multiplier=1e-9, max_grad_norm=1e6, sampling_rate=1.0)
    plain = NonPrivatePlan(1.0, PLAN.steps, PLAN.expected_batch_size)
    ours = train_privately(model, rows, loss, private, DESCENT, SeededEntropy(1))
    free = train_without_privacy(model, rows, loss, plain, DESCENT, SeededEntropy(1))

    local = mlp()
    optimizer = torch.optim.SGD(local.parameters(), lr=0.1)
    for _ in range(PLAN.steps):
        optimizer.zero_grad()
        (loss(local(rows[0]), rows[1]).sum() / PLAN.expected_batch_size).backward()
        optimizer.step()
    theirs = flat_parameters(local) - flat_parameters(mlp())
    np.testing.assert_allclose(free.delta, theirs, atol=1e-5)
    np.testing.assert_allclose(ours.delta, theirs, atol=2e-3)
    assert ours.mean_loss is None
    with torch.no_grad():
        assert free.mean_loss == pytest.approx(loss(model(rows[0]), rows[1]).mean().item(), rel=0.3)


def test_momentum_and_the_proximal_term_follow_their_formulas() -> None:
    model, rows = mlp(), rows_for(mlp(), 12)
    plan = NonPrivatePlan(1.0, 4, 12.0)
    descent = Descent(0.1, momentum=0.5, proximal_mu=0.3)
    ours = train_without_privacy(model, rows, loss, plan, descent, SeededEntropy(1)).delta
    local = mlp()
    start = [p.detach().clone() for p in local.parameters()]
    optimizer = torch.optim.SGD(local.parameters(), lr=0.1, momentum=0.5)
    for _ in range(4):
        optimizer.zero_grad()
        distance = sum(((p - s) ** 2).sum() for p, s in zip(local.parameters(), start, strict=True))
        (loss(local(rows[0]), rows[1]).sum() / 12 + 0.15 * distance).backward()
        optimizer.step()
    np.testing.assert_allclose(ours, flat_parameters(local) - flat_parameters(mlp()), atol=1e-5)


def test_a_correction_is_a_linear_term_of_the_loss_in_every_step() -> None:
    model, rows = mlp(), rows_for(mlp(), 12)
    plan = NonPrivatePlan(1.0, 4, 12.0)
    size = len(flat_parameters(model))
    correction = np.random.default_rng(3).normal(0, 0.1, size)
    descent = Descent(0.1, correction=correction)
    ours = train_without_privacy(model, rows, loss, plan, descent, SeededEntropy(1)).delta
    local, linear = mlp(), torch.from_numpy(correction).float()
    optimizer = torch.optim.SGD(local.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        flat = torch.cat([p.reshape(-1) for p in local.parameters()])
        (loss(local(rows[0]), rows[1]).sum() / 12 + linear @ flat).backward()
        optimizer.step()
    np.testing.assert_allclose(ours, flat_parameters(local) - flat_parameters(mlp()), atol=1e-5)


@pytest.mark.parametrize("private", [False, True])
def test_a_correction_of_zero_changes_no_bit(private: bool) -> None:
    model, rows = mlp(), rows_for(mlp(), 12)
    zero = np.zeros(len(flat_parameters(model)))
    plan = PLAN if private else NonPrivatePlan(0.5, 4, 6.0)
    train = train_privately if private else train_without_privacy
    updates = [
        train(model, rows, loss, plan, descent, SeededEntropy(1)).delta
        for descent in (Descent(0.1), Descent(0.1, correction=zero))
    ]
    np.testing.assert_array_equal(*updates)


def test_the_same_entropy_gives_the_same_update_whatever_torchs_seed() -> None:
    rows = rows_for(mlp(), 20)
    updates = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = mlp()
        torch.manual_seed(seed)
        updates.append(train_privately(model, rows, loss, PLAN, DESCENT, SeededEntropy(5)).delta)
    np.testing.assert_array_equal(*updates)


def test_equal_torch_seeds_do_not_give_equal_noise() -> None:
    rows = rows_for(mlp(), 20)
    one, two = (
        train_privately(mlp(), rows, loss, PLAN, DESCENT, SeededEntropy(seed)).delta
        for seed in (1, 2)
    )
    assert not np.any(one == two)


def test_the_noise_of_two_sites_or_rounds_differs_whatever_torchs_seed() -> None:
    model = mlp()
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    seen = []
    for site, round_, charge in (("a", 1, 1), ("b", 1, 1), ("a", 2, 1), ("a", 1, 2)):
        torch.manual_seed(7)
        entropy = SeededEntropy(5).child("training", site, round_, charge)
        seen.append(train_privately(model, nothing, loss, PLAN, DESCENT, entropy).delta)
    for one, other in combinations(seen, 2):
        assert not np.any(one == other)
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one))


@settings(max_examples=20)
@given(st.integers(0, 40), st.sampled_from([1.0, 0.0, 1e6, float("nan")]))
def test_neither_rate_nor_divisor_follows_the_number_of_rows(n: int, factor: float) -> None:
    # If either did, one row more would move the update by more than its own clipped gradient.
    model, (inputs, targets) = mlp(), rows_for(mlp(), n + 1)
    inputs[-1] *= factor
    plan = replace(PLAN, sampling_rate=1.0, steps=1)
    with_it, without = (
        train_privately(model, rows, loss, plan, Descent(0.5), SeededEntropy(2)).delta
        for rows in ((inputs, targets), (inputs[:-1], targets[:-1]))
    )
    most = 0.5 * plan.max_grad_norm / plan.expected_batch_size
    assert np.linalg.norm(with_it - without) <= most * (1 + 1e-5)


@settings(max_examples=20)
@given(st.integers(1, 12), st.integers(1, 60), st.floats(0.05, 1.0))
def test_a_round_has_as_many_steps_as_planned_whatever_the_batches(steps, n, rate) -> None:
    model, rows, calls = mlp(), rows_for(mlp(), n), []
    plan = replace(PLAN, steps=steps, sampling_rate=rate)

    def counted(output, target):
        calls.append(len(target))
        return loss(output, target)

    entropy = SeededEntropy(3)
    train_privately(model, rows, counted, plan, DESCENT, entropy)
    coins = entropy.child(BATCHES)
    batches = [len(poisson_sample(n, rate, coins)) for _ in range(steps)]
    assert calls == [size for size in batches if size]
    # An empty batch is a step all the same: it has noise.
    nothing = rows[0][:0], rows[1][:0]
    alone = train_privately(model, nothing, loss, plan, Descent(1.0), SeededEntropy(3)).delta
    expected = np.sqrt(steps) * plan.noise_multiplier / plan.expected_batch_size
    assert alone.std() == pytest.approx(expected, rel=0.4)


@pytest.mark.parametrize("rate", [0.05, 0.25, 1.0])
def test_every_row_joins_a_batch_as_often_as_planned_and_on_its_own(rate: float) -> None:
    model, inputs = nn.Linear(16, 1, bias=False), torch.eye(16).repeat(4, 1)
    plan = replace(STEP, sampling_rate=rate, learning_rate=1.0, expected_batch_size=1.0)
    joined = np.zeros(16)

    def own_coordinate(output, _):
        return output[:, 0]

    rounds = 400
    for number in range(rounds):
        update = train_for_shared_noise(
            model, (inputs, torch.zeros(64)), own_coordinate, plan, SeededEntropy(number)
        )
        joined += -update.delta / plan.max_grad_norm
    trials = 4 * rounds
    assert np.all(np.abs(joined / trials - rate) <= 4 * np.sqrt(rate * (1 - rate) / trials) + 1e-9)


def test_training_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(9)
    expected = torch.rand(1)
    rows = rows_for(mlp(), 20)
    torch.manual_seed(9)
    train_privately(mlp_seedless(), rows, loss, PLAN, DESCENT, SeededEntropy(5))
    assert torch.rand(1) == expected


def mlp_seedless() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return mlp()


def test_a_layer_that_mixes_records_is_refused_with_the_remedy() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    with pytest.raises(PrivacyRefusal, match="GroupNorm"):
        train_privately(model, rows_for(mlp(), 4), loss, PLAN, DESCENT, SeededEntropy(1))


def test_a_mean_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="reduction='none'"):
        train_privately(mlp(), rows_for(mlp(), 9), cross_entropy, PLAN, DESCENT, SeededEntropy(1))


def test_frozen_parameters_stay_out() -> None:
    model = mlp()
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    update = train_privately(model, rows_for(mlp(), 9), loss, PLAN, DESCENT, SeededEntropy(1))
    assert len(update.delta) == len(flat_parameters(model)) == 8 * 3 + 3
    with pytest.raises(ValueError, match=r"expected \(27,\)"):
        load_flat_parameters(model, np.zeros(3))


STEP = ClippedStepPlan(0.5, 0.1, 0.7, 8.0)


@pytest.mark.parametrize("descent", [Descent(0.1), Descent(0.1, momentum=0.9, proximal_mu=0.5)])
def test_a_step_for_shared_noise_is_one_of_dp_sgd_without_its_noise(descent: Descent) -> None:
    # Nor do momentum and a proximal term change a first step.
    model, rows = cnn(), rows_for(cnn(), 30)
    noised = replace(PLAN, steps=1, noise_multiplier=1e-9, max_grad_norm=0.7)
    theirs = train_privately(model, rows, loss, noised, descent, SeededEntropy(4))
    ours = train_for_shared_noise(model, rows, loss, STEP, SeededEntropy(4))
    np.testing.assert_allclose(ours.delta, theirs.delta, atol=1e-9)
    assert np.linalg.norm(ours.delta) > 1e-3
    assert ours.mean_loss is None


@settings(max_examples=25)
@given(st.integers(0, 12), bad_rows)
def test_one_row_more_moves_that_step_by_at_most_the_record_norm(n, kind) -> None:
    model = mlp()
    inputs, targets = rows_for(model, n + 1)
    factor = {"fine": 1.0, "zero": 0.0, "huge": 1e30, "nan": float("nan"), "inf": float("inf")}
    inputs[-1] = inputs[-1] * factor[kind]
    everyone = replace(STEP, sampling_rate=1.0)
    with_it, without = (
        train_for_shared_noise(model, rows, loss, everyone, SeededEntropy(1)).delta
        for rows in ((inputs, targets), (inputs[:-1], targets[:-1]))
    )
    assert np.linalg.norm(with_it - without) <= everyone.record_norm
    if kind == "huge":  # its gradient is clipped
        assert np.linalg.norm(with_it - without) > 0.999 * everyone.record_norm


def test_an_empty_batch_moves_nothing_and_the_model_is_left_as_it_was() -> None:
    model = mlp()
    before = flat_parameters(model)
    inputs, targets = rows_for(model, 0)
    update = train_for_shared_noise(model, (inputs, targets), loss, STEP, SeededEntropy(1))
    assert np.all(update.delta == 0)
    train_for_shared_noise(model, rows_for(model, 9), loss, STEP, SeededEntropy(1))
    np.testing.assert_array_equal(flat_parameters(model), before)


def test_too_many_rows_or_layers_that_mix_them_are_refused() -> None:
    inputs, targets = torch.zeros(1, 4).expand(2**24 + 1, 4), torch.zeros(1).expand(2**24 + 1)
    with pytest.raises(PrivacyRefusal, match="16777216 at most"):
        train_for_shared_noise(mlp(), (inputs, targets), loss, STEP, SeededEntropy(1))
    mixing = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    with pytest.raises(PrivacyRefusal, match="GroupNorm"):
        train_for_shared_noise(mixing, rows_for(mlp(), 4), loss, STEP, SeededEntropy(1))


@pytest.mark.parametrize(
    "change",
    [
        {"sampling_rate": 0.0},
        {"sampling_rate": 1.01},
        {"steps": 0},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": float("inf")},
        {"max_grad_norm": 0.0},
        {"expected_batch_size": 0.0},
        {"delta": 0.0},
        {"delta": 1.0},
    ],
)
def test_an_impossible_plan_is_refused(change: dict) -> None:
    with pytest.raises(ConfigError, match=rf"plan\.{next(iter(change))}"):
        replace(PLAN, **change)


def test_the_event_is_the_plan() -> None:
    event = PLAN.event()
    assert (event.sampling_rate, event.noise_multiplier, event.count) == (0.5, 1.0, 3)
