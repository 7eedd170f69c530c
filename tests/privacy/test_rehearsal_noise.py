"""Noise for rehearsals: the law, its tails, and that its values are a function of the entropy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from federation.entropy import SeededEntropy
from privacy.mechanisms.gaussian_noise import gaussian_noise
from privacy.mechanisms.rehearsal_noise import (
    LARGEST_DEVIATION,
    MOST_DEVIATIONS,
    SMALLEST_DEVIATION,
    noise_rows,
    rehearsal_noise,
)


class Bytes:
    """Entropy that gives the bytes of `words`."""

    def __init__(self, *words: int) -> None:
        self._words = np.array(words, "<u4")

    def bytes(self, n: int) -> bytes:
        assert n == self._words.nbytes
        return self._words.tobytes()

    def child(self, *labels):
        raise AssertionError(labels)


def test_it_has_the_law_of_gaussian_noise() -> None:
    values = rehearsal_noise(4_000_001, 3.0, SeededEntropy(2026))
    assert len(values) == 4_000_001
    assert stats.kstest(values, stats.norm(scale=3.0).cdf).pvalue > 1e-3
    beyond = (np.abs(values) > 3 * 3.7).sum()
    expected = 2 * stats.norm.sf(3.7) * len(values)
    assert abs(beyond - expected) < 4 * np.sqrt(expected)
    halves = values[:2_000_000], values[2_000_000:4_000_000]
    for one, other in (halves, np.square(halves)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(2_000_000)


def test_known_uniforms_give_box_and_mullers_values() -> None:
    words = (2**31, 2**20, 2**29, 3 * 2**29)
    radius = [np.sqrt(-2 * np.log((word + 0.5) / 2**32)) for word in words[:2]]
    angle = [2 * np.pi * word / 2**32 for word in words[2:]]
    expected = [
        *(r * np.cos(a) for r, a in zip(radius, angle, strict=True)),
        *(r * np.sin(a) for r, a in zip(radius, angle, strict=True)),
    ]
    values = rehearsal_noise(4, 2.0, Bytes(*words))
    np.testing.assert_allclose(values, 2 * np.array(expected), rtol=1e-6)


def test_the_outermost_uniforms_give_finite_values() -> None:
    values = rehearsal_noise(4, 1.0, Bytes(0, 2**32 - 1, 0, 0))
    assert np.isfinite(values).all()
    assert values[0] == pytest.approx(MOST_DEVIATIONS, rel=1e-6)
    assert values[1] == 0


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_any_size_is_a_function_of_the_entropy(size: int) -> None:
    one, again, other = (rehearsal_noise(size, 1.0, SeededEntropy(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert one.shape == (size,)
    assert not np.any(one == other)


@pytest.mark.parametrize(
    ("size", "deviation"),
    [(-1, 1.0), (2, 0.0), (2, 0.9e-30), (2, 1.1e30), (2, float("inf")), (2, float("nan"))],
)
def test_an_impossible_deviation_or_size_is_refused(size: int, deviation: float) -> None:
    with pytest.raises(ValueError, match="a deviation from"):
        rehearsal_noise(size, deviation, SeededEntropy(1))


def test_the_bounds_of_a_deviation_are_allowed_and_scale_the_values() -> None:
    one, least, most = (
        rehearsal_noise(64, deviation, SeededEntropy(3))
        for deviation in (1.0, SMALLEST_DEVIATION, LARGEST_DEVIATION)
    )
    np.testing.assert_allclose(least, one * SMALLEST_DEVIATION, rtol=1e-6)
    np.testing.assert_allclose(most, one * LARGEST_DEVIATION, rtol=1e-6)


@given(st.integers(0, 2000), st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6), st.booleans())
def test_many_rows_at_once_are_those_of_each_stream_where_it_had_come_to(
    size: int, deviations: list[float], rehearses: bool
) -> None:
    sampler = rehearsal_noise if rehearses else gaussian_noise
    together, alone = ([SeededEntropy(seed) for seed in range(len(deviations))] for _ in range(2))
    for _ in range(2):
        rows = noise_rows(sampler, size, deviations, together)
        assert rows.dtype == np.float32
        for row, deviation, entropy in zip(rows, deviations, alone, strict=True):
            np.testing.assert_array_equal(row, sampler(size, deviation, entropy).astype("f4"))
