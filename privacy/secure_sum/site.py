"""A site's half of the secure sum: one frozen state per stage, values in, values out.

Bonawitz et al. 2017 (doi:10.1145/3133956.3133982), Figure 4, with the consistency check of the
active-adversary variant. The site believes its own roster and the terms it derived itself; of the
coordinator it believes nothing. A failed check raises `ProtocolViolation` naming it; the caller
then drops the state, and nothing of the session is ever answered again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.entropy import Entropy
from federation.errors import ProtocolViolation
from federation.layout import Words
from privacy.secure_sum import keys, shamir
from privacy.secure_sum.keys import AgreementKey
from privacy.secure_sum.mask_stream import add_masks
from privacy.secure_sum.messages import (
    Advert,
    Agreed,
    Bundle,
    Dealt,
    Envelopes,
    MaskedInput,
    OpenedShares,
    Signatures,
    Survivors,
)
from privacy.secure_sum.session import (
    commitment,
    commitment_body,
    session_digest,
    share_points,
    survivor_body,
)
from privacy.secure_sum.terms import SessionTerms


@dataclass(frozen=True, slots=True)
class SitePolicyFloor:
    """The least that this site demands, whatever the terms say."""

    minimum_quorum: int
    minimum_threshold: int


@dataclass(frozen=True, slots=True)
class Advertised:
    """Own keys are out."""

    terms: SessionTerms
    site: str
    identity: Ed25519PrivateKey = field(repr=False)
    sealing: AgreementKey = field(repr=False)
    masking: AgreementKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Shared:
    """Own secrets are dealt; the peers' keys are verified."""

    before: Advertised = field(repr=False)
    session: bytes
    adverts: Mapping[str, Advert]
    roster: Mapping[str, Ed25519PublicKey]
    seed: bytes = field(repr=False)
    own_shares: tuple[bytes, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Masked:
    """The masked input is out; only shares are left to give."""

    terms: SessionTerms
    site: str
    session: bytes
    roster: Mapping[str, Ed25519PublicKey]
    identity: Ed25519PrivateKey = field(repr=False)
    seed_shares: Mapping[str, bytes] = field(repr=False)
    mask_key_shares: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Signed:
    """One survivor set is signed, and no other ever will be."""

    before: Masked = field(repr=False)
    survivors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything this site will ever say in this session is said."""

    survivors: tuple[str, ...]


def advertise(
    terms: SessionTerms,
    site: str,
    identity: Ed25519PrivateKey,
    entropy: Entropy,
    floor: SitePolicyFloor,
) -> tuple[Advertised, bytes]:
    """Fresh keys, signed for these terms.

    Raises:
        ProtocolViolation: the terms are below the site's floor, or the site is not invited.
    """
    _require(site in terms.sites, "terms: this site is not invited")
    _require(terms.quorum >= floor.minimum_quorum, "terms: the quorum is below this site's floor")
    _require(
        terms.threshold >= floor.minimum_threshold,
        "terms: the threshold is below this site's floor",
    )
    sealing, masking = AgreementKey.generate(entropy), AgreementKey.generate(entropy)
    body = (terms.digest(), site.encode(), sealing.public, masking.public)
    advert = Advert(sealing.public, masking.public, keys.sign(identity, b"advert", *body))
    return Advertised(terms, site, identity, sealing, masking), advert.to_bytes()


def share(
    state: Advertised,
    bundle: bytes,
    roster: Mapping[str, Ed25519PublicKey],
    entropy: Entropy,
) -> tuple[Shared, bytes]:
    """Deal shares of a fresh self-mask seed and of the mask key to every verified peer.

    Args:
        state: from `advertise`.
        bundle: all adverts, as the coordinator relays them.
        roster: this site's own pinned identity keys.
        entropy: of seed and shares.

    Raises:
        ProtocolViolation: an advert is not of a site in the roster for exactly these terms, keys
            repeat, own keys were altered, or fewer than the quorum advertised.
    """
    terms, adverts = state.terms, Bundle.from_bytes(bundle).adverts
    _check_adverts(state, adverts, roster)
    session = session_digest(terms, adverts)
    points, seed = share_points(terms), entropy.bytes(keys.KEY_BYTES)
    at = {holder: points[holder] for holder in adverts}
    seed_shares = shamir.split(seed, terms.threshold, list(at.values()), entropy)
    key_shares = shamir.split(state.masking.private, terms.threshold, list(at.values()), entropy)
    pairs = {holder: (seed_shares[point], key_shares[point]) for holder, point in at.items()}
    sealed = {
        peer: keys.seal(
            state.sealing.shared_secret(adverts[peer].sealing_key),
            session,
            state.site,
            peer,
            b"".join(pairs[peer]),
        )
        for peer in adverts
        if peer != state.site
    }
    commitments = {
        holder: (
            commitment(session, b"seed", state.site, holder, pair[0]),
            commitment(session, b"mask-key", state.site, holder, pair[1]),
        )
        for holder, pair in pairs.items()
    }
    body = commitment_body(session, state.site, commitments)
    dealt = Dealt(sealed, commitments, keys.sign(state.identity, b"commitments", *body))
    following = Shared(state, session, adverts, dict(roster), seed, pairs[state.site])
    return following, dealt.to_bytes()


def mask(state: Shared, envelopes: bytes, words: Words) -> tuple[Masked, bytes]:
    """The vector under the site's own mask and one mask per peer that dealt shares.

    Args:
        state: from `share`.
        envelopes: what the peers sealed for this site.
        words: shape (terms.length,), uint32.

    Raises:
        ProtocolViolation: an envelope is not from an advertised peer or does not authenticate, or
            fewer than the quorum dealt shares.
        ValueError: `words` has another shape or dtype.
    """
    before, terms = state.before, state.before.terms
    if words.shape != (terms.length,) or words.dtype != "uint32":
        raise ValueError(f"expected ({terms.length},) uint32, got {words.shape} {words.dtype}")
    sealed = Envelopes.from_bytes(envelopes).sealed
    peers = set(state.adverts) - {before.site}
    _require(set(sealed) <= peers, "envelopes: one is from a site that did not advertise")
    _require(len(sealed) + 1 >= terms.quorum, "envelopes: fewer than the quorum dealt shares")
    opened = {peer: _unseal(state, peer, sealed[peer]) for peer in sorted(sealed)}
    total = words.copy()
    plus = [keys.self_mask_key(state.seed, state.session)]
    minus: list[bytes] = []
    for peer in sorted(opened):
        secret = before.masking.shared_secret(state.adverts[peer].mask_key)
        key = keys.pairwise_mask_key(secret, state.session, before.site, peer)
        (plus if before.site > peer else minus).append(key)
    add_masks(total, plus, minus)
    own_seed, own_key = state.own_shares
    following = Masked(
        terms,
        before.site,
        state.session,
        state.roster,
        before.identity,
        {before.site: own_seed} | {peer: shares[0] for peer, shares in opened.items()},
        {before.site: own_key} | {peer: shares[1] for peer, shares in opened.items()},
    )
    return following, MaskedInput(total).to_bytes()


def sign(state: Masked, survivors: bytes) -> tuple[Signed, bytes]:
    """Sign the one survivor set this site will help to open.

    Raises:
        ProtocolViolation: the set is below the quorum, lacks this site, holds a site that dealt it
            no shares, or leaves a cohort with too few contributors.
    """
    sites, terms = Survivors.from_bytes(survivors).sites, state.terms
    _require(len(sites) >= terms.quorum, "survivor set: below the quorum")
    _require(state.site in sites, "survivor set: this site is missing from it")
    _require(
        set(sites) <= set(state.seed_shares), "survivor set: it holds a site that dealt no shares"
    )
    for group in terms.groups:
        left = len(set(group) & set(sites))
        _require(
            left == 0 or left >= terms.minimum_contributors,
            "survivor set: a cohort is left with too few contributors",
        )
    body = survivor_body(state.session, sites)
    signature = keys.sign(state.identity, b"survivors", *body)
    return Signed(state, sites), Agreed(signature).to_bytes()


def open_shares(state: Signed, signatures: bytes) -> tuple[Opened, bytes]:
    """For each survivor the share of its seed, for each lost site the share of its mask key.

    Which is which follows from the set this site signed itself, never from the coordinator.

    Raises:
        ProtocolViolation: a signature is not a survivor's on exactly that set, or fewer than the
            quorum signed.
    """
    before = state.before
    by_site = Signatures.from_bytes(signatures).by_site
    body = survivor_body(before.session, state.survivors)
    _require(set(by_site) <= set(state.survivors), "signatures: one is not a survivor's")
    for signer, signature in by_site.items():
        _require(
            keys.is_signed(before.roster[signer], signature, b"survivors", *body),
            f"signatures: {signer} did not sign this survivor set",
        )
    _require(len(by_site) >= before.terms.quorum, "signatures: fewer than the quorum signed")
    survivors = set(state.survivors)
    opened = OpenedShares(
        {site: share for site, share in before.seed_shares.items() if site in survivors},
        {site: share for site, share in before.mask_key_shares.items() if site not in survivors},
    )
    return Opened(state.survivors), opened.to_bytes()


def _check_adverts(
    state: Advertised, adverts: Mapping[str, Advert], roster: Mapping[str, Ed25519PublicKey]
) -> None:
    terms = state.terms
    _require(set(adverts) <= set(terms.sites), "adverts: one is from a site that is not invited")
    _require(len(adverts) >= terms.quorum, "adverts: fewer than the quorum")
    own = adverts.get(state.site)
    _require(own is not None, "adverts: this site's own is missing")
    _require(
        own is not None
        and (own.sealing_key, own.mask_key) == (state.sealing.public, state.masking.public),
        "adverts: this site's own keys were altered",
    )
    for site, advert in adverts.items():
        _require(site in roster, f"adverts: {site} is not in this site's roster")
        body = (terms.digest(), site.encode(), advert.sealing_key, advert.mask_key)
        _require(
            keys.is_signed(roster[site], advert.signature, b"advert", *body),
            f"adverts: {site} did not sign these keys for these terms",
        )
    public = [key for advert in adverts.values() for key in (advert.sealing_key, advert.mask_key)]
    _require(len(set(public)) == len(public), "adverts: a public key stands there twice")


def _unseal(state: Shared, peer: str, sealed: bytes) -> tuple[bytes, bytes]:
    before = state.before
    secret = before.sealing.shared_secret(state.adverts[peer].sealing_key)
    plain = keys.unseal(secret, state.session, peer, before.site, sealed)
    return plain[: shamir.SHARE_BYTES], plain[shamir.SHARE_BYTES :]


def _require(holds: bool, check: str) -> None:  # noqa: FBT001 - an assertion that cannot be switched off
    if not holds:
        raise ProtocolViolation(check)
