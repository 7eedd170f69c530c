"""Memory that several processes map: what it holds, who may write, and that it goes away."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulations.backends.sealed_memory import PAGE, SealedMemory, offsets


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@given(st.lists(st.binary(max_size=3 * PAGE), min_size=1, max_size=4).filter(any))
def test_blocks_are_where_their_lengths_say(blocks) -> None:
    memory = SealedMemory.holding(blocks)
    seen = memory.copy_on_write()
    for block, start in zip(blocks, offsets([len(b) for b in blocks]), strict=True):
        assert start % PAGE == 0
        assert memory.read(start, len(block)) == block
        assert seen[start : start + len(block)].tobytes() == block


def test_the_kernel_refuses_every_write_and_change_of_size() -> None:
    memory = SealedMemory.holding([b"as it was"])
    with pytest.raises(PermissionError):
        os.pwrite(memory.descriptor, b"!", 0)
    for size in (0, 100):
        with pytest.raises(PermissionError):
            os.ftruncate(memory.descriptor, size)


def test_who_writes_to_a_mapping_changes_it_for_nobody() -> None:
    memory = SealedMemory.holding([bytes(2 * PAGE)])
    mine, others = memory.copy_on_write(), memory.copy_on_write()
    mine[:] = 7
    assert not others.any()
    assert not memory.copy_on_write().any()
    assert memory.read(0, 2 * PAGE) == bytes(2 * PAGE)


def test_a_mapping_outlives_its_memory_and_holds_no_descriptor() -> None:
    SealedMemory.holding([b"x"]).copy_on_write()  # torch is imported, with descriptors of its own
    before = descriptors()
    mapped = [SealedMemory.holding([os.urandom(PAGE)]).copy_on_write() for _ in range(20)]
    assert descriptors() == before
    assert all(np.any(one) for one in mapped)


def test_a_descriptor_that_was_received_is_closed_with_its_memory() -> None:
    before = descriptors()
    memory = SealedMemory.holding([b"abc"])
    received = SealedMemory.received(os.dup(memory.descriptor))
    assert received.size == 3
    assert descriptors() == before + 2
    del memory, received
    assert descriptors() == before
