"""The argument of `graph_parameters`, tried out: what a coordinator that lies could solve for.

Each masked input is its vector under masks; some masks are opened. The sums of vectors that can be
read are the linear combinations of inputs in which no closed mask is left, found here by linear
algebra, without a word about components, gaps or paths.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

COLLUDING, LOST, SIGNER, SILENT = range(4)


@dataclass(frozen=True)
class Session:
    """Sites on a circle, by place; `shown` is whose envelopes each silent survivor saw."""

    degree: int
    roles: tuple[int, ...]
    shown: dict[int, frozenset[int]]

    def beside(self, site: int) -> set[int]:
        steps = range(1, self.degree // 2 + 1)
        return {(site + step) % len(self.roles) for s in steps for step in (s, -s)}

    def count(self, role: int, places) -> int:
        return sum(self.roles[place % len(self.roles)] == role for place in places)

    @property
    def most_in_a_row(self) -> int:
        """b"""
        half = self.degree // 2
        return max(
            self.count(COLLUDING, range(place, place + half)) for place in range(len(self.roles))
        )

    @property
    def most_beside_one(self) -> int:
        """a"""
        honest = [site for site, role in enumerate(self.roles) if role != COLLUDING]
        return max((self.count(COLLUDING, self.beside(site)) for site in honest), default=0)

    @property
    def absent(self) -> int:
        """n - q at least, if all colluders sign: the honest sites that did not."""
        return self.roles.count(LOST) + self.roles.count(SILENT)

    def by_threshold(self, threshold: int) -> bool:
        return threshold > self.degree / 2 + 1 + self.most_in_a_row

    def by_count(self, threshold: int) -> bool:
        return (
            2 * threshold > self.degree + self.most_beside_one
            and self.degree > self.absent + min(2 * self.most_in_a_row, self.roles.count(COLLUDING))
        )

    def masked_with(self, site: int) -> set[int]:
        """The honest survivors with which an honest survivor masked."""
        seen = self.shown[site] if self.roles[site] == SILENT else self.beside(site)
        return {peer for peer in seen if self.roles[peer] in (SIGNER, SILENT)}

    def is_opened(self, site: int, threshold: int) -> bool:
        """Whether the coordinator has the seed of an honest site."""
        shares = self.count(COLLUDING, self.beside(site))
        if self.roles[site] in (SIGNER, SILENT):
            shares += self.count(SIGNER, {*self.beside(site), site})
        return shares >= threshold

    def readable(self, threshold: int) -> np.ndarray:
        """A basis of the combinations of honest inputs that are free of closed masks.

        The coordinator knows every mask with a colluder, and with a lost site, whose key is opened.
        """
        honest = [site for site, role in enumerate(self.roles) if role != COLLUDING]
        masks = [{site: 1} for site in honest if not self.is_opened(site, threshold)]
        for site in honest:
            if self.roles[site] == LOST:
                continue
            for peer in self.masked_with(site):
                mutual = site in self.masked_with(peer)
                masks.append({site: 1, peer: -1} if mutual else {site: 1})
        matrix = np.array([[mask.get(site, 0) for site in honest] for mask in masks])
        if not masks:
            return np.eye(len(honest))
        _, sizes, rows = np.linalg.svd(matrix)
        rank = int((sizes > 1e-9).sum())
        return rows[rank:]

    def signers(self) -> list[bool]:
        """Per honest site."""
        return [role == SIGNER for role in self.roles if role != COLLUDING]


def assert_one_sum_at_most(session: Session, threshold: int) -> None:
    assert session.most_beside_one < threshold
    readable = session.readable(threshold)
    assert len(readable) <= 1
    for combination in readable:
        assert np.all(np.abs(combination[session.signers()]) > 1e-9)


def test_no_part_is_opened_apart_whoever_is_lost() -> None:
    """Every way in which eight sites collude, are lost or sign, at the least thresholds."""
    tried = {"by threshold": 0, "by count": 0}
    for degree, roles in product((2, 4, 6), product((COLLUDING, LOST, SIGNER), repeat=8)):
        if roles[0] != SIGNER:  # the circle has no beginning
            continue
        session = Session(degree, roles, {})
        for case, holds in (
            ("by threshold", session.by_threshold), ("by count", session.by_count)
        ):  # fmt: skip
            threshold = next((t for t in range(2, degree + 1) if holds(t)), None)
            if threshold is not None:
                assert_one_sum_at_most(session, threshold)
                tried[case] += 1
    assert min(tried.values()) > 900


@st.composite
def sessions(draw):
    """A session with silent survivors, each shown the envelopes that suit the coordinator."""
    sites, half = draw(st.integers(8, 14)), draw(st.integers(1, 3))
    weights = draw(st.sampled_from([(0, 1, 2, 3), (1, 2, 2, 3, 3), (2, 2, 2, 2, 3, 1, 0)]))
    roles = tuple(draw(st.lists(st.sampled_from(weights), min_size=sites, max_size=sites)))
    blind = Session(2 * half, roles, {})
    thresholds = [t for t in range(2, 2 * half + 1) if blind.by_threshold(t) or blind.by_count(t)]
    assume(thresholds and SIGNER in roles)
    threshold = draw(st.sampled_from(thresholds))
    enough = st.integers(threshold, 2 * half)
    shown = {
        site: frozenset(draw(st.permutations(sorted(blind.beside(site))))[: draw(enough)])
        for site, role in enumerate(roles)
        if role == SILENT
    }
    return Session(2 * half, roles, shown), threshold


@settings(max_examples=200)
@given(sessions())
def test_no_part_is_opened_apart_whatever_silent_survivors_were_shown(drawn) -> None:
    session, threshold = drawn
    event(f"by threshold: {session.by_threshold(threshold)}, silent: {bool(session.shown)}")
    assert_one_sum_at_most(session, threshold)


def test_the_threshold_of_the_first_case_cannot_be_less() -> None:
    """Two runs of three signers with a lost site between: t = k/2 + 1 + b opens both."""
    session = Session(2, (SIGNER,) * 3 + (LOST,) + (SIGNER,) * 3 + (LOST,), {})
    assert session.by_threshold(3)
    assert not session.by_threshold(2)
    assert len(session.readable(2)) == 2


def test_a_colluder_in_the_gap_opens_one_share_more() -> None:
    run = (SIGNER,) * 3
    session = Session(4, (*run, COLLUDING, LOST, *run, LOST, COLLUDING), {})
    assert session.most_in_a_row == 1
    assert session.by_threshold(5)
    assert not session.by_threshold(4)
    (apart,) = session.readable(4)
    assert np.array_equal(np.abs(apart) > 1e-9, [True] * 3 + [False] * 5)


def test_the_own_share_counts() -> None:
    """Without it, the end of a run would have k/2 + b shares, and one less would do."""
    session = Session(4, (SIGNER,) * 4 + (LOST,) * 2 + (SIGNER,) * 4 + (LOST,) * 2, {})
    assert len(session.readable(3)) == 2
    assert len(session.readable(4)) == 0


def test_the_degree_of_the_second_case_cannot_be_less() -> None:
    """With k = n - q + 2b the coordinator has just enough sites for two gaps."""
    session = Session(4, (SIGNER,) * 4 + (LOST,) * 2 + (SIGNER,) * 4 + (LOST,) * 2, {})
    assert session.degree == session.absent
    assert session.degree + session.most_beside_one < 2 * 3
    assert not session.by_count(3)
    assert len(session.readable(3)) == 2


def test_the_threshold_of_the_second_case_cannot_be_less() -> None:
    """A silent survivor that masked with t = k/2 lost sites only, while its others signed."""
    roles = (SILENT, LOST, SIGNER, SIGNER, SIGNER, SIGNER, SIGNER, SIGNER, SIGNER, LOST)
    session = Session(4, roles, {0: frozenset({1, 9})})
    assert session.degree > session.absent + 2 * session.most_in_a_row
    assert session.by_count(3)
    assert not session.by_count(2)
    apart = session.readable(2)
    assert any(np.allclose(np.abs(row), np.eye(10)[0]) for row in apart)


def test_a_site_must_not_mask_with_fewer_neighbours_than_the_threshold() -> None:
    roles = [SIGNER] * 12
    roles[0], roles[1], roles[2], roles[11] = SILENT, LOST, COLLUDING, LOST
    one_less = Session(6, tuple(roles), {0: frozenset({1, 2, 11})})
    assert one_less.by_count(4)
    assert any(np.allclose(np.abs(row), np.eye(11)[0]) for row in one_less.readable(4))
    assert_one_sum_at_most(Session(6, tuple(roles), {0: frozenset({1, 2, 3, 11})}), 4)
