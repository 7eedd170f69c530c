"""The discrete Laplace: draws against its law, and what its event costs against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from federation.entropy import SeededEntropy, SystemEntropy
from federation.errors import PrivacyRefusal
from privacy.accountant import cost, is_affordable
from privacy.event import (
    Composed,
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    NonPrivate,
    PoissonSampledGaussian,
    from_plain,
    to_plain,
)
from privacy.mechanisms.discrete_laplace import discrete_laplace, variance


def probability(x: np.ndarray, scale: float) -> np.ndarray:
    q = math.exp(-1 / scale)
    return (1 - q) / (1 + q) * q ** np.abs(x)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.7, 10.0])
def test_draws_follow_the_law(scale: float) -> None:
    values = discrete_laplace(20_000, scale, SeededEntropy(2026))
    reach = max(1, int(scale * math.log(len(values) / 60)))
    inner = np.arange(-reach, reach + 1)
    expected = len(values) * probability(inner, scale)
    observed = np.array([(values == x).sum() for x in inner])
    beyond = len(values) - expected.sum(), len(values) - observed.sum()
    chi_square = ((observed - expected) ** 2 / expected).sum() + (
        beyond[0] - beyond[1]
    ) ** 2 / beyond[0]
    assert stats.chi2.sf(chi_square, len(inner)) > 1e-3


@pytest.mark.parametrize("scale", [1.0, 3.25, 1000.5])
def test_its_variance_is_the_closed_form(scale: float) -> None:
    values = discrete_laplace(20_000, scale, SeededEntropy(7)).astype(float)
    assert np.mean(values**2) == pytest.approx(variance(scale), rel=0.1)
    assert np.mean(values) == pytest.approx(0, abs=5 * math.sqrt(variance(scale) / len(values)))


@pytest.mark.parametrize("scale", [0.01, 0.5, 3.0, 40.0])
def test_the_variance_is_the_sum_over_the_law(scale: float) -> None:
    x = np.arange(-4000, 4001)
    assert variance(scale) == pytest.approx((probability(x, scale) * x**2).sum(), rel=1e-9)


def test_the_same_key_gives_the_same_values_and_no_seed_is_needed() -> None:
    one, other = (discrete_laplace(50, 5.5, SeededEntropy(1)) for _ in range(2))
    assert np.array_equal(one, other)
    assert discrete_laplace(3, 5.5, SystemEntropy()).dtype == np.int64
    assert discrete_laplace(0, 1.0, SystemEntropy()).shape == (0,)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 2.0**53])
def test_a_scale_out_of_range_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        discrete_laplace(1, scale, SystemEntropy())


def hockey_stick(epsilon: float, spent: float, sensitivity: int, scale: float) -> float:
    """Delta of the mechanism at `spent`, summed over the law itself."""
    x = np.arange(-200, 201)
    moved = probability(x - sensitivity, scale)
    return float(np.maximum(0, probability(x, scale) - math.exp(spent) * moved).sum())


@pytest.mark.parametrize(("sensitivity", "scale"), [(1, 1.0), (1, 2.0), (3, 3.0), (2, 1.5)])
@pytest.mark.parametrize("delta", [1e-2, 1e-4])
def test_the_accountant_bounds_the_law_itself(sensitivity, scale, delta) -> None:
    event = DiscreteLaplace(sensitivity, scale, 1)
    spent = cost([event], delta)
    assert hockey_stick(event.epsilon, spent.epsilon, sensitivity, scale) <= delta * (1 + 1e-6)
    if sensitivity == 1:  # and wastes nothing
        assert hockey_stick(event.epsilon, spent.epsilon - 1e-3, sensitivity, scale) > delta


def test_the_continuous_laplace_mechanism_would_understate_it() -> None:
    # 1 - exp((e - epsilon) / 2) = delta, solved for e: what a Laplace event would be costed at.
    delta, epsilon = 1e-2, 1.0
    continuous = epsilon + 2 * math.log(1 - delta)
    assert hockey_stick(epsilon, continuous, 1, 1 / epsilon) > delta


@given(
    st.lists(st.tuples(st.integers(1, 9), st.floats(0.5, 50)), min_size=1, max_size=3),
    st.sampled_from([1e-3, 1e-6]),
)
def test_pure_events_never_cost_more_than_the_sum_of_their_epsilons(parts, delta) -> None:
    events = [DiscreteLaplace(sensitivity, scale, 1) for sensitivity, scale in parts]
    total = math.fsum(event.epsilon for event in events)
    assert cost(events, delta).epsilon_rdp <= total * (1 + 1e-12)
    assert is_affordable([Composed(tuple(events))], delta, total * (1 + 1e-12))


def test_many_pure_events_cost_less_than_their_sum() -> None:
    spent = cost([DiscreteLaplace(1, 10.0, 50)], 1e-6)
    assert spent.epsilon_pld < spent.epsilon_rdp < 5.0


def test_gaussian_and_laplace_events_compose() -> None:
    gaussian, laplace = PoissonSampledGaussian(0.1, 2.0, 10), DiscreteLaplace(1, 2.0, 1)
    alone, both = cost([gaussian], 1e-4), cost([gaussian, Composed((laplace,))], 1e-4)
    for name in ("epsilon_pld", "epsilon_rdp"):
        assert getattr(alone, name) < getattr(both, name) <= getattr(alone, name) + 0.5 + 1e-3


OF_SITES = DistributedDiscreteGaussian(4, 100, 1.0, 3, 1)


@pytest.mark.parametrize("other", [DiscreteLaplace(1, 2.0, 1), Composed((NonPrivate(),))])
def test_costs_of_records_and_of_sites_are_never_added(other) -> None:
    with pytest.raises(PrivacyRefusal, match="never added"):
        cost([OF_SITES, other], 1e-4)
    with pytest.raises(PrivacyRefusal, match="never added"):
        is_affordable([other, OF_SITES], 1e-4, math.inf)


def test_a_composed_event_with_an_exact_release_costs_everything() -> None:
    assert cost([Composed((DiscreteLaplace(1, 2.0, 1), NonPrivate()))], 1e-4).epsilon == math.inf


def test_events_survive_the_ledgers_json() -> None:
    event = Composed(
        (DiscreteLaplace(3, 0.1, 2), NonPrivate(), PoissonSampledGaussian(0.5, 1.0, 1))
    )
    assert from_plain(to_plain(event)) == event


@pytest.mark.parametrize(
    "plain",
    [
        {"mechanism": "composed", "events": []},
        {"mechanism": "composed", "events": {}},
        {"mechanism": "composed", "events": [{"mechanism": "composed", "events": []}]},
        {"mechanism": "composed", "events": [to_plain(OF_SITES)]},
        {"mechanism": "composed", "events": [{"mechanism": "non_private"}], "more": 1},
        {"mechanism": "discrete_laplace", "sensitivity": 1.0, "scale": 1.0, "count": 1},
        {"mechanism": "discrete_laplace", "sensitivity": 0, "scale": 1.0, "count": 1},
    ],
)
def test_events_that_are_none_are_refused(plain) -> None:
    with pytest.raises(PrivacyRefusal):
        from_plain(plain)
