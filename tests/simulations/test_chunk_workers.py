"""Which worker plays which chunk; what chunks add up to: `tests/e2e/test_arithmetic_run.py`."""

from collections import deque

from simulations.chunk_workers import _Round


def test_a_worker_plays_its_own_chunks_and_then_the_shortest_of_whoever_has_most() -> None:
    round_ = _Round([], [deque([0, 2]), deque([1, 3, 5, 7]), deque([4])])
    assert [round_.next_for(0) for _ in range(4)] == [0, 2, 7, 5]
    assert [round_.next_for(2) for _ in range(2)] == [4, 3]
    assert [round_.next_for(1) for _ in range(2)] == [1, None]


def test_the_chunk_of_a_dead_worker_is_the_next_of_whoever_takes_its_place() -> None:
    round_ = _Round([], [deque([0, 1]), deque([2])])
    died = round_.next_for(0)
    assert died is not None
    round_.waiting[0].appendleft(died)
    assert [round_.next_for(0) for _ in range(3)] == [0, 1, 2]
