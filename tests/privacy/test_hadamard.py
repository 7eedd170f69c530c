"""The rotation: orthogonal, flat, the same bits everywhere, and undone by its inverse."""

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard

from privacy.mechanisms.hadamard import block_length, coordinate_bound, rotate, unrotate
from privacy.mechanisms.keystream import Keystream

SEED = bytes(range(32))
LENGTHS = st.integers(1, 300)
SEEDS = st.binary(min_size=32, max_size=32)


def matrix_of_one_step(block: int, bits: np.ndarray) -> np.ndarray:
    return hadamard(block) * (1 - 2.0 * bits) / math.sqrt(block)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 11, 64, 100, 127, 128, 200])
def test_agrees_with_scipys_matrix(length: int) -> None:
    block = block_length(length)
    stream = Keystream(SEED)
    expected = np.eye(length)
    for start in [0] if block == length else [0, length - block]:
        words = stream.words(-(-block // 64)).tolist()
        bits = np.array([(words[i // 64] >> (i % 64)) & 1 for i in range(block)])
        inner = expected[start : start + block]
        expected[start : start + block] = matrix_of_one_step(block, bits) @ inner
    actual = np.array([rotate(unit, SEED) for unit in np.eye(length)]).T
    assert np.allclose(actual, expected, atol=1e-14)
    assert np.allclose(actual @ actual.T, np.eye(length), atol=1e-13)


@given(LENGTHS, SEEDS, st.integers(0, 99))
def test_the_norm_stays_and_the_inverse_undoes(length: int, seed: bytes, draw: int) -> None:
    vector = np.random.default_rng(draw).normal(size=length) * 10.0 ** (draw % 9)
    rotated = rotate(vector, seed)
    norm = math.hypot(*vector)
    # As the module promises: two steps, log2(B) + 3 roundings each; and those of hypot.
    allowed = (2 * (math.log2(block_length(length)) + 3) + 2) * 2.0**-53
    assert abs(math.hypot(*rotated) / norm - 1) <= allowed
    assert np.abs(unrotate(rotated, seed) - vector).max() <= 2 * allowed * norm


def test_seed_and_both_steps_matter() -> None:
    vector = np.random.default_rng(1).normal(size=100)
    assert not np.allclose(rotate(vector, SEED), rotate(vector, bytes(32)))
    assert not np.allclose(unrotate(rotate(vector, SEED), bytes(32)), vector)
    for spike in (0, 50, 99):  # in the first block only, in both, in the last only
        unit = np.eye(100)[spike]
        assert np.count_nonzero(rotate(unit, SEED)) >= 64


def test_no_coordinate_is_longer_than_the_bound_but_for_the_failures_allowed() -> None:
    trials, failure = 400, 0.5
    for vector in (np.eye(96)[3], np.full(96, 96**-0.5), np.full(64, 1 / 8)):
        bound = coordinate_bound(len(vector), 1.0, failure)
        worst = [
            np.abs(rotate(vector, Keystream(bytes(32)).words(4 * (i + 1))[-4:].tobytes())).max()
            for i in range(trials)
        ]
        assert np.mean(np.array(worst) > bound) <= failure
    assert max(worst) > bound  # of the right size, not merely large
    assert coordinate_bound(4, 2.0, 1e-9) == 2.0
    assert coordinate_bound(1 << 20, 1.0, 1e-9) == pytest.approx(
        math.sqrt(2 * math.log(2**21 / 1e-9)) / 2**10
    )


def test_a_vector_made_for_the_public_seed_is_not_flat() -> None:
    # So the seed must be drawn after, or apart from, the vector.
    aligned = unrotate(np.eye(64)[5], SEED)
    assert np.abs(rotate(aligned, SEED)).max() == pytest.approx(1.0)


def test_the_same_bits_for_any_number_of_threads_and_versions() -> None:
    vector = np.arange(5_000, dtype=np.float64) / 7
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: rotate(vector, SEED).tobytes(), range(8)))
    assert len(set(results)) == 1
    assert hashlib.sha256(results[0]).hexdigest() == (
        "e7f4c93f14163833995451998e669bf598b6f79d086421db9dc4b3e5d6fe1dfa"
    )


@pytest.mark.parametrize(
    "vector", [np.zeros(0), np.zeros((2, 2)), np.zeros(4, np.float32), np.zeros(4, np.int64)]
)
def test_another_shape_or_dtype_is_refused(vector) -> None:
    for act in (rotate, unrotate):
        with pytest.raises(ValueError, match="float64"):
            act(vector, SEED)
    with pytest.raises(ValueError, match="32"):
        rotate(np.zeros(4), b"short")
