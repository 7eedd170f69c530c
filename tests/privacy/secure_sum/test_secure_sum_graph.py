"""The graph is regular, symmetric, the same for everybody, and drawn anew with every seed."""

import hashlib
import struct
from collections import Counter
from itertools import permutations

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rehearsal import names

from privacy.secure_sum.graph import circle, neighbourhoods, neighbours

SEED = bytes(range(32))
seeds = st.binary(min_size=32, max_size=32)
some_sites = st.sets(st.text(min_size=1, max_size=5), min_size=2, max_size=30).map(sorted)
degrees = st.integers(1, 20).map(lambda half: 2 * half)


@given(some_sites, degrees, seeds)
def test_everybody_has_as_many_neighbours_and_is_theirs(sites, degree, seed) -> None:
    graph = neighbourhoods(sites, degree, seed)
    assert set(graph) == set(sites)
    for site, beside in graph.items():
        assert len(set(beside)) == len(beside) == min(degree, len(sites) - 1)
        assert site not in beside
        assert list(beside) == sorted(beside)
        assert all(site in graph[peer] for peer in beside)


@given(some_sites, degrees, seeds, st.randoms(use_true_random=False))
def test_each_site_finds_alone_what_the_coordinator_finds(sites, degree, seed, random) -> None:
    shuffled = random.sample(sites, len(sites))
    graph = neighbourhoods(sites, degree, seed)
    assert {site: neighbours(site, shuffled, degree, seed) for site in sites} == graph


@given(some_sites, degrees, seeds)
def test_neighbours_are_the_next_on_the_circle(sites, degree, seed) -> None:
    order = circle(sites, seed)
    graph = neighbourhoods(sites, degree, seed)
    for a, first in enumerate(order):
        for b, second in enumerate(order):
            apart = min((a - b) % len(order), (b - a) % len(order))
            assert (second in graph[first]) == (0 < apart <= degree / 2)


@given(some_sites, st.integers(0, 5), seeds)
def test_with_degree_enough_it_is_the_complete_graph(sites, more, seed) -> None:
    graph = neighbourhoods(sites, len(sites) - 1 + more, seed)
    assert graph == {site: tuple(p for p in sites if p != site) for site in sites}


@pytest.mark.parametrize(("n", "degree"), [(5, 2), (9, 4), (12, 6), (13, 10)])
def test_it_is_the_graph_of_harary(n: int, degree: int) -> None:
    ours = nx.Graph(
        (site, peer)
        for site, beside in neighbourhoods(names(n), degree, SEED).items()
        for peer in beside
    )
    assert nx.is_isomorphic(ours, nx.hkn_harary_graph(degree, n))
    assert nx.node_connectivity(ours) == degree


def test_the_order_is_by_sha256_of_the_seed_and_the_name() -> None:
    """Written out, so that another implementation, or a later one, can be held against it."""

    def key(site: str) -> bytes:
        parts = (b"hedgerow/secure-sum/v3/graph", SEED, site.encode())
        framed = b"".join(struct.pack(">I", len(part)) + part for part in parts)
        return hashlib.sha256(struct.pack(">I", 3) + framed).digest()

    assert circle(names(9), SEED) == tuple(sorted(names(9), key=key))


def test_all_orders_come_up_equally_often() -> None:
    """Chi-square over the 24 orders of four sites: below the 1 - 1e-6 quantile, 23 degrees."""
    trials = 4800
    count = Counter(circle("abcd", hashlib.sha256(bytes([i % 256, i // 256])).digest())
                    for i in range(trials))  # fmt: skip
    assert set(count) == set(permutations("abcd"))
    expected = trials / 24
    assert sum((seen - expected) ** 2 / expected for seen in count.values()) < 72.3


@pytest.mark.parametrize(
    ("sites", "degree", "seed", "error"),
    [
        (names(8), 3, SEED, "even degree from 2, or 7; got 3"),
        (names(8), 0, SEED, "even degree"),
        (names(8), -2, SEED, "even degree"),
        (names(8), 4, SEED[:31], "32 bytes, got 31"),
        (("a", "b", "a"), 2, SEED, "twice"),
    ],
)
def test_what_is_no_graph_is_refused(sites, degree, seed, error) -> None:
    with pytest.raises(ValueError, match=error):
        neighbourhoods(sites, degree, seed)
    with pytest.raises(ValueError, match=error):
        neighbours(sites[0], sites, degree, seed)


def test_a_site_outside_the_graph_has_no_neighbours_in_it() -> None:
    with pytest.raises(ValueError, match="stranger is not in the graph"):
        neighbours("stranger", names(8), 4, SEED)
