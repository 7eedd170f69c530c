"""`hedgerow privacy count-noise`: what it prints is what the plans say; wrong options are named."""

import json
import math

import pytest
from typer.testing import CliRunner

from federation.errors import ConfigError, PrivacyRefusal
from privacy.cli import app
from privacy.count_calibration import choose_count_noise
from privacy.count_noise import CountRelease

ASK = ("count-noise", "--epsilon", 1, "--delta", 1e-6, "--tables", 4, "--sites", 5)


def call(*arguments: object):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_json_holds_what_the_plan_says() -> None:
    told = json.loads(call(*ASK, "--quorum", 4, "--colluders", 1, "--releases", 3, "--json").stdout)
    plan = choose_count_noise(1.0, 1e-6, CountRelease((1,) * 4, 1000, 3, 5, 3))
    assert told["chosen"] == plan.mechanism
    (chosen,) = [each for each in told["mechanisms"] if each["mechanism"] == plan.mechanism]
    assert chosen["deviation_planned"] == math.sqrt(plan.variance(3))
    assert chosen["deviation_at_quorum"] == math.sqrt(plan.variance(4))
    assert chosen["deviation_at_all_sites"] == math.sqrt(plan.variance(5))
    assert (chosen["largest"], chosen["epsilon"]) == (plan.largest, plan.spent_epsilon())
    assert told["charges"] == 3


def test_disjoint_windows_are_charged_once() -> None:
    told = json.loads(call(*ASK, "--releases", 12, "--windows", "disjoint", "--json").stdout)
    assert told["charges"] == 1


def test_a_mechanism_that_cannot_meet_the_target_is_left_out() -> None:
    told = json.loads(call(*ASK, "--epsilon", 200, "--json").stdout)
    assert [each["mechanism"] for each in told["mechanisms"]] == [told["chosen"]]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (("--tables", 0), ConfigError, "--tables"),
        (("--tables", 1001), ConfigError, "--tables"),
        (("--quorum", 6), ConfigError, "--quorum"),
        (("--colluders", 5), ConfigError, "--colluders"),
        (("--colluders", -1), ConfigError, "--colluders"),
        (("--windows", "rolling"), ConfigError, "--windows"),
        (("--epsilon", 0), ConfigError, "count_noise.epsilon"),
        (("--epsilon", 1e-13), PrivacyRefusal, "no noise multiplier"),
    ],
)
def test_what_is_impossible_is_one_clear_error(change, error, match) -> None:
    outcome = call(*ASK, *change)
    assert isinstance(outcome.exception, error)
    assert match in str(outcome.exception)
