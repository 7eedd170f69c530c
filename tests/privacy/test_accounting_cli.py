"""`hedgerow privacy epsilon` and `plan` print what the accountant finds; wrong input is refused."""

import json
import math
import re
import shlex
from pathlib import Path

import pytest

from federation.errors import ConfigError, HedgerowError, PrivacyRefusal
from privacy import risk
from privacy.accountant import cost
from privacy.event import Gaussian, PoissonSampledGaussian
from privacy.neighbours import REPLACE_ONE, Neighbours
from privacy.noise_plan import missing_shares

# typer asks click for names that click deprecates; both are imported late, under this filter.
pytestmark = pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")


def call(*arguments: object):
    from typer.testing import CliRunner  # noqa: PLC0415 - see pytestmark

    from privacy.cli import app  # noqa: PLC0415 - see pytestmark

    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "100"})


RUN = (
    "epsilon", "--noise-multiplier", 1, "--sampling-rate", 0.01, "--steps", 1000, "--delta", 1e-5
)  # fmt: skip
PLAN = (
    "plan", "--epsilon", 2, "--delta", 1e-5, "--rows", 4000, "--rounds", 50, "--sites", 5
)  # fmt: skip


def test_it_prints_epsilon_and_what_it_means() -> None:
    outcome = call(*RUN, "--rows", 50_000)
    assert outcome.exit_code == 0
    assert "epsilon = 1.829 at delta = 1e-05 (pld)" in outcome.output
    assert "rdp 2.108" in outcome.output
    assert "2.92 %" in outcome.output
    assert "shuffled batches do not count" in outcome.output
    assert "warning" not in outcome.output


def test_json_says_the_same_in_full() -> None:
    said = json.loads(call(*RUN, "--json").output)
    event = PoissonSampledGaussian(0.01, 1.0, 1000)
    assert said["epsilon"] == said["epsilons"]["pld"] == cost([event], 1e-5).epsilon_pld
    assert said["epsilons"]["rdp"] == cost([event], 1e-5).epsilon_rdp
    fine = risk.trade_off([event])
    assert said["true_positive_rates"]["0.01"] == pytest.approx(
        fine.true_positive_rate(0.01), rel=2e-3
    )
    assert said["true_positive_rates"]["0.01"] >= fine.true_positive_rate(0.01)


def test_the_headline_is_by_the_accountant_that_was_asked() -> None:
    said = json.loads(call(*RUN, "--accountant", "prv", "--json").output)
    assert said["epsilons"]["pld"] <= said["epsilon"] <= said["epsilons"]["pld"] + 0.02
    assert json.loads(call(*RUN, "--accountant", "rdp", "--json").output)["epsilon"] > 2


def test_without_poisson_sampling_each_epoch_is_charged_whole() -> None:
    said = json.loads(call(*RUN, "--sampling", "none", "--json").output)
    assert said["epsilon"] == cost([Gaussian(1.0, 10)], 1e-5).epsilon_pld


def test_relation_and_person_change_the_number() -> None:
    replaced = json.loads(call(*RUN, "--relation", REPLACE_ONE, "--json").output)
    assert replaced["epsilon"] == pytest.approx(2.843, abs=1e-3)
    assert replaced["epsilons"]["rdp"] is None
    person = json.loads(call(*RUN, "--records-per-person", 2, "--json").output)
    assert person["epsilon"] == pytest.approx(3.98, abs=0.01)
    assert Neighbours(records=2).stretch == 2


@pytest.mark.parametrize(("rows", "warns"), [(100_000, False), (100_001, True)])
def test_it_warns_of_a_delta_that_permits_giving_a_record_away(rows: int, warns: bool) -> None:
    assert ("whole record" in call(*RUN, "--rows", rows).stderr) == warns


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (("--accountant", "gdp"), PrivacyRefusal, "under-states"),
        (("--accountant", "magic"), ConfigError, "pld, rdp, prv"),
        (("--accountant", "prv", "--relation", REPLACE_ONE), PrivacyRefusal, "use pld"),
        (("--relation", "swap"), ConfigError, "replace-one"),
        (("--sampling", "shuffle"), ConfigError, "poisson"),
        (("--delta", 1), ConfigError, "--delta"),
        (("--delta", "nan"), ConfigError, "--delta"),
        (("--noise-multiplier", 0), ConfigError, "--noise-multiplier"),
        (("--sampling-rate", 1.5), ConfigError, "--sampling-rate"),
        (("--steps", 0), ConfigError, "--steps"),
        (("--rows", 0), ConfigError, "--rows"),
        (("--records-per-person", 0), ConfigError, "records_per_person"),
    ],
)
def test_wrong_input_is_one_clear_error(change, error, match) -> None:
    outcome = call(*RUN, *change)
    assert isinstance(outcome.exception, error)
    assert match in str(outcome.exception)


def test_a_plan_meets_its_target_with_hardly_more_noise_than_it_takes() -> None:
    said = json.loads(call(*PLAN, "--sampling-rate", 0.05, "--json").output)
    chosen = said["chosen"]
    assert chosen["sampling_rate"] == 0.05
    noise = chosen["noise_multiplier"]
    assert cost([PoissonSampledGaussian(0.05, noise, 50)], 1e-5).epsilon <= 2
    assert cost([PoissonSampledGaussian(0.05, noise * 0.995, 50)], 1e-5).epsilon > 2
    assert chosen["own_noise"] == pytest.approx(chosen["shared_noise"] * math.sqrt(5))
    epsilons = [point["epsilon"] for point in said["curve"]]
    assert epsilons == sorted(epsilons, reverse=True)
    assert epsilons[2] == pytest.approx(2, rel=1e-3)


def test_noise_for_few_honest_shares_is_more_in_the_sum() -> None:
    said = json.loads(call(*PLAN, "--quorum", 4, "--colluders", 1, "--json").output)
    all_there = json.loads(call(*PLAN, "--json").output)
    ratio = said["chosen"]["shared_noise"] / all_there["chosen"]["shared_noise"]
    assert ratio == pytest.approx(math.sqrt(5 / 3))
    assert [each["missing"] for each in said["missing_shares"]] == [0, 1, 2]
    assert said["missing_shares"][0]["epsilon"] == pytest.approx(2, rel=1e-3)


# Gaussian noise of epsilon 1 at delta 1e-5 for n shares, with 0, 1, 2, n / 2 and n - 1 missing.
@pytest.mark.parametrize(
    ("shares", "published"),
    [
        (3, {0: 1.000, 1: 1.250, 2: 1.835}),
        (5, {0: 1.000, 1: 1.130, 2: 1.325, 4: 2.442}),
        (10, {0: 1.000, 1: 1.060, 2: 1.130, 5: 1.465, 9: 3.619}),
        (50, {0: 1.000, 1: 1.011, 2: 1.023, 25: 1.465, 49: 9.359}),
    ],
)
def test_missing_shares_cost_what_is_published(shares: int, published: dict[int, float]) -> None:
    ours = missing_shares(Gaussian(3.730632, 1), shares, 1e-5)
    assert {each.missing for each in ours} == set(published)
    for each in ours:
        assert each.epsilon == pytest.approx(published[each.missing], abs=1e-3)
        assert each.variance == pytest.approx(1 - each.missing / shares)


def test_a_plan_in_words_names_its_choice_and_what_it_rests_on() -> None:
    outcome = call(*PLAN)
    assert outcome.exit_code == 0
    assert "epsilon 2 at delta 1e-05 after 50 steps" in outcome.output
    assert "Epsilon against noise" in outcome.output
    assert "5 honest shares" in outcome.output


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (("--epsilon", 0), ConfigError, "--epsilon"),
        (("--epsilon", 1e-9), PrivacyRefusal, "raise epsilon"),
        (("--delta", 0), ConfigError, "--delta"),
        (("--rows", 0), ConfigError, "--rows"),
        (("--rounds", 0), ConfigError, "--rounds"),
        (("--sites", 0), ConfigError, "--sites"),
        (("--local-steps", 0), ConfigError, "--local-steps"),
        (("--sampling-rate", 0), ConfigError, "--sampling-rate"),
        (("--sampling-rate", 1e-5), ConfigError, "one row"),
        (("--quorum", 6), ConfigError, "--quorum"),
        (("--quorum", 3, "--colluders", 3), ConfigError, "--colluders"),
        (("--colluders", -1), ConfigError, "--colluders"),
    ],
)
def test_an_impossible_plan_is_one_clear_error(change, error, match) -> None:
    outcome = call(*PLAN, *change)
    assert isinstance(outcome.exception, error)
    assert match in str(outcome.exception)


def documented() -> list[tuple[str, str]]:
    """Commands of the guide, and what it says that they print."""
    text = Path("docs/accounting.md").read_text("utf-8")
    return re.findall(r"```\n\$ hedgerow privacy ([^\n]*)\n(.*?)\n```", text, re.DOTALL)


@pytest.mark.parametrize(("command", "printed"), documented())
def test_the_guide_shows_what_the_commands_print(command: str, printed: str) -> None:
    outcome = call(*shlex.split(command))
    text = outcome.output
    if isinstance(outcome.exception, HedgerowError):
        text = f"hedgerow: {outcome.exception}"
    assert [line.rstrip() for line in text.rstrip().splitlines()] == printed.splitlines()
