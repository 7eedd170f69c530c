"""Who is lost where: rates as promised, the same for the same seed, the earliest cause first."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, kstest, lognorm, spearmanr

from federation import config_file
from federation.envelope import Phase
from simulations.fault_plan import PHASES, FaultPlan, fault_plan, has_faults, online_chance

SITES = [f"site-{at:03d}" for at in range(200)]
ROUNDS = 50


def plan(simulation: dict, seed: int = 7, rows: int = 100, online=None) -> FaultPlan:
    table = {
        "run": {"seed": seed, "rounds": ROUNDS},
        "federation": {"sites": SITES},
        "training": {"local_steps": 4, "sampling_rate": 0.25},
        "simulation": simulation,
    }
    config = config_file.parse(table)
    return fault_plan(config, dict.fromkeys(SITES, rows), online)


def phases(made: FaultPlan, attempt: int = 1) -> list[Phase | None]:
    found = (made.lost_in(s, r, attempt) for s in SITES for r in range(1, ROUNDS + 1))
    return [loss.phase if loss else None for loss in found]


def assert_binomial(count: int, of: int, chance: float) -> None:
    """Within what a fair draw exceeds once in a million on either side."""
    assert binom.ppf(1e-6, of, chance) <= count <= binom.isf(1e-6, of, chance)


@pytest.mark.parametrize("phase", PHASES)
def test_a_phases_rate_is_the_chance_to_be_lost_in_it(phase: Phase) -> None:
    found = phases(plan({"faults": {"dropout_rate": {str(phase): 0.07}}}))
    assert_binomial(found.count(phase), len(found), 0.07)
    assert set(found) == {phase, None}


def test_a_later_phases_rate_is_among_those_still_there() -> None:
    found = phases(plan({"faults": {"dropout_rate": {"advertise": 0.3, "train": 0.5}}}))
    assert_binomial(found.count(Phase.ADVERTISE), len(found), 0.3)
    assert_binomial(found.count(Phase.TRAIN), len(found), 0.7 * 0.5)


def test_sites_rounds_and_attempts_are_drawn_apart() -> None:
    made = plan({"faults": {"dropout_rate": {"train": 0.5}}})
    first, second = (np.array([p is None for p in phases(made, a)]) for a in (1, 2))
    by_site = first.reshape(len(SITES), ROUNDS)
    both = [first & second, by_site[:-1] & by_site[1:], by_site[:, :-1] & by_site[:, 1:]]
    for pair in both:
        assert_binomial(int(pair.sum()), pair.size, 0.25)


def test_a_plan_is_its_seeds_and_what_is_drawn_for_a_site_depends_on_no_other() -> None:
    simulation = {"faults": {"dropout_rate": {"train": 0.2}}, "availability": {"kind": "rate"}}
    assert phases(plan(simulation)) == phases(plan(simulation))
    assert phases(plan(simulation)) != phases(plan(simulation, seed=8))
    alone = FaultPlan(plan(simulation).simulation, 7, ROUNDS, {SITES[3]: 100.0})
    whole = plan(simulation)
    for round_ in range(1, ROUNDS + 1):
        assert alone.lost_in(SITES[3], round_, 1) == whole.lost_in(SITES[3], round_, 1)


def test_slowness_is_lognormal_over_sites_and_fixed_without_jitter() -> None:
    made = plan({"stragglers": {"base_seconds": 2.0, "sigma": 0.8}})
    seconds = [made.train_seconds(site, 1) for site in SITES]
    assert kstest(seconds, lognorm(s=0.8, scale=2.0).cdf).pvalue > 1e-4
    assert seconds == [made.train_seconds(site, 9) for site in SITES]


def test_jitter_is_drawn_per_round_around_a_sites_own_speed() -> None:
    made = plan({"stragglers": {"sigma": 0.8, "jitter": 0.2}})
    one, two = ([math.log(made.train_seconds(s, r)) for s in SITES] for r in (1, 2))
    differences = np.array(one) - np.array(two)
    assert np.std(differences) == pytest.approx(0.2 * math.sqrt(2), rel=0.2)
    assert spearmanr(one, two).statistic > 0.8


def test_work_counts_expected_rows_of_all_local_steps() -> None:
    """4 steps of a quarter of 300 rows are 300 row-steps; at 0.01 s each, 3 s on top of 1."""
    made = plan({"stragglers": {"sigma": 0.0, "seconds_per_row_step": 0.01}}, rows=300)
    assert made.train_seconds(SITES[0], 1) == pytest.approx(4.0)


def test_who_would_take_longer_than_the_deadline_is_lost_and_says_by_how_much() -> None:
    made = plan({"stragglers": {"sigma": 0.5, "deadline_seconds": 1.5}})
    late = [site for site in SITES if made.train_seconds(site, 1) > 1.5]
    assert made.missed_deadline(1) == tuple(sorted(late))
    assert_binomial(len(late), len(SITES), lognorm(s=0.5).sf(1.5))
    for site in SITES:
        loss = made.lost_in(site, 1, 1)
        assert (loss is not None) == (site in late)
        if loss:
            said = f"missed the deadline: {made.train_seconds(site, 1):.4g} s of 1.5 s"
            assert (loss.phase, loss.cause, loss.reason) == (Phase.TRAIN, "straggler", said)


def test_a_rounds_time_is_its_slowest_survivors_or_the_deadline_that_someone_missed() -> None:
    made = plan({"stragglers": {"sigma": 0.5}})
    seconds = {site: made.train_seconds(site, 1) for site in SITES}
    assert made.round_seconds(1, SITES) == max(seconds.values())
    assert made.round_seconds(1, SITES[:5]) == max(seconds[site] for site in SITES[:5])
    hurried = plan({"stragglers": {"sigma": 0.5, "deadline_seconds": 1.5}})
    assert hurried.round_seconds(1, SITES[:5]) == 1.5
    assert made.round_seconds(ROUNDS + 1, SITES) is None  # nobody trains in an evaluation


def test_nobody_is_late_for_an_evaluation() -> None:
    made = plan({"stragglers": {"sigma": 0.0, "deadline_seconds": 0.5}})
    assert made.lost_in(SITES[0], ROUNDS, 1) is not None
    assert made.lost_in(SITES[0], ROUNDS + 1, 1) is None


def test_availability_is_per_round_whatever_the_attempt() -> None:
    made = plan({"availability": {"kind": "rate", "rate": 0.6}})
    assert phases(made, 1) == phases(made, 2)
    found = phases(made)
    assert_binomial(found.count(Phase.ADVERTISE), len(found), 0.4)
    assert set(found) == {Phase.ADVERTISE, None}


def test_a_day_has_its_ebb_and_flow_at_each_site() -> None:
    """The mean over a whole period is the rate; the swing is twice the amplitude."""
    choice = plan({"availability": {"kind": "diurnal", "rate": 0.5, "amplitude": 0.4,
                                    "period_rounds": 10.0}}).simulation.availability  # fmt: skip
    chances = [online_chance(choice, round_, 0.3) for round_ in range(10)]
    assert np.mean(chances) == pytest.approx(0.5)
    fine = [online_chance(choice, 1, day) for day in np.linspace(0, 1, 1001)]
    assert (min(fine), max(fine)) == (pytest.approx(0.1), pytest.approx(0.9))
    assert online_chance(choice, 1, 0.3) == pytest.approx(online_chance(choice, 11, 0.3))


def test_a_chance_never_leaves_0_to_1() -> None:
    choice = plan({"availability": {"kind": "diurnal", "rate": 0.9,
                                    "amplitude": 1.0}}).simulation.availability  # fmt: skip
    chances = [online_chance(choice, round_, 0.0) for round_ in range(100)]
    assert (min(chances), max(chances)) == (0.0, 1.0)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)), max_size=8))
def test_a_trace_is_online_in_its_intervals_and_in_no_other_round(lengths) -> None:
    intervals, free = [], 1
    for start, length in lengths:
        first = free + start
        intervals.append((first, first + length))
        free = first + length + 1
    made = plan({}, online={SITES[0]: tuple(intervals)})
    rounds = {r for first, last in intervals for r in range(first, last + 1)}
    assert [made.is_online(SITES[0], r) for r in range(1, free + 2)] == [
        r in rounds for r in range(1, free + 2)
    ]
    assert not made.is_online(SITES[1], 1)


def test_of_several_causes_the_earliest_phase_is_told() -> None:
    made = plan({
        "dropouts": [{"site": SITES[0], "round": 1, "phase": "sign"},
                     {"site": SITES[0], "round": 1, "phase": "share", "attempts": 2}],
        "stragglers": {"sigma": 0.0, "deadline_seconds": 0.5},
        "crashes": [{"site": SITES[0], "round": 1, "phase": "train"}],
    })  # fmt: skip
    assert made.lost_in(SITES[0], 1, 1).phase is Phase.SHARE
    assert made.lost_in(SITES[0], 1, 2).phase is Phase.SHARE
    assert made.lost_in(SITES[0], 1, 3).cause == "straggler"


def test_a_crash_is_planned_for_the_first_attempt_alone() -> None:
    made = plan({"crashes": [{"site": SITES[0], "round": 2, "phase": "open"}]})
    assert made.lost_in(SITES[0], 2, 1).cause == "crash"
    assert made.lost_in(SITES[0], 2, 2) is None


@pytest.mark.parametrize(
    "simulation",
    [
        {"dropouts": [{"site": SITES[0], "round": 1}]},
        {"crashes": [{"site": SITES[0], "round": 1}]},
        {"faults": {"dropout_rate": {"open": 0.01}}},
        {"availability": {"kind": "rate"}},
        {"stragglers": {"deadline_seconds": 9.0}},
    ],
)
def test_what_can_lose_a_site_is_a_fault(simulation: dict) -> None:
    assert has_faults(plan(simulation).simulation)
    assert not has_faults(plan({"stragglers": {}}).simulation)
