"""Noise on evaluation counts: the least that keeps the promise, charged as promised."""

import hashlib
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.entropy import SeededEntropy, SystemEntropy
from federation.errors import BudgetExhausted, ConfigError, PrivacyRefusal
from federation.layout import Segment, VectorLayout, count_segment
from federation.ring_vector import RingVector
from privacy.accountant import cost, pure_epsilon, renyi_epsilon
from privacy.budget import Budget, DatasetPolicy
from privacy.count_calibration import (
    SCALE,
    choose_count_noise,
    gaussian_count_noise,
    laplace_count_noise,
)
from privacy.count_noise import CountNoisePlan, CountRelease, release_event
from privacy.count_shares import GaussianShares, LaplaceShares
from privacy.event import (
    Composed,
    DiscreteGaussian,
    DistributedDiscreteLaplace,
    PoissonSampledDistributedGaussian,
    from_plain,
    to_plain,
)
from privacy.ledger import Ledger
from privacy.mechanisms.discrete_laplace import variance as laplace_variance

DELTA = 1e-6
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def of(tables: int, releases: int = 1, **changes) -> CountRelease:
    """Counts, of which the shares of 3 of 5 sites hide a record."""
    return replace(CountRelease((1,) * tables, 1000, 3, 5, releases), **changes)


def deviation(plan: CountNoisePlan) -> float:
    return math.sqrt(plan.variance(plan.release.honest))


def textbook_deviations(epsilon: float, tables: int, releases: int) -> tuple[float, float]:
    """Of Laplace noise whose epsilons add up, and of a Gaussian by Renyi DP at whole orders."""

    def spent(sigma: float) -> float:
        # In fine units, so that what is measured is no distance to a continuous Gaussian.
        fine = DiscreteGaussian(1, tables * 10**8, sigma / math.sqrt(tables), releases)
        return renyi_epsilon([fine], DELTA)

    low, high = 0.1, 10_000.0
    while high / low > 1.0001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if spent(middle) > epsilon else (low, middle)
    return math.sqrt(laplace_variance(tables * releases / epsilon)), high


@pytest.mark.parametrize(
    ("epsilon", "releases", "tables", "geometric", "gaussian", "chosen"),
    [
        (1.0, 1, 1, 1.4, 4.5, "discrete_laplace"),
        (1.0, 1, 4, 5.6, 9.1, "discrete_laplace"),
        (1.0, 12, 4, 67.9, 31.4, "discrete_gaussian"),
        (1.0, 52, 4, 294.0, 65.3, "discrete_gaussian"),
        (3.0, 12, 4, 22.6, 11.4, "discrete_gaussian"),
    ],
)
def test_the_choice_is_that_of_the_published_table_and_never_noisier(
    epsilon, releases, tables, geometric, gaussian, chosen
) -> None:
    textbook = textbook_deviations(epsilon, tables, releases)
    assert textbook == pytest.approx((geometric, gaussian), rel=0.035)
    plan = choose_count_noise(epsilon, DELTA, of(tables, releases))
    assert plan.mechanism == chosen
    assert deviation(plan) <= min(textbook) * 1.001
    by_laplace = laplace_count_noise(epsilon, DELTA, of(tables, releases))
    assert deviation(by_laplace) <= textbook[0] * 1.001
    # Composed as many releases, not added up: far less for many tables or windows.
    assert releases == 1 or deviation(by_laplace) < 0.7 * textbook[0]


def coarser(plan: CountNoisePlan, units: int) -> CountNoisePlan:
    """The plan with so many 1 / SCALE less noise."""
    if isinstance(plan.shares, LaplaceShares):
        less = replace(plan.shares, scale=plan.shares.scale - units / SCALE)
        return replace(plan, shares=less)
    multiplier = plan.shares.noise_multiplier - units / SCALE
    return replace(plan, shares=replace(plan.shares, noise_multiplier=multiplier))


@pytest.mark.parametrize("solve", [laplace_count_noise, gaussian_count_noise])
@pytest.mark.parametrize(
    ("release", "epsilon"),
    [(of(1), 2.0), (of(4, 12), 0.5), (of(2, sensitivities=(1, 3), honest=2), 2.0)],
)
def test_the_noise_meets_the_target_and_is_the_least_that_does(solve, release, epsilon) -> None:
    plan = solve(epsilon, DELTA, release)
    assert cost([plan.event()] * release.releases, DELTA).epsilon <= epsilon
    assert plan.spent_epsilon() == pytest.approx(epsilon, rel=0.01)
    with pytest.raises(PrivacyRefusal, match="costs a record"):
        coarser(plan, 2)


def test_one_release_of_laplace_noise_needs_no_delta() -> None:
    plan = laplace_count_noise(1.0, DELTA, of(4))
    assert pure_epsilon([plan.event()]) <= 1.001
    assert plan.event() == DistributedDiscreteLaplace(1, 4.0, 3, 4)


def test_sensitivities_are_events_of_their_own() -> None:
    plan = laplace_count_noise(1.0, DELTA, of(3, sensitivities=(5, 1, 1)))
    scale = plan.shares.scale
    parts = DistributedDiscreteLaplace(1, scale, 3, 2), DistributedDiscreteLaplace(5, scale, 3, 1)
    assert plan.event() == Composed(parts)
    assert pure_epsilon([plan.event()]) == pytest.approx(7 / scale, rel=1e-12)
    by_gaussian = gaussian_count_noise(1.0, DELTA, of(3, sensitivities=(5, 1, 1)))
    event = by_gaussian.event()
    assert isinstance(event, PoissonSampledDistributedGaussian)
    assert (event.sampling_rate, event.squared_sensitivity, event.dimension) == (1.0, 27, 1000)
    assert event.share_variance == by_gaussian.shares.share_variance


@pytest.mark.parametrize("solve", [laplace_count_noise, gaussian_count_noise])
def test_events_survive_the_ledgers_json(solve) -> None:
    event = solve(1.0, DELTA, of(2, sensitivities=(1, 2))).event()
    assert from_plain(to_plain(event)) == event


def test_plans_of_one_window_are_charged_together() -> None:
    counts = laplace_count_noise(0.5, DELTA, of(2))
    sums = gaussian_count_noise(0.5, DELTA, of(1, sensitivities=(1024,)))
    mixed = laplace_count_noise(0.5, DELTA, of(2, sensitivities=(1, 2)))
    event = release_event([counts, sums, mixed])
    assert isinstance(event, Composed)
    assert len(event.events) == 4
    assert cost([event], DELTA).epsilon <= 1.5
    assert release_event([counts]) == counts.event()


@pytest.mark.parametrize("solve", [laplace_count_noise, gaussian_count_noise])
@pytest.mark.parametrize(
    "release", [pytest.param(of(4), marks=pytest.mark.slow), of(4, honest=2, sites=9)]
)
def test_sums_have_the_variance_that_the_plan_says_whoever_drops_out(solve, release) -> None:
    plan = solve(1.0, DELTA, replace(release, dimension=100_000))
    shares = [
        plan.noise_share(SeededEntropy(1).child("site", site)).astype(np.float64)
        for site in range(release.sites)
    ]
    assert all(share.shape == (100_000,) for share in shares)
    for contributors in range(release.honest, release.sites + 1):
        # Whichever sites are left, not the first ones.
        total = np.sum(shares[release.sites - contributors :], axis=0)
        assert np.mean(total**2) == pytest.approx(plan.variance(contributors), rel=0.03)
        assert np.abs(total).max() <= plan.largest
    for contributors in (release.honest - 1, release.sites + 1):
        with pytest.raises(ValueError, match="contributors"):
            plan.variance(contributors)


@pytest.mark.parametrize("solve", [laplace_count_noise, gaussian_count_noise])
def test_shares_are_fresh_and_repeat_from_a_seed_only(solve) -> None:
    plan = solve(1.0, DELTA, of(2))
    one, again = (plan.noise_share(SeededEntropy(5)) for _ in range(2))
    assert one.dtype == np.int64
    assert np.array_equal(one, again)
    assert not np.array_equal(*(plan.noise_share(SystemEntropy()) for _ in range(2)))


def laplace_tail(largest: int, scale: float) -> Fraction:
    """P[|X| > largest] of discrete Laplace noise, an upper bound within a part in 10^12."""
    q = Fraction(math.exp(-1 / scale))
    return 2 * q ** (largest + 1) / (1 + q)


@pytest.mark.parametrize("scale", [0.5, 1.0, 40.0, 1000.0])
def test_the_largest_laplace_noise_is_a_bound_and_not_far_off(scale: float) -> None:
    cells = 5000
    largest = LaplaceShares(scale, 3).largest(3, cells, -60 * math.log(2))
    assert cells * laplace_tail(largest, scale) <= Fraction(1, 2**60)
    assert cells * laplace_tail(math.floor(0.8 * largest) - 3, scale) > Fraction(1, 2**60)


@given(st.floats(0.1, 1e4), st.integers(1, 9), st.integers(1, 4), st.sampled_from([0.01, 0.2]))
@settings(max_examples=15, deadline=None)
def test_what_is_largest_holds_for_any_number_of_shares(scale, honest, times, chance) -> None:
    shares = LaplaceShares(scale, honest)
    limit = shares.largest(honest * times, 1, math.log(chance))
    draws = np.sum([shares.draw(4000, SeededEntropy(i)) for i in range(honest * times)], axis=0)
    assert np.mean(np.abs(draws) > limit) <= chance
    assert shares.largest(honest * times, 1, math.log(chance) - 1) >= limit


def test_a_sum_in_the_widened_ring_is_the_counts_and_the_noise() -> None:
    plan = choose_count_noise(0.5, DELTA, of(4, dimension=300))
    exact = count_segment("groups", 300, most=9_000, summands=5)
    assert exact.bits == 20
    segment = plan.widened(exact)
    assert (segment.bound, segment.step) == (exact.bound, exact.step)
    layout = VectorLayout((segment,), 5)
    counts = np.random.default_rng(1).integers(0, 9_001, (5, 300))
    total, noise = RingVector.zeros(layout.stretches), np.zeros(300)
    for site in range(5):
        share = plan.noise_share(SeededEntropy(2).child(site))
        vector = layout.encode({"groups": counts[site].astype(np.float64)})
        layout.add(vector, "groups", share)
        total.add(vector)
        noise += share
    assert np.array_equal(layout.decode(total)["groups"], counts.sum(axis=0) + noise)
    assert np.abs(noise).max() > 10


@given(st.integers(1, 2**29), st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_the_ring_is_the_narrowest_that_holds_the_noise_or_there_is_none(most, honest) -> None:
    plan = laplace_count_noise(1.0, DELTA, of(1, honest=honest))
    reach = 5 * most + plan.largest
    segment = Segment("counts", 1000, float(most), 1.0)
    if reach >= 2**31:
        with pytest.raises(ConfigError, match="counts"):
            plan.widened(segment)
        return
    bits = plan.widened(segment).bits
    assert reach < 1 << (bits - 1)
    assert all(reach >= 1 << (narrower - 1) for narrower in (16, 20, 24) if narrower < bits)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"sensitivities": ()}, "sensitivities"),
        ({"sensitivities": (1, 0)}, "sensitivities"),
        ({"sensitivities": (1.0,)}, "sensitivities"),
        ({"sensitivities": (2**31 + 1,)}, "sensitivities"),
        ({"dimension": 3}, "dimension"),
        ({"honest": 0}, "honest"),
        ({"honest": 6}, "honest"),
        ({"sites": 10**5 + 1}, "sites"),
        ({"releases": 0}, "releases"),
        ({"windows": "rolling"}, "windows"),
    ],
)
def test_an_impossible_release_is_one_clear_error(changes, match) -> None:
    with pytest.raises(ConfigError, match=f"count_noise.{match} = "):
        of(4, **changes)


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0.0, 0.1), (-1, 0.1), (math.inf, 0.1), (math.nan, 0.1), (1, 0), (1, 1)]
)
def test_an_impossible_target_is_refused(epsilon, delta) -> None:
    for solve in (choose_count_noise, laplace_count_noise, gaussian_count_noise):
        with pytest.raises(ConfigError, match=r"count_noise\.(epsilon|delta)"):
            solve(epsilon, delta, of(1))


def test_noise_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ConfigError, match="below which nothing is hidden"):
        laplace_count_noise(40.0, DELTA, of(1))
    with pytest.raises(PrivacyRefusal, match="found no noise multiplier"):
        gaussian_count_noise(1e-6, DELTA, of(1))
    with pytest.raises(PrivacyRefusal, match=r"count_noise\.scale.*found no noise multiplier"):
        choose_count_noise(1e-13, DELTA, of(1))
    with pytest.raises(ConfigError, match="deviate by 1/2"):
        GaussianShares(0.5, 1, 3)


def test_shares_of_another_release_are_refused() -> None:
    plan = gaussian_count_noise(1.0, DELTA, of(4))
    for other in (of(3), of(4, honest=2)):
        with pytest.raises(ConfigError, match=r"count_noise\.shares"):
            replace(plan, release=other)
    with pytest.raises(PrivacyRefusal, match="costs a record"):
        replace(plan, release=of(4, releases=2))


# -- charging ---------------------------------------------------------------------------------


def ledger_of(tmp_path, epsilon: float) -> Ledger:
    rules = DatasetPolicy(Budget(epsilon, DELTA))
    clock = "2026-01-01T00:00:00+00:00".__str__
    return Ledger.create(tmp_path / "ulm.sqlite", KEY, ("ulm", "heart"), rules, clock)


def released(ledger: Ledger, plan: CountNoisePlan, run: str, window: int) -> None:
    """One release as a site makes it: reserved, drawn, committed before it leaves."""
    reservation = ledger.reserve(run, window, 1)
    share = plan.noise_share(SeededEntropy(3).child(run, window))
    ledger.commit(reservation, hashlib.sha256(share.data).hexdigest())


@pytest.mark.parametrize("solve", [laplace_count_noise, gaussian_count_noise])
@pytest.mark.parametrize("releases", [1, 6])
def test_a_ledger_says_what_the_plan_says_and_refuses_one_more(tmp_path, solve, releases) -> None:
    plan = solve(1.0, DELTA, of(4, releases))
    ledger = ledger_of(tmp_path, 1.0)
    ledger.register(plan.charge_plan("monitor", cohort=4))
    for window in range(1, releases + 1):
        released(ledger, plan, "monitor", window)
    assert ledger.spent().epsilon == plan.spent_epsilon() <= 1.0
    with pytest.raises(PrivacyRefusal, match="has charged for all"):
        ledger.reserve("monitor", releases + 1, 1)
    ledger.register(plan.charge_plan("again", cohort=4))
    with pytest.raises(BudgetExhausted, match=r"of epsilon 1 at delta|has the whole budget"):
        ledger.reserve("again", 1, 1)
    assert ledger.spent().epsilon == plan.spent_epsilon()
    ledger.close()


def test_disjoint_windows_are_one_charge_and_overlapping_ones_a_charge_each(tmp_path) -> None:
    overlapping = choose_count_noise(1.0, DELTA, of(4, 12))
    disjoint = choose_count_noise(1.0, DELTA, of(4, 12, windows="disjoint"))
    once = choose_count_noise(1.0, DELTA, of(4))
    assert overlapping.charge_plan("r", 3).rounds == 12
    assert disjoint.charge_plan("r", 3).rounds == 1
    assert disjoint.shares == once.shares
    assert disjoint.history() == disjoint.event() == once.event()
    assert deviation(disjoint) < deviation(overlapping) / 4
    ledger = ledger_of(tmp_path, 1.0)
    ledger.register(disjoint.charge_plan("monitor", 3))
    released(ledger, disjoint, "monitor", 1)
    assert ledger.spent().epsilon == disjoint.spent_epsilon()
    ledger.close()


def test_a_cohort_smaller_than_what_hides_a_record_is_refused() -> None:
    plan = laplace_count_noise(1.0, DELTA, of(1))
    assert plan.charge_plan("r", 3).cohort == 3
    with pytest.raises(PrivacyRefusal, match="raise the quorum"):
        plan.charge_plan("r", 2)
