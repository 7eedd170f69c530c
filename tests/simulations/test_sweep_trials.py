"""From `--vary` to trials: every combination, distinct draws, and a number that is drawn itself."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import ConfigError, UsageError
from simulations.sweep.request import Request
from simulations.sweep.trials import Search, parse_search, parse_seeds, trials
from simulations.sweep.variation import Range, Values, parse

NUMBERS = st.floats(1e-3, 1e3, allow_nan=False)


def test_values_are_toml_or_bare_words() -> None:
    assert parse("privacy.epsilon=0.5,1,2") == Values("privacy.epsilon", (0.5, 1, 2))
    assert parse("server.optimizer=fedavg,fedadam") == Values(
        "server.optimizer", ("fedavg", "fedadam")
    )
    assert parse('federation.sites=["a","b","c"],["d","e","f"]') == Values(
        "federation.sites", (("a", "b", "c"), ("d", "e", "f"))
    )
    assert parse("simulation.baselines=true,false") == Values("simulation.baselines", (True, False))


def test_ranges_have_points_where_they_are_said() -> None:
    assert parse("training.local_steps=1..16:log:5") == Values(
        "training.local_steps", (1, 2, 4, 8, 16)
    )
    assert parse("privacy.noise_multiplier=0.5..2:4") == Values(
        "privacy.noise_multiplier", (0.5, 1.0, 1.5, 2.0)
    )
    assert parse("privacy.epsilon=0.1..10:log") == Range(
        "privacy.epsilon", 0.1, 10.0, logarithmic=True, whole=False
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("privacy.epsilon", "section.key"),
        ("epsilon=1,2", "section.key"),
        ("privacy.epsilon=", "section.key"),
        ("privacy.epsilon=1,1.0", "once"),
        ("privacy.epsilon=2..1", "LOW < HIGH"),
        ("privacy.epsilon=0..1:log", "LOW > 0"),
        ("privacy.epsilon=1..2:1", "from 2 to"),
        ("privacy.epsilon=nan,1", "finite"),
        ("privacy.shared_noise={colluders=1},{colluders=2}", "lists of them"),
        ("run.seed=1,2", "--seeds"),
    ],
)
def test_a_wrong_variation_is_one_clear_error(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match="--vary") as caught:
        parse(text)
    assert expected in str(caught.value)


@given(NUMBERS, NUMBERS, st.booleans(), st.integers(0, 2**32))
def test_draws_stay_within_a_range(low: float, high: float, logarithmic: bool, seed: int) -> None:
    low, high = sorted((low, high))
    if low == high:
        return
    random = np.random.Generator(np.random.PCG64(seed))
    drawn = Range("a.b", low, high, logarithmic, whole=False).draw(random)
    assert isinstance(drawn, float)
    assert low <= drawn <= high


def test_logarithmic_draws_halve_at_the_geometric_mean() -> None:
    random = np.random.Generator(np.random.PCG64(1))
    span = Range("a.b", 0.01, 100.0, logarithmic=True, whole=False)
    below = sum(float(str(span.draw(random))) < 1.0 for _ in range(2000))
    assert abs(below - 1000) < 4 * math.sqrt(500)  # four deviations of a fair coin


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 3))
def test_a_grid_is_every_combination_once(sizes: list[int], seeds: int) -> None:
    variations = [Values(f"a.{k}", tuple(range(size))) for k, size in enumerate(sizes)]
    made = trials(Search(), variations, tuple(range(seeds)), 7)
    expected = set(itertools.product(*(one.values for one in variations)))
    assert {tuple(value for _, value in one.settings) for one in made} == expected
    assert len(made) == math.prod(sizes)
    assert [one.number for one in made] == list(range(1, len(made) + 1))
    assert {one.seeds for one in made} == {tuple(range(seeds))}


@given(st.integers(1, 12), st.integers(0, 2**32))
def test_random_trials_are_distinct_and_of_the_seed(count: int, seed: int) -> None:
    variations = [Values("a.x", (1, 2, 3)), Values("a.y", ("p", "q", "r", "s"))]
    made = trials(Search("random", trials=count), variations, (1,), seed)
    assert len({one.settings for one in made}) == count
    assert made == trials(Search("random", trials=count), variations, (1,), seed)


def test_no_more_random_trials_than_there_are() -> None:
    variations = [Values("a.x", (1, 2, 3))]
    assert len(trials(Search("random", trials=3), variations, (1,), 0)) == 3
    with pytest.raises(ConfigError, match="at most the 3 combinations"):
        trials(Search("random", trials=4), variations, (1,), 0)


@pytest.mark.parametrize(("law", "variance"), [("poisson", 4.0), ("geometric", 12.0)])
def test_a_drawn_number_follows_its_law_and_repetitions_share_no_seed(
    law: str, variance: float
) -> None:
    search = parse_search(f"{law}:4")
    counts = []
    for seed in range(400):
        try:
            made = trials(search, [Values("a.x", (1, 2))], (seed, seed + 1), seed)
        except ConfigError:  # a drawn 0 has no winner
            counts.append(0)
            continue
        used = [one for trial in made for one in trial.seeds]
        assert len(set(used)) == len(used) == 2 * len(made)
        counts.append(len(made))
    assert (0 in counts) is (law == "poisson")
    assert abs(np.mean(counts) - 4) < 4 * math.sqrt(variance / 400)
    assert 0.6 * variance < np.var(counts) < 1.6 * variance


def test_repetitions_may_repeat_settings() -> None:
    made = trials(parse_search("geometric:30"), [Values("a.x", (1, 2))], (0,), 3)
    assert max(Counter(one.settings for one in made).values()) > 1


@pytest.mark.parametrize("search", ["grid", "poisson"])
def test_a_range_without_points_needs_fixed_random_trials(search: str) -> None:
    found = Search() if search == "grid" else parse_search("poisson:3")
    with pytest.raises(ConfigError, match="a number of points"):
        trials(found, [parse("privacy.epsilon=1.0..2.0")], (1,), 0)
    assert (
        len(trials(Search("random", trials=3), [parse("privacy.epsilon=1.0..2.0")], (1,), 0)) == 3
    )


def test_a_key_is_varied_once() -> None:
    with pytest.raises(ConfigError, match="each key once"):
        trials(Search(), [Values("a.x", (1,)), Values("a.x", (2,))], (1,), 0)


def test_seeds_are_counted_or_named() -> None:
    assert parse_seeds("3", 2026) == (2026, 2027, 2028)
    assert parse_seeds("5,1", 2026) == (5, 1)
    assert parse_seeds("7,", 2026) == (7,)
    for wrong in ("0", "1,1", "a", "-1", "1;2", ""):
        with pytest.raises(ConfigError, match="--seeds"):
            parse_seeds(wrong, 1)


def request(*vary: str, **changes: object) -> Request:
    kept: dict[str, object] = {
        "config": None, "task": None, "vary": vary, "settings": (), "random": None, "seeds": "2",
        "reference": True,
    }  # fmt: skip
    return Request(**{**kept, **changes})  # type: ignore[arg-type] # as the command gives them


def test_every_trial_is_valid_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match=r"trial 2 \(privacy.epsilon = -1\): privacy.epsilon"):
        request("privacy.epsilon=1,-1,2").plan("accuracy", ())
    with pytest.raises(ConfigError, match=r"trial 1 .*no such key.*did you mean privacy.epsilon"):
        request("privacy.epsilo=1").plan("accuracy", ())
    with pytest.raises(UsageError, match="--vary"):
        request().plan("accuracy", ())


def test_all_that_might_have_been_drawn_is_valid_too() -> None:
    with pytest.raises(ConfigError, match=r"privacy.epsilon = -1"):
        request("privacy.epsilon=1,2,3,4,5,6,7,8,9,-1", random="geometric:1", seeds="1").plan(
            "accuracy", ()
        )


def test_a_varied_noise_multiplier_replaces_the_target_and_sites_allow_its_cost() -> None:
    plan = request("privacy.noise_multiplier=1.5,3").plan("accuracy", ())
    reference, first, second = (plan.config(one, 2026) for one in plan.trials)
    assert reference.privacy.mode == "off"
    assert (first.privacy.epsilon, first.privacy.noise_multiplier) == (None, 1.5)
    assert first.site_policy.epsilon_budget is not None
    assert second.site_policy.epsilon_budget is not None
    assert first.site_policy.epsilon_budget > second.site_policy.epsilon_budget > 0
    assert (first.simulation.workers, first.simulation.baselines) == (1, False)


def test_a_target_that_was_given_does_not_give_way() -> None:
    with pytest.raises(ConfigError, match="exactly one of them"):
        request("privacy.noise_multiplier=1,2", settings=("privacy.epsilon=2",)).plan(
            "accuracy", ()
        )


def test_the_reference_runs_without_what_was_given_for_noise() -> None:
    given_noise = ("privacy.noise_multiplier=2", "simulation.workers=3")
    plan = request("training.local_steps=1,2", settings=given_noise).plan("accuracy", ())
    reference = plan.config(plan.trials[0], 1)
    assert (reference.privacy.mode, reference.privacy.noise_multiplier) == ("off", None)
    assert reference.simulation.workers == 3
    plain = request("training.local_steps=1,2", reference=False).plan("accuracy", ())
    assert [one.number for one in plain.trials] == [1, 2]
