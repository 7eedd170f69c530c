"""The coordinator's half: it relays, adds up masked inputs, and opens one sum.

Honest sites do not rely on it for privacy. A malformed or forged message makes its sender a dropout
with a reason; too few senders end the session with `RoundFailed`, and nothing is revealed. No state
holds a single site's vector: masked inputs are added up one by one as they come, and the only masks
ever recovered are those of the whole sum.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from federation.errors import ProtocolViolation, RoundFailed
from federation.ring_vector import RingVector
from privacy.secure_sum import keys
from privacy.secure_sum.dealing import Pledge, Secret, commitment_body, fits
from privacy.secure_sum.exclusion import Reasons, admit, require_quorum, told
from privacy.secure_sum.keys import Direction
from privacy.secure_sum.mask_stream import add_masks
from privacy.secure_sum.messages import (
    Advert,
    Agreed,
    Agreements,
    Bundles,
    Dealt,
    Envelopes,
    MaskedInput,
    OpenedShares,
    Survivors,
    VouchedAdvert,
)
from privacy.secure_sum.recovery import Openable, RemainingMasks, UnfitShares
from privacy.secure_sum.session import (
    advert_body,
    graph,
    mask_digest,
    round_digest,
    session_digest,
)
from privacy.secure_sum.table import Table, transposed
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import Label

Roster = Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True, slots=True)
class Sharing:
    """Adverts are in, and name the session; `graph` tells each site's neighbours."""

    terms: SessionTerms
    roster: Roster = field(repr=False)
    session: bytes
    adverts: Mapping[str, Advert] = field(repr=False)
    graph: Mapping[str, tuple[str, ...]] = field(repr=False)
    excluded: Reasons


@dataclass(frozen=True, slots=True)
class Masking:
    """Shares are dealt and passed on; `dealt` is what the sites that dealt them are held to."""

    sharing: Sharing = field(repr=False)
    dealt: Mapping[str, Pledge] = field(repr=False)
    excluded: Reasons


@dataclass(frozen=True, slots=True)
class Signing:
    """Masked inputs are added up."""

    masking: Masking = field(repr=False)
    round: bytes
    total: RingVector = field(repr=False)
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
        total: the modular sum of the survivors' vectors; bits above a ring are arbitrary.
        survivors: the sites it is the sum of, sorted.
        blamed: sites that opened a share which is not the one they had accepted, sorted; whoever's
            share was not needed is not looked at.
        excluded: per site whose message was refused, why; the blamed are among them.
    """

    total: RingVector
    survivors: tuple[str, ...]
    blamed: tuple[str, ...]
    excluded: Reasons


def gather(
    terms: SessionTerms, adverts: Mapping[str, bytes], roster: Roster
) -> tuple[Sharing, Bundles]:
    """Per site with a valid advert, all of these and the vouchers that the others gave for it.

    A voucher can only be checked by the site that it is for; here it is the signature that counts.

    Args:
        terms: of the session.
        adverts: per site, what it answered.
        roster: the sites' identity keys.

    Raises:
        RoundFailed: fewer than the quorum advertised.
    """

    def check(site: str, data: bytes) -> VouchedAdvert:
        _require(site in terms.sites and site in roster, "advert: from a site not invited")
        message = VouchedAdvert.from_bytes(data, terms.sites)
        advert = message.advert
        body = advert_body(terms, site, advert)
        _require(
            keys.is_signed(roster[site], advert.signature, Label.ADVERT, *body),
            "advert: not signed by the site for these terms",
        )
        keys.require_usable(advert.sealing_key)
        keys.require_usable(advert.mask_key)
        _require(site not in message.vouchers.members, "advert: a voucher to the site itself")
        return message

    messages, excluded = admit(adverts, check, {})
    signed = {site: message.advert for site, message in messages.items()}
    valid, excluded = _without_repeated_keys(signed, excluded)
    require_quorum(terms, "advertise", valid, excluded)
    session = session_digest(terms, valid)
    peers = graph(terms, valid, session)
    sharing = Sharing(terms, dict(roster), session, valid, peers, excluded)
    vouchers = transposed({site: messages[site].vouchers for site in valid})
    return sharing, Bundles(valid, vouchers, terms.sites)


def route(state: Sharing, dealt: Mapping[str, bytes]) -> tuple[Masking, dict[str, bytes]]:
    """Per site that dealt shares, the envelopes that the others sealed for it.

    Commitments are looked at, and their signatures, only if a secret comes out wrong in the end.

    Raises:
        RoundFailed: fewer than the quorum dealt shares.
    """
    sites = state.terms.sites

    def check(site: str, data: bytes) -> Dealt:
        _require(site in state.adverts, "dealt shares: from a site that did not advertise")
        answer = Dealt.from_bytes(data, sites)
        _require(
            answer.envelopes.members == state.graph[site],
            "dealt shares: not one for every neighbour",
        )
        return answer

    valid, excluded = admit(dealt, check, state.excluded)
    require_quorum(state.terms, "share", valid, excluded)
    by_holder = transposed({dealer: answer.envelopes for dealer, answer in valid.items()})
    envelopes = {
        # On a sparse graph all the neighbours of a site may be lost.
        holder: Envelopes(by_holder.get(holder, {})).to_bytes(sites)
        for holder in valid
    }
    pledges = {dealer: answer.pledge(dealer) for dealer, answer in valid.items()}
    return Masking(state, pledges, excluded), envelopes


class Accumulation:
    """The running sum of masked inputs, added up as they arrive: one vector, however many sites.

    Args:
        state: from `route`.
        model_digest: SHA-256 of the global model that the inputs are about, 32 bytes.
    """

    def __init__(self, state: Masking, model_digest: bytes) -> None:
        self._masking = state
        self._round = round_digest(state.sharing.session, model_digest)
        self._total = RingVector.zeros(state.sharing.terms.stretches)
        self._added: set[str] = set()
        self._mask_digests: dict[frozenset[str], bytes] = {}
        self._excluded: Reasons = state.excluded

    def add(self, site: str, masked: bytes) -> None:
        """Add one site's masked input; a message that cannot be one only excludes its sender."""

        def check(sender: str, data: bytes) -> None:
            _require(
                sender in self._masking.dealt, "masked input: from a site that dealt no shares"
            )
            _require(sender not in self._added, "masked input: a second one")
            message = MaskedInput.from_bytes(data, self._total.stretches)
            _require(
                message.masks == self._masks(sender),
                "masked input: under other masks than those of this model and these envelopes",
            )
            try:
                self._total.add_packed(message.packed)
            except ValueError as error:
                raise ProtocolViolation(f"masked input: {error}") from error

        added, self._excluded = admit({site: masked}, check, self._excluded)
        self._added.update(added)

    def _masks(self, site: str) -> bytes:
        dealt, graph = self._masking.dealt, self._masking.sharing.graph
        masked = frozenset(dealt.keys() & {site, *graph[site]})
        # On the complete graph it is the same set for all.
        if masked not in self._mask_digests:
            self._mask_digests[masked] = mask_digest(self._round, masked)
        return self._mask_digests[masked]

    def close(self) -> tuple[Signing, bytes]:
        """Name the survivors for all to agree on; nothing more is added.

        Raises:
            RoundFailed: fewer than the quorum, or than a group's minimum, sent a masked input.
        """
        terms, excluded = self._masking.sharing.terms, self._excluded
        require_quorum(terms, "mask", self._added, excluded)
        group = terms.group_below_minimum(frozenset(self._added))
        if group is not None:
            raise RoundFailed(
                f"mask: of the group {', '.join(group)} only {len(self._added & set(group))} are "
                f"left and the minimum is {terms.minimum_contributors}{told(excluded)}"
            )
        survivors = tuple(sorted(self._added))
        signing = Signing(self._masking, self._round, self._total, survivors, excluded)
        return signing, Survivors(survivors).to_bytes(terms.sites)


def relay(state: Signing, agreed: Mapping[str, bytes]) -> tuple[Opening, dict[str, bytes]]:
    """Per survivor that agreed to the survivor set, the tags that the others gave for it.

    A tag can only be checked by the site that it is for.

    Raises:
        RoundFailed: fewer than the quorum agreed.
    """
    terms, survivors = state.masking.sharing.terms, set(state.survivors)

    def check(site: str, data: bytes) -> Table:
        _require(site in survivors, "agreement: from a site that is no survivor")
        tags = Agreed.from_bytes(data, terms.sites).tags
        _require(
            set(tags.members) == survivors - {site}, "agreement: not a tag for every other survivor"
        )
        return tags

    valid, excluded = admit(agreed, check, state.excluded)
    require_quorum(terms, "sign", valid, excluded)
    told_to = {
        site: Agreements(by_site).to_bytes(terms.sites)
        for site, by_site in transposed(valid).items()
        if site in valid
    }
    return Opening(state, excluded), told_to


def reveal(state: Opening, answers: Mapping[str, bytes], threads: int = 1) -> Revealed:
    """Take the masks off the sum.

    Args:
        state: from `relay`.
        answers: per survivor, the shares that it opened.
        threads: >= 1, for the masks.

    Raises:
        RoundFailed: fewer than the threshold gave valid shares of a secret, or a dealer's shares do
            not give the secret that it used.
    """
    openable, sites = _openable(state.signing), state.signing.masking.sharing.terms.sites

    def check(holder: str, data: bytes) -> OpenedShares:
        _require(holder in openable.survivors, "opened shares: from a site that is no survivor")
        opened = OpenedShares.from_bytes(data, sites)
        _require(
            (set(opened.seeds), set(opened.mask_keys)) == openable.asked_of(holder),
            "opened shares: not those that the survivor set asks for",
        )
        return opened

    complete, excluded = admit(answers, check, state.excluded)
    roster = state.signing.masking.sharing.roster
    masks, blamed = _masks_and_blame(openable, complete, excluded, roster)
    total = state.signing.total.copy()
    add_masks(total, plus=masks.subtracted, minus=masks.added, threads=threads)
    return Revealed(total, state.signing.survivors, tuple(sorted(blamed)), {**blamed, **excluded})


def _openable(signing: Signing) -> Openable:
    masking, sharing = signing.masking, signing.masking.sharing
    return Openable(
        sharing.terms,
        sharing.session,
        signing.round,
        sharing.adverts,
        masking.dealt,
        sharing.graph,
        frozenset(signing.survivors),
    )


def _masks_and_blame(
    openable: Openable, complete: Mapping[str, OpenedShares], excluded: Reasons, roster: Roster
) -> tuple[RemainingMasks, Reasons]:
    """The masks still in the sum; shares are looked at one by one only if a secret comes out wrong.

    Raises:
        RoundFailed: as `reveal`.
    """
    blamed: dict[str, str] = {}
    try:
        try:
            return openable.remaining_masks(complete), blamed
        except UnfitShares:
            _require_signed_commitments(openable, roster)
            false = {
                holder: _false_share(openable, holder, complete[holder]) for holder in complete
            }
            blamed = {holder: reason for holder, reason in false.items() if reason}
            valid = {holder: each for holder, each in complete.items() if holder not in blamed}
            return openable.remaining_masks(valid), blamed
    except RoundFailed as error:
        raise RoundFailed(f"{error}{told({**blamed, **excluded})}") from error
    except UnfitShares as error:
        raise RoundFailed(f"open: {error}{told({**blamed, **excluded})}") from error


def _require_signed_commitments(openable: Openable, roster: Roster) -> None:
    """Return if no holder can be blamed on commitments that a dealer never made.

    Raises:
        RoundFailed: a dealer's signature is not on its commitments.
    """
    for dealer, dealt in sorted(openable.dealt.items()):
        body = commitment_body(openable.session, dealer, dealt.commitments, dealt.seed_commitment)
        if not keys.is_signed(roster[dealer], dealt.signature, Label.DEALT, *body):
            raise RoundFailed(f"open: {dealer} did not sign the commitments to its shares")


def _false_share(openable: Openable, holder: str, opened: OpenedShares) -> str:
    """What is wrong with a holder's shares; empty if each fits its dealer's commitment."""
    for secret, shares in ((Secret.SEED, opened.seeds), (Secret.MASK_KEY, opened.mask_keys)):
        for dealer, share in shares.items():
            direction = Direction(openable.session, dealer, holder)
            if not fits(direction, secret, share, openable.dealt[dealer].commitments[holder]):
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
