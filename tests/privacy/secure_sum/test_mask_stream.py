"""Masks are AES-128-CTR keystreams: built from single blocks, and looked at as random bytes."""

import json
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from federation.entropy import SeededEntropy
from federation.ring_vector import RingVector, Stretch, Words
from privacy.secure_sum import mask_stream
from privacy.secure_sum.mask_stream import CHUNK_BYTES, add_masks

VECTOR = json.loads((Path(__file__).parent / "known_answers.json").read_text())["aes128_ctr"]
KEYS = [SeededEntropy(0).child("mask", number).bytes(16) for number in range(4)]
CHUNK_WORDS = CHUNK_BYTES // 4
LENGTHS = [1, 3, 4, 5, CHUNK_WORDS - 1, CHUNK_WORDS, CHUNK_WORDS + 1, 3 * CHUNK_WORDS + 7]


def keystream(key: bytes, counter: int, length: int) -> bytes:
    """SP 800-38A, section 6.5, from single encrypted counter blocks."""
    blocks = [(counter + i).to_bytes(16, "big") for i in range(-(-length // 16))]
    encryptor = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()  # the oracle's own mode
    return encryptor.update(b"".join(blocks))[:length]


def mask(key: bytes, length: int) -> Words:
    return np.frombuffer(keystream(key, 0, 4 * length), "<u4").astype(np.uint32)


def masked(length: int, plus: list[bytes], minus: list[bytes], threads: int = 1) -> Words:
    total = RingVector.zeros((Stretch(32, length),))
    add_masks(total, plus, minus, threads)
    return total.parts()[0]


def test_the_oracle_gives_the_published_answer() -> None:
    plaintext = bytes.fromhex(VECTOR["plaintext"])
    stream = keystream(bytes.fromhex(VECTOR["key"]), int(VECTOR["counter"], 16), len(plaintext))
    ciphertext = bytes(a ^ b for a, b in zip(plaintext, stream, strict=True))
    assert ciphertext.hex() == VECTOR["ciphertext"]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_mask_is_the_keystream_from_counter_zero(length: int) -> None:
    assert np.array_equal(masked(length, KEYS[:1], []), mask(KEYS[0], length))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_masks_add_and_subtract_alike_with_any_number_of_threads(length: int, threads: int) -> None:
    a, b, c, d = (mask(key, length).astype(np.int64) for key in KEYS)
    expected = ((a + b - c - d) % 2**32).astype(np.uint32)
    assert np.array_equal(masked(length, KEYS[:2], KEYS[2:], threads), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_keystream_covers_every_stretch_and_none_of_it_twice(threads: int) -> None:
    stretches = (Stretch(16, CHUNK_WORDS * 2 + 9), Stretch(20, 5), Stretch(32, 7))
    total = RingVector.zeros(stretches)
    add_masks(total, KEYS[:1], [], threads)
    expected = np.frombuffer(keystream(KEYS[0], 0, len(total.buffer)), np.uint8)
    start = 0
    for stretch, part in zip(stretches, total.parts(), strict=True):
        stream = expected[start : start + part.nbytes]
        assert np.array_equal(part.view(np.uint8), stream)
        start += stretch.room


@given(st.integers(1, 300), st.sampled_from([16, 20, 24, 32]), st.integers(0, 2**16 - 1))
def test_what_is_added_is_taken_off_again(length: int, bits: int, value: int) -> None:
    stretch = Stretch(bits, length)
    total = RingVector.of((stretch,), [np.full(length, value, stretch.dtype)])
    add_masks(total, KEYS[:2], KEYS[2:])
    add_masks(total, KEYS[2:], KEYS[:2])
    assert np.all(total.parts()[0] == value)


def test_more_keys_than_are_open_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = masked(9, KEYS[:3], KEYS[3:])
    monkeypatch.setattr(mask_stream, "MOST_STREAMS", 2)
    assert np.array_equal(masked(9, KEYS[:3], KEYS[3:]), whole)


def test_a_wrong_thread_count_or_key_is_refused() -> None:
    total = RingVector.zeros((Stretch(32, 4),))
    with pytest.raises(ValueError, match="threads = 0"):
        add_masks(total, KEYS[:1], [], 0)
    with pytest.raises(ValueError, match="key"):
        add_masks(total, [bytes(32)], [])
    assert not total.buffer.any()


def test_every_byte_of_a_mask_is_uniform() -> None:
    """2**20 words of a fixed key; each of the four bytes by itself, and the whole range is hit."""
    words = masked(2**20, KEYS[:1], [])
    for column in words.view(np.uint8).reshape(-1, 4).T:
        assert 1e-3 < chisquare(np.bincount(column, minlength=256)).pvalue < 1 - 1e-3
    assert words.min() < 2**14
    assert words.max() > 2**32 - 2**14


def test_two_masks_are_independent() -> None:
    a, b = (masked(2**18, [key], []) for key in KEYS[:2])
    top = (a >> 28).astype(np.int64) * 16 + (b >> 28)
    assert 1e-3 < chisquare(np.bincount(top, minlength=256)).pvalue < 1 - 1e-3
