"""What both ends derive from the signed adverts: the session's name, share points, commitments."""

from collections.abc import Mapping

from privacy.secure_sum.messages import COMMITMENT, Advert
from privacy.secure_sum.terms import SessionTerms, digest, join


def session_digest(terms: SessionTerms, adverts: Mapping[str, Advert]) -> bytes:
    """Names the session: SHA-256 over the terms and every advertised key, 32 bytes.

    It goes into every derived key and every signature, so that two sites that were shown different
    adverts, models or terms share no mask and accept no message of each other.
    """
    entries = [
        join(site.encode(), adverts[site].sealing_key, adverts[site].mask_key)
        for site in sorted(adverts)
    ]
    return digest(b"session", terms.digest(), *entries)


def share_points(terms: SessionTerms) -> dict[str, int]:
    """Each invited site's evaluation point, from 1."""
    return {site: number for number, site in enumerate(terms.sites, start=1)}


def commitment(session: bytes, kind: bytes, dealer: str, holder: str, share: bytes) -> bytes:
    """Binds a dealer to the share it gave a holder, 16 bytes; shares have 256 bits to hide in."""
    return digest(b"commit", session, kind, dealer.encode(), holder.encode(), share)[:COMMITMENT]


def commitment_body(
    session: bytes, dealer: str, commitments: Mapping[str, tuple[bytes, bytes]]
) -> tuple[bytes, ...]:
    """What a dealer signs about its shares."""
    entries = [join(holder.encode(), *pair) for holder, pair in sorted(commitments.items())]
    return (session, dealer.encode(), join(*entries))


def survivor_body(session: bytes, survivors: tuple[str, ...]) -> tuple[bytes, ...]:
    """What sites sign about who survived."""
    return (session, join(*(site.encode() for site in sorted(survivors))))
