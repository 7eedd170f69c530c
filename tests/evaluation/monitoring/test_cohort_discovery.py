"""Cohorts of like sites are found from sums; no sum is of fewer sites than the minimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_windows import columns, grids_of, window

from evaluation.monitoring.cohort_discovery import (
    MEMBERS,
    MOVES,
    Member,
    best_model,
    best_start,
    choose_cluster,
    coarse_counts,
    discover,
    discovery_segments,
    initial_centres,
    next_centres,
    settlement,
    start_contribution,
    start_segments,
)
from federation.errors import ConfigError, DataError, PrivacyRefusal
from federation.layout import VectorLayout

GRIDS = grids_of(columns(np.random.default_rng(1), 8000))


def members_of(rng, older, rows=400):
    return [
        Member(coarse_counts(GRIDS, window(rng, rows, GRIDS, older=years).features))
        for years in older
    ]


def added(parts):
    return {name: sum(part[name] for part in parts) for name in parts[0]}


class Federation:
    """Sites behind a sum; keeps what the server saw and what was in it."""

    def __init__(self, members, lost=()):
        self.members, self.lost, self.openings = list(members), set(lost), []

    def ask_moves(self, centres):
        return added([member.wish(centres) for member in self.members])

    def ask_counts(self, answer, centres):
        self.members = [member.settle(answer, centres) for member in self.members]
        present = [m for place, m in enumerate(self.members) if place not in self.lost]
        clusters = [[p for p, m in enumerate(self.members) if m.cluster == c and p not in self.lost]
                    for c in range(centres.count)]  # fmt: skip
        self.openings.append(clusters)
        return added([member.contribute(centres) for member in present])

    def found(self, k, minimum, seed=0, **more):
        overall = added([dict(member.own) for member in self.members])
        starts = [initial_centres(GRIDS, overall, k, 50 * seed + n) for n in range(48)]
        costs = added([start_contribution(starts, member.own) for member in self.members])
        centres = best_start(starts, costs)
        return discover(centres, self.ask_moves, self.ask_counts, minimum, **more)


@pytest.mark.parametrize("seed", range(8))
def test_two_kinds_of_sites_are_told_apart(seed) -> None:
    rng = np.random.default_rng(seed)
    kinds = [0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0]
    sites = Federation(members_of(rng, [18 * kind for kind in kinds]))
    found = sites.found(2, 3, seed)
    assert sorted(cohort.sites for cohort in found.cohorts) == [5, 7]
    assert sum(cohort.rows for cohort in found.cohorts) == 12 * 400
    clusters = [member.cluster for member in sites.members]
    assert len(set(zip(clusters, kinds, strict=True))) == 2


def test_the_sums_fit_the_one_vector() -> None:
    members = members_of(np.random.default_rng(2), [0, 0, 20])
    centres = initial_centres(GRIDS, added([dict(m.own) for m in members]), 2, 0)
    moves, counts = discovery_segments(centres, 1000, 3)
    starts = [centres, centres]
    layout = VectorLayout((*moves, *counts, *start_segments(starts, 3)), 3)
    whole = {
        **start_contribution(starts, members[0].own),
        **members[0].wish(centres),
        **Member(members[0].own, 1).contribute(centres),
    }
    assert {n: v.tolist() for n, v in layout.decode(layout.encode(whole)).items()} == {
        name: values.tolist() for name, values in whole.items()
    }


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(2, 4))
def test_no_sum_and_no_difference_of_sums_is_of_few_sites(seed, k, minimum) -> None:
    rng = np.random.default_rng(seed)
    sites = Federation(members_of(rng, rng.choice([0, 6, 12, 25], 11), rows=120))
    sites.found(k, minimum, seed)
    for before, now in zip([[[]] * k, *sites.openings], sites.openings, strict=False):
        for earlier, later in zip(before, now, strict=True):
            for group in (set(later), set(later) - set(earlier), set(earlier) - set(later)):
                assert len(group) == 0 or len(group) >= minimum


def test_too_few_sites_find_nothing() -> None:
    sites = Federation(members_of(np.random.default_rng(3), [0, 20]))
    found = sites.found(2, 3)
    assert found.cohorts == ()
    assert found.reason == "no cluster has enough sites"
    assert sites.openings == []


def test_sites_lost_after_the_moves_need_a_margin() -> None:
    older = [0, 0, 0, 20, 20, 20, 0, 0]
    with pytest.raises(PrivacyRefusal, match="fewer than 3"):
        Federation(members_of(np.random.default_rng(4), older), lost={4}).found(2, 3)
    found = Federation(members_of(np.random.default_rng(4), older), lost={4}).found(2, 3, margin=1)
    assert all(cohort.sites >= 3 for cohort in found.cohorts)


def test_a_move_of_one_site_is_not_admitted_and_neither_is_what_leaves_few_behind() -> None:
    moves = np.array([[5, 1, 0], [3, 2, 0], [0, 0, 4], [0, 0, 0]], float)
    admitted = settlement({MOVES: moves.ravel()}, 3).admitted
    assert not admitted[0, 1]  # one site
    assert not admitted[1, 0]  # three, who would leave two behind
    assert admitted[0, 0]
    assert admitted[1, 1]


def test_the_best_model_is_the_one_with_the_least_loss() -> None:
    assert best_model(np.array([0.4, 0.2, 0.2])) == 1
    with pytest.raises(DataError, match="finite"):
        best_model(np.array([0.4, np.nan]))


def test_sums_that_are_no_moves_or_counts_are_refused() -> None:
    for flat in (np.ones(5), np.array([1, 0.5, 0, 0, 0, 0]), -np.ones(6)):
        with pytest.raises(DataError, match="moves"):
            settlement({MOVES: flat}, 3)
    members = members_of(np.random.default_rng(2), [0] * 4)
    centres = initial_centres(GRIDS, members[0].own, 2, 0)
    sums = added([Member(m.own, 0).contribute(centres) for m in members])
    moved = next_centres(sums, 3, centres)
    assert choose_cluster(moved, members[0].own) == 0
    with pytest.raises(DataError, match="clusters"):
        next_centres(sums | {MEMBERS: np.array([-4.0, 8])}, 3, centres)
    with pytest.raises(ConfigError, match="count"):
        initial_centres(GRIDS, members[0].own, 1, 0)
