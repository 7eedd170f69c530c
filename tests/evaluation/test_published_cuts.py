"""An adversary who adds and subtracts all that is told finds no small cell."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.published_cuts import Grid, published, tellable
from evaluation.suppression import across_scopes, partitions
from evaluation.tally_spec import TallySpec
from federation.schema import SensitiveAttribute, TaskSchema

SEX = SensitiveAttribute("sex", ("F", "M"))
AGE = SensitiveAttribute("age", ("young", "old"))
SPEC = TallySpec(TaskSchema((), "died", ("no", "yes"), (SEX, AGE)), (("sex", "age"),))
CELLS = 8
LEAST = 10


def grid_of(known=3, preferred=(1, 5), minimum_cell=LEAST):
    return Grid(np.isin(np.arange(CELLS - 1), preferred), known, minimum_cell)


def drawn_tables(scopes, seed, mean):
    """Which of the finest groups each group of each scope holds, and the rows of the latter."""
    rng = np.random.default_rng(seed)
    finest = [(scope, group) for scope in range(scopes) for group in SPEC.families[-1]]
    sizes = rng.gamma(0.5, mean, len(finest))
    rows = rng.poisson(sizes[:, None, None] * rng.dirichlet(np.ones(CELLS), (len(finest), 2)))
    # Scope 0 is all sites; the others, if any, are the cohorts and, last, the rest.
    holds = [
        [scope in {0, own + 1} and group.contains(part) for own, part in finest]
        for scope in range(scopes + 1 if scopes > 1 else 1)
        for group in SPEC.groups
    ]
    holds = np.array(holds, dtype=int)
    return holds, np.einsum("gf,fyc->gyc", holds, rows)


def determined(holds, told):
    """Which sums of finest groups follow from the told ones at a cut, by their rank."""
    known = holds[told]
    rank = np.linalg.matrix_rank(known) if len(known) else 0
    return np.array([
        np.linalg.matrix_rank(np.vstack([known, row])) == rank for row in holds
    ])  # fmt: skip


def small_cells(table, cuts, known):
    """Cells between cuts with rows but fewer than the least; those of the known cut alone aside."""
    ends = sorted({-1, known, CELLS - 1, *cuts})
    for low, high in pairwise(ends):
        if {low, high} <= {-1, known, CELLS - 1}:
            continue
        for label in table:
            if 0 < label[low + 1 : high + 1].sum() < LEAST:
                yield low, high


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([1, 2, 3]), st.integers(0, 2**20), st.sampled_from([30, 100, 400]))
def test_nothing_small_follows_from_what_is_told(scopes, seed, mean) -> None:
    holds, tables = drawn_tables(scopes, seed, mean)
    adds_up = across_scopes(partitions(SPEC), len(SPEC.groups), len(holds) // len(SPEC.groups))
    totals = tables.sum(axis=2)
    eligible = (totals.min(axis=1) >= LEAST) | (totals.sum(axis=1) == 0)
    told = tellable(grid_of(known=2), tables, adds_up, eligible)
    assert not told[~eligible].any()
    follows = np.stack([determined(holds, told[:, cut]) for cut in range(CELLS - 1)], axis=1)
    populated = totals.sum(axis=1) > 0
    np.testing.assert_array_equal(follows[populated], told[populated])
    for table, cuts in zip(tables, follows, strict=True):
        assert list(small_cells(table, np.flatnonzero(cuts).tolist(), 2)) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20))
def test_the_sum_of_hidden_groups_has_no_small_cell_either(seed) -> None:
    _, tables = drawn_tables(1, seed, 100)
    adds_up = partitions(SPEC)
    eligible = tables.sum(axis=2).min(axis=1) >= LEAST
    told = tellable(grid_of(), tables, adds_up, eligible)
    for partition in adds_up:
        parts = np.array(partition.parts)
        for chosen in np.unique(~told[parts].T, axis=0):  # every set of parts hidden at some cut
            rest = parts[~chosen]
            cuts = np.flatnonzero(told[partition.whole] & told[rest].all(axis=0)).tolist()
            table = tables[parts[chosen]].sum(axis=0)
            assert list(small_cells(table, cuts, 3)) == []


def test_large_groups_are_told_at_every_cut_and_small_ones_cost_a_companion() -> None:
    tables = np.full((9, 2, CELLS), 0)
    places = {group.label: place for place, group in enumerate(SPEC.groups[:7])}
    sexes = [places["overall"], places["sex=F"], places["sex=M"], places["sex=unknown"]]
    small = np.array([0, 0, 0, 20, 0, 4, 4, 12])
    for place, table in zip(sexes[1:], ([100] * CELLS, [50] * CELLS, small), strict=True):
        tables[place] = table
    tables[sexes[0]] = tables[sexes[1:]].sum(axis=0)
    adds_up = [each for each in partitions(SPEC) if each.whole == 0 and each.parts[0] == sexes[1]]
    told = tellable(grid_of(), tables, adds_up, np.ones(9, dtype=bool))
    everywhere = [0, 1, 2, 4, 5, 6]
    assert np.flatnonzero(told[sexes[1]]).tolist() == everywhere
    # Between the fifth and the last cut `unknown` has four rows: it is told at one of them alone,
    # and where it is not, the next larger group is not told either.
    assert np.flatnonzero(told[sexes[3]]).tolist() == [0, 1, 2, 4]
    assert np.flatnonzero(told[sexes[2]]).tolist() == [0, 1, 2, 4]
    assert np.flatnonzero(told[sexes[0]]).tolist() == everywhere


def test_preferred_cuts_come_before_others() -> None:
    table = np.array([[6, 6, 6, 6, 6, 6, 6, 6]] * 2)[np.newaxis]
    told = tellable(grid_of(known=None, preferred=(3,)), table, [], np.array([True]))
    assert np.flatnonzero(told[0]).tolist() == [1, 3, 5]
    told = tellable(grid_of(known=None, preferred=(2,)), table, [], np.array([True]))
    assert np.flatnonzero(told[0]).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("above", "shown"), [(0, [0, 1, 2, 3, 4, 5, 6]), (9, [0, 1]), (10, [0, 1, 2, 3, 4, 5, 6])]
)
def test_a_small_half_is_not_shown_beside_the_known_cut(above, shown) -> None:
    table = np.full((2, CELLS), 20)
    table[1, 3:] = [0, 0, 0, 0, above]
    grid = grid_of(known=2, preferred=())
    told = tellable(grid, table[np.newaxis], [], np.array([True]))[0]
    cuts = np.flatnonzero(published(grid, table, told, with_known=True)).tolist()
    assert cuts == shown
    without = np.flatnonzero(published(grid, table, told, with_known=False)).tolist()
    assert without == [cut for cut in cuts if cut != 2]


def test_a_minimum_of_one_hides_nothing() -> None:
    tables = np.array([[[1] + [0] * 7, [0] * 7 + [3]]])
    told = tellable(grid_of(known=None, minimum_cell=1), tables, [], np.array([True]))
    assert told.all()
