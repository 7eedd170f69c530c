"""What choosing costs, against dp-accounting and published bounds."""

import math

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given
from hypothesis import strategies as st

from privacy import accountant
from privacy.event import DiscreteLaplace, NonPrivate, PoissonSampledGaussian
from privacy.renyi import RDP_ORDERS
from privacy.selection_cost import composed_epsilon, covering, selected_epsilon

DELTA = 1e-5
GAUSSIANS = st.builds(
    PoissonSampledGaussian, st.floats(0.01, 0.5), st.floats(0.8, 4.0), st.integers(1, 50)
)


def test_composition_of_all_runs_agrees_with_dp_accounting() -> None:
    charges = [(PoissonSampledGaussian(0.1, noise, 40),) for noise in (1.0, 1.5, 2.5)]
    theirs = PLDAccountant()
    for (event,) in charges:
        theirs.compose(event.to_dp_event(), 2)
    ours = composed_epsilon(charges * 2, DELTA)
    assert ours == pytest.approx(theirs.get_epsilon(DELTA), rel=2e-3)
    assert ours > composed_epsilon(charges, DELTA) > composed_epsilon(charges[:1], DELTA)


def test_nothing_charged_costs_nothing() -> None:
    assert composed_epsilon([], DELTA) == 0.0


@pytest.mark.parametrize("shape", [1.0, math.inf])
def test_selection_agrees_with_dp_accounting(shape: float) -> None:
    event = PoissonSampledGaussian(0.1, 2.0, 40)
    theirs = RdpAccountant(list(RDP_ORDERS))
    theirs.compose(dp_event.RepeatAndSelectDpEvent(event.to_dp_event(), 8.0, shape))
    ours = selected_epsilon((event,), 8.0, shape, DELTA)
    assert ours == pytest.approx(theirs.get_epsilon(DELTA), rel=0.02)


def test_choosing_among_many_costs_less_than_composing_them_and_more_than_one() -> None:
    charge = (PoissonSampledGaussian(0.1, 2.0, 40),)
    one = composed_epsilon([charge], DELTA)
    chosen = selected_epsilon(charge, 100.0, math.inf, DELTA)
    assert one < chosen < composed_epsilon([charge] * 100, DELTA)


@given(st.lists(GAUSSIANS, min_size=1, max_size=4))
def test_a_cover_costs_at_least_what_each_does_at_every_order(
    events: list[PoissonSampledGaussian],
) -> None:
    cover = covering([(event,) for event in events])
    assert cover is not None
    whole = accountant.renyi_divergences(cover)
    for event in events:
        assert np.all(whole >= accountant.renyi_divergences([event]) * (1 - 1e-9) - 1e-12)


def test_a_cover_is_no_larger_than_needed() -> None:
    charge = (PoissonSampledGaussian(0.1, 2.0, 40), DiscreteLaplace(1, 10.0, 2))
    assert covering([charge, charge, ()]) == charge
    assert covering([]) == ()
    loud, quiet = PoissonSampledGaussian(0.1, 1.0, 40), PoissonSampledGaussian(0.1, 2.0, 40)
    assert covering([(loud,), (quiet,)]) == (loud,)


def test_what_cannot_be_covered_is_not() -> None:
    gaussian = (PoissonSampledGaussian(0.1, 2.0, 40),)
    assert covering([gaussian, (DiscreteLaplace(1, 10.0, 2),)]) is None
    assert covering([gaussian, (NonPrivate(),)]) == (NonPrivate(),)
    assert math.isinf(composed_epsilon([gaussian, (NonPrivate(),)], DELTA))
