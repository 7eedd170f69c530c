"""Which masks a sum of masked inputs still carries, found from the shares that holders opened.

A survivor's own mask is still in; a pairwise mask is still in if one end was lost. The lost end's
private mask key gives all its pairwise masks. Nothing here can be asked of one site alone: the
secrets come from what at least `threshold` holders opened for one survivor set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from federation.errors import RoundFailed
from privacy.secure_sum import keys, shamir
from privacy.secure_sum.keys import AgreementKey
from privacy.secure_sum.messages import Advert, OpenedShares
from privacy.secure_sum.session import share_points
from privacy.secure_sum.terms import SessionTerms


@dataclass(frozen=True, slots=True)
class RemainingMasks:
    """Keys of the masks that the sum still carries, by sign."""

    added: tuple[bytes, ...] = field(repr=False)
    subtracted: tuple[bytes, ...] = field(repr=False)


def remaining_masks(
    terms: SessionTerms,
    session: bytes,
    adverts: Mapping[str, Advert],
    answers: Mapping[str, OpenedShares],
) -> RemainingMasks:
    """The masks left in the sum over the survivors that `answers` are about.

    Args:
        terms: of the session.
        session: its digest.
        adverts: of all sites that advertised.
        answers: per holder, shares that fit their commitments; all about the same sites.

    Raises:
        RoundFailed: fewer than the threshold answered, or a dealer's shares do not give the secret
            that it used.
    """
    if len(answers) < terms.threshold:
        raise RoundFailed(
            f"open: {len(answers)} sites gave valid shares and the threshold is {terms.threshold}"
        )
    points = share_points(terms, answers)
    # The same holders for every secret: their Lagrange weights are computed once.
    holders = sorted(answers)[: terms.threshold]
    survivors, lost = answers[holders[0]].seeds, answers[holders[0]].mask_keys
    added: list[bytes] = []
    subtracted: list[bytes] = []
    for site in survivors:
        seed = _combine(site, {points[h]: answers[h].seeds[site] for h in holders})
        added.append(keys.self_mask_key(seed, session, site))
    for site in lost:
        private = _combine(site, {points[h]: answers[h].mask_keys[site] for h in holders})
        for peer, key in _pairwise_keys(site, private, session, adverts, survivors).items():
            # The survivor added the mask if it sorts after the lost site.
            (added if peer > site else subtracted).append(key)
    return RemainingMasks(tuple(added), tuple(subtracted))


def _pairwise_keys(
    site: str,
    private: bytes,
    session: bytes,
    adverts: Mapping[str, Advert],
    survivors: Mapping[str, bytes],
) -> dict[str, bytes]:
    key = AgreementKey(private)
    if key.public != adverts[site].mask_key:
        raise RoundFailed(f"open: {site} dealt shares of another mask key than it advertised")
    return {
        peer: keys.pairwise_mask_key(key.shared_secret(adverts[peer].mask_key), session, site, peer)
        for peer in survivors
    }


def _combine(dealer: str, shares: Mapping[int, bytes]) -> bytes:
    try:
        return shamir.combine(shares)
    except ValueError as error:
        raise RoundFailed(f"open: {dealer} dealt shares that belong to no secret") from error
