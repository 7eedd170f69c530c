"""Rounding: without bias, never longer than its bound, and a function of its key."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from federation.entropy import SeededEntropy, SystemEntropy
from privacy.mechanisms.conditional_rounding import (
    conditional_rounding,
    rounded_squared_norm,
    stochastic_rounding,
)
from privacy.mechanisms.keystream import Keystream

GRANULARITY = 0.25
BETA = math.exp(-0.5)
VECTORS = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e9, 1e9))


class FixedWords:
    """A keystream that always says the same word."""

    def __init__(self, word: int) -> None:
        self.word = word

    def words(self, count: int) -> np.ndarray:
        return np.full(count, self.word, np.uint64)


@given(VECTORS, st.binary(min_size=32, max_size=32))
def test_each_coordinate_goes_to_a_neighbour_on_the_grid(vector, key: bytes) -> None:
    rounded = stochastic_rounding(vector, GRANULARITY, Keystream(key))
    units = vector / GRANULARITY
    assert rounded.dtype == np.int64
    assert np.all((rounded == np.floor(units)) | (rounded == np.ceil(units)))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("units", [0.3, 7.75, 2.0**-40, 1 - 2.0**-53, 1e15 + 0.5])
def test_the_chance_to_round_away_from_zero_is_the_fraction(units: float, sign: int) -> None:
    # The exact count of words, of 2^64, for which the magnitude goes up: by their first 63 bits.
    chance = int((units % 1) * 2.0**63) * 2
    vector = np.array([sign * units])
    for word, expected in ((chance - 1, math.floor(units) + 1), (chance, math.floor(units))):
        assert stochastic_rounding(vector, 1.0, FixedWords(word)).tolist() == [sign * expected]


@pytest.mark.parametrize("tiny", [1e-300, -1e-300, 5e-324, 0.0, -0.0])
def test_a_tiny_coordinate_is_not_thrown_to_its_neighbour(tiny: float) -> None:
    assert stochastic_rounding(np.array([tiny]), 1.0, FixedWords(0)).tolist() == [0]
    assert stochastic_rounding(np.array([tiny]), 1.0, FixedWords(2**64 - 1)).tolist() == [0]


def test_rounding_has_no_bias() -> None:
    values = np.linspace(-2, 2, 41)
    tries = 20_000
    rounded = stochastic_rounding(np.tile(values, tries), GRANULARITY, Keystream(bytes(32)))
    means = rounded.reshape(tries, -1).mean(axis=0) * GRANULARITY
    assert np.abs(means - values).max() < 4.5 * GRANULARITY / 2 / math.sqrt(tries)


@given(VECTORS, st.integers(-6, 3), st.integers(0, 2**32))
def test_a_conditionally_rounded_vector_is_never_longer_than_its_bound(
    vector, exponent: int, seed: int
) -> None:
    clip = 100.0
    vector = vector * min(1.0, clip / max(math.hypot(*vector), 1e-300)) * (1 - 1e-15)
    granularity = 2.0**exponent
    most = rounded_squared_norm(len(vector), clip, granularity, BETA)
    rounded = conditional_rounding(vector, granularity, most, SeededEntropy(seed))
    assert sum(int(x) ** 2 for x in rounded) <= most
    units = vector / granularity
    assert np.all((rounded == np.floor(units)) | (rounded == np.ceil(units)))


def test_the_condition_decides_and_the_draw_is_repeated() -> None:
    vector = np.full(1_000, 0.5)  # rounds to 500 ones, give or take 16
    squared = [
        int((r := conditional_rounding(vector, 1.0, 490, SeededEntropy(seed))) @ r)
        for seed in range(100)
    ]
    assert max(squared) <= 490
    free = [
        int((r := conditional_rounding(vector, 1.0, 1_000, SeededEntropy(seed))) @ r)
        for seed in range(100)
    ]
    assert max(free) > 490
    # Where the first draw was short enough, it is the same draw.
    assert all(few == any_ for few, any_ in zip(squared, free, strict=True) if any_ <= 490)


@pytest.mark.parametrize(("dimension", "length"), [(50, 1.0), (1_000, 20.0), (1_000, 500.0)])
def test_a_draw_is_repeated_with_probability_beta_at_most(dimension: int, length: float) -> None:
    generator = np.random.default_rng(2)
    for beta in (0.05, BETA):
        most = rounded_squared_norm(dimension, length, 1.0, beta)
        vector = generator.normal(size=dimension)
        vector *= length / np.linalg.norm(vector)
        rounded = stochastic_rounding(np.tile(vector, 2_000), 1.0, Keystream(bytes(32)))
        squared = (rounded.reshape(2_000, dimension) ** 2).sum(axis=1)
        assert np.mean(squared > most) <= beta + 4 * math.sqrt(beta / 2_000)


def test_the_bound_is_theorem_1() -> None:
    # By hand: d = 10,000, c / gamma = 100. First: 200^2. Second: 10,000 + 2,500 + 1 * (100 + 50).
    assert rounded_squared_norm(10_000, 100.0, 1.0, 0.0) == 40_000
    assert rounded_squared_norm(10_000, 100.0, 1.0, BETA) == 12_650
    assert rounded_squared_norm(10_000, 25.0, 0.25, BETA) == 12_650
    # beta = exp(-50): 12,500 + 10 * 150; and one coordinate: (10 + 1)^2 is the less.
    assert rounded_squared_norm(10_000, 100.0, 1.0, math.exp(-50)) == 14_000
    assert rounded_squared_norm(1, 10.0, 1.0, math.exp(-50)) == 121


def test_rounding_is_a_function_of_the_key() -> None:
    vector = np.linspace(-1, 1, 999)
    first, second, other = (
        conditional_rounding(vector, GRANULARITY, 10**6, SeededEntropy(s)) for s in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert first[:3].tolist() == [-4, -4, -4]


def test_a_vector_that_was_not_clipped_is_refused() -> None:
    with pytest.raises(ValueError, match="clip it first"):
        conditional_rounding(np.full(4, 10.0), 1.0, 10, SystemEntropy())
    with pytest.raises(ValueError, match="2\\*\\*31"):
        conditional_rounding(np.array([2.0**31]), 1.0, 10, SystemEntropy())
    with pytest.raises(ValueError, match="expected less"):
        conditional_rounding(np.array([math.nan]), 1.0, 10, SystemEntropy())


@pytest.mark.parametrize("granularity", [0.0, -0.5, 0.3, math.nan, math.inf])
def test_another_grid_is_refused(granularity: float) -> None:
    with pytest.raises(ValueError, match="granularity"):
        stochastic_rounding(np.ones(2), granularity, Keystream(bytes(32)))


@pytest.mark.parametrize("value", [math.nan, math.inf, 2.0**52 + 1])
def test_what_cannot_be_rounded_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="vector"):
        stochastic_rounding(np.array([1.0, value]), 1.0, Keystream(bytes(32)))


@pytest.mark.parametrize(
    ("dimension", "clip", "granularity", "beta"),
    [(0, 1, 1, 0.5), (1, 0, 1, 0.5), (1, math.inf, 1, 0.5), (1, 1, 0, 0.5), (1, 1, 1, 1.0),
     (1, 1, 1, -0.1), (1, 1, 1, math.nan)],
)  # fmt: skip
def test_a_bound_without_sense_is_refused(dimension, clip, granularity, beta) -> None:
    with pytest.raises(ValueError, match="need dimension"):
        rounded_squared_norm(dimension, clip, granularity, beta)
