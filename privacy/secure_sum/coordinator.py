"""The coordinator's half: it relays, adds up masked inputs, and opens one sum.

Honest sites never rely on it for privacy. A malformed or forged message makes its sender a dropout
with a reason; too few senders end the session with `RoundFailed`, and nothing is revealed.
"""

import hmac
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from federation.errors import ProtocolViolation, RoundFailed
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

Roster = Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True, slots=True)
class Sharing:
    """Adverts are in."""

    terms: SessionTerms
    roster: Roster
    session: bytes
    adverts: Mapping[str, Advert]
    excluded: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Masking:
    """Shares are dealt; `dealt` are the sites whose masks the inputs will carry."""

    before: Sharing = field(repr=False)
    dealt: Mapping[str, Dealt]
    excluded: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Signing:
    """Masked inputs are added up."""

    before: Masking = field(repr=False)
    total: Words = field(repr=False)
    survivors: tuple[str, ...]
    excluded: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Opening:
    """The survivors agreed on who survived."""

    before: Signing = field(repr=False)
    excluded: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Revealed:
    """The sum.

    Attributes:
        words: shape (terms.length,), uint32: the modular sum of the survivors' vectors.
        survivors: the sites it is the sum of, sorted.
        blamed: sites that gave or dealt a share that does not fit its commitment.
        excluded: per site whose message was refused, why.
    """

    words: Words
    survivors: tuple[str, ...]
    blamed: tuple[str, ...]
    excluded: Mapping[str, str]


def gather(
    terms: SessionTerms, adverts: Mapping[str, bytes], roster: Roster
) -> tuple[Sharing, bytes]:
    """All valid adverts as one bundle for every site that sent one.

    Raises:
        RoundFailed: fewer than the quorum advertised.
    """
    excluded: dict[str, str] = {}
    valid: dict[str, Advert] = {}
    for site, data in sorted(adverts.items()):
        try:
            valid[site] = _checked_advert(terms, roster, site, data)
        except ProtocolViolation as error:
            excluded[site] = str(error)
    _require_quorum(terms, "advertise", valid, excluded)
    sharing = Sharing(terms, roster, session_digest(terms, valid), valid, excluded)
    return sharing, Bundle(valid).to_bytes()


def route(state: Sharing, dealt: Mapping[str, bytes]) -> tuple[Masking, dict[str, bytes]]:
    """Per site that dealt shares, the envelopes that the others sealed for it.

    Raises:
        RoundFailed: fewer than the quorum dealt shares.
    """
    excluded = dict(state.excluded)
    valid: dict[str, Dealt] = {}
    for site, data in sorted(dealt.items()):
        try:
            valid[site] = _checked_dealt(state, site, data)
        except ProtocolViolation as error:
            excluded[site] = str(error)
    _require_quorum(state.terms, "share", valid, excluded)
    envelopes = {
        receiver: Envelopes(
            {sender: valid[sender].sealed[receiver] for sender in valid if sender != receiver}
        ).to_bytes()
        for receiver in valid
    }
    return Masking(state, valid, excluded), envelopes


def collect(state: Masking, masked: Mapping[str, bytes]) -> tuple[Signing, bytes]:
    """Add up the masked inputs; name the survivors for all to sign.

    Raises:
        RoundFailed: fewer than the quorum, or than a cohort's minimum, sent a masked input.
    """
    terms, excluded = state.before.terms, dict(state.excluded)
    total = np.zeros(terms.length, np.uint32)
    survivors = []
    for site, data in sorted(masked.items()):
        try:
            _require(site in state.dealt, "masked input: from a site that dealt no shares")
            total += MaskedInput.from_bytes(data, terms.length).words
            survivors.append(site)
        except ProtocolViolation as error:
            excluded[site] = str(error)
    _require_quorum(terms, "mask", survivors, excluded)
    for group in terms.groups:
        left = len(set(group) & set(survivors))
        if 0 < left < terms.minimum_contributors:
            raise RoundFailed(
                f"a cohort ({', '.join(group)}) is left with {left} of at least "
                f"{terms.minimum_contributors} contributors"
            )
    signing = Signing(state, total, tuple(survivors), excluded)
    return signing, Survivors(signing.survivors).to_bytes()


def relay(state: Signing, signed: Mapping[str, bytes]) -> tuple[Opening, bytes]:
    """The survivors' signatures on the survivor set.

    Raises:
        RoundFailed: fewer than the quorum signed.
    """
    sharing = state.before.before
    excluded = dict(state.excluded)
    body = survivor_body(sharing.session, state.survivors)
    valid: dict[str, bytes] = {}
    for site, data in sorted(signed.items()):
        try:
            signature = Agreed.from_bytes(data).signature
            _require(site in state.survivors, "signature: from a site that is no survivor")
            _require(
                keys.is_signed(sharing.roster[site], signature, b"survivors", *body),
                "signature: not on the survivor set",
            )
            valid[site] = signature
        except ProtocolViolation as error:
            excluded[site] = str(error)
    _require_quorum(sharing.terms, "sign", valid, excluded)
    return Opening(state, excluded), Signatures(valid).to_bytes()


def reveal(state: Opening, answers: Mapping[str, bytes]) -> Revealed:
    """Take the masks off the sum.

    Raises:
        RoundFailed: a secret cannot be reconstructed from the shares that came.
    """
    signing = state.before
    masking = signing.before
    sharing = masking.before
    excluded, blamed = dict(state.excluded), set[str]()
    seeds: dict[str, dict[int, bytes]] = {site: {} for site in signing.survivors}
    lost = tuple(sorted(set(masking.dealt) - set(signing.survivors)))
    mask_keys: dict[str, dict[int, bytes]] = {site: {} for site in lost}
    for holder, data in sorted(answers.items()):
        try:
            _require(holder in signing.survivors, "opened shares: from a site that is no survivor")
            opened = OpenedShares.from_bytes(data)
        except ProtocolViolation as error:
            excluded[holder] = str(error)
            continue
        for kind, given, wanted in (
            (b"seed", opened.seeds, seeds),
            (b"mask-key", opened.mask_keys, mask_keys),
        ):
            blamed |= _take_shares(masking, kind, holder, given, wanted)
    total = signing.total.copy()
    plus, minus = _masks_left(sharing, signing.survivors, seeds, mask_keys)
    add_masks(total, minus, plus)
    return Revealed(total, signing.survivors, tuple(sorted(blamed)), excluded)


def _masks_left(
    sharing: Sharing,
    survivors: tuple[str, ...],
    seeds: Mapping[str, Mapping[int, bytes]],
    mask_keys: Mapping[str, Mapping[int, bytes]],
) -> tuple[list[bytes], list[bytes]]:
    """Keys of the masks that the sum still carries: added ones, subtracted ones."""
    plus = [
        keys.self_mask_key(_reconstruct(sharing, site, shares), sharing.session)
        for site, shares in seeds.items()
    ]
    minus: list[bytes] = []
    for site, shares in mask_keys.items():
        key = AgreementKey(_reconstruct(sharing, site, shares))
        if key.public != sharing.adverts[site].mask_key:
            raise RoundFailed(f"open: {site} dealt shares of another key than it advertised")
        for peer in survivors:
            secret = key.shared_secret(sharing.adverts[peer].mask_key)
            pairwise = keys.pairwise_mask_key(secret, sharing.session, site, peer)
            (plus if peer > site else minus).append(pairwise)
    return plus, minus


def _take_shares(
    masking: Masking,
    kind: bytes,
    holder: str,
    given: Mapping[str, bytes],
    wanted: Mapping[str, dict[int, bytes]],
) -> set[str]:
    """Keep the shares that fit their dealers' commitments; returns who is to blame for others."""
    point, blamed = share_points(masking.before.terms)[holder], set[str]()
    for dealer, share in given.items():
        if dealer not in wanted:
            blamed.add(holder)
            continue
        committed = masking.dealt[dealer].commitments[holder][0 if kind == b"seed" else 1]
        actual = commitment(masking.before.session, kind, dealer, holder, share)
        if hmac.compare_digest(actual, committed):
            wanted[dealer][point] = share
        else:
            # The holder altered it, or the dealer sealed another share than it committed to.
            blamed |= {holder, dealer}
    return blamed


def _reconstruct(sharing: Sharing, site: str, shares: Mapping[int, bytes]) -> bytes:
    threshold = sharing.terms.threshold
    if len(shares) < threshold:
        raise RoundFailed(
            f"open: {len(shares)} shares of a secret of {site}, and the threshold is {threshold}"
        )
    chosen = {point: shares[point] for point in sorted(shares)[:threshold]}
    try:
        return shamir.combine(chosen)
    except ValueError as error:
        raise RoundFailed(f"open: {site} dealt shares that belong to no secret") from error


def _checked_advert(terms: SessionTerms, roster: Roster, site: str, data: bytes) -> Advert:
    advert = Advert.from_bytes(data)
    _require(site in terms.sites and site in roster, "advert: from a site that is not invited")
    body = (terms.digest(), site.encode(), advert.sealing_key, advert.mask_key)
    _require(
        keys.is_signed(roster[site], advert.signature, b"advert", *body),
        "advert: not signed by the site for these terms",
    )
    return advert


def _checked_dealt(state: Sharing, site: str, data: bytes) -> Dealt:
    dealt = Dealt.from_bytes(data)
    _require(site in state.adverts, "dealt shares: from a site that did not advertise")
    everyone = set(state.adverts)
    _require(set(dealt.sealed) == everyone - {site}, "dealt shares: not one for every peer")
    _require(set(dealt.commitments) == everyone, "dealt shares: not a commitment to each")
    body = commitment_body(state.session, site, dealt.commitments)
    _require(
        keys.is_signed(state.roster[site], dealt.signature, b"commitments", *body),
        "dealt shares: the commitments are not signed by the site",
    )
    return dealt


def _require_quorum(
    terms: SessionTerms, phase: str, sites: Sized, excluded: Mapping[str, str]
) -> None:
    count = len(sites)
    if count < terms.quorum:
        told = "".join(f"; {site}: {reason}" for site, reason in sorted(excluded.items()))
        raise RoundFailed(
            f"{phase}: {count} of {len(terms.sites)} sites answered and the quorum is "
            f"{terms.quorum}{told}"
        )


def _require(holds: bool, check: str) -> None:  # noqa: FBT001 - an assertion that cannot be switched off
    if not holds:
        raise ProtocolViolation(check)
