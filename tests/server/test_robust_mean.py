"""Median and trimmed mean over groups: numpy's and scipy's answers, and bounded influence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import trim_mean

from federation.config import Robustness
from server.robust_mean import coordinate_median, trimmed_mean

values = st.floats(-1e6, 1e6)
groups_of_three = st.integers(1, 12).flatmap(lambda g: arrays(np.float64, (g, 3), elements=values))


@given(groups_of_three)
def test_the_median_is_numpys(means) -> None:
    np.testing.assert_allclose(coordinate_median(means), np.median(means, axis=0), rtol=1e-12)


@given(groups_of_three, st.floats(0.01, 0.49))
def test_the_trimmed_mean_is_scipys(means, trim: float) -> None:
    rule = Robustness(aggregate="trimmed_mean", groups=12, trim=trim)
    cut = int(trim * len(means))
    assert rule.model_copy(update={"groups": len(means)}).trimmed == cut
    theirs = trim_mean(means, trim, axis=0)
    np.testing.assert_allclose(trimmed_mean(means, cut), theirs, rtol=1e-9, atol=1e-6)


@given(groups_of_three, st.randoms(use_true_random=False))
def test_the_order_of_the_groups_changes_no_bit(means, random) -> None:
    order = random.sample(range(len(means)), len(means))
    assert np.array_equal(coordinate_median(means[order]), coordinate_median(means))
    cut = (len(means) - 1) // 2
    assert np.array_equal(trimmed_mean(means[order], cut), trimmed_mean(means, cut))


@given(st.integers(3, 12), st.data())
def test_fewer_than_half_of_the_groups_cannot_leave_the_honest_range(groups: int, data) -> None:
    malicious = (groups - 1) // 2
    honest = data.draw(arrays(np.float64, (groups - malicious, 2), elements=values))
    poison = data.draw(arrays(np.float64, (malicious, 2), elements=st.floats(-1e300, 1e300)))
    means = np.concatenate([poison, honest])
    for robust in (coordinate_median(means), trimmed_mean(means, malicious)):
        assert np.all(robust >= honest.min(axis=0) - 1e-9)
        assert np.all(robust <= honest.max(axis=0) + 1e-9)


@pytest.mark.parametrize("groups", [3, 4, 5, 8])
def test_and_half_of_them_can(groups: int) -> None:
    malicious = -(-groups // 2)
    means = np.concatenate([np.full((malicious, 1), 1e9), np.zeros((groups - malicious, 1))])
    assert coordinate_median(means)[0] > 1e8
    assert trimmed_mean(means, (groups - 1) // 2)[0] > 1e8


@pytest.mark.parametrize("means", [np.zeros((0, 2)), np.zeros(3), np.array([[np.nan], [1.0]])])
def test_what_is_no_set_of_group_means_is_refused(means) -> None:
    with pytest.raises(ValueError, match=r"expected \(groups, d\)|not finite"):
        coordinate_median(means)


@pytest.mark.parametrize("trimmed", [-1, 2])
def test_trimming_everything_away_is_refused(trimmed: int) -> None:
    with pytest.raises(ValueError, match="leaves none"):
        trimmed_mean(np.zeros((4, 1)), trimmed)
