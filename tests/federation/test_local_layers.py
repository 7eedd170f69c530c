"""Layers that stay at the sites: which ones, what is refused, and what everybody else sees."""

import pytest
import torch
from torch import nn

from federation.errors import ConfigError
from federation.initial_model import initial_model, parameter_count
from federation.local_layers import joined, local_mask, local_names, personalised, shared_of, thawed
from simulations.tasks.heart import HeartTask

TASK = HeartTask(hidden=(5,))
NAMES = "0.weight, 0.bias, 2.weight, 2.bias"


class Frozen(HeartTask):
    """Its body is not trained."""

    def build_model(self) -> nn.Module:
        model = super().build_model()
        model[0].requires_grad_(False)
        return model


@pytest.mark.parametrize(
    ("task", "patterns", "told"),
    [
        (TASK, ("head.*",), rf"'head\.\*'.*names or patterns of.*{NAMES}"),
        (TASK, ("2.*", "3.*"), r"'3\.\*'"),
        (TASK, ("*",), rf"some but not all of the.*{NAMES}"),
        (TASK, ("0.*", "2.*"), "some but not all"),
        (Frozen(hidden=(5,)), ("0.*",), "the task keeps 0.weight, 0.bias frozen"),
        (Frozen(hidden=(5,)), ("2.*",), "some but not all of the.*2.weight, 2.bias"),
    ],
)
def test_patterns_that_match_nothing_or_all_or_what_is_frozen_are_refused(
    task, patterns, told
) -> None:
    with pytest.raises(ConfigError, match=told):
        personalised(task, patterns)


def test_without_patterns_a_task_is_itself() -> None:
    assert personalised(TASK, ()) is TASK


def test_the_model_that_travels_has_the_other_parameters_and_all_begin_alike() -> None:
    task = personalised(TASK, ("2.*",))
    assert parameter_count(task, 5) == 45 * 5 + 5
    ours, theirs = initial_model(task, 5), initial_model(TASK, 5)
    for (name, own), (_, other) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert torch.equal(own, other)
        assert own.requires_grad != name.startswith("2.")
    assert local_names(ours, ("2.*",)) == ("2.weight", "2.bias")
    assert all(p.requires_grad for p in thawed(ours, ("2.*",)).parameters())


def test_a_bias_alone_may_stay_and_what_is_split_is_joined_again() -> None:
    model = thawed(initial_model(personalised(TASK, ("0.bias",)), 5), ("0.bias",))
    mask = local_mask(model, ("0.bias",))
    whole = torch.arange(len(mask)).double().numpy()
    assert whole[mask].tolist() == list(range(225, 230))
    assert joined(shared_of(whole, mask), whole[mask], mask).tolist() == whole.tolist()
