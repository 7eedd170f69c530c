"""What may be asked of mitigation: settings, the agreement's bytes, tasks that cannot bear it."""

import json

import numpy as np
import pytest
import torch
from test_agreement import agreement
from torch import nn

from federation import config_file
from federation.agreement import Agreement
from federation.config import LARGEST_EXAMPLE_WEIGHT, Mitigation
from federation.errors import ConfigError
from federation.initial_model import initial_model
from federation.mitigated_task import mitigated
from federation.multipliers import multipliers
from federation.schema import SensitiveAttribute
from federation.task import SiteRequest
from server.proposal import settled_mitigation
from simulations.tasks.digits import DigitsTask
from simulations.tasks.heart import HeartTask

PARITY = {"criterion": "demographic_parity", "attribute": "sex"}
WEIGHTS = [[0.9, 2.0], [1.1, 0.8]]


def parsed(**mitigation: object) -> Mitigation:
    return config_file.parse({"mitigation": mitigation}).mitigation


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"method": "adversarial", "attribute": "sex"}, "mitigation.criterion"),
        ({"method": "constrained", "criterion": "equalized_odds"}, "mitigation.attribute"),
        ({"method": "reweighing", **PARITY, "criterion": "equalized_odds"}, "mitigation.criterion"),
        ({"method": "adversarial", **PARITY, "weights": WEIGHTS}, "mitigation.weights"),
        ({"method": "constrained", **PARITY, "strength": 0.0}, "mitigation.strength"),
        ({"method": "constrained", **PARITY, "largest_multiplier": 101.0},
         "mitigation.largest_multiplier"),
        ({"method": "reweighing", **PARITY, "weights": [[1.0, LARGEST_EXAMPLE_WEIGHT + 0.1]]},
         "mitigation.weights.0.1"),
        ({"method": "reweighting", **PARITY}, "mitigation.method"),
        ({"method": "constrained", **PARITY, "rate": 1.0}, "mitigation.rate"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_named(given: dict, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parsed(**given)
    assert refused.value.key == key


def test_without_a_method_the_rest_may_stand_there_for_another_time() -> None:
    assert settled_mitigation(parsed(method="none", **PARITY)) is None


def test_multipliers_need_the_tallies_that_sums_in_groups_do_not_carry() -> None:
    table = {
        "robustness": {"aggregate": "median", "groups": 3},
        "mitigation": {"method": "constrained", **PARITY},
    }
    with pytest.raises(ConfigError, match="sums in random groups of sites carry none"):
        config_file.parse(table)
    table["mitigation"] = {"method": "adversarial", **PARITY}
    assert config_file.parse(table).mitigation.method == "adversarial"


def test_an_agreement_without_mitigation_does_not_speak_of_it() -> None:
    assert "mitigation" not in json.loads(agreement().to_bytes())
    agreed = agreement(mitigation=parsed(method="constrained", **PARITY))
    assert json.loads(agreed.to_bytes())["mitigation"]["criterion"] == "demographic_parity"
    assert Agreement.from_bytes(agreed.to_bytes()) == agreed
    assert agreed.digest() != agreement().digest()


def test_reweighing_goes_by_its_own_weights_then_by_those_counted_and_never_without() -> None:
    bare = parsed(method="reweighing", **PARITY, counts_epsilon=0.1)
    with pytest.raises(ConfigError, match=r"mitigation\.weights"):
        settled_mitigation(bare)
    assert settled_mitigation(bare, WEIGHTS).weights == ((0.9, 2.0), (1.1, 0.8))
    own = parsed(method="reweighing", **PARITY, weights=[[1.0, 1.5], [1.0, 0.5]])
    assert settled_mitigation(own, WEIGHTS).weights == ((1.0, 1.5), (1.0, 0.5))
    with pytest.raises(ConfigError, match=r"mitigation\.weights\.1\.0"):
        settled_mitigation(bare, [[1.0, 1.0], [11.0, 1.0]])


@pytest.mark.parametrize(
    ("task", "change", "told"),
    [
        (DigitsTask(), {}, "'none' with 10 classes"),
        (HeartTask(), {"attribute": "race"}, "it has: sex, age_group"),
        (HeartTask(), {"method": "reweighing", "weights": ((1.0, 1.0),)}, "each of Female, Male"),
    ],
)
def test_a_task_that_cannot_be_mitigated_so_is_told(task, change: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        mitigated(task, Mitigation(**({"method": "constrained", **PARITY} | change)))


def test_an_attribute_of_one_level_has_nobody_to_be_alike_with() -> None:
    task = HeartTask()
    task.schema = type(task.schema)(
        task.schema.features, "disease", ("no", "yes"), (SensitiveAttribute("sex", ("F",)),)
    )
    with pytest.raises(ConfigError, match="two levels"):
        mitigated(task, Mitigation(method="constrained", **PARITY))


@pytest.mark.parametrize(
    ("criterion", "labels"),
    [
        ("demographic_parity", ["selection_rate/Female", "selection_rate/Male"]),
        ("equal_opportunity", ["true_positive_rate/Female", "true_positive_rate/Male"]),
        (
            "equalized_odds",
            ["true_positive_rate/Female", "true_positive_rate/Male",
             "false_positive_rate/Female", "false_positive_rate/Male"],
        ),
    ],
)  # fmt: skip
def test_there_is_a_multiplier_per_rate_and_level(criterion: str, labels: list[str]) -> None:
    choice = Mitigation(method="constrained", criterion=criterion, attribute="sex")
    assert [one.label for one in multipliers(choice, HeartTask().schema)] == labels
    assert (
        multipliers(choice.model_copy(update={"method": "adversarial"}), HeartTask().schema) == ()
    )
    assert multipliers(None, HeartTask().schema) == ()


class Detached(HeartTask):
    """Whose probabilities have no gradient."""

    def probabilities(self, output):
        return super().probabilities(output.detach())


class OneOutput(HeartTask):
    """Whose model gives a number per row."""

    def build_model(self):
        return nn.Sequential(super().build_model(), nn.Linear(2, 1), nn.Flatten(0))

    def probabilities(self, output):
        positive = output.double().sigmoid()
        return torch.stack([1 - positive, positive], dim=-1)

    def loss(self, output, target):
        return nn.functional.binary_cross_entropy_with_logits(
            output, target.to(output), reduction="none"
        )


@pytest.mark.parametrize(
    ("task", "method", "told"),
    [
        (Detached(), "constrained", "`probabilities` have a gradient"),
        (Detached(), "adversarial", "`probabilities` have a gradient"),
        (OneOutput(), "adversarial", r"shape \(rows, outputs\)"),
    ],
)
def test_a_model_that_cannot_be_mitigated_so_is_told(task, method: str, told: str) -> None:
    trained = mitigated(task, Mitigation(method=method, **PARITY))
    rows = trained.load(SiteRequest("cleveland", 1)).train
    with pytest.raises(ConfigError, match=told):
        trained.loss(initial_model(trained, 1)(rows.inputs), rows.targets)


def test_a_model_of_one_output_can_be_constrained() -> None:
    trained = mitigated(OneOutput(), Mitigation(method="constrained", **PARITY))
    rows = trained.load(SiteRequest("cleveland", 1)).train
    output = initial_model(trained, 1)(rows.inputs)
    plain = OneOutput().loss(output, rows.targets % 2)
    np.testing.assert_array_equal(trained.loss(output, rows.targets).detach(), plain.detach())
