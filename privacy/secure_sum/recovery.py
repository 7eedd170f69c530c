"""Which masks a sum of masked inputs still carries, found from the shares that holders opened.

A survivor's own mask is still in; a pairwise mask is still in if one end was lost. The lost end's
private mask key gives all its pairwise masks. Nothing here can be asked of one site alone: the
secrets come from what at least `threshold` holders opened for one survivor set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from federation.errors import RoundFailed
from privacy.secure_sum import keys, shamir
from privacy.secure_sum.dealing import Pledge, seed_commitment
from privacy.secure_sum.keys import AgreementKey
from privacy.secure_sum.messages import Advert, OpenedShares
from privacy.secure_sum.session import share_points
from privacy.secure_sum.terms import SessionTerms


class UnfitShares(Exception):
    """The shares that were put together are not all of the secret that their dealer committed to.

    Either a holder opened another share than it was dealt, which the commitments show, or the
    dealer dealt none of that secret.
    """

    def __init__(self, dealer: str) -> None:
        self.dealer = dealer
        super().__init__(f"{dealer} dealt shares of no secret that it committed to")


@dataclass(frozen=True, slots=True)
class RemainingMasks:
    """Keys of the masks that the sum still carries, by sign."""

    added: tuple[bytes, ...] = field(repr=False)
    subtracted: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Openable:
    """A sum of masked inputs whose survivors are agreed on.

    Attributes:
        terms: of the session.
        session: digest that names it.
        round: digest of session and model.
        adverts: of every site that advertised.
        dealt: the pledge of every site whose masks the inputs carry.
        graph: per site that advertised, its neighbours.
        survivors: whose inputs are in the sum.
    """

    terms: SessionTerms
    session: bytes
    round: bytes
    adverts: Mapping[str, Advert] = field(repr=False)
    dealt: Mapping[str, Pledge] = field(repr=False)
    graph: Mapping[str, tuple[str, ...]] = field(repr=False)
    survivors: frozenset[str]

    def asked_of(self, holder: str) -> tuple[set[str], set[str]]:
        """Of which sites a holder opens the seed's share, and of which the mask key's."""
        near = self.dealt.keys() & {holder, *self.graph[holder]}
        return near & self.survivors, near - self.survivors

    def remaining_masks(self, answers: Mapping[str, OpenedShares]) -> RemainingMasks:
        """The masks left in the sum.

        Args:
            answers: per holder, shares of the sites that are `asked_of` it.

        Raises:
            RoundFailed: fewer than the threshold hold shares of a secret that is needed.
            UnfitShares: a secret that came out is not the one its dealer committed to.
        """
        points = share_points(self.terms, answers)
        added: list[bytes] = []
        subtracted: list[bytes] = []
        for site in sorted(self.survivors):
            seed = self._seed(site, answers, points)
            added.append(keys.self_mask_key(seed, self.round, site))
        for site in sorted(self.dealt.keys() - self.survivors):
            own = self._mask_key(site, answers, points)
            for peer in self.survivors.intersection(self.graph[site]):
                secret = own.shared_secret(self.adverts[peer].mask_key)
                key = keys.pairwise_mask_key(secret, self.round, site, peer)
                # The survivor added the mask if it sorts after the lost site.
                (added if peer > site else subtracted).append(key)
        return RemainingMasks(tuple(added), tuple(subtracted))

    def _seed(
        self, site: str, answers: Mapping[str, OpenedShares], points: Mapping[str, int]
    ) -> bytes:
        holders = self._holders(site, answers)
        seed = _combine(site, {points[h]: answers[h].seeds[site] for h in holders})
        if seed_commitment(self.session, site, seed) != self.dealt[site].seed_commitment:
            raise UnfitShares(site)
        return seed

    def _mask_key(
        self, site: str, answers: Mapping[str, OpenedShares], points: Mapping[str, int]
    ) -> AgreementKey:
        holders = self._holders(site, answers)
        own = AgreementKey(_combine(site, {points[h]: answers[h].mask_keys[site] for h in holders}))
        if own.public != self.adverts[site].mask_key:
            raise UnfitShares(site)
        return own

    def _holders(self, site: str, answers: Mapping[str, OpenedShares]) -> list[str]:
        """As many as the threshold who opened a share of `site`.

        Always the first, so that the same Lagrange weights serve all secrets of a complete graph.
        """
        needed = self.terms.threshold
        holders = [holder for holder in sorted({site, *self.graph[site]}) if holder in answers]
        if len(holders) < needed:
            raise RoundFailed(
                f"open: {len(holders)} sites gave valid shares of {site}'s secret and the "
                f"threshold is {needed}"
            )
        return holders[:needed]


def _combine(dealer: str, shares: Mapping[int, bytes]) -> bytes:
    try:
        return shamir.combine(shares)
    except ValueError as error:
        raise UnfitShares(dealer) from error
