"""A coordinator that lies: each lie is refused by the check that is named, nothing is opened."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from rehearsal import (
    FLOOR,
    MASKED_HEAD,
    MODEL,
    Rehearsal,
    Stage,
    collect,
    constant,
    identity,
    integer_sum,
    make_terms,
    names,
    play,
    roster_of,
    values,
)
from scipy.stats import chisquare

from federation.entropy import SeededEntropy
from federation.errors import ConfigError, ProtocolViolation, RoundFailed
from federation.ring_vector import RingVector, Stretch
from privacy.secure_sum import coordinator, keys, site
from privacy.secure_sum.keys import AgreementKey
from privacy.secure_sum.messages import (
    Advert,
    Agreed,
    Agreements,
    Bundle,
    Envelope,
    Envelopes,
    OpenedShares,
    Survivors,
)
from privacy.secure_sum.session import advert_body, round_digest, survivor_digest
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import Label

TERMS = make_terms(6, quorum=4, threshold=3, round=2)
SITES = TERMS.sites
VICTIM, SECOND, THIRD, *_, LOST = TERMS.sites
BEFORE = play(replace(TERMS, round=1))
HONEST = play(TERMS, lost={LOST: Stage.MASK}, known=BEFORE.acquaintances)
"""All of its sites know each other from the round before."""
REPLAYED = play(TERMS, lost={LOST: Stage.MASK}, seed=1)
"""The same terms once more, from other entropy: whatever can be replayed is replayed from here."""


def advert(name: str, terms: SessionTerms = TERMS, **forged: bytes) -> Advert:
    """A correctly signed advert of a site that colludes, with keys of the coordinator's choice."""
    key = AgreementKey.generate(SeededEntropy(9).child(name))
    other = AgreementKey.generate(SeededEntropy(10).child(name))
    keyed = replace(Advert(key.public, other.public, b""), **forged)
    signature = keys.sign(identity(name), Label.ADVERT, *advert_body(terms, name, keyed))
    return replace(keyed, signature=signature)


def refuse(stage: Stage, message: bytes, check: str) -> None:
    with pytest.raises(ProtocolViolation, match=check):
        HONEST.step(stage, VICTIM, message)


# -- the bundle of adverts -----------------------------------------------------------------

ADVERTS = dict(Bundle.from_bytes(HONEST.told[Stage.SHARE][VICTIM], SITES).adverts)
VOUCHERS = dict(Bundle.from_bytes(HONEST.told[Stage.SHARE][VICTIM], SITES).vouchers)
OTHER_ADVERTS = dict(Bundle.from_bytes(REPLAYED.told[Stage.SHARE][VICTIM], SITES).adverts)


def bundle(adverts: dict[str, Advert], *, vouched: bool) -> bytes:
    """On the wire; with what the peers of the victim vouched for, or without."""
    given = {name: each for name, each in VOUCHERS.items() if name in adverts}
    return Bundle(adverts, given if vouched else {}).to_bytes(SITES)


vouched_or_not = pytest.mark.parametrize("vouched", [True, False], ids=["vouched", "signed"])


def with_advert(name: str, one: Advert) -> dict[str, Advert]:
    return ADVERTS | {name: one}


def without(*lost: str) -> dict[str, Advert]:
    return {name: one for name, one in ADVERTS.items() if name not in lost}


def changed(name: str, value: object) -> SessionTerms:
    """The terms with another value; a sparse graph asks for a higher threshold, too."""
    return replace(TERMS, **{name: value} | ({"threshold": 4} if name == "degree" else {}))


BUNDLES: dict[str, tuple[dict[str, Advert], str]] = {
    "a substituted mask key": (
        with_advert(SECOND, replace(ADVERTS[SECOND], mask_key=AgreementKey(bytes(32)).public)),
        f"adverts: {SECOND} did not sign these keys for these terms",
    ),
    "a substituted sealing key": (
        with_advert(SECOND, replace(ADVERTS[SECOND], sealing_key=AgreementKey(bytes(32)).public)),
        f"adverts: {SECOND} did not sign these keys for these terms",
    ),
    "the two keys exchanged": (
        with_advert(
            SECOND,
            replace(
                ADVERTS[SECOND],
                mask_key=ADVERTS[SECOND].sealing_key,
                sealing_key=ADVERTS[SECOND].mask_key,
            ),
        ),
        f"adverts: {SECOND} did not sign these keys for these terms",
    ),
    "signed by another site": (
        with_advert(SECOND, ADVERTS[THIRD]),
        f"adverts: {SECOND} did not sign these keys for these terms",
    ),
    "the victim left out": (without(VICTIM), "adverts: this site's own is missing"),
    "the victim's own keys, of another session": (
        with_advert(VICTIM, OTHER_ADVERTS[VICTIM]),
        "adverts: this site's own keys were altered",
    ),
    "fewer than the quorum": (without(*TERMS.sites[-3:]), "adverts: fewer than the quorum"),
    "a key of a peer in two adverts": (
        with_advert(LOST, advert(LOST, mask_key=ADVERTS[SECOND].mask_key)),
        "adverts: a public key stands there twice",
    ),
    "one key for both purposes": (
        with_advert(LOST, advert(LOST, mask_key=advert(LOST).sealing_key)),
        "adverts: a public key stands there twice",
    ),
    "a mask key of low order": (
        with_advert(LOST, advert(LOST, mask_key=bytes(32))),
        "a public key is not usable",
    ),
    "a sealing key of low order": (
        with_advert(LOST, advert(LOST, sealing_key=bytes([1]) + bytes(31))),
        "a public key is not usable",
    ),
} | {
    f"a replayed advert: another {name}": (
        with_advert(SECOND, advert(SECOND, changed(name, value))),
        f"adverts: {SECOND} did not sign these keys for these terms",
    )
    for name, value in {
        "federation": "other",
        "run": "other",
        "round": 3,
        "attempt": 2,
        "config_digest": bytes(32),
        "layout_digest": bytes(32),
        "sites": (*TERMS.sites[:-1], "zz"),
        "threshold": 2,
        "quorum": 5,
        "stretches": (Stretch(16, 9),),
        "degree": 4,
        "groups": (TERMS.sites,),
        "minimum_contributors": 4,
    }.items()
}


@vouched_or_not
@pytest.mark.parametrize("lie", BUNDLES)
def test_a_site_refuses_a_bundle_with(lie: str, vouched: bool) -> None:
    adverts, check = BUNDLES[lie]
    refuse(Stage.SHARE, bundle(adverts, vouched=vouched), check)


def test_no_bundle_can_name_a_site_that_is_not_invited() -> None:
    """Its bit does not exist; what is written for more sites is another message."""
    sites = (*SITES, "zz-sybil")
    message = Bundle(ADVERTS | {"zz-sybil": advert("zz-sybil")}, {}).to_bytes(sites)
    refuse(Stage.SHARE, message, "a bit of no invited site is set")


@vouched_or_not
def test_a_site_refuses_a_peer_that_is_not_in_its_own_roster(vouched: bool) -> None:
    state = HONEST.states[Stage.ADVERTISE][VICTIM]
    pinned = roster_of(TERMS.sites[:-1])
    with pytest.raises(ProtocolViolation, match=f"adverts: {LOST} is not in this site's roster"):
        site.share(state, bundle(ADVERTS, vouched=vouched), pinned, SeededEntropy(0))


@vouched_or_not
def test_a_site_refuses_a_peer_whose_pinned_key_is_another(vouched: bool) -> None:
    state = HONEST.states[Stage.ADVERTISE][VICTIM]
    pinned = HONEST.roster | {LOST: identity("someone else").public_key()}
    with pytest.raises(ProtocolViolation, match=f"adverts: {LOST} did not sign"):
        site.share(state, bundle(ADVERTS, vouched=vouched), pinned, SeededEntropy(0))


@vouched_or_not
def test_exactly_the_quorum_of_adverts_is_accepted(vouched: bool) -> None:
    HONEST.step(Stage.SHARE, VICTIM, bundle(without(*TERMS.sites[-2:]), vouched=vouched))


# -- the terms -----------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "quorum", "threshold"), [(1, 1, 1), (2, 2, 2), (6, 2, 2)])
def test_a_cohort_of_one_or_two_is_no_terms_at_all(n: int, quorum: int, threshold: int) -> None:
    with pytest.raises(ConfigError):
        make_terms(n, quorum=quorum, threshold=threshold)


@pytest.mark.parametrize(
    ("floor", "check"),
    [
        (site.SitePolicyFloor(5, 3), "terms: the quorum 4 is below this site's floor 5"),
        (site.SitePolicyFloor(4, 4), "terms: the threshold 3 is below this site's floor 4"),
    ],
)
def test_a_site_refuses_terms_below_its_floor_and_accepts_them_at_it(
    floor: site.SitePolicyFloor, check: str
) -> None:
    own, entropy = identity(VICTIM), SeededEntropy(0)
    site.advertise(TERMS, VICTIM, own, entropy, site.SitePolicyFloor(4, 3))
    with pytest.raises(ProtocolViolation, match=check):
        site.advertise(TERMS, VICTIM, own, entropy, floor)


def test_a_site_that_is_not_invited_refuses() -> None:
    with pytest.raises(ProtocolViolation, match="terms: stranger is not invited"):
        site.advertise(TERMS, "stranger", identity("stranger"), SeededEntropy(0), FLOOR)


# -- the envelopes -------------------------------------------------------------------------

ENVELOPES = dict(Envelopes.from_bytes(HONEST.told[Stage.MASK][VICTIM], SITES).by_dealer)
OF_THIRD = Envelope.from_fields(ENVELOPES[THIRD])
FOR_SECOND = dict(Envelopes.from_bytes(HONEST.told[Stage.MASK][SECOND], SITES).by_dealer)
OTHER_ENVELOPES = dict(Envelopes.from_bytes(REPLAYED.told[Stage.MASK][VICTIM], SITES).by_dealer)


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


ENVELOPE_LIES: dict[str, tuple[dict[str, bytes], str]] = {
    "an envelope to another site": (
        ENVELOPES | {THIRD: FOR_SECOND[THIRD]},
        f"envelope of {THIRD}: it does not authenticate",
    ),
    "an envelope from another site": (
        ENVELOPES | {THIRD: ENVELOPES[SECOND]},
        f"envelope of {THIRD}: it does not authenticate",
    ),
    "an envelope of another session": (
        ENVELOPES | {THIRD: OTHER_ENVELOPES[THIRD]},
        f"envelope of {THIRD}: it does not authenticate",
    ),
    "an altered envelope": (
        ENVELOPES | {THIRD: replace(OF_THIRD, sealed=flipped(OF_THIRD.sealed)).fields},
        f"envelope of {THIRD}: it does not authenticate",
    ),
    "altered commitments": (
        ENVELOPES | {THIRD: replace(OF_THIRD, commitments=flipped(OF_THIRD.commitments)).fields},
        f"envelope of {THIRD}: the shares do not fit the commitments",
    ),
    "an envelope from the victim itself": (
        ENVELOPES | {VICTIM: FOR_SECOND[VICTIM]},
        "envelopes: one is from no neighbour",
    ),
    "fewer than the quorum": (
        dict(list(ENVELOPES.items())[:2]),
        "envelopes: fewer than 3 neighbours dealt shares",
    ),
}


@pytest.mark.parametrize("lie", ENVELOPE_LIES)
def test_a_site_refuses_envelopes_with(lie: str) -> None:
    envelopes, check = ENVELOPE_LIES[lie]
    refuse(Stage.MASK, Envelopes(envelopes).to_bytes(SITES), check)


def test_exactly_the_quorum_of_envelopes_is_accepted() -> None:
    enough = Envelopes(dict(list(ENVELOPES.items())[:3]))
    HONEST.step(Stage.MASK, VICTIM, enough.to_bytes(SITES))


def test_an_envelope_of_a_site_that_did_not_advertise_is_refused() -> None:
    state, _ = HONEST.step(Stage.SHARE, VICTIM, Bundle(without(LOST), {}).to_bytes(SITES))
    with pytest.raises(ProtocolViolation, match="envelopes: one is from no neighbour"):
        site.mask(state, HONEST.told[Stage.MASK][VICTIM], MODEL, HONEST.vectors[VICTIM])


@pytest.mark.parametrize("stretches", [(Stretch(32, 10),), (Stretch(16, 9),)])
def test_a_vector_of_another_length_or_ring_is_not_masked(stretches: tuple[Stretch, ...]) -> None:
    state, envelopes = HONEST.states[Stage.SHARE][VICTIM], HONEST.told[Stage.MASK][VICTIM]
    with pytest.raises(ValueError, match="expected"):
        site.mask(state, envelopes, MODEL, RingVector.zeros(stretches))


# -- the survivor set ----------------------------------------------------------------------

SURVIVORS = HONEST.signing.survivors
SURVIVOR_LIES: dict[str, tuple[tuple[str, ...], str]] = {
    "fewer than the quorum": (SURVIVORS[:3], "survivor set: below the quorum"),
    "nobody": ((), "survivor set: below the quorum"),
    "the victim missing": (TERMS.sites[1:], "survivor set: this site is missing from it"),
}


@pytest.mark.parametrize("lie", SURVIVOR_LIES)
def test_a_site_refuses_a_survivor_set_with(lie: str) -> None:
    survivors, check = SURVIVOR_LIES[lie]
    refuse(Stage.SIGN, Survivors(survivors).to_bytes(SITES), check)


def test_a_site_refuses_a_survivor_that_did_not_advertise() -> None:
    fewer = without(LOST)
    shared, _ = HONEST.step(Stage.SHARE, VICTIM, Bundle(fewer, {}).to_bytes(SITES))
    played = Rehearsal(TERMS, lost={LOST: Stage.ADVERTISE})
    played.play()
    assert shared.session == played.sharing.session
    with pytest.raises(ProtocolViolation, match="it holds a site that did not advertise"):
        played.step(Stage.SIGN, VICTIM, Survivors(SITES).to_bytes(SITES))


def test_a_site_refuses_a_survivor_whose_envelope_was_kept_from_it() -> None:
    fewer = Envelopes({name: each for name, each in ENVELOPES.items() if name != THIRD})
    state, _ = HONEST.step(Stage.MASK, VICTIM, fewer.to_bytes(SITES))
    with pytest.raises(ProtocolViolation, match="survivor set: it holds a site that dealt no"):
        site.sign(state, Survivors(SURVIVORS).to_bytes(SITES))


def test_a_site_refuses_a_group_with_too_few_survivors_and_accepts_one_with_none() -> None:
    sites = names(8)
    rehearsal = play(make_terms(8, quorum=5, groups=(sites[:3], sites[3:])))
    for survivors in (sites[2:], sites[:5]):
        with pytest.raises(ProtocolViolation, match="a group is left with too few contributors"):
            rehearsal.step(Stage.SIGN, survivors[0], Survivors(survivors).to_bytes(sites))
    for survivors in (sites, sites[3:], sites[:6]):
        rehearsal.step(Stage.SIGN, survivors[0], Survivors(survivors).to_bytes(sites))


# -- the agreements to it ------------------------------------------------------------------

TAGS = dict(Agreements.from_bytes(HONEST.told[Stage.OPEN][VICTIM], SITES).by_site)
OTHER_TAGS = dict(Agreements.from_bytes(REPLAYED.told[Stage.OPEN][VICTIM], SITES).by_site)
TAGS_FOR_SECOND = dict(Agreements.from_bytes(HONEST.told[Stage.OPEN][SECOND], SITES).by_site)
ROUND = HONEST.signing.round


def tag_of(name: str, survivors: tuple[str, ...], round_: bytes = ROUND) -> bytes:
    """A site that colludes agrees, towards the victim, to whatever set the coordinator likes."""
    key, _ = HONEST.states[Stage.MASK][name].tags[VICTIM]
    return keys.tag(key, survivor_digest(round_, survivors))


def test_exactly_the_quorum_of_agreements_is_accepted() -> None:
    enough = dict(list(TAGS.items())[:3])
    HONEST.step(Stage.OPEN, VICTIM, Agreements(enough).to_bytes(SITES))
    assert tag_of(SECOND, SURVIVORS) == TAGS[SECOND]


FALSE_TAGS: dict[str, bytes] = {
    "on another set": tag_of(SECOND, SITES),
    "on another model": tag_of(SECOND, SURVIVORS, round_digest(HONEST.sharing.session, bytes(32))),
    "of another session": OTHER_TAGS[SECOND],
    "that the coordinator made up": bytes(16),
    "under another name": TAGS[THIRD],
    "that was meant for another site": TAGS_FOR_SECOND[THIRD],
    "that the victim gave itself": Agreed.from_bytes(HONEST.sent[Stage.SIGN][VICTIM], SITES).tags[
        SECOND
    ],
}


@pytest.mark.parametrize("lie", FALSE_TAGS)
def test_no_agreement_counts_that_is(lie: str) -> None:
    """With it the quorum would just be reached; a valid one in its place is enough."""
    enough = dict(list(TAGS.items())[:3])
    assert SECOND in enough
    false = enough | {SECOND: FALSE_TAGS[lie]}
    check = "agreements: fewer than the quorum agreed to this survivor set"
    refuse(Stage.OPEN, Agreements(false).to_bytes(SITES), check)
    HONEST.step(Stage.OPEN, VICTIM, Agreements(TAGS | {SECOND: FALSE_TAGS[lie]}).to_bytes(SITES))


@pytest.mark.parametrize(
    ("tags", "check"),
    [
        ({}, "agreements: fewer than the quorum agreed to this survivor set"),
        (TAGS | {LOST: tag_of(LOST, SURVIVORS)} if LOST in HONEST.states[Stage.MASK] else
         TAGS | {LOST: bytes(16)}, "agreements: one is of no other survivor"),
        (TAGS | {VICTIM: bytes(16)}, "agreements: one is of no other survivor"),
    ],
)  # fmt: skip
def test_a_site_opens_nothing_on(tags: dict[str, bytes], check: str) -> None:
    refuse(Stage.OPEN, Agreements(tags).to_bytes(SITES), check)


def test_two_survivor_sets_told_to_different_sites_are_never_both_opened() -> None:
    """However the honest sites are told apart, with every tolerated colluder signing both sets."""
    colluders, honest = TERMS.sites[:1], TERMS.sites[1:]
    assert len(colluders) == TERMS.tolerated_colluders
    whole = play(TERMS)
    everyone, fewer = TERMS.sites, TERMS.sites[:-1]
    outcomes = []
    for told_fewer in range(len(honest)):
        told = {name: fewer if at < told_fewer else everyone for at, name in enumerate(honest)}
        outcomes.append([s for s in (everyone, fewer) if any_opens(whole, told, s, colluders)])
    assert outcomes == [[everyone], [everyone], [everyone], [fewer], [fewer]]


def any_opens(
    whole: Rehearsal,
    told: dict[str, tuple[str, ...]],
    sites: tuple[str, ...],
    colluders: Sequence[str],
) -> bool:
    """Whether the honest sites that were told `sites` open their shares for it."""
    states = {
        name: whole.step(Stage.SIGN, name, Survivors(sites).to_bytes(SITES))
        for name in (*told, *colluders)
        if told.get(name, sites) == sites
    }
    tags = {name: Agreed.from_bytes(answer, SITES).tags for name, (_, answer) in states.items()}
    try:
        for name in told.keys() & states.keys():
            relayed = {peer: given[name] for peer, given in tags.items() if peer != name}
            site.open_shares(states[name][0], Agreements(relayed).to_bytes(SITES))
    except ProtocolViolation:
        return False
    return bool(told.keys() & states.keys())


def test_what_a_site_opens_follows_from_the_set_it_signed() -> None:
    for name in SURVIVORS:
        opened = OpenedShares.from_bytes(HONEST.sent[Stage.OPEN][name], SITES)
        assert set(opened.seeds) == set(SURVIVORS)
        assert set(opened.mask_keys) == {LOST}


# -- what is left to see -------------------------------------------------------------------


@pytest.mark.parametrize("bits", [16, 20, 24, 32])
def test_a_masked_input_says_nothing_of_its_vector(bits: int) -> None:
    """Its packed bytes are a uniform stream, for the emptiest and the fullest vector."""
    terms = make_terms(stretches=(Stretch(bits, 2**17),))
    for value in (0, 2**16 - 1):
        rehearsal = play(terms, vectors=constant(terms, value))
        for data in rehearsal.sent[Stage.MASK].values():
            counts = np.bincount(np.frombuffer(data[MASKED_HEAD:], np.uint8), minlength=256)
            assert 1e-4 < chisquare(counts).pvalue < 1 - 1e-4


def test_the_masked_inputs_of_two_sites_are_independent() -> None:
    """Pairwise masks are in both, with opposite signs; what each shows is uniform jointly."""
    terms = make_terms(length=2**18)
    sent = play(terms, vectors=constant(terms, 5)).sent[Stage.MASK]
    one, other = (np.frombuffer(sent[name][MASKED_HEAD:], "<u4") >> 28 for name in SITES[:2])
    counts = np.bincount(one.astype(np.int64) * 16 + other, minlength=256)
    assert 1e-4 < chisquare(counts).pvalue < 1 - 1e-4


def test_a_site_shown_another_model_shares_no_mask_with_the_others_and_opens_nothing() -> None:
    """Its mask does not cancel, so a sum with it stays hidden, and its tags fit nobody's set."""
    state, envelopes = HONEST.states[Stage.SHARE][VICTIM], HONEST.told[Stage.MASK][VICTIM]
    misled, masked = site.mask(state, envelopes, bytes(32), HONEST.vectors[VICTIM])
    _, answer = site.sign(misled, HONEST.told[Stage.SIGN][VICTIM])
    for peer, given in Agreed.from_bytes(answer, SITES).tags.items():
        key = HONEST.states[Stage.MASK][peer].tags[VICTIM][1]
        assert not keys.is_tagged(key, survivor_digest(ROUND, SURVIVORS), given)
    with pytest.raises(RoundFailed, match=f"{VICTIM}: masked input: under other masks"):
        collect(HONEST.masking, dict(list(HONEST.sent[Stage.MASK].items())[:4]) | {VICTIM: masked})
    # Whoever adds it up all the same.
    head = HONEST.sent[Stage.MASK][VICTIM][:MASKED_HEAD]
    inputs = HONEST.sent[Stage.MASK] | {VICTIM: head + masked[MASKED_HEAD:]}
    signing, _ = collect(HONEST.masking, inputs)
    revealed = coordinator.reveal(replace(HONEST.opening, signing=signing), HONEST.sent[Stage.OPEN])
    assert values(revealed.total) != integer_sum(HONEST.vectors, SURVIVORS)


def test_no_state_of_the_coordinator_holds_one_sites_vector() -> None:
    """The only vectors are the running total and the opened sum, however many sites there are."""
    inputs = [data[MASKED_HEAD:] for data in HONEST.sent[Stage.MASK].values()]
    assert HONEST.signing.total.pack() not in inputs
    for state in (HONEST.sharing, HONEST.masking, HONEST.opening):
        held = [getattr(state, name) for name in state.__slots__]
        assert not any(isinstance(value, RingVector) for value in held)
    with pytest.raises(RoundFailed, match=r"^mask: 1 of 6 sites"):
        collect(HONEST.masking, {VICTIM: HONEST.sent[Stage.MASK][VICTIM]})


def test_the_shares_below_the_threshold_open_no_secret() -> None:
    answers = dict(list(HONEST.sent[Stage.OPEN].items())[: TERMS.threshold - 1])
    with pytest.raises(RoundFailed, match=r"^open: 2 sites gave valid shares"):
        coordinator.reveal(HONEST.opening, answers)
    enough = dict(list(HONEST.sent[Stage.OPEN].items())[: TERMS.threshold])
    revealed = coordinator.reveal(HONEST.opening, enough)
    assert values(revealed.total) == integer_sum(HONEST.vectors, SURVIVORS)


def test_no_state_prints_a_secret() -> None:
    shared = HONEST.states[Stage.SHARE][VICTIM]
    secrets = [
        shared.seed,
        shared.masking.private,
        HONEST.states[Stage.ADVERTISE][VICTIM].sealing.private,
        *(key for pair in HONEST.states[Stage.MASK][VICTIM].tags.values() for key in pair),
        *(key for channel in shared.channels.values() for key in channel.seals),
        *(pair.seed for pair in HONEST.states[Stage.MASK][VICTIM].shares.values()),
        *(pair.mask_key for pair in HONEST.states[Stage.MASK][VICTIM].shares.values()),
    ]
    for states in HONEST.states.values():
        printed = repr(states[VICTIM])
        assert not any(repr(secret)[2:-1] in printed for secret in secrets)


def test_the_last_states_no_longer_hold_the_keys() -> None:
    assert not hasattr(HONEST.states[Stage.SHARE][VICTIM], "sealing")
    assert not hasattr(HONEST.states[Stage.SHARE][VICTIM], "identity")
    assert not hasattr(HONEST.states[Stage.MASK][VICTIM], "masking")
    assert not hasattr(HONEST.states[Stage.MASK][VICTIM], "seed")
    assert HONEST.states[Stage.OPEN][VICTIM] == site.Opened(SURVIVORS)
