"""Masks are AES-128 keystreams: built from single blocks, and looked at as random bytes."""

import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from federation.entropy import SeededEntropy
from federation.ring_vector import RING_BITS, RingVector, Stretch, Words
from privacy.secure_sum import mask_stream
from privacy.secure_sum.mask_stream import (
    CHUNK_BYTES,
    PAGE_BYTES,
    PageMode,
    add_masks,
    counter_mode,
    gcm,
)

KNOWN = json.loads((Path(__file__).parent / "known_answers.json").read_text())
VECTOR, GCM_VECTOR = KNOWN["aes128_ctr"], KNOWN["aes128_gcm"]
KEYS = [SeededEntropy(0).child("mask", number).bytes(16) for number in range(4)]
CHUNK_WORDS, PAGE_WORDS = CHUNK_BYTES // 4, PAGE_BYTES // 4
LENGTHS = [1, 3, 4, 5, CHUNK_WORDS - 1, CHUNK_WORDS, CHUNK_WORDS + 1, 3 * CHUNK_WORDS + 7]
LONG = [PAGE_WORDS, PAGE_WORDS + 1, 2 * PAGE_WORDS + CHUNK_WORDS + 3]
MODES = [counter_mode, gcm]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Iterator[PageMode]:
    """Each mode that gives a keystream, as if it were the faster one."""
    with patch.object(mask_stream, "faster_mode", lambda: request.param):
        yield request.param


def keystream(key: bytes, counter: int, length: int) -> bytes:
    """SP 800-38A, section 6.5, from single encrypted counter blocks."""
    blocks = [(counter + i).to_bytes(16, "big") for i in range(-(-length // 16))]
    encryptor = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()  # the oracle's own mode
    return encryptor.update(b"".join(blocks))[:length]


def mask_bytes(key: bytes, length: int, page_bytes: int = PAGE_BYTES) -> bytes:
    pages = [keystream(key, (p << 32) + 2, page_bytes) for p in range(-(-length // page_bytes))]
    return b"".join(pages)[:length]


def mask(key: bytes, length: int) -> Words:
    return np.frombuffer(mask_bytes(key, 4 * length), "<u4").astype(np.uint32)


def masked(length: int, plus: list[bytes], minus: list[bytes], threads: int = 1) -> Words:
    total = RingVector.zeros((Stretch(32, length),))
    add_masks(total, plus, minus, threads)
    return total.parts()[0]


def test_the_oracle_gives_the_published_answer() -> None:
    plaintext = bytes.fromhex(VECTOR["plaintext"])
    stream = keystream(bytes.fromhex(VECTOR["key"]), int(VECTOR["counter"], 16), len(plaintext))
    ciphertext = bytes(a ^ b for a, b in zip(plaintext, stream, strict=True))
    assert ciphertext.hex() == VECTOR["ciphertext"]


def test_the_first_block_of_page_zero_is_the_published_answer(mode: PageMode) -> None:
    key, page = bytes.fromhex(GCM_VECTOR["key"]), int(GCM_VECTOR["nonce"], 16)
    stream = Cipher(algorithms.AES128(key), mode(page)).encryptor()
    assert stream.update(bytes(16)).hex() == GCM_VECTOR["ciphertext_of_zeros"]


@given(
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**96 - 1),
    st.lists(st.integers(0, 70), max_size=5),
)
def test_both_modes_give_the_keystream_of_any_page(key: bytes, page: int, takes: list[int]) -> None:
    """However many bytes are taken at a time."""
    for mode in MODES:
        stream = Cipher(algorithms.AES128(key), mode(page)).encryptor()
        taken = b"".join(stream.update(bytes(count)) for count in takes)
        assert taken == keystream(key, (page << 32) + 2, sum(takes))


def test_no_counter_block_of_a_key_comes_twice() -> None:
    last = 2 + PAGE_BYTES // 16 - 1
    assert last < 2**32, "a page would run into the next one's counters"


def test_the_faster_mode_is_one_of_the_two_and_stays() -> None:
    assert mask_stream.faster_mode() in MODES
    assert mask_stream.faster_mode() is mask_stream.faster_mode()


@pytest.mark.parametrize("length", LENGTHS + LONG)
def test_a_mask_is_the_keystream_page_by_page(length: int, mode: PageMode) -> None:
    assert np.array_equal(masked(length, KEYS[:1], []), mask(KEYS[0], length))


@pytest.mark.parametrize("length", [*LENGTHS, LONG[-1]])
@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_masks_add_and_subtract_alike_with_any_number_of_threads(length: int, threads: int) -> None:
    a, b, c, d = (mask(key, length).astype(np.int64) for key in KEYS)
    expected = ((a + b - c - d) % 2**32).astype(np.uint32)
    assert np.array_equal(masked(length, KEYS[:2], KEYS[2:], threads), expected)


def assert_covered(total: RingVector, expected: bytes) -> None:
    """Each stretch holds the bytes of `expected` that it lies over, and the gaps are untouched."""
    start = 0
    for stretch, part in zip(total.stretches, total.parts(), strict=True):
        assert part.tobytes() == expected[start : start + part.nbytes]
        assert not total.buffer[start + part.nbytes : start + stretch.room].any()
        start += stretch.room


@pytest.mark.parametrize("threads", [1, 2])
def test_one_keystream_covers_every_stretch_and_none_of_it_twice(threads: int) -> None:
    stretches = (Stretch(16, CHUNK_WORDS * 2 + 9), Stretch(20, 5), Stretch(32, 7))
    total = RingVector.zeros(stretches)
    add_masks(total, KEYS[:1], [], threads)
    assert_covered(total, mask_bytes(KEYS[0], len(total.buffer)))


@given(
    st.dictionaries(st.sampled_from(RING_BITS), st.integers(1, 150), min_size=1),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 3),
)
def test_stretches_may_begin_and_end_anywhere_in_a_page(
    lengths: dict[int, int], page_blocks: int, chunk_blocks: int, threads: int
) -> None:
    """Pages and chunks of a few blocks, so that their borders fall everywhere."""
    total = RingVector.zeros(tuple(Stretch(*each) for each in sorted(lengths.items())))
    page, chunk = 16 * page_blocks, 16 * chunk_blocks
    with patch.multiple(mask_stream, PAGE_BYTES=page, CHUNK_BYTES=chunk):
        add_masks(total, KEYS[:1], [], threads)
    assert_covered(total, mask_bytes(KEYS[0], len(total.buffer), page))


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
