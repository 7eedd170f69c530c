"""Vouchers: what a site accepts by them, and what it takes a signature for all the same.

A bundle whose signatures are all wrong shows which adverts were accepted by their vouchers: nothing
else can have accepted them.
"""

import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rehearsal import (
    FLOOR,
    Rehearsal,
    Stage,
    identity,
    integer_sum,
    make_terms,
    names,
    play,
    play_again,
    values,
)

from federation.entropy import SeededEntropy
from federation.errors import ProtocolViolation
from privacy.secure_sum import coordinator, keys, site
from privacy.secure_sum.messages import Advert, Bundle, Bundles, VouchedAdvert
from privacy.secure_sum.session import advert_body
from privacy.secure_sum.table import Table
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import join
from privacy.secure_sum.vouchers import NOBODY, Acquaintances

FIRST = play(make_terms(6, quorum=4, threshold=3))
AGAIN = play_again(FIRST)
TERMS, SITES = AGAIN.terms, AGAIN.terms.sites
VICTIM, PEER, THIRD, *_ = SITES
REFUSED = f"adverts: {PEER} did not sign these keys for these terms"


def shown_to(name: str, session: Rehearsal = AGAIN) -> Bundle:
    return Bundle.from_bytes(session.told[Stage.SHARE][name], SITES)


def unsigned(advert: Advert) -> Advert:
    return replace(advert, signature=bytes(64))


def share(
    bundle: Bundle, known: Acquaintances | None = None, terms: SessionTerms = TERMS
) -> site.Shared:
    """What the victim says to a bundle, knowing whom it knows, or others."""
    state = AGAIN.states[Stage.ADVERTISE][VICTIM]
    asked = replace(state, terms=terms, known=state.known if known is None else known)
    return site.share(asked, bundle.to_bytes(SITES), AGAIN.roster, SeededEntropy(0))[0]


def unsigned_peer(voucher: bytes | None, *, signed: bool = False) -> Bundle:
    """The victim's bundle with this voucher of one peer, whose signature is wrong or right."""
    bundle = shown_to(VICTIM)
    adverts, vouchers = dict(bundle.adverts), dict(bundle.vouchers)
    if not signed:
        adverts[PEER] = unsigned(adverts[PEER])
    vouchers.pop(PEER)
    return Bundle(adverts, vouchers if voucher is None else vouchers | {PEER: voucher})


# -- what a voucher is ---------------------------------------------------------------------


def test_a_voucher_is_a_tag_on_what_is_signed_under_the_key_towards_its_peer() -> None:
    given = VouchedAdvert.from_bytes(AGAIN.sent[Stage.ADVERTISE][PEER], SITES)
    assert set(given.vouchers) == set(SITES) - {PEER}
    for other in given.vouchers:
        key = FIRST.states[Stage.SHARE][PEER].channels[other].vouching[0]
        assert key == FIRST.states[Stage.SHARE][other].channels[PEER].vouching[1]
        parts = TERMS.digest(), PEER.encode(), given.advert.sealing_key, given.advert.mask_key
        body = join(b"hedgerow/secure-sum/v3/voucher", *parts)
        assert given.vouchers[other] == hmac.digest(key, body, "sha256")[:16]


def test_a_site_is_shown_just_the_vouchers_that_are_for_it() -> None:
    for name in SITES:
        given = {
            other: VouchedAdvert.from_bytes(data, SITES).vouchers[name]
            for other, data in AGAIN.sent[Stage.ADVERTISE].items()
            if other != name
        }
        assert shown_to(name).vouchers == given


def test_in_a_first_session_nobody_is_known_and_nobody_vouched_for() -> None:
    for name in SITES:
        advert = VouchedAdvert.from_bytes(FIRST.sent[Stage.ADVERTISE][name], SITES)
        assert len(advert.vouchers) == len(shown_to(name, FIRST).vouchers) == 0


def test_no_key_of_an_acquaintance_is_printed() -> None:
    shared = FIRST.states[Stage.SHARE][VICTIM]
    advertised = AGAIN.states[Stage.ADVERTISE][VICTIM]
    for known in shared.acquaintances.values():
        for secret in (known.out, known.into):
            printed = repr(secret)[2:-1]
            assert not any(printed in repr(shown) for shown in (known, shared, advertised))


def test_a_state_keeps_no_vouching_key_once_the_vector_is_out() -> None:
    secrets = {
        key
        for known in FIRST.states[Stage.SHARE][VICTIM].acquaintances.values()
        for key in (known.out, known.into)
    }
    kept = {key for pair in FIRST.states[Stage.MASK][VICTIM].tags.values() for key in pair}
    assert not secrets & kept
    assert not any(hasattr(FIRST.states[Stage.MASK][VICTIM], n) for n in ("acquaintances", "known"))


# -- accepted without a signature ----------------------------------------------------------


def test_adverts_with_vouchers_are_accepted_whatever_their_signatures_are() -> None:
    bundle = shown_to(VICTIM)
    forged = {name: unsigned(each) for name, each in bundle.adverts.items()}
    assert share(Bundle(forged, bundle.vouchers)).session == AGAIN.sharing.session


def test_no_signature_is_looked_at_where_all_vouch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def counted(_key: object, signature: bytes, *_: object) -> bool:
        asked.append(signature)
        return True

    monkeypatch.setattr(keys, "is_signed", counted)
    share(shown_to(VICTIM))
    assert asked == []
    share(shown_to(VICTIM), NOBODY)
    assert len(asked) == len(SITES) - 1


def test_the_coordinator_refuses_an_advert_that_is_vouched_for_and_not_signed() -> None:
    """It has no key to check a voucher with, and needs something to show if sites disagree."""
    sent = dict(AGAIN.sent[Stage.ADVERTISE])
    message = VouchedAdvert.from_bytes(sent[PEER], SITES)
    sent[PEER] = replace(message, advert=unsigned(message.advert)).to_bytes(SITES)
    sharing, bundles = coordinator.gather(TERMS, sent, AGAIN.roster)
    assert dict(sharing.excluded) == {PEER: "advert: not signed by the site for these terms"}
    assert set(bundles) == set(SITES) - {PEER}
    for name in bundles:
        assert PEER not in Bundle.from_bytes(bundles[name], SITES).vouchers


@pytest.mark.parametrize("changes", [{}, {"degree": 4, "threshold": 4}], ids=["complete", "sparse"])
def test_from_the_second_session_on_the_sum_needs_no_signature_of_an_advert(changes: dict) -> None:
    """On a sparse graph, too, all peers vouch, not only neighbours: they are drawn anew."""
    first = play(make_terms(12, quorum=9, **({"threshold": 6} | changes)))

    class Unsigned(Rehearsal):
        def step(self, stage: Stage, name: str, message: bytes) -> tuple[object, bytes]:
            if stage is Stage.SHARE:
                shown = Bundle.from_bytes(message, self.terms.sites)
                forged = {name: unsigned(each) for name, each in shown.adverts.items()}
                message = Bundle(forged, shown.vouchers).to_bytes(self.terms.sites)
            return super().step(stage, name, message)

    terms, known = first.terms, first.acquaintances
    assert all(len(each) == 11 for each in known.values())
    for round_ in (2, 3):
        session = Unsigned(replace(terms, round=round_), known=known, seed=round_)
        revealed = session.play()
        assert revealed.survivors == terms.sites
        assert values(revealed.total) == integer_sum(session.vectors, terms.sites)
        known = session.acquaintances
    stranger = Unsigned(replace(terms, round=4), seed=9)
    with pytest.raises(ProtocolViolation, match="did not sign these keys"):
        stranger.play()


# -- no voucher, or none that counts: the signature decides --------------------------------


def voucher_of(peer: str, to: str, session: Rehearsal = AGAIN) -> bytes:
    return VouchedAdvert.from_bytes(session.sent[Stage.ADVERTISE][peer], SITES).vouchers[to]


def made_by(peer: str, terms: SessionTerms) -> bytes:
    """What a peer gives the victim for the very same keys under other terms."""
    advert = shown_to(VICTIM).adverts[PEER]
    key = FIRST.states[Stage.SHARE][peer].channels[VICTIM].vouching[0]
    return keys.tag(key, join(b"hedgerow/secure-sum/v3/voucher", *advert_body(terms, peer, advert)))


def reflected() -> bytes:
    """What the victim's own key towards the peer would give: the peer's keys in its own name."""
    advert = shown_to(VICTIM).adverts[PEER]
    key = FIRST.states[Stage.SHARE][VICTIM].channels[PEER].vouching[0]
    return keys.tag(key, join(b"hedgerow/secure-sum/v3/voucher", *advert_body(TERMS, PEER, advert)))


def tagged_for_survivors() -> bytes:
    """The same bytes under the key of the other tags between the two."""
    advert = shown_to(VICTIM).adverts[PEER]
    key = FIRST.states[Stage.SHARE][PEER].channels[VICTIM].tags[0]
    return keys.tag(key, join(b"hedgerow/secure-sum/v3/voucher", *advert_body(TERMS, PEER, advert)))


WITHOUT_VALUE: dict[str, bytes | None] = {
    "none": None,
    "made up": bytes(16),
    "with a bit off": bytes([voucher_of(PEER, VICTIM)[0] ^ 1]) + voucher_of(PEER, VICTIM)[1:],
    "for another site": voucher_of(PEER, THIRD),
    "of another site": voucher_of(THIRD, VICTIM),
    "what the victim gave the peer": voucher_of(VICTIM, PEER),
    "under the key of the other direction": reflected(),
    "under a key of other tags": tagged_for_survivors(),
    "for other keys": voucher_of(PEER, VICTIM, play_again(FIRST, seed=5)),
    "of the session after": voucher_of(PEER, VICTIM, play_again(AGAIN)),
    "in another name": made_by(THIRD, TERMS),
} | {
    f"for another {name}": made_by(PEER, replace(TERMS, **{name: value}))
    for name, value in {
        "round": 3,
        "attempt": 2,
        "run": "other",
        "federation": "other",
        "config_digest": bytes(32),
        "layout_digest": bytes(32),
    }.items()
}


def test_the_voucher_that_the_others_are_beside_is_good() -> None:
    assert made_by(PEER, TERMS) == voucher_of(PEER, VICTIM)
    share(unsigned_peer(made_by(PEER, TERMS)))


@pytest.mark.parametrize("voucher", WITHOUT_VALUE)
def test_a_voucher_does_nothing_that_is(voucher: str) -> None:
    """With the peer's signature the advert is accepted all the same; without, it is not."""
    given = WITHOUT_VALUE[voucher]
    assert share(unsigned_peer(given, signed=True)).session == AGAIN.sharing.session
    with pytest.raises(ProtocolViolation, match=REFUSED):
        share(unsigned_peer(given))


@pytest.mark.parametrize(
    "known",
    [
        NOBODY,
        {name: each for name, each in AGAIN.known[VICTIM].items() if name != PEER},
        FIRST.acquaintances[THIRD],
        AGAIN.acquaintances[VICTIM],
        play(replace(FIRST.terms, run="other"), seed=3).acquaintances[VICTIM],
    ],
    ids=["restarted", "not the peer", "as another site", "a later session", "another run"],
)
def test_a_site_that_has_not_the_key_looks_at_the_signature(known: Acquaintances) -> None:
    bundle = shown_to(VICTIM)
    assert share(bundle, known).session == AGAIN.sharing.session
    with pytest.raises(ProtocolViolation, match=REFUSED):
        share(unsigned_peer(bundle.vouchers[PEER]), known)


def test_who_is_known_by_another_identity_key_has_to_sign() -> None:
    """The peer's place in the roster was given to another key since: the old one is nobody."""
    known = AGAIN.known[VICTIM]
    other = replace(known[PEER], identity=identity("someone else").public_key())
    share(shown_to(VICTIM), {**known, PEER: other})
    with pytest.raises(ProtocolViolation, match=REFUSED):
        share(unsigned_peer(voucher_of(PEER, VICTIM)), {**known, PEER: other})


@pytest.mark.parametrize(
    ("of", "absent"),
    [(VICTIM, set()), (PEER, {PEER})],
    ids=["the site itself", "who did not advertise"],
)
def test_a_site_refuses_a_voucher_of(of: str, absent: set[str]) -> None:
    bundle = shown_to(VICTIM)
    adverts = {name: each for name, each in bundle.adverts.items() if name not in absent}
    vouchers = {**bundle.vouchers, of: voucher_of(THIRD, VICTIM)}
    with pytest.raises(ProtocolViolation, match="vouchers: one is of no other advertised site"):
        share(Bundle(adverts, vouchers))


# -- sites whose latest sessions are not the same -------------------------------------------


def vouchers_between(session: Rehearsal) -> dict[str, set[str]]:
    """Per site, who vouched to it."""
    return {name: set(shown_to(name, session).vouchers) for name in session.told[Stage.SHARE]}


@pytest.mark.parametrize("stage", [Stage.ADVERTISE, Stage.SHARE])
def test_a_site_that_was_lost_comes_back_by_its_signature(stage: Stage) -> None:
    """The others are accepted by vouchers meanwhile, and it is known again in the session after."""
    second = play_again(FIRST, lost={PEER: stage})
    assert PEER not in second.acquaintances
    known = second.acquaintances | {PEER: FIRST.acquaintances[PEER]}
    third = play_again(second, known=known)
    assert third.signing.survivors == SITES
    if stage is Stage.ADVERTISE:
        assert all(PEER not in each for each in second.acquaintances.values())
        assert vouchers_between(third)[PEER] == set()
    bundle = shown_to(VICTIM, third)
    state = third.states[Stage.ADVERTISE][VICTIM]

    def shown(forged: str) -> bytes:
        adverts = {**bundle.adverts, forged: unsigned(bundle.adverts[forged])}
        return Bundle(adverts, bundle.vouchers).to_bytes(SITES)

    site.share(state, shown(THIRD), third.roster, SeededEntropy(0))
    with pytest.raises(ProtocolViolation, match=REFUSED):
        site.share(state, shown(PEER), third.roster, SeededEntropy(0))
    assert vouchers_between(play_again(third))[PEER] == set(SITES) - {PEER}


def test_a_colluder_that_vouches_for_other_keys_to_one_site_parts_it_from_the_others() -> None:
    """As with two signed adverts: the session digests differ, and no envelope opens."""
    _, message = site.advertise(
        TERMS, PEER, identity(PEER), SeededEntropy(77), FLOOR, AGAIN.known[PEER]
    )
    other = VouchedAdvert.from_bytes(message, SITES)
    bundle = shown_to(VICTIM)
    adverts = {**bundle.adverts, PEER: unsigned(other.advert)}
    misled = share(Bundle(adverts, {**bundle.vouchers, PEER: other.vouchers[VICTIM]}))
    assert misled.session != AGAIN.sharing.session
    with pytest.raises(ProtocolViolation, match="does not authenticate"):
        site.mask(misled, AGAIN.told[Stage.MASK][VICTIM], bytes(32), AGAIN.vectors[VICTIM])


# -- bundles on the wire -------------------------------------------------------------------


@given(st.data())
def test_bundles_are_each_the_adverts_and_the_vouchers_for_one_site(data: st.DataObject) -> None:
    sites = names(data.draw(st.integers(3, 12)))
    some = data.draw(st.sets(st.sampled_from(sites), min_size=1))
    adverts = {name: Advert(name.encode()[:1] * 32, bytes(32), bytes(64)) for name in sorted(some)}
    tags = st.binary(min_size=16, max_size=16)
    given = {name: data.draw(st.dictionaries(st.sampled_from(sites), tags)) for name in some}
    bundles = Bundles(adverts, {to: Table.of(of, 16) for to, of in given.items() if of}, sites)
    assert set(bundles) == some
    assert len(bundles) == len(some)
    for name in some:
        assert bundles[name] == Bundle(adverts, given[name]).to_bytes(sites)
    for name in set(sites) - some:
        with pytest.raises(KeyError):
            bundles[name]
