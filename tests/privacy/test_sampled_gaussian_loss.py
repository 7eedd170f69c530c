"""All points at once, against dp-accounting, which finds them one by one."""

import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss
from hypothesis import given
from hypothesis import strategies as st

from privacy.neighbours import ADD_OR_REMOVE_ONE, REPLACE_ONE
from privacy.sampled_gaussian_loss import hockey_stick, sampled_gaussian_loss

RELATIONS = {
    ADD_OR_REMOVE_ONE: dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
    REPLACE_ONE: dp_accounting.NeighboringRelation.REPLACE_ONE,
}


def both(rate: float, noise: float, width: float, relation: str):
    theirs = pld.from_gaussian_mechanism(
        noise, sampling_prob=rate, value_discretization_interval=width,
        neighboring_relation=RELATIONS[relation],
    )  # fmt: skip
    return sampled_gaussian_loss(rate, noise, relation, width), theirs


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize(
    ("rate", "noise", "width"),
    [
        (0.01, 1.0, 1e-3),
        (0.25, 8.0, 1e-4),
        (1.0, 5.0, 1e-3),
        (0.3, 0.03, 0.05),  # losses beyond 709, of which there is no exp
    ],
)
def test_its_deltas_are_dp_accountings(rate, noise, width, relation) -> None:
    ours, theirs = both(rate, noise, width, relation)
    epsilons = np.linspace(-3, 700, 5000).tolist()
    # A bin's mass is of differences of deltas over its width: rounding is as much larger.
    np.testing.assert_allclose(
        ours.get_delta_for_epsilon(epsilons), theirs.get_delta_for_epsilon(epsilons),
        rtol=1e-9, atol=1e-14 / width,
    )  # fmt: skip


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize(
    ("rate", "noise", "count"),
    [(0.01, 1.0, 1000), (0.001, 0.6, 10_000), (0.999, 1.0, 10), (1.0, 5.0, 50)],
)
def test_repeated_it_costs_what_dp_accountings_costs(rate, noise, count, relation) -> None:
    ours, theirs = (one.self_compose(count) for one in both(rate, noise, 1e-3, relation))
    for delta in (1e-3, 1e-7):
        expected = theirs.get_epsilon_for_delta(delta)
        assert ours.get_epsilon_for_delta(delta) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", list(AdjacencyType))
@given(
    rate=st.floats(1e-4, 1.0),
    noise=st.floats(0.2, 20.0),
    epsilons=st.lists(st.floats(-50, 50), min_size=1, max_size=20),
)
def test_a_delta_is_dp_accountings_wherever_it_is_asked(kind, rate, noise, epsilons) -> None:
    loss = GaussianPrivacyLoss(noise, sampling_prob=rate, adjacency_type=kind)
    at = np.array(epsilons)
    # Just at the edge of the losses that there are, dp-accounting takes what is close for equal;
    # and of a loss that is all but zero it takes the logarithm of zero.
    edge = -math.log1p(-rate) if rate < 1 else math.inf
    at = at[(np.abs(np.abs(at) - edge) > 1e-6) & ((np.abs(at) > 1e-12) | (at == 0))]
    np.testing.assert_allclose(
        hockey_stick(loss, at), loss.get_delta_for_epsilon(at), rtol=1e-9, atol=1e-13
    )


@given(rate=st.floats(1e-4, 0.999), noise=st.floats(0.2, 20.0), beyond=st.floats(1e-6, 50))
def test_no_loss_of_a_record_more_is_beyond_what_the_sample_allows(rate, noise, beyond) -> None:
    edge = -math.log1p(-rate)
    more = GaussianPrivacyLoss(noise, sampling_prob=rate, adjacency_type=AdjacencyType.ADD)
    less = GaussianPrivacyLoss(noise, sampling_prob=rate, adjacency_type=AdjacencyType.REMOVE)
    losses = np.array([edge + beyond])
    assert hockey_stick(more, losses) == 0
    np.testing.assert_allclose(hockey_stick(less, -losses), -np.expm1(-losses), rtol=1e-12)
