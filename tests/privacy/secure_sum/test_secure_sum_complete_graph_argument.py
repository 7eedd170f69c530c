"""The argument of `terms` for the complete graph, tried out by linear algebra.

The coordinator holds the masked inputs of all honest sites, the lost ones' too, and shows each site
the envelopes that suit it. What it can read are the linear combinations of inputs in which no mask
is left that it does not know. That is one at most: the sum over all honest members of the survivor
set, which is the same set in every attempt at a round.
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import find, given, settings
from hypothesis import strategies as st

from privacy.secure_sum.terms import tolerated_colluders


@dataclass(frozen=True)
class Session:
    """Honest sites from 0; colluders after them.

    Attributes:
        honest: how many.
        colluders: how many; they deal to all, sign anything and give away all they know.
        threshold: of the sharing.
        survivors: the honest members of the set that was signed.
        signers: those who agreed to it.
        shown: per honest site, of which honest sites it saw the envelopes.
    """

    honest: int
    colluders: int
    threshold: int
    survivors: frozenset[int]
    signers: frozenset[int]
    shown: tuple[frozenset[int], ...]

    def holders(self, dealer: int) -> int:
        """Who gives away a share of an honest dealer's secret: of one and the same kind."""
        return self.colluders + sum(
            dealer == signer or dealer in self.shown[signer] for signer in self.signers
        )

    def seed_is_open(self, site: int) -> bool:
        holders = self.holders(site) if site in self.survivors else self.colluders
        return holders >= self.threshold

    def key_is_open(self, site: int) -> bool:
        holders = self.colluders if site in self.survivors else self.holders(site)
        return holders >= self.threshold

    def readable(self) -> np.ndarray:
        """A basis of the combinations of honest inputs that are free of closed masks."""
        masks = []
        for site in range(self.honest):
            if not self.seed_is_open(site):
                masks.append({site: 1})
            for peer in range(site):
                if self.key_is_open(site) or self.key_is_open(peer):
                    continue
                mask = {site: 1} if peer in self.shown[site] else {}
                mask |= {peer: -1} if site in self.shown[peer] else {}
                masks.append(mask)
        matrix = np.array([[mask.get(site, 0) for site in range(self.honest)] for mask in masks])
        if not masks:
            return np.eye(self.honest)
        _, sizes, rows = np.linalg.svd(matrix)
        return rows[int((sizes > 1e-9).sum()) :]


@st.composite
def sessions(draw: st.DrawFn, too_many: int = 0) -> Session:
    """Any lies within the checks of the honest sites; `too_many` colluders more than tolerated."""
    n = draw(st.integers(3, 9))
    quorum = draw(st.integers(max(3, (n + 1) // 2 + 1), n))
    threshold = draw(st.integers(2, quorum))
    most = tolerated_colluders(threshold, quorum, n)
    colluders = most + too_many if too_many else draw(st.integers(0, most))
    honest = n - colluders
    least = max(quorum - colluders, 0)
    order = draw(st.permutations(range(honest)))
    survivors = frozenset(order[: draw(st.integers(min(least, honest), honest))])
    within = draw(st.permutations(sorted(survivors)))
    signers = frozenset(within[: draw(st.integers(min(least, len(within)), len(within)))])
    shown = []
    for site in range(honest):
        others = [other for other in range(honest) if other != site]
        # At least the quorum less one, colluders among them; a signer's hold the survivor set.
        must = survivors - {site} if site in signers else frozenset()
        count = draw(st.integers(max(0, min(quorum - 1 - colluders, len(others))), len(others)))
        shown.append(must | frozenset(draw(st.permutations(others))[:count]))
    return Session(honest, colluders, threshold, survivors, signers, tuple(shown))


def reads_one_sum_at_most(session: Session) -> bool:
    readable = session.readable()
    if len(readable) == 0:
        return True
    expected = np.array([float(site in session.survivors) for site in range(session.honest)])
    return len(readable) == 1 and bool(
        np.allclose(readable[0] * np.linalg.norm(expected) * np.sign(readable[0].sum()), expected)
    )


@settings(max_examples=400)
@given(sessions())
def test_one_sum_over_all_honest_survivors_is_all_there_is_to_read(session: Session) -> None:
    assert reads_one_sum_at_most(session)


def test_with_one_colluder_more_a_part_can_be_read() -> None:
    """The bound is not idle, and the search above would find what breaks it."""
    broken = find(sessions(too_many=1), lambda session: not reads_one_sum_at_most(session))
    assert broken.colluders >= broken.threshold
