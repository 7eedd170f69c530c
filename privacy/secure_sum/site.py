"""A site's half of the secure sum: one frozen state per stage, values in, values out.

Bonawitz et al. 2017 (doi:10.1145/3133956.3133982), Figure 4, with the consistency check of the
active-adversary variant. The site believes its own roster and the terms it derived itself; of the
coordinator it believes nothing. A failed check raises `ProtocolViolation` naming it.

The caller keeps two rules, on which the guarantee rests. It takes each step once: it drops the old
state when it has the new one, and across restarts it keeps a durable mark before it sends. And when
a step raises, it drops the state for good. Each state holds only the secrets that later steps need;
Python cannot wipe the memory of those that are dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.entropy import Entropy
from federation.errors import ProtocolViolation
from federation.layout import Words
from privacy.secure_sum import keys
from privacy.secure_sum.dealing import SharePair, commitment_body, commitments, deal
from privacy.secure_sum.keys import AgreementKey, Channel
from privacy.secure_sum.mask_stream import add_masks
from privacy.secure_sum.messages import (
    Advert,
    Agreed,
    Bundle,
    Dealt,
    Envelope,
    Envelopes,
    MaskedInput,
    OpenedShares,
    Signatures,
    Survivors,
)
from privacy.secure_sum.session import (
    advert_body,
    neighbours,
    session_digest,
    share_points,
    survivor_body,
)
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import Label

Roster = Mapping[str, Ed25519PublicKey]


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
    sealing: AgreementKey
    masking: AgreementKey


@dataclass(frozen=True, slots=True)
class Shared:
    """Own secrets are dealt; the peers' keys are verified."""

    before: Advertised = field(repr=False)
    session: bytes
    adverts: Mapping[str, Advert] = field(repr=False)
    roster: Roster = field(repr=False)
    seed: bytes = field(repr=False)
    own_shares: SharePair


@dataclass(frozen=True, slots=True)
class Masked:
    """The masked input is out; only shares are left to give, and the keys are forgotten."""

    terms: SessionTerms
    site: str
    session: bytes
    roster: Roster = field(repr=False)
    identity: Ed25519PrivateKey = field(repr=False)
    shares: Mapping[str, SharePair]


@dataclass(frozen=True, slots=True)
class Signed:
    """One survivor set is signed, and no other ever will be."""

    before: Masked = field(repr=False)
    survivors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything this site will ever say in this session is said; no secret is left."""

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
    _require(site in terms.sites, f"terms: {site} is not invited")
    _require(
        terms.quorum >= floor.minimum_quorum,
        f"terms: the quorum {terms.quorum} is below this site's floor {floor.minimum_quorum}",
    )
    _require(
        terms.threshold >= floor.minimum_threshold,
        f"terms: the threshold {terms.threshold} is below this site's floor "
        f"{floor.minimum_threshold}",
    )
    sealing, masking = AgreementKey.generate(entropy), AgreementKey.generate(entropy)
    unsigned = Advert(sealing.public, masking.public, b"")
    signature = keys.sign(identity, Label.ADVERT, *advert_body(terms, site, unsigned))
    advert = Advert(unsigned.sealing_key, unsigned.mask_key, signature)
    return Advertised(terms, site, identity, sealing, masking), advert.to_bytes()


def share(
    state: Advertised, bundle: bytes, roster: Roster, entropy: Entropy
) -> tuple[Shared, bytes]:
    """Deal shares of a fresh self-mask seed and of the mask key to every verified peer.

    Args:
        state: from `advertise`.
        bundle: all adverts, as the coordinator relays them.
        roster: this site's own pinned identity keys.
        entropy: of seed, shares and nonces.

    Raises:
        ProtocolViolation: an advert is not of a site in the roster for exactly these terms, keys
            repeat or are unusable, own keys were altered, or fewer than the quorum advertised.
    """
    terms, site = state.terms, state.site
    adverts = Bundle.from_bytes(bundle).adverts
    _check_adverts(state, adverts, roster)
    session, seed = session_digest(terms, adverts), entropy.bytes(keys.KEY_BYTES)
    points = share_points(terms, adverts)
    pairs = deal(seed, state.masking.private, terms.threshold, points, entropy)
    sealed = {
        peer: keys.seal(
            state.sealing.shared_secret(adverts[peer].sealing_key),
            Channel(session, site, peer),
            pairs[peer].to_bytes(),
            entropy,
        )
        for peer in neighbours(site, adverts)
    }
    committed = {
        holder: commitments(Channel(session, site, holder), pair) for holder, pair in pairs.items()
    }
    body = commitment_body(session, site, committed)
    dealt = Dealt(sealed, committed, keys.sign(state.identity, Label.DEALT, *body))
    return Shared(state, session, adverts, dict(roster), seed, pairs[site]), dealt.to_bytes()


def mask(state: Shared, envelopes: bytes, words: Words, threads: int = 1) -> tuple[Masked, bytes]:
    """The vector under the site's own mask and one mask per peer that dealt shares.

    Args:
        state: from `share`.
        envelopes: what the peers sealed for this site.
        words: shape (terms.length,), uint32; it is not changed.
        threads: >= 1, for the masks.

    Raises:
        ProtocolViolation: an envelope is not from an advertised peer, does not authenticate or
            does not fit its commitments, or fewer than the quorum dealt shares.
        ValueError: `words` has another shape or dtype.
    """
    before, terms = state.before, state.before.terms
    if words.shape != (terms.length,) or words.dtype != np.uint32:
        raise ValueError(f"expected ({terms.length},) uint32, got {words.shape} {words.dtype}")
    by_dealer = Envelopes.from_bytes(envelopes).by_dealer
    peers = neighbours(before.site, state.adverts)
    _require(set(by_dealer) <= set(peers), "envelopes: one is from no peer that advertised")
    _require(len(by_dealer) + 1 >= terms.quorum, "envelopes: fewer than the quorum dealt shares")
    shares = {dealer: _unseal(state, dealer, each) for dealer, each in by_dealer.items()}
    plus = [keys.self_mask_key(state.seed, state.session, before.site)]
    minus: list[bytes] = []
    for peer in shares:
        secret = before.masking.shared_secret(state.adverts[peer].mask_key)
        key = keys.pairwise_mask_key(secret, state.session, before.site, peer)
        (plus if before.site > peer else minus).append(key)
    total = np.ascontiguousarray(words).copy()
    add_masks(total, plus, minus, threads)
    shares[before.site] = state.own_shares
    following = Masked(terms, before.site, state.session, state.roster, before.identity, shares)
    return following, MaskedInput(total).to_bytes()


def sign(state: Masked, survivors: bytes) -> tuple[Signed, bytes]:
    """Sign the one survivor set this site will help to open.

    Raises:
        ProtocolViolation: the set is below the quorum, lacks this site, holds a site that dealt it
            no shares, or leaves a group with too few contributors.
    """
    terms, sites = state.terms, Survivors.from_bytes(survivors).sites
    _require(len(sites) >= terms.quorum, "survivor set: below the quorum")
    _require(state.site in sites, "survivor set: this site is missing from it")
    _require(set(sites) <= set(state.shares), "survivor set: it holds a site that dealt no shares")
    _require(
        terms.group_below_minimum(frozenset(sites)) is None,
        "survivor set: a group is left with too few contributors",
    )
    body = survivor_body(state.session, sites)
    signature = keys.sign(state.identity, Label.SURVIVORS, *body)
    return Signed(state, sites), Agreed(signature).to_bytes()


def open_shares(state: Signed, signatures: bytes) -> tuple[Opened, bytes]:
    """For each survivor the share of its seed, for each lost site the share of its mask key.

    Which is which follows from the set this site signed itself, never from the coordinator.

    Raises:
        ProtocolViolation: a signature is not a survivor's on exactly that set, or fewer than the
            quorum signed.
    """
    before, survivors = state.before, set(state.survivors)
    by_site = Signatures.from_bytes(signatures).by_site
    _require(set(by_site) <= survivors, "signatures: one is not a survivor's")
    _require(len(by_site) >= before.terms.quorum, "signatures: fewer than the quorum signed")
    body = survivor_body(before.session, survivors)
    for signer, signature in by_site.items():
        _require(
            keys.is_signed(before.roster[signer], signature, Label.SURVIVORS, *body),
            f"signatures: {signer} did not sign this survivor set",
        )
    opened = OpenedShares(
        seeds={s: pair.seed for s, pair in before.shares.items() if s in survivors},
        mask_keys={s: pair.mask_key for s, pair in before.shares.items() if s not in survivors},
    )
    return Opened(state.survivors), opened.to_bytes()


def _check_adverts(state: Advertised, adverts: Mapping[str, Advert], roster: Roster) -> None:
    terms = state.terms
    _require(set(adverts) <= set(terms.sites), "adverts: one is from a site that is not invited")
    _require(len(adverts) >= terms.quorum, "adverts: fewer than the quorum")
    _require(state.site in adverts, "adverts: this site's own is missing")
    own = adverts[state.site]
    _require(
        (own.sealing_key, own.mask_key) == (state.sealing.public, state.masking.public),
        "adverts: this site's own keys were altered",
    )
    for site, advert in adverts.items():
        _require(site in roster, f"adverts: {site} is not in this site's roster")
        _require(
            keys.is_signed(
                roster[site], advert.signature, Label.ADVERT, *advert_body(terms, site, advert)
            ),
            f"adverts: {site} did not sign these keys for these terms",
        )
        # Sealing will try the other key itself; this one would wait until secrets are dealt.
        keys.require_usable(advert.mask_key)
    public = [key for advert in adverts.values() for key in (advert.sealing_key, advert.mask_key)]
    _require(len(set(public)) == len(public), "adverts: a public key stands there twice")


def _unseal(state: Shared, dealer: str, envelope: Envelope) -> SharePair:
    """The pair of shares in an envelope, after all that can be checked about it was."""
    site, sealing = state.before.site, state.before.sealing
    channel = Channel(state.session, dealer, site)
    secret = sealing.shared_secret(state.adverts[dealer].sealing_key)
    pair = SharePair.from_bytes(keys.unseal(secret, channel, envelope.sealed))
    _require(
        commitments(channel, pair) == envelope.commitments,
        f"envelope of {dealer}: the shares do not fit the commitments",
    )
    return pair


def _require(holds: bool, check: str) -> None:  # noqa: FBT001 - an assertion that cannot be switched off
    if not holds:
        raise ProtocolViolation(check)
