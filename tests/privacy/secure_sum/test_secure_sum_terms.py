"""The conditions on quorum and threshold, on both sides, and why they are the right ones."""

from dataclasses import fields, replace
from itertools import chain, combinations, product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rehearsal import make_terms, names

from federation.errors import ConfigError, ProtocolViolation
from federation.ring_vector import RING_BITS, Stretch
from privacy.secure_sum.terms import SessionTerms

SEVEN = names(7)


@pytest.mark.parametrize(
    ("n", "threshold", "quorum"),
    [(3, 2, 3), (3, 3, 3), (4, 2, 3), (4, 3, 3), (4, 3, 4), (5, 4, 4), (6, 2, 4), (100, 51, 67)],
)
def test_admissible(n: int, threshold: int, quorum: int) -> None:
    make_terms(n, threshold=threshold, quorum=quorum)


@pytest.mark.parametrize(
    ("n", "threshold", "quorum", "key"),
    [
        (1, 1, 1, "terms.sites"),
        (2, 2, 2, "terms.sites"),
        (3, 2, 2, "terms.quorum = 2: expected from 3"),
        (3, 2, 4, "terms.quorum = 4: expected from 3 to the 3 sites"),
        (3, 1, 3, "terms.threshold = 1: expected from 2"),
        (4, 4, 3, "terms.threshold = 4: expected from 2 to the quorum, 3"),
        (5, 3, 3, "terms.quorum = 3: expected at least 4 for 5 sites"),
        (6, 3, 3, "terms.quorum = 3: expected at least 4 for 6 sites"),
        (7, 3, 4, "terms.quorum = 4: expected at least 5 for 7 sites"),
        (100, 51, 50, "terms.threshold"),
    ],
)
def test_inadmissible(n: int, threshold: int, quorum: int, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        make_terms(n, threshold=threshold, quorum=quorum)


def two_sets_can_be_signed(n: int, quorum: int, colluders: int) -> bool:
    """By counting: the honest sites split over two sets, and every colluder signs both."""
    honest = n - colluders
    return any(
        first + colluders >= quorum and honest - first + colluders >= quorum
        for first in range(honest + 1)
    )


@pytest.mark.parametrize("n", range(3, 14))
def test_the_tolerated_colluders_are_all_that_can_be(n: int) -> None:
    """Never two signed sets and never a secret opened alone; with one more, one or the other."""
    for quorum, threshold in product(range(3, n + 1), range(2, n + 1)):
        if threshold > quorum or two_sets_can_be_signed(n, quorum, 1):
            with pytest.raises(ConfigError):
                make_terms(n, threshold=threshold, quorum=quorum)
            continue
        tolerated = make_terms(n, threshold=threshold, quorum=quorum).tolerated_colluders
        assert tolerated >= 1
        assert not two_sets_can_be_signed(n, quorum, tolerated)
        assert tolerated < threshold
        one_more = tolerated + 1
        assert one_more >= threshold or two_sets_can_be_signed(n, quorum, one_more)


def subsets(items: frozenset[int], least: int) -> list[frozenset[int]]:
    sizes = range(least, len(items) + 1)
    return [frozenset(c) for c in chain.from_iterable(combinations(items, k) for k in sizes)]


@pytest.mark.parametrize(("n", "quorum"), [(3, 3), (4, 3), (4, 4), (5, 4), (6, 4)])
def test_no_choice_of_envelopes_splits_the_honest_survivors(n: int, quorum: int) -> None:
    """The worst a coordinator can do that shows each site other envelopes, by trying it all.

    An honest signer masks with every survivor. One that sent its input but did not sign masks with
    any `quorum` sites. A mask hides a sum only if both ends apply it.
    """
    terms = make_terms(n, threshold=quorum, quorum=quorum)
    everyone = frozenset(range(n))
    for count in range(terms.tolerated_colluders + 1):
        honest = everyone - frozenset(range(count))
        for survivors in subsets(everyone, quorum):
            for signers in subsets(survivors, quorum):
                silent = sorted((survivors - signers) & honest)
                choices = [[s for s in subsets(everyone, quorum) if u in s] for u in silent]
                for seen in product(*choices):
                    masks_with = dict.fromkeys(signers & honest, everyone) | dict(
                        zip(silent, seen, strict=True)
                    )
                    assert is_connected(masks_with)


def is_connected(masks_with: dict[int, frozenset[int]]) -> bool:
    reached, frontier = set(), {min(masks_with)}
    while frontier:
        reached |= frontier
        frontier = {
            other
            for one in frontier
            for other in masks_with[one]
            if other in masks_with and one in masks_with[other]
        } - reached
    return reached == set(masks_with)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"federation": ""}, "terms.federation"),
        ({"federation": "x" * 201}, "terms.federation"),
        ({"run": "ü" * 101}, "terms.run"),
        ({"sites": ("", "b", "c", "d", "e")}, "terms.sites"),
        ({"sites": ("b", "a", "c", "d", "e")}, "sorted"),
        ({"sites": ("a", "a", "c", "d", "e")}, "distinct"),
        ({"round": 0}, "terms.round"),
        ({"attempt": 0}, "terms.attempt"),
        ({"attempt": 2**32}, "terms.attempt"),
        ({"stretches": ()}, "terms.stretches"),
        ({"stretches": (Stretch(32, 1), Stretch(16, 1))}, "narrow ones first"),
        ({"stretches": (Stretch(16, 1), Stretch(16, 1))}, "narrow ones first"),
        ({"config_digest": bytes(31)}, "terms.config_digest"),
        ({"layout_digest": b""}, "terms.layout_digest"),
        ({"minimum_contributors": 2}, "terms.minimum_contributors"),
        ({"groups": (SEVEN[:3],)}, "terms.groups"),
        ({"groups": (SEVEN[:4], SEVEN[3:])}, "terms.groups"),
        ({"groups": (SEVEN[:3], (*SEVEN[3:], "x"))}, "terms.groups"),
        ({"groups": (SEVEN[:2], SEVEN[2:])}, "sorted, 3 sites at least"),
        ({"groups": (SEVEN[2::-1], SEVEN[3:])}, "sorted, 3 sites at least"),
        ({"groups": (SEVEN[:3], SEVEN[3:]), "minimum_contributors": 4}, "4 sites at least"),
    ],
)
def test_a_field_out_of_bound_is_refused_by_name(change: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        make_terms(7, quorum=5, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"federation": "x" * 200, "run": "ü" * 100},
        {"round": 2**32 - 1, "attempt": 2**32 - 1, "length": 2**32 - 1},
        {"groups": (SEVEN[:3], SEVEN[3:])},
        {"groups": (SEVEN,), "minimum_contributors": 7},
    ],
)
def test_fields_at_their_bounds_are_admitted(change: dict[str, object]) -> None:
    terms = make_terms(7, quorum=5, **change)
    assert SessionTerms.from_bytes(terms.to_bytes()) == terms


def test_the_first_group_with_too_few_survivors_is_told() -> None:
    terms = make_terms(7, quorum=5, groups=(SEVEN[:3], SEVEN[3:]))
    assert terms.group_below_minimum(frozenset(SEVEN)) is None
    assert terms.group_below_minimum(frozenset(SEVEN[3:])) is None
    assert terms.group_below_minimum(frozenset(SEVEN[:6])) is None
    assert terms.group_below_minimum(frozenset(SEVEN[2:])) == SEVEN[:3]
    assert terms.group_below_minimum(frozenset(SEVEN[:5])) == SEVEN[3:]


@st.composite
def any_terms(draw: st.DrawFn) -> SessionTerms:
    sites = tuple(sorted(draw(st.sets(st.text("abü0", min_size=1), min_size=3, max_size=9))))
    n = len(sites)
    quorum = draw(st.integers(max(3, (n + 1) // 2 + 1), n))
    cut = draw(st.integers(3, n - 3)) if n >= 6 else None
    digests = st.binary(min_size=32, max_size=32)
    return SessionTerms(
        federation=draw(st.text("xyz", min_size=1)),
        run=draw(st.text("xyz", min_size=1)),
        round=draw(st.integers(1, 2**32 - 1)),
        attempt=draw(st.integers(1, 9)),
        config_digest=draw(digests),
        layout_digest=draw(digests),
        sites=sites,
        threshold=draw(st.integers(2, quorum)),
        quorum=quorum,
        degree=n - 1,
        stretches=tuple(
            Stretch(bits, draw(st.integers(1, 2**32 - 1)))
            for bits in sorted(draw(st.sets(st.sampled_from(RING_BITS), min_size=1)))
        ),
        groups=() if cut is None else (sites[:cut], sites[cut:]),
    )


@given(any_terms())
def test_terms_read_back_the_same_and_have_one_encoding(terms: SessionTerms) -> None:
    data = terms.to_bytes()
    assert SessionTerms.from_bytes(data) == terms
    assert len(terms.digest()) == 32
    for at in range(len(data)):
        with pytest.raises(ProtocolViolation):
            SessionTerms.from_bytes(data[:at])
    with pytest.raises(ProtocolViolation, match="1 bytes too many"):
        SessionTerms.from_bytes(data + b"\0")


def test_every_field_changes_the_digest() -> None:
    base = make_terms(7, quorum=5)
    changes: dict[str, object] = {
        "federation": "x", "run": "x", "round": 2, "attempt": 2, "config_digest": bytes(32),
        "layout_digest": bytes(32), "sites": tuple("abcdefg"), "threshold": 4, "quorum": 6,
        "degree": 4, "stretches": (Stretch(24, 9),), "groups": (SEVEN,), "minimum_contributors": 4,
    }  # fmt: skip
    assert set(changes) == {field.name for field in fields(SessionTerms) if field.init}
    base = replace(base, threshold=5)
    changes["threshold"] = 3
    changed = [{name: value} for name, value in changes.items() if name != "degree"]
    changed.append({"degree": 4, "threshold": 4})
    digests = {replace(base, **change).digest() for change in changed}
    assert len(digests | {base.digest()}) == len(changes) + 1


def test_terms_that_break_a_condition_do_not_parse() -> None:
    data = make_terms(5, quorum=4, threshold=3).to_bytes()
    at = data.index(b"site-04") + len(b"site-04")
    assert data[at : at + 8] == (3).to_bytes(4, "big") + (4).to_bytes(4, "big")
    lowered = data[: at + 7] + b"\x03" + data[at + 8 :]
    with pytest.raises(ProtocolViolation, match=r"terms\.quorum = 3"):
        SessionTerms.from_bytes(lowered)


# -- the sparse graph ----------------------------------------------------------------------


@pytest.mark.parametrize(("degree", "threshold"), [(4, 4), (6, 5), (6, 6), (10, 7), (11, 2)])
def test_admissible_degrees(degree: int, threshold: int) -> None:
    terms = make_terms(12, quorum=8, threshold=threshold, degree=degree)
    assert terms.is_complete == (degree == 11)
    assert SessionTerms.from_bytes(terms.to_bytes()) == terms


@pytest.mark.parametrize(
    ("degree", "threshold", "key"),
    [
        (12, 5, "terms.degree = 12"),
        (5, 5, "terms.degree = 5"),
        (0, 2, "terms.degree = 0"),
        (2, 2, "terms.threshold = 2: expected from 3 to 2"),
        (6, 4, "terms.threshold = 4: expected from 5 to 6"),
        (6, 7, "terms.threshold = 7: expected from 5 to 6"),
    ],
)
def test_inadmissible_degrees(degree: int, threshold: int, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        make_terms(12, quorum=8, threshold=threshold, degree=degree)


def around(site: int, n: int, degree: int) -> list[int]:
    half = degree // 2
    return [(site + step) % n for step in (*range(-half, 0), *range(1, half + 1))]


def most_in_a_row(colluders: set[int], n: int, places: int) -> int:
    return max(sum((at + i) % n in colluders for i in range(places)) for at in range(n))


@settings(max_examples=400)
@given(st.data())
def test_no_choice_of_losses_and_envelopes_splits_the_honest_survivors_of_a_sparse_graph(
    data: st.DataObject,
) -> None:
    """The argument of the module, tried: who is lost, who agrees and who was shown which envelope
    is the coordinator's choice, after it knows the circle and where its colluders stand on it."""
    n, degree = data.draw(st.integers(8, 14)), data.draw(st.sampled_from([4, 6]))
    threshold = data.draw(st.integers(degree // 2 + 2, degree))
    colluders = data.draw(st.sets(st.integers(0, n - 1), max_size=4))
    assume(most_in_a_row(colluders, n, degree // 2) <= threshold - degree // 2 - 2)
    survivors = data.draw(st.sets(st.integers(0, n - 1), min_size=1)) - colluders
    silent = data.draw(st.sets(st.sampled_from(sorted(survivors)))) if survivors else set()
    # What a silent survivor masked with; one that agreed masks with every survivor beside it.
    masked = {
        u: {v for v in around(u, n, degree) if u not in silent or data.draw(st.booleans())}
        for u in survivors
    }
    if splits_off(n, degree, threshold, colluders, survivors, silent, masked):
        pytest.fail("a part of the sum could be opened apart from the rest")


def splits_off(n, degree, threshold, colluders, survivors, silent, masked) -> bool:
    """Whether every seed of a part can be opened, and no mask that stays holds the part back."""
    one_sided = any(
        v in survivors and u not in masked[v] for u in survivors for v in masked[u]
    )  # such a mask is in the sum once and never cancels
    openers = {
        u: [v for v in around(u, n, degree) if v in colluders]
        + [v for v in around(u, n, degree) if v in survivors - silent and u in masked[v]]
        + ([u] if u not in silent else [])
        for u in survivors
    }
    opened = all(len(openers[u]) >= threshold for u in survivors)
    links = {u: frozenset(masked[u]) for u in survivors}
    return bool(survivors) and opened and not one_sided and not is_connected(links)


def test_one_colluder_more_in_a_row_can_split_a_sparse_graph() -> None:
    """The bound is tight: k = 6, t = 5 tolerates none, and one in each gap is enough."""
    n, degree, threshold = 14, 6, 5
    survivors = {0, 1, 2, 3, 7, 8, 9, 10}
    colluders = {5, 12}
    masked = {u: set(around(u, n, degree)) for u in survivors}
    assert most_in_a_row(colluders, n, 3) == threshold - degree // 2 - 2 + 1
    assert splits_off(n, degree, threshold, colluders, survivors, set(), masked)
