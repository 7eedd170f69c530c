"""Masses on a grid, against dp-accounting's to the last bit."""

import numpy as np
import pytest
from dp_accounting.pld import pld_pmf
from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privacy.connect_dots import connect_dots


def masses(made: pld_pmf.PLDPmf) -> np.ndarray:
    return np.asarray(made.to_dense_pmf()._probs)


@given(
    lowest=st.integers(-3000, 3000),
    width=st.sampled_from([1e-4, 1e-3, 0.05]),
    deltas=arrays(float, st.integers(2, 50), elements=st.floats(0.0, 1.0)),
)
def test_masses_are_dp_accountings_to_the_last_bit(lowest, width, deltas) -> None:
    falling = np.sort(deltas)[::-1]
    ours = connect_dots(width, lowest, falling)
    theirs = pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(
        width, lowest, lowest + len(falling) - 1, falling
    )
    np.testing.assert_array_equal(masses(ours), masses(theirs))
    assert ours.to_dense_pmf()._lower_loss == theirs.to_dense_pmf()._lower_loss == lowest
    assert ours._infinity_mass == theirs._infinity_mass


def test_it_is_exact_on_the_grid_and_never_below_between() -> None:
    loss, width, lowest = GaussianPrivacyLoss(1.0), 0.05, -200
    epsilons = np.arange(lowest, 201) * width
    made = connect_dots(width, lowest, loss.get_delta_for_epsilon(epsilons))
    np.testing.assert_allclose(
        [made.get_delta_for_epsilon(float(one)) for one in epsilons],
        loss.get_delta_for_epsilon(epsilons), atol=1e-13,
    )  # fmt: skip
    between = epsilons[:-1] + width / 2
    found = np.array([made.get_delta_for_epsilon(float(one)) for one in between])
    assert (found >= loss.get_delta_for_epsilon(between) - 1e-15).all()


@pytest.mark.parametrize("rise", [1e-17, 1e-12])
def test_what_rounding_lets_rise_is_undone_outwards(rise: float) -> None:
    deltas = np.array([0.5, 0.25, 0.25 + rise, 0.125])
    raised = np.array([0.5, 0.25 + rise, 0.25 + rise, 0.125])
    np.testing.assert_array_equal(
        masses(connect_dots(0.5, 0, deltas)), masses(connect_dots(0.5, 0, raised))
    )
