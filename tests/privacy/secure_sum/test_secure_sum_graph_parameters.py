"""Degree and threshold: by counting, by drawing, against Google's finder and Bell's closed form."""

import math
import random
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rehearsal import make_terms

from federation.errors import ConfigError
from privacy.secure_sum.graph import circle
from privacy.secure_sum.graph_parameters import (
    COMPLETE_GRAPH_SITES,
    GraphParameters,
    GraphRequirements,
    choose,
    complete_graph_parameters,
    log2_correctness_failure,
    log2_security_failure,
    sparse_graph_parameters,
)

USUAL = GraphRequirements(sites=500, colluder_share=0.2, dropout_share=0.1)


def most_in_a_row(colluding: list[bool], length: int) -> int:
    return max(sum((colluding * 2)[place : place + length]) for place in range(len(colluding)))


def protects(colluding: list[bool], sites: int, quorum: int, degree: int, threshold: int) -> bool:
    """Whether an order on the circle meets either case, read off it place by place."""
    half = degree // 2
    b = most_in_a_row(colluding, half)
    thrice = colluding * 3
    around = [
        sum(thrice[place - half : place]) + sum(thrice[place + 1 : place + 1 + half])
        for place in range(len(colluding), 2 * len(colluding))
        if not thrice[place]
    ]
    return threshold > half + 1 + b or (
        2 * threshold > degree + max(around)
        and degree > sites - quorum + min(2 * b, sum(colluding))
    )


@pytest.mark.parametrize(
    ("sites", "quorum", "colluders"), [(10, 8, 2), (16, 16, 4), (16, 14, 3), (19, 18, 3)]
)
def test_the_bound_holds_over_all_orders_and_numbers_of_adverts(sites, quorum, colluders) -> None:
    """Exact: every set of places that the colluders can have among those that advertise."""
    bounds = {}
    for degree in range(2, quorum - 1, 2):
        for threshold in range(2, degree + 1):
            bound = log2_security_failure(sites, quorum, degree, threshold, colluders)
            if bound < 0:
                bounds[degree, threshold] = bound
    assert bounds
    for adverts in range(quorum, sites + 1):
        orders = [
            [place in some for place in range(adverts)]
            for some in combinations(range(adverts), colluders)
        ]
        for (degree, threshold), bound in bounds.items():
            failing = sum(not protects(order, sites, quorum, degree, threshold) for order in orders)
            assert failing <= math.exp2(bound) * len(orders) * (1 + 1e-9)


def drawn_orders(sites: int, colluders: int, trials: int) -> list[list[bool]]:
    """As the protocol draws them: names sorted under a digest of a seed."""
    names = [f"site-{number:03d}" for number in range(sites)]
    colluding = set(names[:colluders])
    source = random.Random(20)
    return [
        [name in colluding for name in circle(names, source.randbytes(32))] for _ in range(trials)
    ]


@pytest.mark.parametrize(
    ("quorum", "degree", "threshold"), [(60, 12, 9), (54, 24, 17), (45, 18, 16), (45, 24, 20)]
)
def test_drawn_orders_fail_about_as_often_as_the_bound_says(quorum, degree, threshold) -> None:
    """Of 60 sites, 12 collude and only the quorum advertises. Adding up places that overlap makes
    the bound too large, but not by much."""
    orders = drawn_orders(quorum, 12, 2000)
    failing = sum(not protects(order, 60, quorum, degree, threshold) for order in orders) / 2000
    bound = math.exp2(log2_security_failure(60, quorum, degree, threshold, 12))
    assert bound / 6 < failing <= bound


@given(st.integers(3, 9), st.data())
def test_the_correctness_bound_holds_for_every_set_of_lost_sites(sites, data) -> None:
    degree = 2 * data.draw(st.integers(1, (sites - 1) // 2))
    threshold = data.draw(st.integers(1, degree))
    dropouts = data.draw(st.integers(0, sites))
    steps = [s for s in range(-(degree // 2), degree // 2 + 1) if s]
    losses = list(combinations(range(sites), dropouts))
    failing = sum(
        any(sum((site + s) % sites not in lost for s in steps) < threshold for site in range(sites))
        for lost in map(set, losses)
    )
    bound = math.exp2(log2_correctness_failure(sites, degree, threshold, dropouts))
    assert failing <= bound * len(losses) * (1 + 1e-9)


def exact_tail(population: int, marked: int, drawn: int, bound: int) -> Fraction:
    ways = sum(
        math.comb(marked, x) * math.comb(population - marked, drawn - x)
        for x in range(max(0, bound + 1), drawn + 1)
    )
    return Fraction(ways, math.comb(population, drawn))


def exact_security(needs: GraphRequirements, degree: int, threshold: int) -> Fraction:
    """Times n, before any grinding; with the bounds on b and a searched for."""
    n, c, q, half = needs.sites, needs.colluders, needs.quorum, degree // 2
    in_a_row = [exact_tail(q, c, half, b) for b in range(c + 1)]
    around = [exact_tail(q - 1, c, degree, a) for a in range(c + 1)]
    by_threshold = [p for b, p in enumerate(in_a_row) if threshold > half + 1 + b]
    by_count = [p for b, p in enumerate(in_a_row) if degree > n - q + min(2 * b, c)]
    by_majority = [p for a, p in enumerate(around) if 2 * threshold > degree + a]
    return n * min(
        min(by_threshold, default=1), min(by_count, default=1) + min(by_majority, default=1)
    )


def is_enough(needs: GraphRequirements, degree: int, threshold: int) -> bool:
    security = exact_security(needs, degree, threshold) * 2**needs.grinding
    lost = exact_tail(needs.sites - 1, needs.dropouts, degree, degree - threshold)
    return security <= Fraction(1, 2**needs.security) and needs.sites * lost <= Fraction(
        1, 2**needs.correctness
    )


@pytest.mark.parametrize(
    ("degree", "threshold"), [(94, 65), (110, 89), (118, 85), (142, 105), (156, 121)]
)
def test_the_security_failure_is_what_exact_integers_give(degree, threshold) -> None:
    exact = exact_security(USUAL, degree, threshold)
    ours = log2_security_failure(500, 450, degree, threshold, 100)
    assert ours == pytest.approx(
        math.log2(exact.numerator) - math.log2(exact.denominator), abs=1e-8
    )


@pytest.mark.parametrize(
    "needs",
    [
        GraphRequirements(60, 0.1, 0.1, security=10, grinding=0, correctness=5),
        GraphRequirements(60, 0.2, 0.1, security=3, grinding=5, correctness=10),
        GraphRequirements(90, 0.05, 0.2, security=10, grinding=10, correctness=10),
        GraphRequirements(120, 0.1, 0.05, security=20, grinding=0, correctness=20),
        GraphRequirements(40, 0.0, 0.1, security=20, grinding=60, correctness=20),
    ],
)
def test_the_degree_is_enough_and_none_below_is_with_any_threshold(needs) -> None:
    found = sparse_graph_parameters(needs)
    assert is_enough(needs, found.degree, found.threshold)
    assert not is_enough(needs, found.degree, found.threshold + 1)
    for degree in range(2, found.degree, 2):
        assert not any(is_enough(needs, degree, t) for t in range(2, degree + 1))


def test_both_failures_are_reported_as_they_are() -> None:
    found = sparse_graph_parameters(USUAL)
    security = log2_security_failure(500, 450, found.degree, found.threshold, 100) + 60
    assert found.log2_security_failure == security
    assert -45 < security <= -40
    correctness = log2_correctness_failure(500, found.degree, found.threshold, 50)
    assert found.log2_correctness_failure == correctness
    assert -25 < correctness <= -20


def googles_finder(sites: int, colluders: float, dropouts: float) -> tuple[int, int]:
    """The semi-malicious case of the finder that `graph_parameters` cites, in exact arithmetic."""
    corrupt, lost = math.floor(colluders * sites + 1e-9), math.floor(dropouts * sites + 1e-9)
    for k in range(2, sites - 1, 2):
        pairs = Fraction(sites * (sites - k - 1), 2)
        apart = pairs * Fraction(math.comb(corrupt + lost, k), math.comb(sites, k))
        if apart >= Fraction(1, 2**41):
            continue
        rare = Fraction(1, 2**41 * sites)
        around = next(a for a in range(-1, k + 1) if exact_tail(sites, corrupt, k, a) <= rare)
        threshold = math.ceil((around + k - 1.25) / 2) + 1
        if exact_tail(sites, lost, k, k - threshold) <= Fraction(1, 2**20 * sites):
            return k, max(threshold, 2)
    raise AssertionError


PUBLISHED = {
    (0.2, 0.1): {20: (10, 8), 50: (22, 17), 100: (42, 32), 200: (76, 57), 500: (116, 86)},
    (0.33, 0.1): {20: (12, 10), 50: (28, 23), 100: (54, 44), 200: (98, 78), 500: (168, 132)},
}
"""Per colluders and dropouts, per number of sites, what a port of the finder printed."""


@pytest.mark.parametrize("shares", PUBLISHED)
def test_we_ask_for_what_google_asks_and_for_losses_chosen_by_the_coordinator(shares) -> None:
    """The same for few sites, where chance plays no part; for more, never less."""
    for sites, theirs in PUBLISHED[shares].items():
        assert googles_finder(sites, *shares) == theirs
        ours = sparse_graph_parameters(GraphRequirements(sites, *shares, grinding=0))
        if sites <= 100:
            assert (ours.degree, ours.threshold) == theirs
        else:
            assert ours.degree >= theirs[0]


def closed_form(needs: GraphRequirements) -> tuple[int, int] | None:
    """The first case by Chvatal's bound exp(-2 s^2 k) on both tails, as Bell et al. use it.

    It takes s = 0 where the bound is above 1, and so is never below the exact tails.
    """
    n, q = needs.sites, needs.quorum
    for k in range(2, q - 1, 2):
        half = k // 2
        bits = needs.security + needs.grinding + math.log2(n)
        row = half * (needs.colluders / q + math.sqrt(bits * math.log(2) / (2 * half)))
        threshold = math.ceil(row) + half + 2
        spare = (needs.correctness + math.log2(n)) * math.log(2)
        lost = k * (needs.dropouts / (n - 1) + math.sqrt(spare / (2 * k)))
        if threshold <= k - lost:
            return k, threshold
    return None


@pytest.mark.parametrize("sites", [1_000, 3_000, 10_000])
@pytest.mark.parametrize("shares", [(0.05, 0.05), (0.1, 0.1), (0.2, 0.05)])
def test_what_the_closed_form_finds_enough_is_enough(sites, shares) -> None:
    needs = GraphRequirements(sites, *shares)
    degree, threshold = closed_form(needs)
    security = log2_security_failure(sites, needs.quorum, degree, threshold, needs.colluders)
    assert security + needs.grinding <= -needs.security
    correctness = log2_correctness_failure(sites, degree, threshold, needs.dropouts)
    assert correctness <= -needs.correctness
    assert sparse_graph_parameters(needs).degree < degree


@pytest.mark.parametrize(
    "more", [{"security": 60}, {"grinding": 80}, {"correctness": 40}, {"colluder_share": 0.25}]
)
def test_more_protection_takes_more_neighbours(more) -> None:
    assert sparse_graph_parameters(replace(USUAL, **more)).degree > (
        sparse_graph_parameters(USUAL).degree
    )


@given(st.integers(3, 200), st.floats(0, 0.95), st.floats(0, 0.4))
def test_the_complete_graph_meets_the_terms_of_a_session(sites, colluders, dropouts) -> None:
    try:
        needs = GraphRequirements(sites, colluders, dropouts)
    except ConfigError:
        return
    found = complete_graph_parameters(needs)
    names = tuple(f"site-{number:03d}" for number in range(sites))
    terms = make_terms(
        sites, sites=names, threshold=found.threshold, quorum=found.quorum, degree=found.degree
    )
    assert terms.tolerated_colluders >= max(1, found.colluders)
    assert (found.degree, found.log2_security_failure) == (sites - 1, -math.inf)


def test_the_threshold_of_the_complete_graph_is_a_majority_or_above_the_colluders() -> None:
    assert complete_graph_parameters(USUAL).threshold == 251
    many = replace(USUAL, colluder_share=0.7, dropout_share=0.1)
    assert complete_graph_parameters(many).threshold == 351


def test_few_sites_and_dense_graphs_are_complete() -> None:
    few = replace(USUAL, sites=COMPLETE_GRAPH_SITES)
    assert choose(few) == complete_graph_parameters(few)
    more = replace(USUAL, sites=COMPLETE_GRAPH_SITES + 1)
    assert choose(more) == sparse_graph_parameters(more)
    dense = replace(USUAL, colluder_share=0.3, dropout_share=0.3)
    assert sparse_graph_parameters(dense) is None
    assert choose(dense) == complete_graph_parameters(dense)
    assert choose(dense).degree == 499


@pytest.mark.parametrize(
    ("share", "sites", "count"), [(0.29, 100, 29), (0.1, 30, 3), (0.2, 9, 1), (1 / 3, 300, 99)]
)
def test_shares_are_of_what_was_typed(share: float, sites: int, count: int) -> None:
    """0.29 * 100 is 28.999999999999996."""
    assert GraphRequirements(sites, share, 0).colluders == count
    assert GraphRequirements(sites, 0, share).quorum == sites - count


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"sites": 2}, "graph.sites = 2: expected from 3"),
        ({"sites": 10**9}, "graph.sites = 1000000000: expected from 3 to"),
        ({"colluder_share": 1.0}, "graph.colluder_share = 1.0: expected a share"),
        ({"colluder_share": math.nan}, "graph.colluder_share = nan"),
        ({"dropout_share": -0.1}, "graph.dropout_share = -0.1: expected a share"),
        ({"security": 0}, "graph.security = 0: expected from 1 to 256"),
        ({"grinding": -1}, "graph.grinding = -1: expected from 0 to 256"),
        ({"correctness": math.inf}, "graph.correctness = inf: expected from 1 to 256"),
        (
            {"dropout_share": 0.4},
            "graph.dropout_share = 0.4: expected at least 301 of 500 sites to be left "
            "(300 are; lower it or graph.colluder_share, or else 100 colluding can have two "
            "survivor sets signed)",
        ),
        (
            {"sites": 5, "colluder_share": 0, "dropout_share": 0.4},
            "expected at least 4 of 5 sites to be left (3 are; lower it or graph.col",
        ),
        ({"sites": 3, "dropout_share": 0.34}, "at least 3 of 3 sites to be left"),
    ],
)
def test_what_cannot_be_met_is_refused(change, error) -> None:
    with pytest.raises(ConfigError) as refused:
        replace(USUAL, **change)
    assert error in str(refused.value)


def test_the_most_dropouts_are_admitted() -> None:
    assert replace(USUAL, dropout_share=0.398).quorum == 301


@pytest.mark.parametrize("degree", [0, 3, 449, 450])
def test_a_degree_with_no_sparse_graph_is_refused(degree: int) -> None:
    with pytest.raises(ValueError, match="even degree from 2, below 449"):
        log2_security_failure(500, 450, degree, 10, 100)


def test_parameters_are_values() -> None:
    assert sparse_graph_parameters(USUAL) == GraphParameters(
        sites=500,
        degree=156,
        threshold=121,
        quorum=450,
        colluders=100,
        dropouts=50,
        log2_security_failure=pytest.approx(-41.3, abs=0.05),
        log2_correctness_failure=pytest.approx(-22.1, abs=0.05),
    )
