"""Bodies that are put together of parts come apart again, or are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import ProtocolViolation
from federation.round_messages import Disclosure

SEEDS = st.lists(st.binary(min_size=32, max_size=32), max_size=5).map(tuple)


@given(st.binary(max_size=100), SEEDS)
def test_shares_and_seeds_come_apart_again(shares: bytes, seeds: tuple[bytes, ...]) -> None:
    disclosed = Disclosure(shares, seeds)
    assert Disclosure.from_bytes(disclosed.to_bytes(), len(seeds)) == disclosed


@given(st.binary(max_size=200), st.integers(0, 10))
def test_whatever_bytes_give_so_many_seeds_or_are_refused(data: bytes, seeds: int) -> None:
    if len(data) < 32 * seeds:
        with pytest.raises(ProtocolViolation, match="shorter than its seeds"):
            Disclosure.from_bytes(data, seeds)
        return
    disclosed = Disclosure.from_bytes(data, seeds)
    assert [len(seed) for seed in disclosed.noise_seeds] == [32] * seeds
    assert disclosed.to_bytes() == data
