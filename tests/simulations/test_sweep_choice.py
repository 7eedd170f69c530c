"""The frontier, the best under limits, how sure that is, and what choosing costs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_sweep import outcome, outcomes, plan

from federation.errors import ConfigError, UsageError
from privacy.event import PoissonSampledGaussian
from privacy.selection_cost import composed_epsilon, selected_epsilon
from simulations.sweep.choice import choose, parse_limit
from simulations.sweep.plan import require_same
from simulations.sweep.results import results
from simulations.sweep.standing import Spread, undominated

COSTS = st.lists(
    st.tuples(*(st.integers(0, 4).map(float) for _ in range(3))), min_size=1, max_size=12
)


def is_beaten(one: tuple[float, ...], by: tuple[float, ...]) -> bool:
    return all(b <= a for a, b in zip(one, by, strict=True)) and by != one


@given(COSTS)
def test_the_frontier_is_what_nothing_beats(costs: list[tuple[float, ...]]) -> None:
    kept = undominated(costs)
    assert kept
    for place, one in enumerate(costs):
        assert (place in kept) is not any(is_beaten(one, by) for by in costs)


@given(COSTS)
def test_what_is_beaten_is_beaten_by_the_frontier(costs: list[tuple[float, ...]]) -> None:
    kept = undominated(costs)
    for place, one in enumerate(costs):
        if place not in kept:
            assert any(is_beaten(one, costs[by]) for by in kept)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_a_spread_holds_its_mean(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread is not None
    assert spread.least == min(values)
    assert spread.largest == max(values)
    assert spread.least <= spread.mean <= spread.largest


def test_a_spread_of_what_is_partly_unknown_is_unknown() -> None:
    assert Spread.of([0.5, None]) is None
    assert Spread.of([]) is None


def test_the_best_keeps_to_its_limits() -> None:
    made = plan()
    ended = outcomes(made)
    free = results(made, ended, "accuracy", ())
    assert free.choice is not None
    assert (free.choice.best, free.choice.runner_up) == (3, 2)
    limits = (parse_limit("epsilon<=1"), parse_limit("worst_group_gap <= 0.2"))
    held = results(made, ended, "accuracy", limits)
    assert held.choice is not None
    assert (held.choice.best, held.choice.runner_up) == (2, 1)
    assert held.unlimited == free.choice
    assert results(made, ended, "accuracy", (parse_limit("epsilon<=0.4"),)).choice is None
    assert held.frontier == (1, 2, 3)
    assert held.fair_frontier == (1,)


def test_limits_hold_at_their_bound_and_not_beyond() -> None:
    found = results(plan(), outcomes(plan()), "accuracy", ())
    second = found.standings[1]
    assert parse_limit("epsilon<=1").holds(second)
    assert not parse_limit("epsilon<=0.999").holds(second)
    assert parse_limit("accuracy>=0.79").holds(second)
    assert not parse_limit("accuracy>=0.801").holds(second)


@pytest.mark.parametrize("text", ["epsilon<2", "epsilon", "loss<=1", "epsilon<=two", "epsilon<=-1"])
def test_a_wrong_limit_is_one_clear_error(text: str) -> None:
    with pytest.raises(ConfigError, match="--limit"):
        parse_limit(text)


def test_a_trial_that_missed_a_seed_is_not_chosen() -> None:
    made = plan()
    ended = [one for one in outcomes(made) if one.run != "003-s2027"]
    found = results(made, ended, "accuracy", ())
    assert found.choice is not None
    assert found.choice.best == 2
    assert found.missing == ("003-s2027",)
    assert 3 not in found.frontier


def test_differences_are_taken_seed_by_seed() -> None:
    made = plan()
    first, second = made.trials[1], made.trials[2]
    ended = [
        outcome(first, s, 1.0, a, 0.1) for s, a in zip(first.seeds, (0.7, 0.8, 0.9), strict=True)
    ]
    ended += [
        outcome(second, s, 1.0, a, 0.1)
        for s, a in zip(second.seeds, (0.71, 0.81, 0.9), strict=True)
    ]
    found = results(made, ended, "accuracy", ())
    assert found.choice is not None
    assert (found.choice.best, found.choice.ahead) == (2, 2)
    assert found.choice.differences == pytest.approx((0.01, 0.01, 0.0))
    assert not found.choice.is_ahead_on_every_seed
    assert found.choice.by_chance == 0.25


def test_of_equals_the_one_of_less_epsilon_is_best() -> None:
    made = plan()
    ended = [
        outcome(trial, seed, epsilon, 0.8, 0.1)
        for trial, epsilon in zip(made.trials[1:], (3.0, 1.0, 2.0), strict=True)
        for seed in trial.seeds
    ]
    choice = choose(results(made, ended, "accuracy", ()).standings, "accuracy", ())
    assert choice is not None
    assert (choice.best, choice.runner_up) == (2, 3)


def test_a_grid_pays_for_all_its_runs() -> None:
    made = plan()
    cost = results(made, outcomes(made), "accuracy", ()).cost
    charges = [(PoissonSampledGaussian(0.25, noise, 60),) for noise in (9.0, 5.0, 3.0)] * 3
    assert cost.runs == 9
    assert cost.composed == pytest.approx(composed_epsilon(charges, 1e-3), rel=1e-9)
    assert cost.selected is None
    assert cost.winner == 2.0
    three_seeds = (PoissonSampledGaussian(0.25, 3.0, 60),) * 3
    assert cost.if_drawn == pytest.approx(
        selected_epsilon(three_seeds, 3.0, math.inf, 1e-3), rel=1e-9
    )


def test_a_drawn_number_pays_for_the_dearest_trial_it_might_have_drawn() -> None:
    made = plan("privacy.noise_multiplier=2,50", random="geometric:2", seeds="1")
    only_quiet = [trial for trial in made.trials if trial.settings[0][1] == 50]
    ended = [outcome(trial, trial.seeds[0], 0.1, 0.8, 0.1, 50.0) for trial in only_quiet]
    ended = ended or [outcome(made.trials[0], made.trials[0].seeds[0], 0.1, 0.8, 0.1, 50.0)]
    cost = results(made, ended, "accuracy", ()).cost
    dearest = (PoissonSampledGaussian(0.25, 2.0, 60),)
    assert cost.selected == pytest.approx(selected_epsilon(dearest, 2.0, 1.0, 1e-3), rel=1e-9)
    assert cost.if_drawn is None


def test_epsilons_that_are_shown_alike_are_alike() -> None:
    made = plan()
    told = ((0.24991, 0.7), (0.24999, 0.8), (0.5, 0.8))
    ended = [
        outcome(trial, seed, epsilon, accuracy, 0.1)
        for trial, (epsilon, accuracy) in zip(made.trials[1:], told, strict=True)
        for seed in trial.seeds
    ]
    assert results(made, ended, "accuracy", ()).frontier == (2,)


def test_what_cannot_be_read_is_not_left_out_of_the_cost() -> None:
    made = plan()
    ended = outcomes(made)
    ended[-1] = ended[-1].model_copy(update={"charge": None})
    cost = results(made, ended, "accuracy", ()).cost
    assert (cost.composed, cost.if_drawn) == (None, None)
    assert "ledgers" in cost.unknown


def test_what_a_failed_run_was_charged_is_paid_too() -> None:
    made = plan()
    ended = outcomes(made)
    ended[-1] = ended[-1].model_copy(update={"status": "crashed", "reason": "killed"})
    cost = results(made, ended, "accuracy", ()).cost
    assert cost.runs == 9


def test_another_sweep_is_not_resumed(tmp_path: object) -> None:
    made = plan()
    require_same(made, plan(), tmp_path)  # type: ignore[arg-type] # only shown
    for other, said in (
        (plan("privacy.epsilon=0.5,1,3"), "--vary"),
        (plan(seeds="2"), "--seeds"),
        (made.model_copy(update={"table": {"run": {"rounds": 3}}}), "the configuration"),
    ):
        with pytest.raises(UsageError, match=f"another sweep: {said}"):
            require_same(made, other, tmp_path)  # type: ignore[arg-type] # only shown


def test_of_equals_the_one_of_less_site_level_epsilon_is_chosen() -> None:
    made = plan()
    alike = {"accuracy": 0.8, "epsilon": 1.0}
    seen = [
        one.model_copy(update=alike | {"site_level_epsilon": 5.0 - one.trial})
        for one in outcomes(made)
        if one.trial
    ]
    chosen = results(made, seen, "accuracy", ()).choice
    assert chosen is not None
    assert chosen.best == 3
