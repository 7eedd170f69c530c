"""Splits are alike in labels and groups, within one row, at every site."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from simulations.partition.site_sizes import held_out_sizes
from simulations.partition.stratified_split import (
    CURRENT,
    REFERENCE,
    TRAIN,
    split_by_time,
    stratified_split,
)


def case(rows: int, sites: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    owners = generator.permutation(np.arange(rows) % sites)
    return owners, generator.integers(0, 3, rows), generator.integers(0, 2, rows)


@given(st.integers(1, 12), st.integers(3, 60), st.floats(0.01, 0.99), st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_every_label_and_every_group_of_it_is_held_out_within_one_row(
    sites: int, each: int, share: float, seed: int
) -> None:
    owners, labels, groups = case(sites * each, sites, seed)
    wanted = held_out_sizes(np.bincount(owners), share)
    split = stratified_split(owners, (labels, groups), wanted, np.random.default_rng(seed))
    for site in range(sites):
        here = owners == site
        assert (split[here] != TRAIN).sum() == wanted[site]
        exact = wanted[site] / each
        for of in (labels, labels * 2 + groups):
            for stratum in np.unique(of[here]):
                members = here & (of == stratum)
                held_out = (split[members] != TRAIN).sum()
                assert abs(held_out - exact * members.sum()) < 1
                for part in (REFERENCE, CURRENT):
                    taken = (split[members] == part).sum()
                    assert abs(taken - held_out / 2) <= 0.5


def test_reference_and_current_differ_by_one_at_most() -> None:
    owners, labels, groups = case(333, 9, 4)
    wanted = held_out_sizes(np.bincount(owners), 0.3)
    split = stratified_split(owners, (labels, groups), wanted, np.random.default_rng(0))
    for site in range(9):
        counts = np.bincount(split[owners == site], minlength=3)
        assert abs(counts[REFERENCE] - counts[CURRENT]) <= 1
        assert counts.min() >= 1


def test_labels_are_held_out_as_scikit_learn_would() -> None:
    _, labels, _ = case(200, 1, 8)
    owners = np.zeros(200, np.int64)
    split = stratified_split(owners, (labels,), np.array([60]), np.random.default_rng(1))
    theirs = StratifiedShuffleSplit(1, test_size=60, random_state=0)
    ((_, held_out),) = theirs.split(labels, labels)
    ours = np.bincount(labels[split != TRAIN])
    assert np.abs(ours - np.bincount(labels[held_out])).max() <= 1


def test_every_row_may_be_held_out() -> None:
    owners, labels, groups = case(30, 3, 0)
    wanted = held_out_sizes(np.bincount(owners), 0.3)
    seen = np.zeros(30, bool)
    for seed in range(200):
        split = stratified_split(owners, (labels, groups), wanted, np.random.default_rng(seed))
        seen |= split == REFERENCE
    assert seen.all()


def test_the_latest_rows_are_current_and_the_rest_is_stratified() -> None:
    owners, labels, _ = case(300, 5, 2)
    order = np.random.default_rng(3).permutation(300)
    when = np.argsort(order)
    wanted = held_out_sizes(np.bincount(owners), 0.3)
    split = split_by_time(owners, order, (labels,), wanted, np.random.default_rng(5))
    for site in range(5):
        here = owners == site
        assert (split[here] == CURRENT).sum() == 9
        assert when[here & (split != CURRENT)].max() < when[here & (split == CURRENT)].min()
        earlier = here & (split != CURRENT)
        for label in range(3):
            members = earlier & (labels == label)
            assert abs((split[members] == REFERENCE).sum() - 9 / 51 * members.sum()) < 1


@given(st.integers(3, 10**6), st.floats(1e-6, 1 - 1e-6))
def test_each_split_has_a_row(rows: int, share: float) -> None:
    (held_out,) = held_out_sizes(np.array([rows]), share)
    assert 2 <= held_out <= rows - 1
