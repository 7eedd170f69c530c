"""The plan: its bits, its noise and its cost, each against another way to get it."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent
from dp_accounting.rdp import RdpAccountant
from scipy import optimize, stats

from federation.entropy import SeededEntropy
from federation.errors import ConfigError
from federation.ring_vector import RING_BITS
from privacy.accountant import RDP_ORDERS, SITE_LEVEL_ORDERS
from privacy.distributed_noise import (
    DistributedNoisePlan,
    choose_plan,
    rounded_update,
)
from privacy.mechanisms.hadamard import unrotate
from privacy.noised_sum import decoded_sum, noise_share, removable_noise_share

SEED = bytes(range(32))


def gaussian_epsilon(noise_multiplier: float, delta: float) -> float:
    """Balle and Wang 2018, arXiv:1805.06530, Theorem 8, solved here."""

    def excess(epsilon: float) -> float:
        half, far = 1 / (2 * noise_multiplier), epsilon * noise_multiplier
        return stats.norm.cdf(half - far) - math.exp(epsilon) * stats.norm.cdf(-half - far) - delta

    return float(optimize.brentq(excess, 0, 200 / noise_multiplier))


SMALL = DistributedNoisePlan(
    dimension=3, clip=1.0, granularity=0.25, noise_multiplier=0.5, sites=4, honest=3, ring_bits=16
)


@pytest.mark.parametrize(
    ("noise_multiplier", "dimension", "bits"),
    [(0.5, 10**5, 13), (0.5, 10**6, 15), (0.5, 10**7, 17), (1, 10**5, 14), (1, 10**6, 16),
     (1, 10**7, 18), (2, 10**5, 15), (2, 10**6, 17), (2, 10**7, 19), (4, 10**5, 16),
     (4, 10**6, 18), (4, 10**7, 20)],
)  # fmt: skip
def test_bits_agree_with_a_table_made_apart(noise_multiplier, dimension: int, bits: int) -> None:
    # Made with an inflation of 1 % and a margin of 6 deviations; ours is 7.2 to 7.9, for all
    # coordinates at once, and has room for the signals: up to one bit more.
    clip = math.sqrt(dimension / 4 / 0.0201) * 1.01
    plan = DistributedNoisePlan(dimension, clip, 1.0, float(noise_multiplier), 10, 10, 32)
    assert 0.0098 < plan.inflation < 0.0104
    assert bits <= plan.bits_needed <= bits + 1


@pytest.mark.parametrize(("sites", "honest"), [(3, 3), (10, 6), (100, 60)])
@pytest.mark.parametrize("noise_multiplier", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("dimension", [1, 1_000, 10**6, 10**7])
def test_a_chosen_plan_costs_under_a_percent_and_wastes_no_ring(
    sites: int, honest: int, noise_multiplier: float, dimension: int
) -> None:
    plan = choose_plan(dimension, 0.7, noise_multiplier, sites, honest)
    assert plan.inflation <= 0.01
    accountant = RdpAccountant(SITE_LEVEL_ORDERS)
    accountant.compose(GaussianDpEvent(noise_multiplier))
    for delta in (1e-2, 1e-5, 1e-9):
        central, cost = accountant.get_epsilon(delta), plan.cost(delta)
        assert central <= cost.epsilon_rdp <= 1.01 * central
        exact = gaussian_epsilon(noise_multiplier, delta)
        assert exact <= cost.epsilon_pld <= 1.01 * exact
        assert cost.epsilon_pld < cost.epsilon_rdp
    finer = {"granularity": plan.granularity / 2}
    with pytest.raises(ConfigError, match="ring_bits"):
        dataclasses.replace(plan, **finer)
    if plan.ring_bits > 16:
        fewer = RING_BITS[RING_BITS.index(plan.ring_bits) - 1]
        coarser = plan.granularity
        while coarser <= plan.clip:
            try:
                other = dataclasses.replace(plan, ring_bits=fewer, granularity=coarser)
            except ConfigError:
                coarser *= 2
                continue
            assert other.inflation > 0.01 or other.overhead > 0.01
            break


def test_signals_alone_cannot_leave_the_ring() -> None:
    plan = choose_plan(2_000, 1.0, 1.0, sites=20, honest=10)
    assert plan.sites * plan.largest_code + plan.noise_margin < 2 ** (plan.ring_bits - 1)
    assert plan.sites * plan.largest_code + plan.noise_margin >= 2 ** (plan.ring_bits - 2)
    # Not even those of vectors made for the public seed, whose whole norm is one coordinate.
    spike = unrotate(np.eye(2_000)[7], SEED)
    worst = rounded_update(plan, spike, SEED, SeededEntropy(1))
    assert abs(worst[7]) == plan.largest_code
    assert np.abs(worst).max() == plan.largest_code


def test_noise_seldom_leaves_its_margin() -> None:
    for sites, honest in ((5, 5), (40, 12)):
        plan = choose_plan(1_000, 1.0, 0.8, sites, honest)
        deviation = math.sqrt(sites * plan.share_variance)
        assert 2 * 1_000 * stats.norm.sf(plan.noise_margin / deviation) <= 1e-6
        assert 2 * 1_000 * stats.norm.sf(0.9 * plan.noise_margin / deviation) > 1e-6


def test_the_plan_by_hand() -> None:
    # Theorem 1: (4 + sqrt 3)^2 = 32.9; 16 + 3/4 + 1 * (4 + sqrt(3) / 2) = 21.6; z^2 21 / 3 = 7/4.
    assert SMALL.sensitivity.squared_l2 == 21
    assert SMALL.sensitivity.l2 == pytest.approx(math.sqrt(21))
    assert SMALL.sensitivity.l1 == pytest.approx(math.sqrt(63))
    assert SMALL.share_variance == Fraction(7, 4)
    assert SMALL.largest_code == 4
    assert SMALL.noise_deviation(3) == pytest.approx(0.5 * math.sqrt(21) * 0.25)
    assert SMALL.noise_margin == math.ceil(math.sqrt(2 * 7 * math.log(6e6)))
    assert SMALL.bits_needed == 6  # 16 + 15 = 31 < 2^5
    assert SMALL.inflation == pytest.approx(math.sqrt(21) / 4 - 1)


def test_the_noise_of_the_fewest_honest_is_the_noise_asked_for() -> None:
    for honest in (1, 2, 7, 9):
        plan = dataclasses.replace(SMALL, sites=9, honest=honest)
        assert honest * plan.share_variance == Fraction(1, 4) * plan.sensitivity.squared_l2


def surplus_plan(**other) -> DistributedNoisePlan:
    return choose_plan(2_000, 1.0, 1.0, **{"sites": 10, "honest": 5, "dropouts": 3} | other)


def test_a_share_that_can_be_removed_in_part_has_the_same_variance() -> None:
    plan = surplus_plan()
    assert plan.surplus is not None
    assert (plan.surplus.sites, plan.surplus.dropouts, plan.surplus.colluders) == (10, 3, 2)
    assert plan.surplus.added_variance == plan.share_variance
    drawn = removable_noise_share(plan, bytes(32))
    statistic = float((drawn.astype(float) ** 2).sum()) / float(plan.share_variance)
    assert 0.001 < stats.chi2(2_000).cdf(statistic) < 0.999
    with pytest.raises(ValueError, match="removes no surplus"):
        removable_noise_share(choose_plan(10, 1.0, 1.0, 5, 3), bytes(32))


def test_the_noise_left_is_that_of_the_honest_who_are_left() -> None:
    plan = surplus_plan()
    target = plan.share_variance * plan.honest
    assert plan.sum_variance(7) == 7 * plan.share_variance
    for contributors in range(7, 11):
        assert plan.sum_variance(contributors) * (contributors - 2) / contributors == target
        assert plan.sum_variance(contributors, contributors) == contributors * plan.share_variance
    assert plan.noise_deviation(10) < plan.noise_deviation(10, silent=1)
    without = dataclasses.replace(plan, dropouts=0)
    assert plan.noise_deviation(10, silent=10) == without.noise_deviation(10)


@pytest.mark.parametrize("sites", [4, 10, 100])
def test_removing_surplus_costs_no_more_epsilon(sites: int) -> None:
    honest = sites - sites // 3
    kept = choose_plan(10**5, 1.0, 1.0, sites, honest)
    removed = choose_plan(10**5, 1.0, 1.0, sites, honest, sites - honest)
    central = GaussianDpEvent(1.0)
    accountant = RdpAccountant(SITE_LEVEL_ORDERS)
    accountant.compose(central)
    assert accountant.get_epsilon(1e-5) <= removed.cost(1e-5).epsilon_rdp
    assert removed.cost(1e-5).epsilon_rdp <= 1.01 * kept.cost(1e-5).epsilon_rdp
    assert removed.cost(1e-5).epsilon == pytest.approx(kept.cost(1e-5).epsilon, rel=0.01)
    assert removed.ring_bits - kept.ring_bits <= 4


def test_parts_too_small_to_draw_are_refused() -> None:
    fine = DistributedNoisePlan(3, 1.0, 0.25, 0.5, sites=9, honest=8, ring_bits=16)
    with pytest.raises(ConfigError, match="surplus_noise"):
        dataclasses.replace(fine, dropouts=1)
    with pytest.raises(ConfigError, match="dropouts"):
        dataclasses.replace(fine, dropouts=2)


def test_the_curve_composes() -> None:
    plan = choose_plan(10**5, 1.0, 2.0, sites=10, honest=8)
    accountant = RdpAccountant(RDP_ORDERS)
    accountant.compose(GaussianDpEvent(2.0), 30)
    assert np.allclose(30 * plan.renyi_divergences(RDP_ORDERS), accountant.rdp, rtol=0.01)


def test_a_round_gives_the_sum_with_the_noise_promised() -> None:
    sites, dimension = 6, 3_000
    plan = choose_plan(dimension, 1.0, 1.0, sites, honest=4)
    generator = np.random.default_rng(3)
    updates = [generator.normal(size=dimension) for _ in range(sites)]
    total = np.zeros(dimension, np.int64)
    for site, update in enumerate(updates):
        entropy = SeededEntropy(site)
        signal = rounded_update(plan, update, SEED, entropy.child("rounding"))
        assert int(signal @ signal) <= plan.sensitivity.squared_l2
        total += signal + noise_share(plan, entropy.child("noise"))
    decoded = decoded_sum(plan, total, SEED)
    error = decoded - sum(update / np.linalg.norm(update) for update in updates)
    promised = plan.noise_deviation(sites)
    assert promised == pytest.approx(math.sqrt(6 / 4) * (1 + plan.inflation))
    assert np.std(error) == pytest.approx(promised, rel=4 / math.sqrt(2 * dimension))
    assert abs(error.mean()) < 4 * promised / math.sqrt(dimension)


def test_an_update_within_the_clip_is_not_scaled() -> None:
    plan = choose_plan(500, 2.0, 1.0, 3, 3)
    update = np.linspace(-0.01, 0.01, 500)
    signal = rounded_update(plan, update, SEED, SeededEntropy(1))
    assert np.allclose(decoded_sum(plan, signal, SEED), update, atol=30 * plan.granularity)
    with pytest.raises(ValueError, match="expected"):
        rounded_update(plan, update[:-1], SEED, SeededEntropy(1))
    with pytest.raises(ValueError, match="expected"):
        decoded_sum(plan, signal[:-1], SEED)


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [("dimension", 0, "dimension"), ("clip", 0.0, "clip"), ("clip", math.nan, "clip"),
     ("noise_multiplier", 0.0, "noise_multiplier"), ("noise_multiplier", math.inf, "multiplier"),
     ("honest", 0, "honest"), ("honest", 5, "honest"), ("sites", 2, "honest"),
     ("granularity", 0.3, "granularity"), ("granularity", 2.0, "granularity"),
     ("granularity", 2.0**-31, "granularity"), ("beta", 0.0, "beta"), ("beta", 1.0, "beta"),
     ("noise_multiplier", 0.18, "noise_multiplier"), ("noise_multiplier", 1e8, "multiplier"),
     ("ring_bits", 5, "ring_bits")],
)  # fmt: skip
def test_a_plan_without_sense_names_its_field(field: str, value, key: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        dataclasses.replace(SMALL, **{field: value})
    assert refusal.value.key.startswith("privacy.site_level.")
    assert refusal.value.key.endswith(key)


def test_what_fits_no_ring_is_refused() -> None:
    assert choose_plan(10**9, 1.0, 400.0, 100, 90).ring_bits == 32
    with pytest.raises(ConfigError, match="fits 32 bits") as refusal:
        choose_plan(10**9, 1.0, 4_000.0, 100, 90)
    assert refusal.value.key == "privacy.site_level.noise_multiplier"
    with pytest.raises(ConfigError, match="honest"):
        choose_plan(10, 1.0, 1.0, 3, 4)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, math.nan])
def test_an_impossible_delta_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="delta"):
        SMALL.cost(delta)
