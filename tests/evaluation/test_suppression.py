"""No hidden group can be had from what is shown; the attacker here is a linear program."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from evaluation.suppression import Partition, across_scopes, hidden, partitions
from evaluation.tally_spec import TallySpec
from federation.schema import SensitiveAttribute, TaskSchema

ATTRIBUTES = (
    SensitiveAttribute("sex", ("F", "M")),
    SensitiveAttribute("age", ("-39", "40-59", "60+")),
    SensitiveAttribute("race", ("A",)),
)
SCHEMA = TaskSchema((), "died", ("no", "yes"), ATTRIBUTES)
CROSSED = TallySpec(SCHEMA, (("sex", "age"),))
DEEP = TallySpec(SCHEMA, (("sex", "age"), ("sex", "age", "race")))
K = 10


def rows_per_group(spec, sizes):
    """Rows per group of `spec` if the finest cells (sex, age, race) have these sizes."""
    cells = np.asarray(sizes).reshape(3, 4, 2)
    axes = [attribute.name for attribute in ATTRIBUTES]
    counts = []
    for group in spec.groups:
        at = {level.attribute: level.code for level in group.levels}
        counts.append(cells[tuple(at.get(axis, slice(None)) for axis in axes)].sum())
    return np.array(counts).reshape(-1, 1)


def hide(spec, counts, minimum_cell=K):
    totals = np.array([not group.levels for group in spec.groups])
    return hidden(counts, partitions(spec), minimum_cell, totals)


def attackers_range(counts, adds_up, concealed, place):
    """Least and most that a concealed count can be, given all that is shown."""
    unknown = np.flatnonzero(concealed)
    matrix, known = [], []
    for partition in adds_up:
        row = np.zeros(len(counts))
        row[list(partition.parts)] = 1
        row[partition.whole] -= 1
        matrix.append(row[unknown])
        known.append(-float(row[~concealed] @ counts[~concealed]))
    goal = (unknown == place).astype(float)
    low, high = (linprog(sign * goal, A_eq=matrix, b_eq=known).fun for sign in (1, -1))
    return low, -high


cells = st.lists(
    st.one_of(st.just(0), st.integers(1, 12), st.integers(10, 300)), min_size=24, max_size=24
)
# Three populated cells: all the company that a small one can have is empty.
SPARSE = [0, 0, 0, 10, *[0] * 15, 1, 0, 0, 0, 10]
sparse = st.lists(st.sampled_from([0, 0, 0, 0, 0, 0, 0, 0, 1, 9, 10, 50]), min_size=24, max_size=24)


@pytest.mark.parametrize("spec", [CROSSED, DEEP], ids=["two attributes crossed", "three"])
@given(sizes=(cells | sparse).filter(lambda sizes: sum(sizes) >= K))
@example(sizes=SPARSE)
@settings(max_examples=60)
def test_no_small_group_can_be_had_by_subtraction(spec, sizes) -> None:
    counts = rows_per_group(spec, sizes)
    concealed = hide(spec, counts)
    for place in np.flatnonzero((counts[:, 0] > 0) & (counts[:, 0] < K)):
        assert concealed[place]
        low, high = attackers_range(counts[:, 0].astype(float), partitions(spec), concealed, place)
        assert high - low > 0.5


def test_a_single_small_group_takes_the_smallest_other_one_with_it() -> None:
    adds_up, totals = (Partition(0, (1, 2, 3)),), np.array([True, False, False, False])
    counts = np.array([[304], [4], [100], [200]])
    assert hidden(counts, adds_up, K, totals).tolist() == [False, True, True, False]


@pytest.mark.parametrize(("second", "more"), [(6, False), (5, True)])
def test_hidden_groups_are_together_no_fewer_than_the_minimum(second, more) -> None:
    adds_up, totals = (Partition(0, (1, 2, 3)),), np.array([True, False, False, False])
    counts = np.array([[104 + second], [4], [second], [100]])
    assert hidden(counts, adds_up, K, totals).tolist() == [False, True, True, more]


@pytest.mark.parametrize(("rows", "concealed"), [(10, False), (9, True), (1, True), (0, False)])
def test_the_minimum_itself_is_shown_and_one_fewer_is_not(rows, concealed) -> None:
    adds_up, totals = (Partition(0, (1, 2, 3)),), np.array([True, False, False, False])
    counts = np.array([[100 + rows], [rows], [50], [50]])
    assert hidden(counts, adds_up, K, totals)[1] == concealed


@pytest.mark.parametrize(("minimum", "concealed"), [(1, False), (2, True)])
def test_a_single_row_is_hidden_from_a_minimum_of_two_on(minimum, concealed) -> None:
    adds_up, totals = (Partition(0, (1, 2, 3)),), np.array([True, False, False, False])
    counts = np.array([[101], [1], [50], [50]])
    assert hidden(counts, adds_up, minimum, totals)[1] == concealed


def test_every_column_has_the_minimum() -> None:
    adds_up, totals = (Partition(0, (1, 2, 3)),), np.array([True, False, False, False])
    counts = np.array([[90, 63], [30, 3], [30, 20], [30, 40]])
    assert hidden(counts, adds_up, K, totals).tolist() == [False, True, True, False]


@given(cells)
def test_a_minimum_of_one_hides_nothing(sizes) -> None:
    assert not hide(DEEP, rows_per_group(DEEP, sizes), minimum_cell=1).any()


@given(st.lists(st.integers(K, 300), min_size=24, max_size=24))
def test_where_every_group_is_large_none_is_hidden(sizes) -> None:
    assert not hide(DEEP, rows_per_group(DEEP, sizes)).any()


def test_one_small_cell_of_a_cross_table_hides_a_rectangle() -> None:
    """In its row, in its column, and at the corner that would give those two away."""
    sizes = np.zeros((3, 4, 2), int)
    sizes[:2, :3, 0] = [[4, 50, 60], [70, 80, 90]]
    concealed = hide(CROSSED, rows_per_group(CROSSED, sizes))
    names = {g.label for g, c in zip(CROSSED.groups, concealed, strict=True) if c}
    assert names == {
        "sex=F & age=-39",
        "sex=F & age=40-59",
        "sex=M & age=-39",
        "sex=M & age=40-59",
    }


def test_partitions_are_every_way_in_which_groups_add_up() -> None:
    counts = rows_per_group(DEEP, np.arange(24))[:, 0]
    ways = partitions(DEEP)
    for way in ways:
        assert counts[way.whole] == counts[list(way.parts)].sum()
    # overall: 3 attributes and 2 intersections; sex, age: 2 each; race: 1; sex & age: 1.
    sex, age, race = 3, 4, 2
    assert len(ways) == 5 + 2 * sex + 2 * age + race + sex * age


def test_cohorts_add_up_to_the_whole_federation() -> None:
    within = (Partition(0, (1, 2)),)
    ways = across_scopes(within, groups=3, scopes=3)
    assert ways[:3] == (Partition(0, (1, 2)), Partition(3, (4, 5)), Partition(6, (7, 8)))
    assert ways[3:] == (Partition(0, (3, 6)), Partition(1, (4, 7)), Partition(2, (5, 8)))
    assert across_scopes(within, groups=3, scopes=1) == within


def test_what_is_hidden_for_another_reason_is_kept_from_subtraction_too() -> None:
    adds_up, totals = (Partition(0, (1, 2, 3)),), np.array([True, False, False, False])
    counts = np.array([[150], [50], [40], [60]])
    also = np.array([False, True, False, False])
    assert hidden(counts, adds_up, K, totals, also).tolist() == [False, True, True, False]
    assert hidden(counts, adds_up, 1, totals, also).tolist() == [False, True, True, False]
