"""Shared noise: how far a record moves the integers, what noise they carry, what that costs."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.entropy import SeededEntropy
from federation.errors import ConfigError, PrivacyRefusal
from federation.ring_vector import RING_BITS
from privacy.accountant import cost
from privacy.calibration import noise_multiplier, shared_noise_multiplier
from privacy.event import PoissonSampledDistributedGaussian, PoissonSampledGaussian
from privacy.mechanisms.clipping import clip_l2
from privacy.mechanisms.hadamard import rotate, unrotate
from privacy.noised_sum import decoded_sum, noise_share
from privacy.plan import SUMMING_SLACK, ClippedStepPlan, clipped_step_plan
from privacy.shared_record_noise import (
    SharedRecordNoisePlan,
    choose_shared_plan,
    exposure,
    exposure_alone,
    exposures,
    rounded_gradient,
)

SEED = bytes(range(32))
STEP = clipped_step_plan(1, 0.25, 0.5, 2.0, largest_public_rows=400)  # a record moves 0.01
SMALL = SharedRecordNoisePlan(
    dimension=4,
    step=ClippedStepPlan(0.5, 1.0, 1.0, 2.0),
    update_clip=2.0,
    granularity=2.0**-6,
    noise_multiplier=0.5,
    sites=4,
    honest=3,
    ring_bits=16,
)


def test_the_plan_by_hand() -> None:
    # A record moves 1/2: 32 steps, and sqrt(4) = 2 for rounding: 34^2 = 1156, and 2 s slack above.
    assert SMALL.step.record_norm == 0.5 * (1 + SUMMING_SLACK)
    assert SMALL.sensitivity.squared_l2 == 1156
    assert SMALL.share_variance == Fraction(1156, 12)
    assert SMALL.largest_code == 128
    assert SMALL.noise_deviation(3) == pytest.approx(17 / 64)
    assert SMALL.noise_margin == math.ceil(math.sqrt(2 * 4 * 1156 / 12 * math.log(8e6)))
    assert SMALL.bits_needed == 11  # 512 + 111 = 623 < 2^10
    assert SMALL.inflation == pytest.approx(34 / 32 - 1, rel=0.01)
    assert SMALL.event() == PoissonSampledDistributedGaussian(0.5, 0.5, 4, 1156, 3, 1)


def test_the_noise_of_the_fewest_honest_is_the_noise_asked_for() -> None:
    for honest in (1, 2, 7, 9):
        plan = dataclasses.replace(SMALL, sites=9, honest=honest)
        assert honest * plan.share_variance == Fraction(1, 4) * plan.sensitivity.squared_l2
        assert plan.event().share_variance == plan.share_variance


def test_a_record_counts_alike_at_every_site() -> None:
    # The update of a site of 100 rows, weighted by 100 / 400, is lr / (q 100) * 1/4 a gradient.
    assert STEP.expected_batch_size == 100
    assert STEP.record_norm == pytest.approx(0.5 / (0.25 * 100) * (100 / 400) * 2.0, rel=1e-3)


vectors = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@given(
    vectors,
    st.sampled_from([1, 2, 3, 17, 64, 300]),
    st.sampled_from([1e-3, 0.3, 1.0, 5.0, 1e3]),
    st.sampled_from([0, 4, 9]),
    st.booleans(),
)
def test_one_record_moves_the_integers_by_at_most_the_sensitivity(
    draw, dimension: int, length: float, coarser: int, along: bool
) -> None:
    granularity = 2.0 ** (coarser - 16)
    plan = SharedRecordNoisePlan(dimension, STEP, 1.0, granularity, 8.0, 3, 2, ring_bits=32)
    update = draw.normal(size=dimension)
    update *= length / np.linalg.norm(update)
    direction = update.copy() if along else draw.normal(size=dimension)
    record = direction * (plan.step.record_norm / np.linalg.norm(direction)) * (1 - 2**-50)
    with_it = rounded_gradient(plan, update + record, SEED)
    without = rounded_gradient(plan, update, SEED)
    shift = with_it - without
    assert int(shift @ shift) <= plan.sensitivity.squared_l2


def test_rounding_does_move_every_coordinate_by_one_more() -> None:
    # Why sqrt(d) stands there: all coordinates just below a half, and pushed over it.
    plan = dataclasses.replace(SMALL, dimension=64, granularity=2.0**-8)
    half = np.full(64, 0.5 - 1e-9) * plan.granularity
    update = unrotate(half, SEED)
    over = unrotate(half + 2e-9 * plan.granularity, SEED)
    shift = rounded_gradient(plan, over, SEED) - rounded_gradient(plan, update, SEED)
    assert int(shift @ shift) == 64
    assert np.linalg.norm(over - update) < 1e-6 * plan.step.record_norm


def test_the_sensitivity_has_room_for_floating_point() -> None:
    # At the finest granularity and a million coordinates: half a step more, in 2^19 and 1000.
    step = ClippedStepPlan(0.5, 1.0, 2.0**-11 / (1 + SUMMING_SLACK), 1.0)
    plan = SharedRecordNoisePlan(10**6, step, 1.0, 2.0**-30, 1.0, 4, 3, ring_bits=32)
    more = plan.sensitivity.l2 - 2**19 - 1000
    assert more == pytest.approx(2 * 2**-23 * (2e6 + 2 * math.log2(1e6) + 64), rel=1e-4)


@pytest.mark.parametrize("length", [0.99, 1.0, 1.0 + 1e-14, 3.0, 1e6])
def test_floating_point_stays_within_what_the_sensitivity_allows_for(length: float) -> None:
    # For a power of two the rotation's matrix is exact, and 64 bits of mantissa check 53.
    dimension, draw = 64, np.random.default_rng(5)
    matrix = np.array([rotate(unit, SEED) for unit in np.eye(dimension)]).T.astype(np.longdouble)
    for _ in range(50):
        update = draw.normal(size=dimension) * 10.0 ** draw.integers(-8, 1, dimension)
        update *= length / np.linalg.norm(update)
        exact = update.astype(np.longdouble)
        exact *= min(np.longdouble(1), 1 / np.sqrt((exact**2).sum()))
        ours = rotate(clip_l2(update, 1.0)[0], SEED)
        off = np.linalg.norm((ours - matrix @ exact).astype(np.float64))
        assert off <= (2 * dimension + 2 * math.log2(dimension) + 64) * 2.0**-53


def test_an_update_is_clipped_and_its_coordinates_are_cut() -> None:
    plan = choose_shared_plan(2_000, STEP, 1.0, 8.0, sites=20, honest=10)
    spike = 1e6 * unrotate(np.eye(2_000)[7], SEED)
    worst = rounded_gradient(plan, spike, SEED)
    assert worst[7] == np.abs(worst).max() == plan.largest_code
    assert plan.sites * plan.largest_code + plan.noise_margin < 2 ** (plan.ring_bits - 1)
    long = 1e6 * np.random.default_rng(1).normal(size=2_000)
    decoded = decoded_sum(plan, rounded_gradient(plan, long, SEED), SEED)
    assert np.linalg.norm(decoded) == pytest.approx(1.0, rel=1e-3)
    assert np.allclose(decoded, long / np.linalg.norm(long), atol=1e-4)


def test_a_round_gives_the_sum_with_the_noise_promised() -> None:
    sites, dimension = 6, 3_000
    plan = choose_shared_plan(dimension, STEP, 1.0, 3.0, sites, honest=4)
    draw = np.random.default_rng(3)
    updates = [0.002 * draw.normal(size=dimension) for _ in range(sites)]
    total = np.zeros(dimension, np.int64)
    for site, update in enumerate(updates):
        total += rounded_gradient(plan, update, SEED) + noise_share(plan, SeededEntropy(site))
    error = decoded_sum(plan, total, SEED) - sum(updates)
    promised = plan.noise_deviation(sites)
    assert promised == pytest.approx(math.sqrt(6 / 4) * 3.0 * 0.01, rel=0.011)
    assert np.std(error) == pytest.approx(promised, rel=4 / math.sqrt(2 * dimension))
    assert abs(error.mean()) < 4 * promised / math.sqrt(dimension)


@pytest.mark.parametrize(("sites", "honest"), [(3, 3), (10, 6), (100, 60)])
@pytest.mark.parametrize("noise", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("dimension", [1, 1_000, 10**6])
def test_a_chosen_plan_costs_under_a_percent_and_wastes_no_ring(
    sites: int, honest: int, noise: float, dimension: int
) -> None:
    plan = choose_shared_plan(dimension, STEP, 0.3, noise, sites, honest)
    assert plan.inflation <= 0.01
    assert plan.overhead <= 0.01
    finer = {"granularity": plan.granularity / 2}
    with pytest.raises(ConfigError, match=r"ring_bits|granularity|noise_multiplier"):
        dataclasses.replace(plan, **finer)
    if plan.ring_bits > 16:
        fewer = RING_BITS[RING_BITS.index(plan.ring_bits) - 1]
        coarser = plan.granularity
        while coarser <= plan.update_clip:
            try:
                other = dataclasses.replace(plan, ring_bits=fewer, granularity=coarser)
            except ConfigError:
                coarser *= 2
                continue
            assert other.inflation > 0.01 or other.overhead > 0.01
            break


@pytest.mark.parametrize(
    ("noise", "rounds", "delta"),
    [(1.0, 50, 1e-5), pytest.param(0.6, 5, 1e-3, marks=pytest.mark.slow)],
)
def test_epsilon_is_that_of_continuous_noise_and_a_hair_more(noise, rounds, delta) -> None:
    plan = choose_shared_plan(10**5, STEP, 1.0, noise, sites=10, honest=8)
    central = cost([PoissonSampledGaussian(0.25, noise, rounds)], delta).epsilon
    assert central <= plan.epsilon(delta, rounds) <= 1.0001 * central


def test_a_site_gets_by_with_far_less_noise_than_where_each_adds_the_whole() -> None:
    plan = choose_shared_plan(1_000, STEP, 1.0, 1.0, sites=16, honest=16)
    whole = 1.0 * 0.01 * math.sqrt(16)
    assert plan.noise_deviation(16) == pytest.approx(whole / 4, rel=0.011)


@pytest.mark.parametrize(
    ("epsilon", "delta", "rounds"),
    [(2.0, 1e-3, 60), pytest.param(0.5, 1e-5, 1000, marks=pytest.mark.slow)],
)
def test_calibration_meets_the_target_and_wastes_nothing(epsilon, delta, rounds) -> None:
    def plan(noise: float) -> SharedRecordNoisePlan:
        return choose_shared_plan(1_000, STEP, 1.0, noise, sites=4, honest=3)

    noise = shared_noise_multiplier(plan, epsilon, delta, 0.25, rounds)
    assert float(f"{noise:.4f}") == noise
    assert plan(noise).epsilon(delta, rounds) <= epsilon
    assert plan(noise - 1e-4).epsilon(delta, rounds) > epsilon


def test_calibration_goes_on_where_continuous_noise_would_do() -> None:
    # Few steps a record: the part that rounding at random takes is seen in the fourth decimal.
    coarse = dataclasses.replace(SMALL, granularity=0.5, honest=1)

    def plan(noise: float) -> SharedRecordNoisePlan:
        return dataclasses.replace(coarse, noise_multiplier=noise)

    continuous = noise_multiplier(1.0, 1e-5, 0.5, 10)
    noise = shared_noise_multiplier(plan, 1.0, 1e-5, 0.5, 10)
    assert noise > continuous
    assert plan(noise).epsilon(1e-5, 10) <= 1.0 < plan(noise - 1e-4).epsilon(1e-5, 10)


def test_a_target_that_no_ring_holds_names_the_noise() -> None:
    def plan(noise: float) -> SharedRecordNoisePlan:
        return choose_shared_plan(10**9, STEP, 0.1, noise, sites=100, honest=90)

    with pytest.raises(ConfigError) as refusal:
        shared_noise_multiplier(plan, 0.1, 1e-9, 0.25, 10_000)
    assert refusal.value.key == "privacy.noise_multiplier"


def test_what_each_party_could_learn() -> None:
    plan = choose_shared_plan(1_000, STEP, 1.0, 2.0, sites=6, honest=4)
    ladder = exposures(plan, 20, 1e-4)
    assert [rung.shares for rung in ladder] == [4, 3, 2, 1]
    assert ladder[0].epsilon == pytest.approx(plan.epsilon(1e-4, 20), rel=1e-9)
    epsilons = [rung.epsilon for rung in ladder]
    assert epsilons == sorted(epsilons)
    # A site seen alone: half the noise multiplier of four shares, and one true discrete Gaussian.
    assert ladder[-1].noise_multiplier == pytest.approx(1.0)
    alone = cost([PoissonSampledGaussian(0.25, 1.0, 20)], 1e-4).epsilon
    assert ladder[-1].epsilon == pytest.approx(alone, rel=1e-4)
    for rung in ladder:
        event = dataclasses.replace(
            plan.event(), noise_multiplier=rung.noise_multiplier, honest=rung.shares
        )
        assert 1 - 1e-14 < event.share_variance / plan.share_variance <= 1
    assert exposure_alone(plan, 20, 1e-4) == ladder[-1]
    assert exposure(plan, 6, 20, 1e-4).epsilon < epsilons[0]
    with pytest.raises(PrivacyRefusal, match="event"):
        exposure(plan, 0, 20, 1e-4)


def test_a_site_seen_alone_may_be_seen_without_its_surplus() -> None:
    plan = choose_shared_plan(1_000, STEP, 1.0, 2.0, sites=7, honest=4, dropouts=3)
    one, alone = exposure(plan, 1, 20, 1e-4), exposure_alone(plan, 20, 1e-4)
    assert one.noise_multiplier == pytest.approx(2.0 * math.sqrt(1 / 4))
    assert one.epsilon < alone.epsilon
    # If nobody drops out each of seven keeps a seventh of the variance that four make together.
    assert plan.surplus is not None
    kept = plan.surplus.kept_variance(7) / plan.sensitivity.squared_l2
    assert alone.noise_multiplier == pytest.approx(math.sqrt(kept))


@pytest.mark.parametrize("survivors", [4, 5, 6, 7])
def test_noise_that_may_be_removed_costs_what_its_target_costs(survivors: int) -> None:
    plan = choose_shared_plan(1_000, STEP, 1.0, 1.0, sites=7, honest=4, dropouts=3)
    without = dataclasses.replace(plan, dropouts=0)
    assert plan.epsilon(1e-5, 20) == pytest.approx(without.epsilon(1e-5, 20), rel=1e-9)
    assert plan.surplus is not None
    left = survivors * plan.surplus.kept_variance(survivors) / plan.sensitivity.squared_l2
    assert 1.0 - 1e-12 <= left <= 1.1


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [("dimension", 0, "plan.dimension"), ("dimension", 2**32, "plan.dimension"),
     ("update_clip", 0.4, "training.update_clip"),
     ("update_clip", math.nan, "training.update_clip"),
     ("update_clip", math.inf, "training.update_clip"),
     ("noise_multiplier", 0.0, "privacy.noise_multiplier"),
     ("noise_multiplier", math.inf, "privacy.noise_multiplier"),
     ("noise_multiplier", 0.02, "privacy.noise_multiplier"),
     ("noise_multiplier", 0.067, "privacy.noise_multiplier"),
     ("noise_multiplier", 1e7, "privacy.noise_multiplier"),
     ("honest", 0, "federation.quorum"), ("honest", 5, "federation.quorum"),
     ("sites", 2, "federation.quorum"),
     ("granularity", 0.3, "plan.granularity"), ("granularity", 4.0, "plan.granularity"),
     ("granularity", 2.0**-30, "plan.granularity"),
     ("dropouts", 2, "privacy.shared_noise.dropouts"),
     ("ring_bits", 10, "privacy.shared_noise.ring_bits")],
)  # fmt: skip
def test_a_plan_without_sense_names_its_field(field: str, value, key: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        dataclasses.replace(SMALL, **{field: value})
    assert refusal.value.key == key


def test_bounds_are_tight() -> None:
    assert dataclasses.replace(SMALL, ring_bits=11).bits_needed == 11
    finest = {"granularity": 2.0**-29, "noise_multiplier": 0.1, "ring_bits": 34}
    assert dataclasses.replace(SMALL, **finest)
    with pytest.raises(ConfigError, match="1/2 to 2\\^24 steps"):
        dataclasses.replace(SMALL, **finest | {"noise_multiplier": 0.11})
    # Shares of variance 1.83 put four coordinates within MOST_DISTANCE; of 1.73 they do not.
    assert dataclasses.replace(SMALL, noise_multiplier=0.069)
    # One share alone is a discrete Gaussian: no tau, but not below half a step.
    alone = dataclasses.replace(SMALL, honest=1)
    assert dataclasses.replace(alone, noise_multiplier=0.0148)
    with pytest.raises(ConfigError, match="deviation"):
        dataclasses.replace(alone, noise_multiplier=0.0147)


def test_what_fits_no_ring_is_refused_with_the_setting_to_blame() -> None:
    assert choose_shared_plan(10**6, STEP, 10.0, 1.0, 20, 15).ring_bits == 32
    with pytest.raises(ConfigError, match=r"at most 39\.0625.*lower it") as refusal:
        choose_shared_plan(10**6, STEP, 1e4, 1.0, 20, 15)
    assert refusal.value.key == "training.update_clip"
    assert choose_shared_plan(10**6, STEP, 39.0625, 1.0, 20, 15).ring_bits == 32
    with pytest.raises(ConfigError, match="fits 32 bits") as refusal:
        choose_shared_plan(10**6, STEP, 1.0, 1e4, 20, 15)
    assert refusal.value.key == "privacy.noise_multiplier"
    with pytest.raises(ConfigError, match="one record moves"):
        choose_shared_plan(10, STEP, 0.009, 1.0, 3, 3)


def test_another_shape_or_dtype_or_nan_is_refused() -> None:
    for update in (np.zeros(3), np.zeros(4, np.float32)):
        with pytest.raises(ValueError, match="expected"):
            rounded_gradient(SMALL, update, SEED)
    with pytest.raises(ValueError, match="finite"):
        rounded_gradient(SMALL, np.array([0, 0, 0, math.nan]), SEED)


@pytest.mark.parametrize("steps", [0, 2, 3])
def test_more_than_one_step_is_refused(steps: int) -> None:
    with pytest.raises(ConfigError, match="whole noise") as refusal:
        clipped_step_plan(steps, 0.25, 0.5, 2.0, 400)
    assert refusal.value.key == "training.local_steps"


@pytest.mark.parametrize(
    "field", ["sampling_rate", "learning_rate", "max_grad_norm", "expected_batch_size"]
)
def test_an_impossible_step_names_its_field(field: str) -> None:
    with pytest.raises(ConfigError, match=rf"plan\.{field}"):
        dataclasses.replace(STEP, **{field: 0.0})
