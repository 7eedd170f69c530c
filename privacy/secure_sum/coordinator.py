"""The coordinator's half: it relays, adds up masked inputs, and opens one sum.

Honest sites do not rely on it for privacy. A malformed or forged message makes its sender a dropout
with a reason; too few senders end the session with `RoundFailed`, and nothing is revealed. No state
holds a single site's vector: masked inputs are added up as they are read, and the only masks ever
recovered are those of the whole sum.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from federation.errors import ProtocolViolation, RoundFailed
from federation.layout import Words
from privacy.secure_sum import keys
from privacy.secure_sum.dealing import Secret, commitment_body, fits
from privacy.secure_sum.exclusion import Reasons, admit, require_quorum, told
from privacy.secure_sum.keys import Channel
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
from privacy.secure_sum.recovery import remaining_masks
from privacy.secure_sum.session import advert_body, neighbours, session_digest, survivor_body
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import Label

Roster = Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True, slots=True)
class Sharing:
    """Adverts are in, and name the session."""

    terms: SessionTerms
    roster: Roster = field(repr=False)
    session: bytes
    adverts: Mapping[str, Advert] = field(repr=False)
    excluded: Reasons


@dataclass(frozen=True, slots=True)
class Masking:
    """Shares are dealt; `dealt` are the sites whose masks the inputs will carry."""

    sharing: Sharing = field(repr=False)
    dealt: Mapping[str, Dealt] = field(repr=False)
    excluded: Reasons


@dataclass(frozen=True, slots=True)
class Signing:
    """Masked inputs are added up."""

    masking: Masking = field(repr=False)
    total: Words = field(repr=False)
    survivors: tuple[str, ...]
    excluded: Reasons


@dataclass(frozen=True, slots=True)
class Opening:
    """A quorum of the survivors agreed on who survived."""

    signing: Signing = field(repr=False)
    excluded: Reasons


@dataclass(frozen=True, slots=True)
class Revealed:
    """The sum.

    Attributes:
        words: shape (terms.length,), uint32: the modular sum of the survivors' vectors.
        survivors: the sites it is the sum of, sorted.
        blamed: sites that opened a share which is not the one they had accepted, sorted.
        excluded: per site whose message was refused, why; the blamed are among them.
    """

    words: Words
    survivors: tuple[str, ...]
    blamed: tuple[str, ...]
    excluded: Reasons


def gather(
    terms: SessionTerms, adverts: Mapping[str, bytes], roster: Roster
) -> tuple[Sharing, bytes]:
    """All valid adverts as one bundle for every site that sent one.

    Args:
        terms: of the session.
        adverts: per site, what it answered.
        roster: the sites' identity keys.

    Raises:
        RoundFailed: fewer than the quorum advertised.
    """

    def check(site: str, data: bytes) -> Advert:
        _require(site in terms.sites and site in roster, "advert: from a site not invited")
        advert = Advert.from_bytes(data)
        body = advert_body(terms, site, advert)
        _require(
            keys.is_signed(roster[site], advert.signature, Label.ADVERT, *body),
            "advert: not signed by the site for these terms",
        )
        keys.require_usable(advert.sealing_key)
        keys.require_usable(advert.mask_key)
        return advert

    valid, excluded = admit(adverts, check, {})
    valid, excluded = _without_repeated_keys(valid, excluded)
    require_quorum(terms, "advertise", valid, excluded)
    sharing = Sharing(terms, dict(roster), session_digest(terms, valid), valid, excluded)
    return sharing, Bundle(valid).to_bytes()


def route(state: Sharing, dealt: Mapping[str, bytes]) -> tuple[Masking, dict[str, bytes]]:
    """Per site that dealt shares, the envelopes that the others sealed for it.

    Raises:
        RoundFailed: fewer than the quorum dealt shares.
    """

    def check(site: str, data: bytes) -> Dealt:
        _require(site in state.adverts, "dealt shares: from a site that did not advertise")
        answer = Dealt.from_bytes(data)
        peers = neighbours(site, state.adverts)
        _require(set(answer.sealed) == set(peers), "dealt shares: not one for every peer")
        _require(
            set(answer.commitments) == set(state.adverts),
            "dealt shares: not commitments to every holder",
        )
        body = commitment_body(state.session, site, answer.commitments)
        _require(
            keys.is_signed(state.roster[site], answer.signature, Label.DEALT, *body),
            "dealt shares: the commitments are not signed by the site",
        )
        return answer

    valid, excluded = admit(dealt, check, state.excluded)
    require_quorum(state.terms, "share", valid, excluded)
    envelopes = {
        holder: Envelopes({
            dealer: Envelope(valid[dealer].sealed[holder], valid[dealer].commitments[holder])
            for dealer in neighbours(holder, valid)
        }).to_bytes()
        for holder in valid
    }  # fmt: skip
    return Masking(state, valid, excluded), envelopes


def collect(state: Masking, masked: Mapping[str, bytes]) -> tuple[Signing, bytes]:
    """Add up the masked inputs; name the survivors for all to sign.

    Raises:
        RoundFailed: fewer than the quorum, or than a group's minimum, sent a masked input.
    """
    terms = state.sharing.terms
    total = np.zeros(terms.length, np.uint32)

    def add(site: str, data: bytes) -> None:
        _require(site in state.dealt, "masked input: from a site that dealt no shares")
        np.add(total, MaskedInput.from_bytes(data, terms.length).words, out=total)

    added, excluded = admit(masked, add, state.excluded)
    require_quorum(terms, "mask", added, excluded)
    group = terms.group_below_minimum(frozenset(added))
    if group is not None:
        raise RoundFailed(
            f"mask: of the group {', '.join(group)} only {len(added.keys() & set(group))} are left"
            f" and the minimum is {terms.minimum_contributors}{told(excluded)}"
        )
    survivors = tuple(sorted(added))
    return Signing(state, total, survivors, excluded), Survivors(survivors).to_bytes()


def relay(state: Signing, signed: Mapping[str, bytes]) -> tuple[Opening, bytes]:
    """The survivors' signatures on the survivor set.

    Raises:
        RoundFailed: fewer than the quorum signed.
    """
    sharing = state.masking.sharing
    body = survivor_body(sharing.session, state.survivors)

    def check(site: str, data: bytes) -> bytes:
        _require(site in state.survivors, "signature: from a site that is no survivor")
        signature = Agreed.from_bytes(data).signature
        _require(
            keys.is_signed(sharing.roster[site], signature, Label.SURVIVORS, *body),
            "signature: not the site's on the survivor set",
        )
        return signature

    valid, excluded = admit(signed, check, state.excluded)
    require_quorum(sharing.terms, "sign", valid, excluded)
    return Opening(state, excluded), Signatures(valid).to_bytes()


def reveal(state: Opening, answers: Mapping[str, bytes], threads: int = 1) -> Revealed:
    """Take the masks off the sum.

    Args:
        state: from `relay`.
        answers: per survivor, the shares that it opened.
        threads: >= 1, for the masks.

    Raises:
        RoundFailed: fewer than the threshold gave valid shares, or a dealer's shares do not give
            the secret that it used.
    """
    signing = state.signing
    masking, sharing = signing.masking, signing.masking.sharing
    survivors = set(signing.survivors)
    lost = set(masking.dealt) - survivors

    def check(holder: str, data: bytes) -> OpenedShares:
        _require(holder in survivors, "opened shares: from a site that is no survivor")
        opened = OpenedShares.from_bytes(data)
        _require(
            (set(opened.seeds), set(opened.mask_keys)) == (survivors, lost),
            "opened shares: not those that the survivor set asks for",
        )
        return opened

    complete, excluded = admit(answers, check, state.excluded)
    false = {holder: _false_share(masking, holder, opened) for holder, opened in complete.items()}
    blamed = {holder: reason for holder, reason in false.items() if reason}
    valid = {holder: opened for holder, opened in complete.items() if holder not in blamed}
    excluded = {**blamed, **excluded}
    try:
        masks = remaining_masks(sharing.terms, sharing.session, sharing.adverts, valid)
    except RoundFailed as error:
        raise RoundFailed(f"{error}{told(excluded)}") from error
    total = signing.total.copy()
    add_masks(total, plus=masks.subtracted, minus=masks.added, threads=threads)
    return Revealed(total, signing.survivors, tuple(sorted(blamed)), excluded)


def _false_share(masking: Masking, holder: str, opened: OpenedShares) -> str:
    """What is wrong with a holder's shares; empty if each fits its dealer's commitment."""
    for secret, shares in ((Secret.SEED, opened.seeds), (Secret.MASK_KEY, opened.mask_keys)):
        for dealer, share in shares.items():
            channel = Channel(masking.sharing.session, dealer, holder)
            if not fits(channel, secret, share, masking.dealt[dealer].commitments[holder]):
                return f"opened shares: the {secret} share of {dealer} is not the one it dealt"
    return ""


def _without_repeated_keys(
    adverts: Mapping[str, Advert], excluded: Reasons
) -> tuple[dict[str, Advert], dict[str, str]]:
    """Sites would refuse a bundle with a key in it twice: only colluders draw the same key."""
    count = Counter(
        key for advert in adverts.values() for key in (advert.sealing_key, advert.mask_key)
    )
    repeated = {
        site: "advert: a public key stands in the adverts twice"
        for site, advert in adverts.items()
        if max(count[advert.sealing_key], count[advert.mask_key]) > 1
    }
    kept = {site: advert for site, advert in adverts.items() if site not in repeated}
    return kept, {**excluded, **repeated}


def _require(holds: bool, check: str) -> None:  # noqa: FBT001 - an assertion that cannot be switched off
    if not holds:
        raise ProtocolViolation(check)
