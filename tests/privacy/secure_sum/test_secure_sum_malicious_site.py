"""A site that lies costs itself its place, and the sum of the others stays exact or unopened."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from rehearsal import (
    MODEL,
    Alteration,
    Rehearsal,
    Stage,
    collect,
    identity,
    integer_sum,
    make_terms,
    values,
)

from federation.entropy import SeededEntropy
from federation.errors import ProtocolViolation, RoundFailed
from privacy.secure_sum import coordinator, keys, shamir
from privacy.secure_sum.dealing import (
    SharePair,
    commitment_body,
    commitments,
    deal,
    seed_commitment,
)
from privacy.secure_sum.keys import AgreementKey, Direction
from privacy.secure_sum.messages import (
    Advert,
    Agreed,
    Dealt,
    Envelope,
    OpenedShares,
    VouchedAdvert,
)
from privacy.secure_sum.session import advert_body, share_points
from privacy.secure_sum.table import Table
from privacy.secure_sum.transcript import Label

TERMS = make_terms(6, quorum=4, threshold=3)
SITES = TERMS.sites
HONEST_ONE, LIAR, HOLDER, *_, LOST = TERMS.sites


def rehearsal(stage: Stage, lie: Alteration, lost: Stage | None = None) -> Rehearsal:
    """The liar's message of one stage is altered; another site may be lost too."""
    return Rehearsal(TERMS, altered={(LIAR, stage): lie}, lost={} if lost is None else {LOST: lost})


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def own_advert(sealing: bytes, mask: bytes) -> bytes:
    return vouched_advert(sealing, mask, {})


def vouched_advert(sealing: bytes, mask: bytes, vouchers: Mapping[str, bytes]) -> bytes:
    unsigned = Advert(sealing, mask, b"")
    body = advert_body(TERMS, LIAR, unsigned)
    advert = replace(unsigned, signature=keys.sign(identity(LIAR), Label.ADVERT, *body))
    return VouchedAdvert(advert, vouchers).to_bytes(SITES)


def forge(data: bytes) -> bytes:
    """The last byte of the signature, before an empty table of vouchers."""
    return data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]


FRESH, OTHER_FRESH = (AgreementKey.generate(SeededEntropy(seed)).public for seed in (77, 78))
LOW_ORDER = bytes(32)

ADVERTS: dict[str, tuple[Alteration, str]] = {
    "nothing": (lambda _: b"", "advert: not a message of this kind and version"),
    "another message": (
        lambda _: Agreed({}).to_bytes(SITES),
        "advert: not a message of this kind and version",
    ),
    "a forged signature": (forge, "advert: not signed by the site for these terms"),
    "a voucher to itself": (
        lambda _: vouched_advert(FRESH, OTHER_FRESH, {LIAR: bytes(16)}),
        "advert: a voucher to the site itself",
    ),
    "vouchers cut": (lambda data: data[:-1], "advert: too short"),
    "a mask key of low order": (
        lambda _: own_advert(FRESH, LOW_ORDER),
        "key agreement: a public key is not usable",
    ),
    "a sealing key of low order": (
        lambda _: own_advert(LOW_ORDER, FRESH),
        "key agreement: a public key is not usable",
    ),
    "one key twice": (
        lambda _: own_advert(FRESH, FRESH),
        "advert: a public key stands in the adverts twice",
    ),
}


@pytest.mark.parametrize("lie", ADVERTS)
def test_an_advert_with_this_excludes_its_site(lie: str) -> None:
    alteration, reason = ADVERTS[lie]
    played = rehearsal(Stage.ADVERTISE, alteration)
    assert_excluded(played, reason)
    assert LIAR not in played.sharing.adverts


def assert_excluded(played: Rehearsal, reason: str) -> None:
    revealed = played.play()
    assert LIAR not in revealed.survivors
    assert dict(revealed.excluded) == {LIAR: reason}
    assert revealed.blamed == ()
    assert values(revealed.total) == integer_sum(played.vectors, revealed.survivors)


def test_two_sites_with_one_key_are_both_excluded() -> None:
    played = Rehearsal(TERMS)
    played.play()
    adverts = dict(played.sent[Stage.ADVERTISE])
    copied = VouchedAdvert.from_bytes(adverts[HOLDER], SITES).advert.mask_key
    adverts[LIAR] = own_advert(FRESH, copied)
    sharing, _ = coordinator.gather(TERMS, adverts, played.roster)
    assert set(sharing.excluded) == {LIAR, HOLDER}
    assert set(sharing.adverts) == set(TERMS.sites) - {LIAR, HOLDER}


def test_answers_of_strangers_are_refused_at_every_stage() -> None:
    played = Rehearsal(TERMS, lost={LOST: Stage.SHARE})
    played.play()
    sent = played.sent

    def and_stranger(stage: Stage) -> dict[str, bytes]:
        return sent[stage] | {"zz": sent[stage][LIAR]}

    sharing, _ = coordinator.gather(TERMS, and_stranger(Stage.ADVERTISE), played.roster)
    masking, _ = coordinator.route(played.sharing, and_stranger(Stage.SHARE))
    signing, _ = collect(played.masking, and_stranger(Stage.MASK))
    opening, _ = coordinator.relay(played.signing, and_stranger(Stage.SIGN))
    revealed = coordinator.reveal(played.opening, and_stranger(Stage.OPEN))
    assert [dict(each.excluded) for each in (sharing, masking, signing, opening, revealed)] == [
        {"zz": "advert: from a site not invited"},
        {"zz": "dealt shares: from a site that did not advertise"},
        {"zz": "masked input: from a site that dealt no shares"},
        {"zz": "agreement: from a site that is no survivor"},
        {"zz": "opened shares: from a site that is no survivor"},
    ]
    assert values(signing.total) == values(played.signing.total)


def test_a_site_excluded_at_one_stage_stays_out_with_its_first_reason() -> None:
    played = rehearsal(Stage.SHARE, lambda data: data[:-1])
    played.play()
    late = played.sent[Stage.MASK] | {LIAR: played.sent[Stage.MASK][HONEST_ONE]}
    signing, _ = collect(played.masking, late)
    assert signing.excluded[LIAR] == "dealt shares: too short"
    assert values(signing.total) == values(played.signing.total)


# -- dealing -------------------------------------------------------------------------------


def altered_dealt(change: Callable[[Dealt], Dealt]) -> Alteration:
    return lambda data: change(Dealt.from_bytes(data, SITES)).to_bytes(SITES)


def less(table: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    return {site: value for site, value in table.items() if site != name}


DEALT: dict[str, tuple[Alteration, str]] = {
    "garbage": (lambda data: data[:-1], "dealt shares: too short"),
    "no share for a peer": (
        altered_dealt(lambda d: replace(d, envelopes=less(d.envelopes, HOLDER))),
        "dealt shares: not one for every neighbour",
    ),
    "a share for itself": (
        altered_dealt(lambda d: replace(d, envelopes={**d.envelopes, LIAR: bytes(Envelope.WIDTH)})),
        "dealt shares: not one for every neighbour",
    ),
}


@pytest.mark.parametrize("lie", DEALT)
def test_dealt_shares_with_this_exclude_their_dealer(lie: str) -> None:
    alteration, reason = DEALT[lie]
    assert_excluded(rehearsal(Stage.SHARE, alteration), reason)


def test_commitments_that_a_dealer_did_not_sign_harm_nobody_but_blame_nobody_either() -> None:
    """All shares fit: the sum is exact. One does not: the round fails, and the dealer is named."""
    unsigned = altered_dealt(lambda d: replace(d, signature=bytes(64)))
    played = rehearsal(Stage.SHARE, unsigned)
    revealed = played.play()
    assert values(revealed.total) == integer_sum(played.vectors, revealed.survivors)
    false = FALSE_SHARES["an altered seed share"][0]
    both = {(LIAR, Stage.SHARE): unsigned, (HONEST_ONE, Stage.OPEN): false}
    with pytest.raises(
        RoundFailed, match=f"open: {LIAR} did not sign the commitments to its shares"
    ):
        Rehearsal(TERMS, altered=both).play()


def redealt(
    played: Rehearsal,
    change: Callable[[dict[str, SharePair]], dict[str, SharePair]],
    seed: bytes | None = None,
    mask_key: bytes | None = None,
) -> Alteration:
    """Shares that the liar changed before it committed to them, all else as it should be."""

    def lie(_: bytes) -> bytes:
        shared = played.states[Stage.SHARE][LIAR]
        points = share_points(TERMS, played.sharing.adverts)
        secrets = seed or shared.seed, mask_key or shared.masking.private
        pairs = change(deal(*secrets, TERMS.threshold, points, SeededEntropy(4)))
        return dealt_of(played, pairs, pairs)

    return lie


def dealt_of(
    played: Rehearsal, sealed: dict[str, SharePair], committed: dict[str, SharePair]
) -> bytes:
    session, shared = played.sharing.session, played.states[Stage.SHARE][LIAR]
    commits = {
        holder: commitments(Direction(session, LIAR, holder), pair)
        for holder, pair in committed.items()
    }
    envelopes = {
        peer: Envelope(
            channel.seal(sealed[peer].to_bytes(), SeededEntropy(5).child(peer)), commits[peer]
        ).fields
        for peer, channel in shared.channels.items()
    }
    to_seed = seed_commitment(session, LIAR, shared.seed)
    body = commitment_body(session, LIAR, commits, to_seed)
    signature = keys.sign(identity(LIAR), Label.DEALT, *body)
    table = Table.of(envelopes, Envelope.WIDTH)
    return Dealt(table, commits[LIAR], to_seed, signature).to_bytes(SITES)


def test_a_share_that_does_not_fit_its_commitment_is_refused_by_its_holder_naming_the_dealer() -> (
    None
):
    played = Rehearsal(TERMS)

    def lie(_: bytes) -> bytes:
        shared = played.states[Stage.SHARE][LIAR]
        points = share_points(TERMS, played.sharing.adverts)
        pairs = deal(shared.seed, bytes(32), TERMS.threshold, points, SeededEntropy(4))
        false = pairs | {HOLDER: SharePair(bytes(33), pairs[HOLDER].mask_key)}
        return dealt_of(played, sealed=false, committed=pairs)

    played.altered = {(LIAR, Stage.SHARE): lie}
    with pytest.raises(
        ProtocolViolation, match=f"envelope of {LIAR}: the shares do not fit the commitments"
    ):
        played.play()
    refused = played.told[Stage.MASK]
    played.step(Stage.MASK, HONEST_ONE, refused[HONEST_ONE])
    with pytest.raises(ProtocolViolation):
        played.step(Stage.MASK, HOLDER, refused[HOLDER])


def test_a_share_that_is_no_field_element_is_refused_by_its_holder() -> None:
    played = Rehearsal(TERMS)
    prime = shamir.PRIME.to_bytes(33, "little")
    played.altered = {
        (LIAR, Stage.SHARE): redealt(
            played, lambda pairs: pairs | {HOLDER: SharePair(pairs[HOLDER].seed, prime)}
        )
    }
    with pytest.raises(ProtocolViolation, match="pair of shares: share: not a field element"):
        played.play()


def test_shares_of_another_mask_key_fail_the_round_naming_the_dealer() -> None:
    played = Rehearsal(TERMS, lost={LIAR: Stage.MASK})
    played.altered = {(LIAR, Stage.SHARE): redealt(played, dict, mask_key=bytes(32))}
    with pytest.raises(
        RoundFailed, match=f"open: {LIAR} dealt shares of no secret that it committed to"
    ):
        played.play()


def test_shares_of_another_seed_fail_the_round_naming_the_dealer() -> None:
    played = Rehearsal(TERMS)
    played.altered = {(LIAR, Stage.SHARE): redealt(played, dict, seed=bytes(32))}
    with pytest.raises(
        RoundFailed, match=f"open: {LIAR} dealt shares of no secret that it committed to"
    ):
        played.play()


def test_shares_of_no_secret_fail_the_round_naming_the_dealer() -> None:
    """A constant polynomial above every 32-byte secret, committed to and sealed as it is."""
    above = (2**256).to_bytes(33, "little")
    played = Rehearsal(TERMS)
    played.altered = {
        (LIAR, Stage.SHARE): redealt(
            played, lambda pairs: dict.fromkeys(pairs, SharePair(above, above))
        )
    }
    with pytest.raises(RoundFailed, match=f"open: {LIAR} dealt shares of no secret"):
        played.play()


# -- masking and signing -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (lambda data: data[:-4], "masked input: 32 bytes, expected 36"),
        (lambda data: data + bytes(4), "masked input: 40 bytes, expected 36"),
        (lambda data: data[:3] + b"\x06" + data[4:], "masked input: not a message of this kind"),
    ],
)
def test_a_vector_of_another_length_or_kind_makes_a_dropout(lie: Alteration, reason: str) -> None:
    played = rehearsal(Stage.MASK, lie)
    revealed = played.play()
    assert revealed.excluded[LIAR].startswith(reason)
    assert LIAR not in revealed.survivors
    assert values(revealed.total) == integer_sum(played.vectors, revealed.survivors)


def test_a_second_masked_input_of_a_site_is_not_added() -> None:
    played = Rehearsal(TERMS)
    played.play()
    accumulation = coordinator.Accumulation(played.masking, MODEL)
    for name, data in played.sent[Stage.MASK].items():
        accumulation.add(name, data)
    accumulation.add(LIAR, played.sent[Stage.MASK][HOLDER])
    signing, _ = accumulation.close()
    assert values(signing.total) == values(played.signing.total)
    assert dict(signing.excluded) == {LIAR: "masked input: a second one"}


def false_tags(data: bytes) -> bytes:
    tags = Agreed.from_bytes(data, SITES).tags
    return Agreed({peer: flip(tag) for peer, tag in tags.items()}).to_bytes(SITES)


@pytest.mark.parametrize("lost", [None, Stage.MASK])
def test_false_tags_count_for_nothing_and_the_sum_is_opened_without_them(
    lost: Stage | None,
) -> None:
    played = rehearsal(Stage.SIGN, false_tags, lost)
    revealed = played.play()
    assert LIAR in revealed.survivors
    assert values(revealed.total) == integer_sum(played.vectors, revealed.survivors)


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (lambda _: b"", "agreement on the survivor set: not a message of this kind"),
        (
            lambda data: Agreed(less(Agreed.from_bytes(data, SITES).tags, HOLDER)).to_bytes(SITES),
            "agreement: not a tag for every other survivor",
        ),
    ],
)
def test_an_agreement_that_is_not_whole_excludes_its_site(lie: Alteration, reason: str) -> None:
    played = rehearsal(Stage.SIGN, lie)
    revealed = played.play()
    assert revealed.excluded[LIAR].startswith(reason)
    assert values(revealed.total) == integer_sum(played.vectors, revealed.survivors)


# -- opening -------------------------------------------------------------------------------


def opened(change: Callable[[OpenedShares], OpenedShares]) -> Alteration:
    return lambda data: change(OpenedShares.from_bytes(data, SITES)).to_bytes(SITES)


FALSE_SHARES: dict[str, tuple[Alteration, str]] = {
    "an altered seed share": (
        opened(lambda o: replace(o, seeds=o.seeds | {HOLDER: flip(o.seeds[HOLDER])})),
        f"opened shares: the seed share of {HOLDER} is not the one it dealt",
    ),
    "an altered share of its own seed": (
        opened(lambda o: replace(o, seeds=o.seeds | {LIAR: bytes(33)})),
        f"opened shares: the seed share of {LIAR} is not the one it dealt",
    ),
    "an altered mask-key share": (
        opened(lambda o: replace(o, mask_keys=o.mask_keys | {LOST: bytes(33)})),
        f"opened shares: the mask-key share of {LOST} is not the one it dealt",
    ),
    "a share that is no field element": (
        opened(lambda o: replace(o, seeds=o.seeds | {HOLDER: b"\xff" * 33})),
        f"opened shares: the seed share of {HOLDER} is not the one it dealt",
    ),
    "the shares of two dealers exchanged": (
        opened(
            lambda o: replace(
                o, seeds=o.seeds | {HOLDER: o.seeds[HONEST_ONE], HONEST_ONE: o.seeds[HOLDER]}
            )
        ),
        f"opened shares: the seed share of {HONEST_ONE} is not the one it dealt",
    ),
}


@pytest.mark.parametrize("lie", FALSE_SHARES)
def test_a_false_share_blames_its_holder_alone_and_the_sum_is_exact(lie: str) -> None:
    alteration, reason = FALSE_SHARES[lie]
    played = rehearsal(Stage.OPEN, alteration, lost=Stage.MASK)
    revealed = played.play()
    assert revealed.blamed == (LIAR,)
    assert revealed.excluded == {LIAR: reason}
    assert values(revealed.total) == integer_sum(played.vectors, revealed.survivors)


UNASKED: dict[str, tuple[Alteration, str]] = {
    "a seed share of the lost site": (
        opened(lambda o: OpenedShares(o.seeds | {LOST: bytes(33)}, {})),
        "opened shares: not those that the survivor set asks for",
    ),
    "a share too few": (
        opened(lambda o: replace(o, seeds=less(o.seeds, HOLDER))),
        "opened shares: not those that the survivor set asks for",
    ),
    "both shares of one site": (
        opened(lambda o: replace(o, mask_keys=o.mask_keys | {HOLDER: bytes(33)})),
        "opened shares: both shares of one site",
    ),
    "nothing readable": (lambda _: b"HS", "opened shares: not a message of this kind and version"),
}


@pytest.mark.parametrize("lie", UNASKED)
def test_other_shares_than_asked_for_are_refused_and_the_sum_is_exact(lie: str) -> None:
    alteration, reason = UNASKED[lie]
    played = rehearsal(Stage.OPEN, alteration, lost=Stage.MASK)
    revealed = played.play()
    assert (revealed.blamed, dict(revealed.excluded)) == ((), {LIAR: reason})
    assert values(revealed.total) == integer_sum(played.vectors, revealed.survivors)


def test_liars_down_to_the_threshold_change_nothing_and_one_more_fails_the_round() -> None:
    lie = FALSE_SHARES["an altered seed share"][0]
    for liars, fails in ((3, False), (4, True)):
        altered = {(name, Stage.OPEN): lie for name in TERMS.sites[:liars]}
        played = Rehearsal(TERMS, altered=altered)
        if fails:
            with pytest.raises(RoundFailed, match=r"^open: 2 sites gave valid.*; site-00: opened"):
                played.play()
            continue
        revealed = played.play()
        assert revealed.blamed == TERMS.sites[:3]
        assert values(revealed.total) == integer_sum(played.vectors, revealed.survivors)


def test_too_few_sites_left_tells_every_reason() -> None:
    altered = {(name, Stage.SIGN): lambda _: b"" for name in TERMS.sites[:3]}
    with pytest.raises(RoundFailed) as failed:
        Rehearsal(TERMS, altered=altered).play()
    why = "agreement on the survivor set: not a message of this kind and version"
    assert str(failed.value) == (
        "sign: 3 of 6 sites gave a valid answer and the quorum is 4"
        f"; site-00: {why}; site-01: {why}; site-02: {why}"
    )
