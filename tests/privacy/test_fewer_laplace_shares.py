"""Fewer shares of Laplace noise than planned: the bound holds for the law itself, and is tight."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privacy.accountant import cost
from privacy.event import DistributedDiscreteLaplace
from privacy.fewer_laplace_shares import with_laplace_shares
from privacy.neighbours import RECORD
from privacy.report.adversaries import adversaries


def law(scale: float, part: float) -> np.ndarray:
    """P[A - B = x] for |x| <= reach, shape (2 reach + 1,)."""
    reach = math.ceil(25 * scale) + 40
    one = stats.nbinom.pmf(np.arange(reach + 1), part, -math.expm1(-1 / scale))
    return np.convolve(one, one[::-1])


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0, 30.0])
@pytest.mark.parametrize(("honest", "shares"), [(10, 9), (3, 2), (2, 1), (3, 1), (20, 1)])
def test_no_two_values_of_the_law_are_further_apart_and_two_are_as_far(scale, honest, shares):
    event = with_laplace_shares(DistributedDiscreteLaplace(1, scale, honest, 1), shares)
    assert event.honest == shares
    assert event.scale < scale
    probabilities = law(scale, shares / honest)
    middle = len(probabilities) // 2
    near = probabilities[middle : middle + math.ceil(6 * scale) + 8]
    ratios = np.log(near[:-1] / near[1:])
    assert ratios.max() == pytest.approx(1 / event.scale, rel=1e-6)
    assert ratios.max() <= 1 / event.scale * (1 + 1e-7)
    assert np.all(np.diff(ratios) <= 1e-9)  # the first step is the worst: log-convex


@given(st.floats(0.05, 1e6), st.integers(2, 40), st.data())
def test_fewer_shares_never_hide_more(scale: float, honest: int, data) -> None:
    event = DistributedDiscreteLaplace(3, scale, honest, 2)
    shares = data.draw(st.integers(1, honest - 1))
    fewer, more = with_laplace_shares(event, shares), with_laplace_shares(event, shares + 1)
    assert fewer.scale < more.scale <= scale
    assert 1 / fewer.scale <= (1 / scale + math.log(honest / shares)) * (1 + 1e-8)
    assert (fewer.sensitivity, fewer.count) == (3, 2)


def test_as_many_shares_as_planned_change_nothing() -> None:
    event = DistributedDiscreteLaplace(1, 4.0, 3, 2)
    assert with_laplace_shares(event, 3) == event == with_laplace_shares(event, 5)


def test_the_report_has_a_bound_for_further_colluders() -> None:
    event = DistributedDiscreteLaplace(1, 4.0, 3, 4)
    spent = cost([event], 1e-6).epsilon
    rows = adversaries((event,), 1e-6, RECORD, spent, 1)
    epsilons = [row.epsilon for row in rows]
    assert None not in epsilons
    assert epsilons[0] == epsilons[1] == spent < epsilons[2] < epsilons[3]
    assert epsilons[3] == epsilons[4] == epsilons[5]  # one share, this site's own
    assert epsilons[2] == pytest.approx(4 / with_laplace_shares(event, 2).scale, rel=0.01)
