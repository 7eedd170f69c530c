"""Epsilon against closed forms, published values and dp-accounting used directly."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import compute_epsilon
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp
from scipy.stats import norm

from federation.errors import PrivacyRefusal
from privacy import accountant, renyi
from privacy.accountant import DISCRETISATION, Cost, cost, is_affordable, quick_epsilon
from privacy.calibration import noise_multiplier
from privacy.discrete_gaussian_divergence import tau
from privacy.event import (
    Composed,
    DistributedDiscreteGaussian,
    NonPrivate,
    PoissonSampledDistributedGaussian,
    PoissonSampledGaussian,
    from_plain,
    to_plain,
)
from privacy.sampled_discrete_gaussian import ROUNDING_VARIANCE


def sgd(q: float, sigma: float, steps: int) -> PoissonSampledGaussian:
    return PoissonSampledGaussian(q, sigma, steps)


def shared(
    q: float, sigma: float, steps: int, honest: int = 3
) -> PoissonSampledDistributedGaussian:
    """In steps as fine as plans have them: shares of some thousand units."""
    return PoissonSampledDistributedGaussian(q, sigma, 1_000, 10**8, honest, steps)


def gaussian_epsilon(sigma: float, delta: float) -> float:
    """Balle and Wang 2018, arXiv:1805.06530, Theorem 8, inverted: an implementation of our own.

    In logarithms, so that it is exact at any delta.
    """

    def excess(epsilon: float) -> float:
        first = norm.logcdf(0.5 / sigma - epsilon * sigma)
        second = epsilon + norm.logcdf(-0.5 / sigma - epsilon * sigma)
        return first + math.log(-math.expm1(second - first)) - math.log(delta)

    return float(brentq(excess, 0, 150, xtol=1e-12))


def renyi_epsilon(q: float, sigma: float, steps: int, delta: float) -> float:
    """Mironov, Talwar and Zhang 2019, arXiv:1908.10530, Section 3.3, at whole orders; then
    Canonne, Kamath and Steinke 2020, arXiv:2004.00010, Proposition 12."""

    def at(order: int) -> float:
        k = np.arange(order + 1)
        binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        terms = binomial + (order - k) * np.log1p(-q) + k * np.log(q) + k * (k - 1) / 2 / sigma**2
        divergence = steps * logsumexp(terms) / (order - 1)
        return divergence + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)

    return max(0.0, min(map(at, accountant.RDP_ORDERS)))


@pytest.mark.parametrize(
    ("sigma", "steps", "published"), [(1.0, 1, 4.377178), (0.6, 1, 8.0037), (1.0, 100, 91.817)]
)
def test_unsampled_gaussians_meet_the_closed_form(sigma, steps, published) -> None:
    ours = cost([sgd(1.0, sigma, steps)], 1e-5).epsilon_pld
    exact = gaussian_epsilon(sigma / math.sqrt(steps), 1e-5)
    assert ours == pytest.approx(published, rel=1e-5)
    assert exact <= ours <= exact * (1 + 1e-4)


@pytest.mark.parametrize("delta", [1e-5, 1e-8, 1e-10, 1e-12, 1e-14])
@pytest.mark.parametrize(("sigma", "steps"), [(1.0, 1), (1.0, 100), (5.0, 100), (100.0, 5_000)])
def test_rounding_never_makes_it_optimistic(sigma, steps, delta) -> None:
    # dp-accounting alone is up to 0.15 below the closed form here: 100 of noise 1 at delta 1e-14.
    exact = gaussian_epsilon(sigma / math.sqrt(steps), delta)
    assert cost([sgd(1.0, sigma, steps)], delta).epsilon >= exact


def test_a_mixture_of_gaussians_meets_its_closed_form() -> None:
    # The example of Microsoft's prv_accountant: fifty of each.
    mu = math.sqrt(50 / 10**2 + 50 / 5**2)
    mixed = cost([sgd(1.0, 10.0, 50), sgd(1.0, 5.0, 50)], 1e-5).epsilon_pld
    assert mixed == pytest.approx(gaussian_epsilon(1 / mu, 1e-5), rel=1e-4)


@pytest.mark.parametrize(
    ("rows", "batch", "sigma", "epochs", "delta", "rdp", "pld"),
    [
        (60_000, 150, 1.3, 15, 1e-5, 0.7242234026, 0.6401),  # TF-Privacy's own test values
        (100_000, 100, 1.0, 30, 1e-7, 1.4154988495, 1.0982),
    ],
)
def test_published_dp_sgd_values(rows, batch, sigma, epochs, delta, rdp, pld) -> None:
    ours = cost([sgd(batch / rows, sigma, epochs * rows // batch)], delta)
    assert ours.epsilon_rdp == pytest.approx(rdp, rel=1e-6)
    assert ours.epsilon_pld == pytest.approx(pld, rel=2e-4)


@pytest.mark.parametrize(
    ("q", "sigma", "steps", "delta", "rdp", "pld"),
    [
        (256 / 60_000, 1.1, 14_062, 1e-5, 2.5966, 2.3817),  # TF-Privacy's tutorial
        (0.01, 4.0, 10_000, 1e-5, 1.0355, 0.9470),  # the setting of Abadi et al. 2016
        (0.04, 1.5, 2250, 1e-5, 7.32911117143, 6.76879),  # Opacus' own test
        (0.1, 3.0, 512, 1e-6, None, 3.77),  # the doctest of jax_privacy
    ],
)
def test_other_published_settings(q, sigma, steps, delta, rdp, pld) -> None:
    ours = cost([sgd(q, sigma, steps)], delta)
    assert ours.epsilon_pld == pytest.approx(pld, rel=1e-3)
    assert ours.epsilon_pld <= ours.epsilon_rdp
    if rdp is not None:
        assert ours.epsilon_rdp == pytest.approx(rdp, rel=1e-3)


def test_it_is_below_opacus_prv_which_adds_its_error_bound() -> None:
    assert 6.777395712 - 0.02 < cost([sgd(0.04, 1.5, 2249)], 1e-5).epsilon_pld <= 6.777395712


@settings(max_examples=30)
@given(st.floats(0.001, 0.9), st.floats(0.5, 20), st.integers(1, 10_000), st.floats(1e-9, 1e-2))
def test_renyi_agrees_with_its_formula(q, sigma, steps, delta) -> None:
    ours = cost_by_renyi(q, sigma, steps, delta)
    by_formula = renyi_epsilon(q, sigma, steps, delta)
    # Above it only by the outward rounding; below it where so little divergence is no loss at all.
    assert ours <= by_formula * (1 + 1e-9) + 2e-9
    if ours > 0.5:
        assert ours == pytest.approx(by_formula, rel=1e-6)


def cost_by_renyi(q: float, sigma: float, steps: int, delta: float) -> float:
    return renyi.epsilon(((sgd(q, sigma, 1), steps),), delta)


def test_fifty_rounds_cost_what_fifty_rounds_cost() -> None:
    # A new accountant each round would report `one` fifty times over.
    one = cost([sgd(0.01, 1.0, 100)], 1e-5).epsilon
    fifty = cost([sgd(0.01, 1.0, 100)] * 50, 1e-5).epsilon
    assert fifty > 4 * one
    assert fifty == cost([sgd(0.01, 1.0, 5000)], 1e-5).epsilon


@settings(max_examples=5)
@given(st.floats(0.01, 0.5), st.floats(1.0, 5), st.integers(1, 100), st.sampled_from([1e-3, 1e-6]))
def test_it_is_monotone_and_pld_is_never_looser_than_renyi(q, sigma, steps, delta) -> None:
    here = cost([sgd(q, sigma, steps)], delta)
    slack = 1e-3  # two PLDs' discretisation
    assert here.epsilon_pld <= here.epsilon_rdp + slack
    assert cost([sgd(q, sigma, steps + 50)], delta).epsilon_pld >= here.epsilon_pld - slack
    assert cost([sgd(q, sigma * 1.3, steps)], delta).epsilon_pld <= here.epsilon_pld + slack
    assert cost([sgd(q * 0.7, sigma, steps)], delta).epsilon_pld <= here.epsilon_pld + slack
    assert cost([sgd(q, sigma, steps)], delta * 2).epsilon_pld <= here.epsilon_pld + slack


def test_order_and_grouping_do_not_matter() -> None:
    a, b = sgd(0.1, 2.0, 30), sgd(0.02, 1.0, 100)
    reference = cost([a, b, a], 1e-5)
    assert cost([sgd(0.1, 2.0, 60), b], 1e-5) == reference
    other_order = cost([b, a, a], 1e-5)
    assert other_order.epsilon_pld == pytest.approx(reference.epsilon_pld, rel=1e-9)
    assert other_order.epsilon_rdp == pytest.approx(reference.epsilon_rdp, rel=1e-12)


def test_a_mixed_history_agrees_with_dp_accounting() -> None:
    events = [sgd(0.1, 2.0, 30), sgd(0.02, 1.0, 100)]
    theirs = PLDAccountant(value_discretization_interval=DISCRETISATION)
    theirs.compose(dp_accounting.ComposedDpEvent([e.to_dp_event() for e in events]))
    assert cost(events, 1e-5).epsilon_pld == pytest.approx(theirs.get_epsilon(1e-5), rel=1e-6)


def test_nothing_costs_nothing_and_a_release_without_privacy_everything() -> None:
    assert cost([], 1e-5) == Cost(0.0, 0.0)
    assert cost([sgd(0.1, 2.0, 1), NonPrivate()], 1e-5).epsilon == math.inf
    with pytest.raises(ValueError, match="delta"):
        cost([], 0.0)


@pytest.mark.parametrize(
    ("q", "sigma", "steps"), [(0.1, 2.0, 30), (0.01, 1.0, 1000), (1.0, 5.0, 1)]
)
def test_noise_in_shares_costs_what_it_would_at_once(q, sigma, steps) -> None:
    ours, central = cost([shared(q, sigma, steps)], 1e-5), cost([sgd(q, sigma, steps)], 1e-5)
    for by in ("epsilon_pld", "epsilon_rdp"):
        assert getattr(ours, by) == pytest.approx(getattr(central, by), rel=1e-6)
        assert getattr(ours, by) >= getattr(central, by) * (1 - 1e-12)


def test_noise_in_shares_composes_with_other_events_of_records() -> None:
    both = [shared(0.1, 2.0, 10), sgd(0.02, 1.0, 100), shared(0.1, 2.0, 20)]
    central = cost([sgd(0.1, 2.0, 30), sgd(0.02, 1.0, 100)], 1e-5)
    assert cost(both, 1e-5).epsilon_pld == pytest.approx(central.epsilon_pld, rel=1e-6)
    assert cost(both, 1e-5).epsilon_rdp == pytest.approx(central.epsilon_rdp, rel=1e-6)
    assert cost([Composed(tuple(both))], 1e-5) == cost(both, 1e-5)
    assert cost([*both, NonPrivate()], 1e-5).epsilon == math.inf
    site = DistributedDiscreteGaussian(10, 100, 1.0, 2, 1)
    with pytest.raises(PrivacyRefusal, match="never added"):
        cost([shared(0.1, 2.0, 1), site], 1e-5)


def test_renyi_divergences_add_up_over_events_and_make_the_epsilon() -> None:
    history = [sgd(0.1, 2.0, 30), Composed((sgd(0.02, 1.0, 100), shared(0.1, 2.0, 5)))]
    whole = accountant.renyi_divergences(history)
    parts = [accountant.renyi_divergences([event]) for event in history]
    assert whole == pytest.approx(sum(parts), rel=1e-12)
    epsilon, _ = compute_epsilon(accountant.RDP_ORDERS, whole, 1e-5)
    assert epsilon == pytest.approx(cost(history, 1e-5).epsilon_rdp, rel=1e-12)
    assert not np.any(accountant.renyi_divergences([]))
    assert np.all(np.isinf(accountant.renyi_divergences([*history, NonPrivate()])))
    with pytest.raises(PrivacyRefusal, match="record-level"):
        accountant.renyi_divergences([DistributedDiscreteGaussian(10, 100, 1.0, 2, 1)])


def test_what_is_far_from_a_discrete_gaussian_is_charged_for_it() -> None:
    # Shares of variance 1/2 in 1000 coordinates: the distance alone is beyond any bound.
    far = PoissonSampledDistributedGaussian(0.1, 2.0, 1_000, 1, 8, 1)
    assert cost([far], 1e-5).epsilon_pld == math.inf
    assert cost([far], 1e-5).epsilon_rdp > 30
    # Of variance 1 in one: what it adds is seen, in each bound as its module says.
    near = PoissonSampledDistributedGaussian(1.0, 2.0, 1, 2, 8, 100)
    least = PoissonSampledGaussian(1.0, math.sqrt((8 - ROUNDING_VARIANCE) / 2), 100)
    gap = 100 * tau([Fraction(1)] * 8)
    ours, pld = cost([near], 1e-5), cost([least], 1e-5 * math.exp(-gap / 2)).epsilon_pld
    assert gap > 0.05
    assert ours.epsilon_pld == pytest.approx(pld + gap, rel=1e-6)
    central = cost([sgd(1.0, 2.0, 100)], 1e-5).epsilon_rdp
    assert ours.epsilon_rdp - central == pytest.approx(gap, rel=1e-6)  # at order 2, the best here
    # Shares below a quarter are none that the bound knows.
    assert (
        cost([PoissonSampledDistributedGaussian(0.1, 1.0, 1, 9, 40, 1)], 1e-5).epsilon == math.inf
    )


HISTORIES = [
    [shared(0.25, 3.0, 30)],
    [sgd(0.25, 3.0, 30)],
    [sgd(0.01, 1.0, 1000)],
    [sgd(0.1, 2.0, 30), sgd(0.02, 1.0, 100), sgd(1.0, 8.0, 2)],
]


@pytest.mark.parametrize("history", HISTORIES)
def test_affordable_is_what_costs_at_most_epsilon_and_nothing_more(history) -> None:
    epsilon = cost(history, 1e-4).epsilon
    for enough in (epsilon, epsilon * 1.1, epsilon * 2):
        assert is_affordable(history, 1e-4, enough)
    for too_little in (math.nextafter(epsilon, 0), epsilon * 0.9):
        assert not is_affordable(history, 1e-4, too_little)


@pytest.mark.parametrize("history", HISTORIES[:3])
def test_the_quick_bound_is_a_bound_and_near(history) -> None:
    epsilon = cost(history, 1e-4).epsilon
    assert epsilon <= quick_epsilon(history, 1e-4) <= epsilon * 1.05


def test_nothing_is_affordable_and_a_release_without_privacy_only_without_a_budget() -> None:
    assert is_affordable([], 1e-5, 1e-9)
    assert not is_affordable([sgd(0.1, 2.0, 1), NonPrivate()], 1e-5, 1e9)
    assert is_affordable([NonPrivate()], 1e-5, math.inf)


@pytest.mark.parametrize(
    "event",
    [
        sgd(0.5, 1e-3, 1),
        sgd(1.0, 1e-200, 1),
        sgd(0.001, 0.05, 1),
        sgd(1.0, 1.0, 10**9),
        sgd(1e-300, 1e300, 10**9),
        shared(0.5, 1e-300, 1),
        shared(1e-300, 1e300, 10**9),
        PoissonSampledDistributedGaussian(1.0, 1e-3, 2**40, 2**62, 10**5, 10**9),
    ],
)
def test_an_extreme_event_is_costed_outwards_without_the_work_of_a_pld(event) -> None:
    ours = cost([event], 1e-5)
    assert ours.epsilon_pld == math.inf
    assert ours.epsilon_rdp > 0


def test_what_rounds_to_no_loss_still_costs() -> None:
    assert cost([sgd(1e-9, 1e5, 10**9)], 1e-9).epsilon > 0


@pytest.mark.parametrize(
    ("epsilon", "delta", "q", "steps"),
    [
        (2.0, 1e-3, 0.25, 60),
        pytest.param(1.0, 1e-5, 0.01, 1000, marks=pytest.mark.slow),
        pytest.param(8.0, 1e-3, 0.2, 100, marks=pytest.mark.slow),
        (0.08, 1e-5, 0.001, 10_000),  # where the fast bound is far off
        (1e3, 1e-2, 1.0, 1),  # where Renyi DP has no bound worth the name
    ],
)
def test_calibration_meets_the_target_and_wastes_nothing(epsilon, delta, q, steps) -> None:
    sigma = noise_multiplier(epsilon, delta, q, steps)
    assert float(f"{sigma:.4f}") == sigma
    assert cost([sgd(q, sigma, steps)], delta).epsilon <= epsilon
    assert cost([sgd(q, sigma - 1e-4, steps)], delta).epsilon > epsilon


def test_calibration_agrees_with_jax_privacy() -> None:
    assert noise_multiplier(1.0, 1e-6, 0.1, 512) == pytest.approx(9.66, abs=0.01)


def test_a_run_calibrated_to_a_budget_is_affordable_to_its_last_round() -> None:
    sigma = noise_multiplier(2.0, 1e-3, 0.25, 60)
    rounds = [sgd(0.25, sigma, 6)] * 10
    for finished in itertools.accumulate([[event] for event in rounds]):
        assert is_affordable(finished, 1e-3, 2.0)
    assert not is_affordable([*rounds, sgd(0.25, sigma, 6)], 1e-3, 2.0)


def test_a_target_that_no_noise_meets_is_refused() -> None:
    with pytest.raises(PrivacyRefusal, match="raise epsilon"):
        noise_multiplier(1e-9, 1e-12, 1.0, 1_000)


@given(st.floats(1e-9, 1), st.floats(1e-6, 1e6), st.integers(1, 10**9))
def test_an_event_reads_back_exactly(q, sigma, count) -> None:
    event = sgd(q, sigma, count)
    assert from_plain(to_plain(event)) == event


def test_an_event_of_shared_noise_reads_back_exactly() -> None:
    event = shared(0.1, 1 / 3, 7)
    assert from_plain(to_plain(event)) == event
    assert to_plain(event) == {
        "mechanism": "poisson_sampled_distributed_gaussian", "sampling_rate": 0.1,
        "noise_multiplier": 1 / 3, "dimension": 1_000, "squared_sensitivity": 10**8, "honest": 3,
        "count": 7, "dropouts": 0,
    }  # fmt: skip
    composed = Composed((event, sgd(0.1, 1.0, 2)))
    assert from_plain(to_plain(composed)) == composed


@pytest.mark.parametrize(
    "change",
    [{"sampling_rate": 0.0}, {"sampling_rate": 1.5}, {"sampling_rate": 1},
     {"noise_multiplier": 0.0}, {"noise_multiplier": math.inf}, {"noise_multiplier": math.nan},
     {"dimension": 0}, {"dimension": 2**40 + 1}, {"dimension": 2.0},
     {"squared_sensitivity": 0}, {"squared_sensitivity": 2**62 + 1}, {"squared_sensitivity": 4.0},
     {"honest": 0}, {"honest": 10**5 + 1}, {"honest": True}, {"dropouts": -1},
     {"dropouts": 10**5 + 1}, {"dropouts": 0.0}, {"count": 0}, {"count": 10**9 + 1},
     {"extra": 1}],
)  # fmt: skip
def test_an_impossible_event_of_shared_noise_is_refused(change: dict) -> None:
    with pytest.raises(PrivacyRefusal, match="event"):
        from_plain(to_plain(shared(0.1, 1.0, 7)) | change)


def test_the_largest_event_of_shared_noise_is_one() -> None:
    event = PoissonSampledDistributedGaussian(1.0, 1.0, 2**40, 2**62, 10**5, 10**9)
    assert from_plain(to_plain(event)) == event


@pytest.mark.parametrize(
    "plain",
    [
        None,
        {},
        {"mechanism": "os.system"},
        {"mechanism": "poisson_sampled_gaussian"},
        {"mechanism": "poisson_sampled_gaussian", "sampling_rate": 0.1, "noise_multiplier": 1.0,
         "count": 1, "extra": 1},
        {"mechanism": "poisson_sampled_gaussian", "sampling_rate": 0.0, "noise_multiplier": 1.0,
         "count": 1},
        {"mechanism": "poisson_sampled_gaussian", "sampling_rate": 0.1, "noise_multiplier": 0.0,
         "count": 1},
        {"mechanism": "poisson_sampled_gaussian", "sampling_rate": 0.1, "noise_multiplier": 1.0,
         "count": 0},
        {"mechanism": "poisson_sampled_gaussian", "sampling_rate": 0.1, "noise_multiplier": 1.0,
         "count": 10**9 + 1},
        {"mechanism": "poisson_sampled_gaussian", "sampling_rate": 0.1, "noise_multiplier": 1.0,
         "count": 1.5},
        {"mechanism": "poisson_sampled_gaussian", "sampling_rate": 0.1, "noise_multiplier": 1.0,
         "count": True},
        {"mechanism": "poisson_sampled_gaussian", "sampling_rate": "0.1", "noise_multiplier": 1.0,
         "count": 1},
        {"mechanism": ["poisson_sampled_gaussian"]},
        {"mechanism": "non_private", "count": 1},
        ["poisson_sampled_gaussian"],
    ],
)  # fmt: skip
def test_an_unknown_or_impossible_event_is_refused(plain) -> None:
    with pytest.raises(PrivacyRefusal, match="event"):
        from_plain(plain)


def test_a_release_without_privacy_reads_back() -> None:
    assert from_plain(to_plain(NonPrivate())) == NonPrivate()


def test_an_entry_older_than_the_removal_of_surplus_noise_is_read_as_without_it() -> None:
    event = DistributedDiscreteGaussian(10, 20, 1.5, honest=3, count=2)
    plain = to_plain(event)
    assert plain.pop("dropouts") == 0
    assert from_plain(plain) == event
    plain["dropouts"] = 2
    assert from_plain(plain) == replace(event, dropouts=2)
    for wrong in ({"dropouts": 2.0}, {"dropouts": -1}, {"dropout": 1}):
        with pytest.raises(PrivacyRefusal):
            from_plain(plain | wrong)
    del plain["honest"]
    with pytest.raises(PrivacyRefusal, match="expected the parameters"):
        from_plain(plain)
