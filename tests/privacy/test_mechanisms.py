"""Clipping, noise and sampling: what the accountant assumes of each holds of the code."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from torch import nn

from federation.entropy import SeededEntropy, SystemEntropy
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.mechanisms.clipping import clip_l2
from privacy.mechanisms.gaussian_noise import gaussian_noise
from privacy.poisson_sampling import poisson_sample

FINITE = st.floats(-1e12, 1e12)


@given(hnp.arrays(np.float64, st.integers(0, 40), elements=FINITE), st.floats(1e-6, 1e6))
def test_a_clipped_vector_is_never_longer_than_the_bound(vector, bound: float) -> None:
    clipped, norm = clip_l2(vector, bound)
    assert math.hypot(*clipped) <= bound
    assert norm == pytest.approx(math.hypot(*vector))
    if norm <= bound:
        assert np.array_equal(clipped, vector)
    else:
        assert math.hypot(*clipped) == pytest.approx(bound)
        assert np.allclose(clipped * norm, vector * bound)


def test_no_rounding_of_a_norm_leaves_a_vector_too_long() -> None:
    generator = np.random.default_rng(1)
    for _ in range(3_000):
        length = int(generator.integers(1, 400))
        vector = np.full(length, generator.uniform(0.1, 1e12))
        vector[0] = generator.uniform(0.1, 1e12)
        for bound in (1.0, float(np.linalg.norm(vector))):
            assert math.hypot(*clip_l2(vector, bound)[0]) <= bound


@pytest.mark.parametrize(
    ("vector", "bound"), [([1.0], 0.0), ([1.0], -1.0), ([1.0], math.nan), ([math.nan], 1.0),
                          ([math.inf], 1.0)]
)  # fmt: skip
def test_what_cannot_be_clipped_is_refused(vector, bound: float) -> None:
    with pytest.raises(ValueError, match=r"bound|vector"):
        clip_l2(np.array(vector), bound)


def test_noise_is_normal_with_the_deviation_asked_for() -> None:
    values = gaussian_noise(200_000, 3.0, SeededEntropy(1))
    assert stats.kstest(values, stats.norm(0, 3).cdf).pvalue > 0.01
    # Four standard errors of each estimate.
    assert abs(values.mean()) < 4 * 3 / math.sqrt(len(values))
    assert abs(values.std() / 3 - 1) < 4 / math.sqrt(2 * len(values))
    assert abs(stats.kurtosis(values)) < 4 * math.sqrt(24 / len(values))


def test_noise_reaches_as_far_as_a_normal_does() -> None:
    values = np.abs(gaussian_noise(1_000_000, 1.0, SeededEntropy(2)))
    for far in (3.0, 4.0):
        expected = 2 * stats.norm.sf(far) * len(values)
        assert abs(np.count_nonzero(values > far) - expected) < 4 * math.sqrt(expected)


def test_neighbouring_and_distant_values_are_independent() -> None:
    values = gaussian_noise(100_000, 1.0, SeededEntropy(3))
    # 25,000 and 50,000 apart: where the halves of one Box-Muller pair and the four draws meet.
    for lag in (1, 2, 4, 25_000, 50_000):
        correlation = np.corrcoef(values[:-lag], values[lag:])[0, 1]
        assert abs(correlation) < 4 / math.sqrt(len(values) - lag)


def test_noise_is_a_function_of_the_key_and_of_nothing_else() -> None:
    here, there = (gaussian_noise(100, 1.0, SeededEntropy(4)) for _ in range(2))
    assert np.array_equal(here, there)
    assert not np.array_equal(here, gaussian_noise(100, 1.0, SeededEntropy(5)))
    assert not np.array_equal(*(gaussian_noise(100, 1.0, SystemEntropy()) for _ in range(2)))


@pytest.mark.parametrize(
    ("size", "deviation"), [(-1, 1.0), (1, 0.0), (1, -1.0), (1, math.nan), (1, math.inf)]
)
def test_noise_without_a_deviation_is_refused(size: int, deviation: float) -> None:
    with pytest.raises(ValueError, match="deviation"):
        gaussian_noise(size, deviation, SystemEntropy())


def test_every_record_joins_a_batch_with_its_own_coin() -> None:
    rows, rate, batches = 50, 0.2, 4_000
    entropy = SeededEntropy(6)
    joined = np.zeros((batches, rows))
    for batch in joined:
        batch[poisson_sample(rows, rate, entropy)] = 1
    # Each record at its rate; batch sizes binomial, so not of a fixed size; pairs independent.
    per_record = joined.mean(axis=0)
    assert np.all(np.abs(per_record - rate) < 4.5 * math.sqrt(rate * (1 - rate) / batches))
    sizes = np.bincount(joined.sum(axis=1).astype(int), minlength=rows + 1)
    expected = stats.binom(rows, rate).pmf(np.arange(rows + 1)) * batches
    few = expected < 5
    assert (
        stats.chisquare(
            [*sizes[~few], sizes[few].sum()], [*expected[~few], expected[few].sum()]
        ).pvalue
        > 0.001
    )
    assert np.abs(np.corrcoef(joined.T) - np.eye(rows)).max() < 5 / math.sqrt(batches)


def test_batches_may_be_empty_or_whole() -> None:
    entropy = SystemEntropy()
    assert len(poisson_sample(0, 0.5, entropy)) == 0
    assert np.array_equal(poisson_sample(5, 1.0, entropy), np.arange(5))
    assert any(len(poisson_sample(3, 0.01, entropy)) == 0 for _ in range(20))


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, math.nan])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="sampling_rate"):
        poisson_sample(3, rate, SystemEntropy())


def test_parameters_go_out_and_in_and_frozen_ones_stay() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    frozen = model[0].weight.clone()
    assert flat_parameters(model).shape == (4,)
    load_flat_parameters(model, np.arange(4.0))
    assert np.array_equal(flat_parameters(model), np.arange(4, dtype=np.float32))
    assert model[0].weight.equal(frozen)
    with pytest.raises(ValueError, match=r"expected \(4,\)"):
        load_flat_parameters(model, np.arange(5.0))
    assert flat_parameters(nn.ReLU()).shape == (0,)
