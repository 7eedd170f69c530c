"""A vector packs into exactly its bits, reads back the same, and adds up modulo its rings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import ConfigError
from federation.ring_vector import RING_BITS, RingVector, Stretch, buffer_bytes, packed_bytes

stretches_of = st.lists(
    st.builds(Stretch, st.sampled_from(RING_BITS), st.integers(1, 40)), min_size=1, max_size=4
).map(tuple)


def random_vector(stretches: tuple[Stretch, ...], seed: int) -> RingVector:
    rng = np.random.default_rng(seed)
    words = [
        rng.integers(0, 2 ** (8 * s.dtype.itemsize), s.length, dtype=s.dtype, endpoint=False)
        for s in stretches
    ]
    return RingVector.of(stretches, words)


def reduced(vector: RingVector) -> list[list[int]]:
    """Each word modulo its ring, in Python's integers: an oracle that shares no code."""
    return [
        [int(word) % 2**stretch.bits for word in part]
        for stretch, part in zip(vector.stretches, vector.parts(), strict=True)
    ]


def packed_by_hand(vector: RingVector) -> bytes:
    """One large integer per stretch: bit i * bits is where word i begins."""
    whole = b""
    for stretch, words in zip(vector.stretches, reduced(vector), strict=True):
        number = sum(word << (at * stretch.bits) for at, word in enumerate(words))
        whole += number.to_bytes(stretch.packed_bytes, "little")
    return whole


@given(stretches_of, st.integers(0, 2**32))
def test_words_are_packed_at_exactly_their_bits(stretches: tuple[Stretch, ...], seed: int) -> None:
    vector = random_vector(stretches, seed)
    assert vector.pack() == packed_by_hand(vector)
    assert len(vector.pack()) == packed_bytes(stretches)
    assert reduced(RingVector.unpack(stretches, vector.pack())) == reduced(vector)


@given(stretches_of, st.integers(2, 5), st.integers(0, 2**32))
def test_packed_vectors_add_up_modulo_each_ring(
    stretches: tuple[Stretch, ...], sites: int, seed: int
) -> None:
    vectors = [random_vector(stretches, seed + site) for site in range(sites)]
    total, plain = RingVector.zeros(stretches), RingVector.zeros(stretches)
    for vector in vectors:
        total.add_packed(vector.pack())
        plain.add(vector)
    expected = [
        [sum(column) % 2**stretch.bits for column in zip(*rows, strict=True)]
        for stretch, rows in zip(stretches, zip(*map(reduced, vectors), strict=True), strict=True)
    ]
    assert reduced(total) == reduced(plain) == expected


@pytest.mark.parametrize("bits", RING_BITS)
@pytest.mark.parametrize("length", [1, 2, 3, 2**16 - 1, 2**16, 2**16 + 1, 3 * 2**16 + 5])
def test_long_stretches_are_unpacked_chunk_by_chunk_alike(bits: int, length: int) -> None:
    vector = random_vector((Stretch(bits, length),), 1)
    (back,) = RingVector.unpack(vector.stretches, vector.pack()).parts()
    (words,) = vector.parts()
    assert np.array_equal(back, words & words.dtype.type(2**bits - 1))


@pytest.mark.parametrize("bits", RING_BITS)
def test_signed_values_are_twos_complement_in_the_ring(bits: int) -> None:
    largest = 2 ** (bits - 1) - 1
    stretch = Stretch(bits, 4)
    values = np.array([0, -1, largest, -largest - 1], np.int64)
    vector = RingVector.of((stretch,), [values.astype(stretch.dtype)])
    assert vector.signed()[0].tolist() == values.tolist()
    assert RingVector.unpack((stretch,), vector.pack()).signed()[0].tolist() == values.tolist()


def test_stretches_begin_at_whole_cipher_blocks() -> None:
    stretches = (Stretch(16, 3), Stretch(20, 5), Stretch(32, 1))
    vector = RingVector.zeros(stretches)
    addresses = [part.__array_interface__["data"][0] for part in vector.parts()]
    assert [a - addresses[0] for a in addresses] == [0, 16, 48]
    assert buffer_bytes(stretches) == 64


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"\0", lambda _: b""])
def test_another_number_of_bytes_is_refused_and_nothing_is_added(change) -> None:
    vector = RingVector.zeros((Stretch(16, 3), Stretch(24, 3)))
    with pytest.raises(ValueError, match=r"packed vector of \d+ bytes: expected 15"):
        vector.add_packed(change(b"\x01" * 15))
    assert not vector.buffer.any()


def test_there_is_one_way_to_write_the_half_byte_left_over() -> None:
    stretches = (Stretch(20, 1),)
    RingVector.unpack(stretches, b"\xff\xff\x0f")
    with pytest.raises(ValueError, match="half byte left over"):
        RingVector.unpack(stretches, b"\xff\xff\x1f")


@pytest.mark.parametrize(("bits", "length"), [(8, 1), (31, 1), (0, 1), (16, 0), (16, 2**32)])
def test_an_impossible_stretch_is_refused(bits: int, length: int) -> None:
    with pytest.raises(ConfigError):
        Stretch(bits, length)


def test_words_of_another_shape_type_or_number_are_refused() -> None:
    stretches = (Stretch(16, 3), Stretch(24, 2))
    good = [np.zeros(3, "<u2"), np.zeros(2, "<u4")]
    RingVector.of(stretches, good)
    for wrong in ([good[0]], [good[1], good[0]], [np.zeros(4, "<u2"), good[1]]):
        with pytest.raises(ValueError, match=r"expected|zip"):
            RingVector.of(stretches, wrong)
    with pytest.raises(ValueError, match="contiguous"):
        RingVector(stretches, np.zeros(33, np.uint8))
    with pytest.raises(ValueError, match="same stretches"):
        RingVector.zeros(stretches).add(RingVector.zeros(stretches[:1]))


def test_a_copy_shares_nothing() -> None:
    vector = random_vector((Stretch(20, 4),), 0)
    copied = vector.copy()
    copied.parts()[0][:] = 0
    assert vector.parts()[0].any()
