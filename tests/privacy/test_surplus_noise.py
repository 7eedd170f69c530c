"""Add, then remove: for every number of dropouts exactly the noise that was wanted."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from federation.errors import ConfigError, PrivacyRefusal
from privacy.accountant import site_level_divergences
from privacy.discrete_gaussian_divergence import Sensitivity, renyi_divergence, tau
from privacy.event import DistributedDiscreteGaussian
from privacy.surplus_noise import (
    MOST_EXCESS,
    SurplusNoisePlan,
    added_noise,
    component_noise,
    component_seed,
    revealed_seeds,
    surplus_noise,
)

PLAN = SurplusNoisePlan(Fraction(60_000), sites=8, dropouts=4, colluders=2)


def secret(site: int) -> bytes:
    return bytes([site]) * 32


@st.composite
def plans(draw) -> SurplusNoisePlan:
    sites = draw(st.integers(1, 40))
    dropouts = draw(st.integers(0, sites - 1))
    colluders = draw(st.integers(0, sites - 1 - dropouts))
    target = draw(st.fractions(500, 10**9, max_denominator=10**6))
    return SurplusNoisePlan(target, sites, dropouts, colluders)


@given(plans())
def test_honest_survivors_keep_the_target_whoever_dropped_out(plan) -> None:
    for dropped in range(plan.dropouts + 1):
        survivors = plan.sites - dropped
        kept = plan.kept_variance(survivors)
        together = (survivors - plan.colluders) * kept
        assert plan.target <= together <= plan.target * (1 + MOST_EXCESS)
        if dropped in plan.levels:
            assert together == plan.target
        assert plan.sum_variance(survivors) == survivors * kept
        removed = sum((plan.component_variances[k] for k in plan.surplus_components(survivors)), 0)
        assert kept + removed == plan.added_variance
    fewest = plan.sites - plan.dropouts
    assert plan.added_variance == plan.target / (fewest - plan.colluders)
    assert plan.kept_variance(fewest) == plan.added_variance  # nothing to remove


def test_levels_are_few_and_as_far_apart_as_the_excess_allows() -> None:
    # 67 + 6 = 73 may keep the noise of 67, so 27 dropouts are no level and 26 are; and so on.
    plan = SurplusNoisePlan(Fraction(10**6), sites=100, dropouts=33, colluders=0)
    assert plan.levels == (0, 9, 18, 26, 33)
    assert Fraction(100 - 27, 67) <= 1 + MOST_EXCESS < Fraction(100 - 26, 67)
    large = SurplusNoisePlan(Fraction(10**9), sites=10_000, dropouts=3_333, colluders=0)
    assert len(large.levels) == 6
    assert SurplusNoisePlan(Fraction(100), 7, 0, 0).levels == (0,)


@given(plans())
def test_past_the_most_dropouts_nothing_is_opened(plan) -> None:
    for survivors in range(plan.sites - plan.dropouts):
        with pytest.raises(PrivacyRefusal, match="must not be opened"):
            plan.surplus_components(survivors)
    with pytest.raises(ValueError, match="survivors"):
        plan.surplus_components(plan.sites + 1)


def test_the_decomposition_by_hand() -> None:
    # U - C = 6: 60,000 / 6, then over 6 * 5, 5 * 4, 4 * 3, 3 * 2.
    assert PLAN.component_variances == (10_000, 2_000, 3_000, 5_000, 10_000)
    assert PLAN.added_variance == 30_000
    assert list(PLAN.surplus_components(8)) == [1, 2, 3, 4]
    assert list(PLAN.surplus_components(6)) == [3, 4]
    assert list(PLAN.surplus_components(4)) == []
    assert PLAN.kept_variance(6) == 15_000


@pytest.mark.parametrize("dropped", range(5))
def test_the_opened_sum_holds_the_kept_components_and_nothing_else(dropped: int) -> None:
    dimension, survivors = 4_000, 8 - dropped
    total = sum(added_noise(PLAN, dimension, secret(site)) for site in range(survivors))
    revealed = [revealed_seeds(PLAN, secret(site), survivors) for site in range(survivors)]
    opened = total - surplus_noise(PLAN, dimension, survivors, revealed)
    kept = sum(
        component_noise(PLAN, dimension, k, component_seed(secret(site), k))
        for site in range(survivors)
        for k in range(dropped + 1)
    )
    assert np.array_equal(opened, kept)
    statistic = float((opened.astype(float) ** 2).sum()) / float(PLAN.sum_variance(survivors))
    assert 0.001 < stats.chi2(dimension).cdf(statistic) < 0.999
    # Less what colluders know, the rest has the target's variance.
    honest = opened - sum(
        component_noise(PLAN, dimension, k, component_seed(secret(site), k))
        for site in range(2)
        for k in range(dropped + 1)
    )
    statistic = float((honest.astype(float) ** 2).sum()) / 60_000
    assert 0.001 < stats.chi2(dimension).cdf(statistic) < 0.999


def test_a_silent_survivor_leaves_more_noise() -> None:
    assert PLAN.sum_variance(7, silent=1) == 7 * 12_000 + 18_000
    assert PLAN.sum_variance(7, silent=7) == 7 * 30_000
    dimension = 4_000
    total = sum(added_noise(PLAN, dimension, secret(site)) for site in range(7))
    answered = [revealed_seeds(PLAN, secret(site), 7) for site in range(6)]
    opened = total - surplus_noise(PLAN, dimension, 7, answered)
    statistic = float((opened.astype(float) ** 2).sum()) / float(PLAN.sum_variance(7, silent=1))
    assert 0.001 < stats.chi2(dimension).cdf(statistic) < 0.999
    for silent in (-1, 8):
        with pytest.raises(ValueError, match="silent"):
            PLAN.sum_variance(7, silent)


def test_claiming_fewer_dropouts_would_leave_too_little() -> None:
    # Why a site reveals for the signed survivor set only: 6 survivors, seeds as for 8.
    kept = PLAN.component_variances[0] * (6 - PLAN.colluders)
    assert kept == PLAN.target * Fraction(4, 6)


def test_what_is_revealed_is_the_surplus_only() -> None:
    seeds = [component_seed(secret(1), k) for k in range(5)]
    assert len(set(seeds)) == 5
    assert revealed_seeds(PLAN, secret(1), 6) == (seeds[3], seeds[4])
    assert revealed_seeds(PLAN, secret(1), 4) == ()
    assert component_seed(secret(2), 3) != seeds[3]
    assert component_noise(PLAN, 5, 3, seeds[3]).tolist() == [-61, -32, 107, -156, -7]


def test_components_are_independent() -> None:
    drawn = [
        component_noise(PLAN, 50_000, k, component_seed(secret(s), k))
        for s in (1, 2)
        for k in range(5)
    ]
    correlations = np.corrcoef(drawn) - np.eye(10)
    assert np.abs(correlations).max() < 4.5 / math.sqrt(50_000)


def test_other_seeds_than_the_surplus_are_refused() -> None:
    seeds = revealed_seeds(PLAN, secret(1), 6)
    for wrong in (seeds[:1], (*seeds, seeds[0]), ()):
        with pytest.raises(ValueError, match="zip"):
            surplus_noise(PLAN, 5, 6, [wrong])
    with pytest.raises(ValueError, match="seed of 3"):
        surplus_noise(PLAN, 5, 6, [(b"abc", seeds[1])])
    with pytest.raises(ValueError, match="secret of 31"):
        component_seed(bytes(31), 0)


def test_the_cost_is_that_of_the_target_for_every_number_of_dropouts() -> None:
    sensitivity = Sensitivity(1_000, 2_000)
    central = renyi_divergence([2, 8, 64], sensitivity, [PLAN.target])
    for level, noise in zip(PLAN.levels, PLAN.honest_noise(), strict=True):
        assert sum(noise) == PLAN.target
        assert len(noise) == (8 - level - 2) * (PLAN.levels.index(level) + 1)
        assert np.allclose(renyi_divergence([2, 8, 64], sensitivity, noise), central, rtol=1e-9)


def test_the_event_costs_what_the_worst_number_of_dropouts_does() -> None:
    # Six honest sites, of whom up to four may drop out: as PLAN without its colluders.
    event = DistributedDiscreteGaussian(1_000, 2_000, math.sqrt(30), honest=2, count=1, dropouts=4)
    assert float(event.share_variance) == pytest.approx(30_000)
    sensitivity = Sensitivity(1_000, 2_000)
    worst = max(renyi_divergence([8], sensitivity, noise)[0] for noise in PLAN.honest_noise())
    assert site_level_divergences(event, [8])[0] == pytest.approx(worst)
    coarse = DistributedDiscreteGaussian(1_000, 20, 0.8, honest=2, count=1, dropouts=2)
    without = replace(coarse, dropouts=0)
    assert site_level_divergences(coarse, [8])[0] > site_level_divergences(without, [8])[0]


def test_tau_counts_every_component() -> None:
    coarse = SurplusNoisePlan(Fraction(8), sites=5, dropouts=2, colluders=0)
    assert coarse.component_variances == tuple(Fraction(8, n) for n in (5, 20, 12))
    assert coarse.honest_noise()[1] == coarse.component_variances[:2] * 4
    assert tau(coarse.honest_noise()[1]) > tau([Fraction(2)] * 4)
    # The docstring's figure: of two equal summands it is met, of any others it is less.
    assert tau([Fraction(8)] * 2) == pytest.approx(10 * math.exp(-8 * math.pi**2))
    assert tau([Fraction(8)] * 2) < 1e-33
    assert tau([Fraction(8), Fraction(1_000)]) < tau([Fraction(8)] * 2)


@pytest.mark.parametrize(
    ("sites", "dropouts", "colluders"), [(0, 0, 0), (3, 3, 0), (3, 2, 1), (3, -1, 0), (3, 0, -1)]
)
def test_a_plan_without_an_honest_survivor_is_refused(sites, dropouts, colluders) -> None:
    with pytest.raises(ConfigError, match="dropouts"):
        SurplusNoisePlan(Fraction(1_000), sites, dropouts, colluders)


@pytest.mark.parametrize("target", [0, -1, Fraction(1, 100), 2**50])
def test_components_that_cannot_be_drawn_are_refused(target) -> None:
    with pytest.raises(ConfigError, match=r"surplus_noise\.target"):
        SurplusNoisePlan(Fraction(target), 3, 1, 0)
