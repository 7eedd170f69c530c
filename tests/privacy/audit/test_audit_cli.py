"""`hedgerow privacy audit`: verdict, exit code, JSON, and one line for what is wrong."""

import json

import pytest

from federation.errors import ConfigError, UsageError
from privacy import dp_sgd
from privacy.audit.result import from_plain

# typer asks click for names that click deprecates; both are imported late, under this filter.
pytestmark = pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")

FEW = ("--trials", 2000, "--steps", 1)


def call(*arguments: object):
    from typer.testing import CliRunner  # noqa: PLC0415 - see pytestmark

    from privacy.cli import app  # noqa: PLC0415 - see pytestmark

    words = ["audit", *map(str, arguments)]
    return CliRunner().invoke(app, words, env={"COLUMNS": "120"})


def test_a_mechanism_that_is_right_passes_with_its_power_told() -> None:
    outcome = call("mechanism", *FEW)
    assert outcome.exit_code == 0, outcome.output
    assert "shadow run, nothing is charged" in outcome.output
    assert "the plan: proven epsilon <= 1.472, shown >= " in outcome.output
    assert "the plan with half the noise would show >= " in outcome.output
    assert outcome.output.endswith("PASS: nothing leaks more than is proven\n")


def test_a_violation_ends_with_code_3_and_names_the_experiment(monkeypatch) -> None:
    real = dp_sgd.gaussian_noise
    monkeypatch.setattr(dp_sgd, "gaussian_noise", lambda n, s, e: real(n, s / 3, e))
    outcome = call("mechanism", *FEW)
    assert outcome.exit_code == 3
    assert "VIOLATION: more leaks than is proven: noise and clip" in outcome.output


def test_json_is_a_result() -> None:
    outcome = call("mechanism", *FEW, "--shared", "--seed", 5, "--json")
    assert outcome.exit_code == 0
    result = from_plain(json.loads(outcome.output))
    assert (result.kind, result.seed, result.parameters["noise"]) == ("mechanism", 5, "shared")


def test_training_and_attack_read_a_federation_file(tmp_path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text("[run]\nrounds = 2\n")
    outcome = call("training", path, "--canaries", 20, "--quick", "--json")
    assert outcome.exit_code == 0, outcome.output
    result = from_plain(json.loads(outcome.output))
    assert (result.parameters["rounds"], result.parameters["canaries_per_site"]) == (2, 20)
    outcome = call("attack", path, "--shadow-models", 4, "--set", "run.rounds=1")
    assert outcome.exit_code == 0, outcome.output
    assert "membership by shadow models: AUC" in outcome.output
    assert "gradient inversion, batch of 1: cosine" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("mechanism", "--trials", 99), ConfigError, "--trials = 99"),
        (("mechanism", "--delta", 1), ConfigError, "--delta = 1.0"),
        (("mechanism", "--noise-multiplier", "nan"), ConfigError, "--noise-multiplier = nan"),
        (("mechanism", "--sampling-rate", 0), ConfigError, "--sampling-rate = 0.0"),
        (("mechanism", "--steps", 10_001), ConfigError, "--steps = 10001"),
        (("training", "no/such/file.toml"), UsageError, "cannot read"),
        (("attack", "--site", "mars"), ConfigError, "--site = 'mars'"),
        (("attack", "--set", "privacy.mode=off"), ConfigError, "privacy"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, error, text: str) -> None:
    outcome = call(*arguments)
    assert isinstance(outcome.exception, error)
    assert text in str(outcome.exception)
    assert "\n" not in str(outcome.exception)
