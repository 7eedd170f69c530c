"""Chunks of clients: all in one, none too large, and of public numbers only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.client_chunks import chunk_size, client_chunks


@given(st.lists(st.floats(0.1, 1e4), max_size=60), st.integers(1, 20))
def test_every_client_is_in_one_chunk_and_none_is_too_large(batches, size) -> None:
    chunks = client_chunks(batches, size)
    assert sorted(at for chunk in chunks for at in chunk) == list(range(len(batches)))
    assert len(chunks) == -(-len(batches) // size)
    lengths = [len(chunk) for chunk in chunks]
    assert max(lengths, default=0) <= size
    assert max(lengths, default=0) - min(lengths, default=0) <= 1
    in_order = [batches[at] for chunk in chunks for at in chunk]
    assert in_order == sorted(batches, reverse=True)


def test_clients_of_like_batches_keep_their_order() -> None:
    assert client_chunks([5.0] * 4, 2) == [[0, 1], [2, 3]]


def test_as_many_clients_as_fit() -> None:
    assert chunk_size(1000, 10, 100, memory=64_000 * 7) == 7
    assert chunk_size(1000, 10, 100, memory=64_000 * 7 - 1) == 6
    assert chunk_size(10**9, 10, 100, memory=1) == 1


@pytest.mark.parametrize("wrong", [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)])
def test_nothing_of_something_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="expected numbers >= 1"):
        chunk_size(*wrong)
    with pytest.raises(ValueError, match="size = 0"):
        client_chunks([1.0], 0)
