"""What the coordinator may propose: never a weaker guarantee than the configuration promises."""

import pytest

from federation import config_file
from federation.errors import ConfigError, PrivacyRefusal
from privacy.accountant import cost
from privacy.event import PoissonSampledGaussian
from server.proposal import propose, record_privacy

ROWS = {"a": 100, "b": 200, "c": 300}
RULES = "ab" * 32
SITES = {"federation": {"sites": ["a", "b", "c"]}}


def config(*overrides: str, **tables):
    return config_file.parse({"task": {"name": "heart"}} | SITES | tables, list(overrides))


def test_the_noise_meets_the_target_over_the_whole_run_and_barely() -> None:
    made = config("privacy.epsilon=1.5", "privacy.delta=1e-3", "run.rounds=7",
                  "training.local_steps=4", "training.sampling_rate=0.1")  # fmt: skip
    terms = propose(made, "r", ROWS, RULES).privacy
    event = PoissonSampledGaussian(0.1, terms.noise_multiplier, 7 * 4)
    assert 1.49 < cost([event], 1e-3).epsilon <= 1.5
    assert terms.target_epsilon == 1.5


def test_noise_given_stands_as_given_and_promises_no_epsilon() -> None:
    made = config_file.parse(
        {"task": {"name": "heart"}, "privacy": {"noise_multiplier": 0.7, "delta": 1e-3}} | SITES
    )
    terms = record_privacy(made, ROWS, parameters=10)
    assert (terms.noise_multiplier, terms.target_epsilon) == (0.7, None)


def test_privacy_off_is_none_only_when_said() -> None:
    assert propose(config(privacy={"mode": "off"}), "r", ROWS, RULES).privacy is None
    assert (
        propose(config(privacy={"epsilon": 1.0, "delta": 1e-3}), "r", ROWS, RULES).privacy
        is not None
    )
    with pytest.raises(ConfigError):
        config(privacy={})


def test_delta_above_one_over_the_rows_of_the_largest_site_is_refused() -> None:
    enough = config(privacy={"epsilon": 1.0, "delta": 1 / 300})
    assert propose(enough, "r", ROWS, RULES).privacy.delta == 1 / 300
    with pytest.raises(PrivacyRefusal, match="the rows of c"):
        propose(config(privacy={"epsilon": 1.0, "delta": 1 / 299}), "r", ROWS, RULES)


def test_rows_are_those_of_the_invited_sites() -> None:
    agreement = propose(
        config(privacy={"epsilon": 1.0, "delta": 1e-3}), "r", ROWS | {"d": 5}, RULES
    )
    assert dict(agreement.public_rows) == ROWS
