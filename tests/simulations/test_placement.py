"""Nodes to workers: every node once, nearly even, and the same each time."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulations.backends.placement import longest_first

few_costs = st.lists(st.integers(0, 50), min_size=1, max_size=7)


def makespan(costs, placement, workers: int) -> float:
    return max(
        sum(cost for cost, at in zip(costs, placement, strict=True) if at == worker)
        for worker in range(workers)
    )


@given(few_costs, st.integers(1, 3))
def test_it_ends_within_a_third_of_the_best_plan_there_is(costs, workers: int) -> None:
    plans = itertools.product(range(workers), repeat=len(costs))
    best = min(makespan(costs, plan, workers) for plan in plans)
    ends = makespan(costs, longest_first(costs, workers), workers)
    assert ends * 3 * workers <= best * (4 * workers - 1)


def test_the_bound_is_reached() -> None:
    # Graham's worst case for two workers: 7/6 of the best plan, which is {3, 3}, {2, 2, 2}.
    costs = [3, 3, 2, 2, 2]
    assert makespan(costs, longest_first(costs, 2), 2) == 7


@given(st.lists(st.floats(0, 1e9), max_size=60), st.integers(1, 8))
def test_every_node_has_one_worker_and_always_the_same(costs, workers: int) -> None:
    placement = longest_first(costs, workers)
    assert len(placement) == len(costs)
    assert set(placement) <= set(range(workers))
    assert placement == longest_first(list(costs), workers)


@pytest.mark.parametrize("cost", [0, 1])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_equal_costs_are_dealt_in_turn(cost: int, workers: int) -> None:
    assert longest_first([cost] * 12, workers) == tuple(k % workers for k in range(12))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 50)), max_size=20), st.integers(1, 4))
def test_a_group_stays_together_and_counts_as_one(nodes, workers: int) -> None:
    groups, costs = [group for group, _ in nodes], [cost for _, cost in nodes]
    placement = longest_first(costs, workers, groups)
    assert len(set(zip(groups, placement, strict=True))) == len(set(groups))
    sums = {group: sum(c for g, c in nodes if g == group) for group in dict.fromkeys(groups)}
    of_groups = dict(zip(sums, longest_first(list(sums.values()), workers), strict=True))
    assert placement == tuple(of_groups[group] for group in groups)


@pytest.mark.parametrize(
    ("costs", "workers", "groups"),
    [([1], 0, None), ([1, 2], 1, ["a"]), ([-1], 1, None), ([float("nan")], 1, None),
     ([float("inf")], 1, None)],
)  # fmt: skip
def test_what_cannot_be_placed_is_refused(costs, workers: int, groups) -> None:
    with pytest.raises(ValueError, match="expected"):
        longest_first(costs, workers, groups)
