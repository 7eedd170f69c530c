"""A site's half of the secure sum: one frozen state per stage, values in, values out.

Bonawitz et al. 2017 (doi:10.1145/3133956.3133982), Figure 4, with the consistency check of the
active-adversary variant. Keys and shares are exchanged before the round's model is known, so that
they can ride on the messages of the round before. The site believes its own roster and the terms it
derived itself; of the coordinator it believes nothing. A failed check raises `ProtocolViolation`
naming it.

The caller keeps two rules, on which the guarantee rests. It takes each step once: it drops the old
state when it has the new one, and across restarts it keeps a durable mark before it sends. And when
a step raises, it drops the state for good. Each state holds only the secrets that later steps need;
Python cannot wipe the memory of those that are dropped.

One thing outlives its session if the caller likes: `Shared.acquaintances`, by which the next
session of the run tells whose adverts it is shown without their signatures. Why that is as good,
and what it costs if memory is read, stands in `vouchers`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.entropy import Entropy
from federation.errors import ProtocolViolation
from federation.ring_vector import RingVector
from privacy.secure_sum import keys
from privacy.secure_sum.dealing import (
    SharePair,
    commitment_body,
    commitments,
    deal,
    seed_commitment,
)
from privacy.secure_sum.graph import neighbours
from privacy.secure_sum.keys import AgreementKey, Channel, Direction
from privacy.secure_sum.mask_stream import add_masks
from privacy.secure_sum.messages import (
    Advert,
    Agreed,
    Agreements,
    Bundle,
    Dealt,
    Envelope,
    Envelopes,
    MaskedInput,
    OpenedShares,
    Survivors,
    VouchedAdvert,
)
from privacy.secure_sum.session import (
    advert_body,
    mask_digest,
    round_digest,
    session_digest,
    share_points,
    survivor_digest,
)
from privacy.secure_sum.table import Table
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import Label
from privacy.secure_sum.vouchers import NOBODY, Acquaintances, acquaintances, vouchers

Roster = Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True, slots=True)
class SitePolicyFloor:
    """The least that this site demands, whatever the terms say."""

    minimum_quorum: int
    minimum_threshold: int


@dataclass(frozen=True, slots=True)
class Advertised:
    """Own keys are out.

    Attributes:
        terms: of the session.
        site: who this is.
        identity: the key that speaks for it.
        sealing: own key of channels.
        masking: own mask key.
        known: the peers that it vouched to, and whose vouchers it can check.
    """

    terms: SessionTerms
    site: str
    identity: Ed25519PrivateKey = field(repr=False)
    sealing: AgreementKey
    masking: AgreementKey
    known: Acquaintances = field(repr=False)


@dataclass(frozen=True, slots=True)
class Shared:
    """Own secrets are dealt; the peers' keys are verified.

    Attributes:
        terms: of the session.
        site: who this is.
        session: digest that names it.
        masking: own mask key.
        mask_keys: per neighbour, its public one.
        channels: to every site that advertised.
        seed: of the own mask.
        own_shares: of the own secrets.
        acquaintances: for the next session of the run; no later state holds them.
    """

    terms: SessionTerms
    site: str
    session: bytes
    masking: AgreementKey
    mask_keys: Mapping[str, bytes] = field(repr=False)
    channels: Mapping[str, Channel] = field(repr=False)
    seed: bytes = field(repr=False)
    own_shares: SharePair
    acquaintances: Acquaintances = field(repr=False)


@dataclass(frozen=True, slots=True)
class Masked:
    """The masked input is out; only shares are left to give, and the mask keys are forgotten.

    Attributes:
        terms: of the session.
        site: who this is.
        round: digest of session and model.
        neighbours: whom it masks with.
        tags: per peer, the keys of tags to it and from it.
        shares: per dealer, what this site holds of its secrets.
    """

    terms: SessionTerms
    site: str
    round: bytes
    neighbours: frozenset[str]
    tags: Mapping[str, tuple[bytes, bytes]] = field(repr=False)
    shares: Mapping[str, SharePair]


@dataclass(frozen=True, slots=True)
class Signed:
    """One survivor set is agreed to, and no other ever will be."""

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
    known: Acquaintances = NOBODY,
) -> tuple[Advertised, bytes]:
    """Fresh keys, signed for these terms, and vouched for towards whom this site knows.

    Args:
        terms: as this site derived them.
        site: who this is.
        identity: the key that speaks for it.
        entropy: of the keys.
        floor: below which it takes no part.
        known: the `Shared.acquaintances` of its latest session in the same run.

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
    message = VouchedAdvert(advert, vouchers(known, terms, site, advert))
    state = Advertised(terms, site, identity, sealing, masking, known)
    return state, message.to_bytes(terms.sites)


def share(
    state: Advertised, bundle: bytes, roster: Roster, entropy: Entropy
) -> tuple[Shared, bytes]:
    """Deal shares of a fresh self-mask seed and of the mask key to every verified neighbour.

    Args:
        state: from `advertise`.
        bundle: all adverts, and the others' vouchers for this site, as the coordinator relays them.
        roster: this site's own pinned identity keys.
        entropy: of seed, shares and nonces.

    Raises:
        ProtocolViolation: an advert is not of a site in the roster for exactly these terms, by its
            voucher or by its signature; keys repeat or are unusable, own keys were altered, or
            fewer than the quorum advertised.
    """
    terms, site = state.terms, state.site
    shown = Bundle.from_bytes(bundle, terms.sites)
    _check_adverts(state, shown, roster)
    adverts = shown.adverts
    session, seed = session_digest(terms, adverts), entropy.bytes(keys.KEY_BYTES)
    peers = neighbours(site, adverts, terms.degree, session)
    points = share_points(terms, {site, *peers})
    pairs = deal(seed, state.masking.private, terms.threshold, points, entropy)
    channels = {
        peer: Channel.derive(state.sealing.shared_secret(advert.sealing_key), session, site, peer)
        for peer, advert in adverts.items()
        if peer != site
    }
    dealt = _dealt(state, session, seed, pairs, channels, entropy)
    mask_keys = {peer: adverts[peer].mask_key for peer in peers}
    following = Shared(
        terms, site, session, state.masking, mask_keys, channels, seed, pairs[site],
        acquaintances(channels, roster),
    )  # fmt: skip
    return following, dealt.to_bytes(terms.sites)


def mask(
    state: Shared, envelopes: bytes, model_digest: bytes, vector: RingVector, threads: int = 1
) -> tuple[Masked, bytes]:
    """The vector under the site's own mask and one mask per neighbour that dealt shares.

    Args:
        state: from `share`.
        envelopes: what the neighbours sealed for this site.
        model_digest: SHA-256 of the global model that the vector is about, 32 bytes.
        vector: of the terms' stretches; it is not changed.
        threads: >= 1, for the masks.

    Raises:
        ProtocolViolation: an envelope is not from a neighbour, does not authenticate or does not
            fit its commitments, or too few neighbours dealt shares.
        ValueError: `vector` has other stretches.
    """
    terms, site = state.terms, state.site
    if vector.stretches != terms.stretches:
        raise ValueError(f"expected {terms.stretches}, got {vector.stretches}")
    by_dealer = Envelopes.from_bytes(envelopes, terms.sites).by_dealer
    _require(set(by_dealer) <= set(state.mask_keys), "envelopes: one is from no neighbour")
    enough = terms.quorum - 1 if terms.is_complete else terms.threshold
    _require(len(by_dealer) >= enough, f"envelopes: fewer than {enough} neighbours dealt shares")
    shares = {
        dealer: _unseal(state, dealer, Envelope.from_fields(fields))
        for dealer, fields in by_dealer.items()
    }
    round_ = round_digest(state.session, model_digest)
    plus = [keys.self_mask_key(state.seed, round_, site)]
    minus: list[bytes] = []
    for peer in shares:
        secret = state.masking.shared_secret(state.mask_keys[peer])
        key = keys.pairwise_mask_key(secret, round_, site, peer)
        (plus if site > peer else minus).append(key)
    total = vector.copy()
    add_masks(total, plus, minus, threads)
    shares[site] = state.own_shares
    tags = {peer: channel.tags for peer, channel in state.channels.items()}
    following = Masked(terms, site, round_, frozenset(state.mask_keys), tags, shares)
    return following, MaskedInput(mask_digest(round_, shares), total.pack()).to_bytes()


def sign(state: Masked, survivors: bytes) -> tuple[Signed, bytes]:
    """Agree, towards every other survivor, to the one survivor set this site will help to open.

    Raises:
        ProtocolViolation: the set is below the quorum, lacks this site, holds a site that did not
            advertise or a neighbour that dealt it no shares, or leaves a group with too few
            contributors.
    """
    terms, some = state.terms, Survivors.from_bytes(survivors, state.terms.sites).members
    _require(len(some) >= terms.quorum, "survivor set: below the quorum")
    _require(state.site in some, "survivor set: this site is missing from it")
    others = [site for site in some if site != state.site]
    _require(set(others) <= set(state.tags), "survivor set: it holds a site that did not advertise")
    near = state.neighbours.intersection(some)
    _require(near <= set(state.shares), "survivor set: it holds a site that dealt no shares")
    _require(
        terms.group_below_minimum(frozenset(some)) is None,
        "survivor set: a group is left with too few contributors",
    )
    body = survivor_digest(state.round, some)
    tags = {peer: keys.tag(state.tags[peer][0], body) for peer in others}
    return Signed(state, some), Agreed(Table.of(tags, keys.TAG_BYTES)).to_bytes(terms.sites)


def open_shares(state: Signed, agreements: bytes) -> tuple[Opened, bytes]:
    """For each survivor the share of its seed, for each lost site the share of its mask key.

    Which is which follows from the set this site agreed to itself, never from the coordinator. A
    tag that does not fit counts for nothing; it stops the site only if too few are left.

    Raises:
        ProtocolViolation: a tag is not of a survivor, or fewer than the quorum, this site included,
            agreed to exactly that set.
    """
    before, survivors = state.before, set(state.survivors)
    terms = before.terms
    by_site = Agreements.from_bytes(agreements, terms.sites).by_site
    _require(set(by_site) <= survivors - {before.site}, "agreements: one is of no other survivor")
    body = survivor_digest(before.round, survivors)
    agreeing = [
        peer for peer, given in by_site.items() if keys.is_tagged(before.tags[peer][1], body, given)
    ]
    _require(
        len(agreeing) + 1 >= terms.quorum,
        "agreements: fewer than the quorum agreed to this survivor set",
    )
    opened = OpenedShares(
        seeds={s: pair.seed for s, pair in before.shares.items() if s in survivors},
        mask_keys={s: pair.mask_key for s, pair in before.shares.items() if s not in survivors},
    )
    return Opened(state.survivors), opened.to_bytes(terms.sites)


def _check_adverts(state: Advertised, bundle: Bundle, roster: Roster) -> None:
    terms, adverts, given = state.terms, bundle.adverts, bundle.vouchers
    _require(len(adverts) >= terms.quorum, "adverts: fewer than the quorum")
    _require(state.site in adverts, "adverts: this site's own is missing")
    _require(
        set(given) <= set(adverts) - {state.site}, "vouchers: one is of no other advertised site"
    )
    own = adverts[state.site]
    _require(
        (own.sealing_key, own.mask_key) == (state.sealing.public, state.masking.public),
        "adverts: this site's own keys were altered",
    )
    for site, advert in adverts.items():
        _require(site in roster, f"adverts: {site} is not in this site's roster")
        # Its own keys it has just compared.
        _require(
            site == state.site
            or _is_vouched(state, site, advert, given.get(site, b""), roster)
            or keys.is_signed(
                roster[site], advert.signature, Label.ADVERT, *advert_body(terms, site, advert)
            ),
            f"adverts: {site} did not sign these keys for these terms",
        )
        # Sealing will try the other key itself; this one would wait until secrets are dealt.
        keys.require_usable(advert.mask_key)
    public = [key for advert in adverts.values() for key in (advert.sealing_key, advert.mask_key)]
    _require(len(set(public)) == len(public), "adverts: a public key stands there twice")


def _is_vouched(
    state: Advertised, peer: str, advert: Advert, voucher: bytes, roster: Roster
) -> bool:
    """Whether this site knows the peer, and the peer vouched for exactly this advert."""
    known = state.known.get(peer)
    return known is not None and known.vouched(voucher, roster[peer], state.terms, peer, advert)


def _dealt(
    state: Advertised,
    session: bytes,
    seed: bytes,
    pairs: Mapping[str, SharePair],
    channels: Mapping[str, Channel],
    entropy: Entropy,
) -> Dealt:
    """The pairs of shares, sealed to their holders, and signed commitments to them."""
    site = state.site
    committed = {
        holder: commitments(Direction(session, site, holder), pair)
        for holder, pair in pairs.items()
    }
    envelopes = {
        holder: Envelope(channel.seal(pairs[holder].to_bytes(), entropy), committed[holder]).fields
        for holder, channel in channels.items()
        if holder in pairs
    }
    to_seed = seed_commitment(session, site, seed)
    body = commitment_body(session, site, committed, to_seed)
    signature = keys.sign(state.identity, Label.DEALT, *body)
    return Dealt(Table.of(envelopes, Envelope.WIDTH), committed[site], to_seed, signature)


def _unseal(state: Shared, dealer: str, envelope: Envelope) -> SharePair:
    """The pair of shares in an envelope, after all that can be checked about it was."""
    channel = state.channels[dealer]
    pair = SharePair.from_bytes(channel.unseal(envelope.sealed))
    _require(
        commitments(channel.into, pair) == envelope.commitments,
        f"envelope of {dealer}: the shares do not fit the commitments",
    )
    return pair


def _require(holds: bool, check: str) -> None:  # noqa: FBT001 - an assertion that cannot be switched off
    if not holds:
        raise ProtocolViolation(check)
