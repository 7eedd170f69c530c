"""The losses of mitigated training, row by row, and what is left as it was."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from federation.adversary import SPREAD, WithAdversary, predictor_of, reversed_gradient
from federation.config import Mitigation
from federation.initial_model import initial_model, parameter_count
from federation.mitigated_task import at_its_strongest, mitigated, multiplier_count, under
from federation.task import SiteRequest, Task
from simulations.tasks.heart import HeartTask

WEIGHTS = ((0.9, 2.0), (1.1, 0.8))
CRITERIA = ("demographic_parity", "equal_opportunity", "equalized_odds")
GROUP_AND_LABEL = [(a, y) for a in (0, 1, 2) for y in (0, 1)]  # group 2 is unknown
TARGETS = torch.tensor([y + 2 * a for a, y in GROUP_AND_LABEL])


def choice(method: str, criterion: str = "demographic_parity", **also) -> Mitigation:
    weights = WEIGHTS if method == "reweighing" else ()
    return Mitigation(method=method, criterion=criterion, attribute="sex", weights=weights, **also)


EVERY = [choice("reweighing"), *(choice(m, c) for m in ("adversarial", "constrained")
                                 for c in CRITERIA)]  # fmt: skip


@pytest.fixture(scope="module")
def six_rows():
    """Inputs of six rows; their targets are TARGETS."""
    return HeartTask().load(SiteRequest("cleveland", 1)).train.inputs[:6]


@pytest.mark.parametrize("mitigation", EVERY, ids=lambda m: f"{m.method} {m.criterion}")
def test_it_is_a_task_and_evaluates_as_the_plain_one(mitigation) -> None:
    plain, trained = HeartTask(), mitigated(HeartTask(), mitigation)
    assert isinstance(trained, Task)
    assert (trained.schema, trained.sites) == (plain.schema, plain.sites)
    before, after = (one.load(SiteRequest("hungary", 3)) for one in (plain, trained))
    for window in ("reference", "current"):
        theirs, ours = getattr(before, window), getattr(after, window)
        assert torch.equal(theirs.targets, ours.targets)
    assert torch.equal(after.train.targets % 2, before.train.targets)
    np.testing.assert_array_equal(after.train.targets // 2, before.train.groups["sex"])
    model, own = initial_model(plain, 5), initial_model(trained, 5)
    for theirs, ours in zip(model.parameters(), predictor_of(own).parameters(), strict=True):
        assert torch.equal(theirs, ours)
    inputs = before.current.inputs
    assert torch.equal(plain.probabilities(model(inputs)), trained.probabilities(own(inputs)))
    assert set(predictor_of(own).state_dict()) == set(model.state_dict())


@pytest.mark.parametrize("none", [None, Mitigation()])
def test_without_mitigation_the_task_is_the_same_object(none) -> None:
    task = HeartTask()
    assert mitigated(task, none) is task
    assert under(task, np.zeros(0)) is task
    assert at_its_strongest(task) is task
    assert multiplier_count(task) == 0


def test_reweighing_weighs_each_row_by_group_and_label_and_unknown_ones_by_one(six_rows) -> None:
    plain, trained = HeartTask(), mitigated(HeartTask(), choice("reweighing"))
    output = initial_model(plain, 5)(six_rows)
    weights = torch.tensor([0.9, 2.0, 1.1, 0.8, 1.0, 1.0])
    expected = weights * plain.loss(output, TARGETS % 2)
    torch.testing.assert_close(trained.loss(output, TARGETS), expected)


@pytest.mark.parametrize(
    ("criterion", "values", "prices"),
    [
        ("demographic_parity", [0.5, -2.0], [0.5, 0.5, -2.0, -2.0, 0, 0]),
        ("equal_opportunity", [0.5, -2.0], [0, 0.5, 0, -2.0, 0, 0]),
        ("equalized_odds", [0.5, -2.0, 1.5, -1.0], [1.5, 0.5, -1.0, -2.0, 0, 0]),
    ],
)
def test_constrained_training_prices_a_score_by_group_and_label(
    criterion, values, prices, six_rows
) -> None:
    plain, free = HeartTask(), mitigated(HeartTask(), choice("constrained", criterion))
    priced = under(free, np.array(values))
    assert multiplier_count(free) == len(values)
    output = initial_model(plain, 5)(six_rows)
    loss, score = plain.loss(output, TARGETS % 2), plain.probabilities(output)[:, 1].float()
    torch.testing.assert_close(priced.loss(output, TARGETS), loss + torch.tensor(prices) * score)
    torch.testing.assert_close(free.loss(output, TARGETS), loss)
    with pytest.raises(ValueError, match="multipliers"):
        under(free, np.zeros(len(values) + 1))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_adversary_learns_as_alone_and_the_model_is_pushed_the_other_way(
    criterion, six_rows
) -> None:
    strength = 1.5
    plain = HeartTask()
    trained = mitigated(plain, choice("adversarial", criterion, strength=strength))
    model = initial_model(trained, 5)
    model(six_rows)
    trained.loss(model(six_rows), TARGETS).sum().backward()

    # The same by hand: the adversary's loss on the rows and labels that it may see.
    groups, labels = TARGETS // 2, TARGETS % 2
    predictor, adversary = copy.deepcopy(model.predictor), copy.deepcopy(model.adversary)
    predictor.zero_grad()
    adversary.zero_grad()
    output = predictor(six_rows)
    score = plain.probabilities(output)[:, 1:].float()
    logits = adversary(SPREAD * (2 * score - 1))
    seen = (groups < 2) & ((labels == 1) | (criterion != "equal_opportunity"))
    if criterion == "equalized_odds":
        logits = torch.where((labels == 1)[:, None], logits[:, 2:], logits[:, :2])
    guess = cross_entropy(logits[seen], groups[seen], reduction="sum")
    guess.backward(retain_graph=True)
    against = [p.grad.clone() for p in predictor.parameters()]
    predictor.zero_grad()
    plain.loss(output, labels).sum().backward()
    for ours, theirs in zip(model.adversary.parameters(), adversary.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for ours, own, pushed in zip(
        model.predictor.parameters(), predictor.parameters(), against, strict=True
    ):
        torch.testing.assert_close(ours.grad, own.grad - strength * pushed)


def test_a_reversed_gradient_leaves_the_value() -> None:
    values = torch.tensor([0.25, -3.0], requires_grad=True)
    out = reversed_gradient(values, 2.0)
    torch.testing.assert_close(out, values)
    out.sum().backward()
    assert torch.equal(values.grad, torch.tensor([-2.0, -2.0]))


def test_a_copy_of_the_model_is_no_copy_of_the_rows() -> None:
    task = HeartTask()
    _ = task.sites  # reads the table
    model = initial_model(mitigated(task, choice("adversarial")), 5)
    assert isinstance(model, WithAdversary)
    again = copy.deepcopy(model)
    assert again._score is model._score
    assert parameter_count(mitigated(task, choice("adversarial")), 5) > parameter_count(task, 5)
