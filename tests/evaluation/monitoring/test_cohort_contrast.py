"""What cohorts differ in: known answers, and scipy's Jensen-Shannon distance of two."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from evaluation.monitoring.cohort_contrast import contrasts
from evaluation.monitoring.cohort_discovery import Centres


@given(st.integers(0, 2**32), st.integers(2, 12))
def test_of_two_it_is_the_squared_distance_that_scipy_has(seed: int, bins: int) -> None:
    shares = np.random.default_rng(seed).dirichlet(np.ones(bins), 2) + 1e-9
    shares /= shares.sum(axis=1, keepdims=True)
    (found,) = contrasts(Centres({"age": shares}), np.array([4.0, 9.0]))
    assert found.bits == pytest.approx(jensenshannon(*shares, base=2) ** 2, abs=1e-9)


def test_the_feature_that_differs_most_comes_first_and_an_empty_cluster_is_not_compared() -> None:
    apart = np.full((4, 4), 1e-12) + np.diag([1.0, 1.0, 1.0, 1.0])
    alike = np.tile([0.5, 0.5], (4, 1))
    centres = Centres({"alike": alike, "apart": apart})
    found = contrasts(centres, np.array([3.0, 3.0, 3.0, 3.0]))
    assert [(one.feature, round(one.bits, 6)) for one in found] == [("apart", 2.0), ("alike", 0.0)]
    assert contrasts(centres, np.array([3.0, 3.0, 0.0, 0.0]))[0].bits == pytest.approx(1, abs=1e-6)
    assert contrasts(centres, np.array([3.0, 0.0, 0.0, 0.0])) == ()
