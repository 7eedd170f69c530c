"""What both ends derive from the signed adverts: the session's name, share points, neighbours."""

from collections.abc import Collection, Mapping

from privacy.secure_sum.messages import Advert
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import Label, digest, join


def advert_body(terms: SessionTerms, site: str, advert: Advert) -> tuple[bytes, ...]:
    """What a site signs about its keys; the advert's own signature is not part of it."""
    return terms.digest(), site.encode(), advert.sealing_key, advert.mask_key


def session_digest(terms: SessionTerms, adverts: Mapping[str, Advert]) -> bytes:
    """Names the session: SHA-256 over the terms and every advertised key, 32 bytes.

    It goes into every derived key and every signature, so that two sites that were shown different
    adverts, models or terms share no mask and accept no message of each other.
    """
    entries = [
        join(site.encode(), advert.sealing_key, advert.mask_key)
        for site, advert in sorted(adverts.items())
    ]
    return digest(Label.SESSION, terms.digest(), *entries)


def share_points(terms: SessionTerms, holders: Collection[str]) -> dict[str, int]:
    """The holders' evaluation points: their number among the invited sites, from 1."""
    numbers = {site: number for number, site in enumerate(terms.sites, start=1)}
    return {holder: numbers[holder] for holder in sorted(holders)}


def neighbours(site: str, sites: Collection[str]) -> tuple[str, ...]:
    """The peers that a site masks and deals with: all others, the complete graph.

    A sparser graph (Bell et al. 2020, doi:10.1145/3372297.3417885) would be chosen here; up to some
    200 sites the complete one is affordable, and its proof the cleanest.
    """
    return tuple(sorted(set(sites) - {site}))


def survivor_body(session: bytes, survivors: Collection[str]) -> tuple[bytes, ...]:
    """What sites sign about who survived."""
    return session, join(*(site.encode() for site in sorted(survivors)))
