"""What both ends derive from the signed adverts: the session's name, share points, the round's."""

from collections.abc import Collection, Mapping

from privacy.secure_sum.graph import neighbourhoods
from privacy.secure_sum.messages import Advert
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import Label, digest, join


def advert_body(terms: SessionTerms, site: str, advert: Advert) -> tuple[bytes, ...]:
    """What a site signs about its keys; the advert's own signature is not part of it."""
    return terms.digest(), site.encode(), advert.sealing_key, advert.mask_key


def session_digest(terms: SessionTerms, adverts: Mapping[str, Advert]) -> bytes:
    """Names the session: SHA-256 over the terms and every advertised key, 32 bytes.

    It goes into every derived key and every tag, so that two sites that were shown different
    adverts or terms share no mask and accept no message of each other.
    """
    entries = [
        join(site.encode(), advert.sealing_key, advert.mask_key)
        for site, advert in sorted(adverts.items())
    ]
    return digest(Label.SESSION, terms.digest(), *entries)


def round_digest(session: bytes, model_digest: bytes) -> bytes:
    """Names what is summed in the session: SHA-256 over it and the global model, 32 bytes.

    Keys and shares are exchanged before the model of their round exists, so the model comes in
    here. Showing different models to different sites gives them different masks, which do not
    cancel (Pasquini et al. 2022, arXiv:2111.07380), and tags that do not fit.
    """
    return digest(Label.ROUND, session, model_digest)


def share_points(terms: SessionTerms, holders: Collection[str]) -> dict[str, int]:
    """The holders' evaluation points: their number among the invited sites, from 1."""
    return {site: at for at, site in enumerate(terms.sites, start=1) if site in holders}


def graph(
    terms: SessionTerms, adverts: Collection[str], session: bytes
) -> Mapping[str, tuple[str, ...]]:
    """Each advertised site's neighbours: the peers that it masks and deals with."""
    return neighbourhoods(adverts, terms.degree, session)


def mask_digest(round_: bytes, masked: Collection[str]) -> bytes:
    """Names the masks that a site's input carries, 32 bytes: `masked` are it and its dealers.

    Coordinator and site must mean the same by it. Else a site that was shown another model on the
    way, or fewer envelopes, would be added up under masks that nobody takes off.
    """
    return digest(Label.MASKED, round_, join(*(site.encode() for site in sorted(masked))))


def survivor_digest(round_: bytes, survivors: Collection[str]) -> bytes:
    """What sites agree on about who survived, 32 bytes."""
    return digest(Label.SURVIVORS, round_, join(*(site.encode() for site in sorted(survivors))))
