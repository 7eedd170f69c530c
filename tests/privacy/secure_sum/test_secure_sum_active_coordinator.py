"""A coordinator that lies: each lie is refused by the check that is named, nothing is opened."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from rehearsal import (
    FLOOR,
    Rehearsal,
    Stage,
    identity,
    integer_sum,
    make_terms,
    names,
    play,
    roster_of,
)
from scipy.stats import chisquare

from federation.entropy import SeededEntropy
from federation.errors import ConfigError, ProtocolViolation, RoundFailed
from privacy.secure_sum import coordinator, keys, site
from privacy.secure_sum.keys import AgreementKey
from privacy.secure_sum.messages import (
    Advert,
    Agreed,
    Bundle,
    Envelope,
    Envelopes,
    OpenedShares,
    Signatures,
    Survivors,
)
from privacy.secure_sum.session import advert_body, survivor_body
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.transcript import Label

TERMS = make_terms(6, quorum=4, threshold=3)
VICTIM, SECOND, THIRD, *_, LOST = TERMS.sites
HONEST = play(TERMS, lost={LOST: Stage.MASK})
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

ADVERTS = dict(Bundle.from_bytes(HONEST.told[Stage.SHARE][VICTIM]).adverts)
OTHER_ADVERTS = dict(Bundle.from_bytes(REPLAYED.told[Stage.SHARE][VICTIM]).adverts)


def with_advert(name: str, one: Advert) -> dict[str, Advert]:
    return ADVERTS | {name: one}


def without(*lost: str) -> dict[str, Advert]:
    return {name: one for name, one in ADVERTS.items() if name not in lost}


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
    "a site nobody invited": (
        with_advert("zz-sybil", advert("zz-sybil")),
        "adverts: one is from a site that is not invited",
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
        with_advert(SECOND, advert(SECOND, replace(TERMS, **{name: value}))),
        f"adverts: {SECOND} did not sign these keys for these terms",
    )
    for name, value in {
        "federation": "other",
        "run": "other",
        "round": 2,
        "attempt": 2,
        "config_digest": bytes(32),
        "model_digest": bytes(32),
        "layout_digest": bytes(32),
        "sites": (*TERMS.sites[:-1], "zz"),
        "threshold": 2,
        "quorum": 5,
        "length": 10,
        "groups": (TERMS.sites,),
        "minimum_contributors": 4,
    }.items()
}


@pytest.mark.parametrize("lie", BUNDLES)
def test_a_site_refuses_a_bundle_with(lie: str) -> None:
    adverts, check = BUNDLES[lie]
    refuse(Stage.SHARE, Bundle(adverts).to_bytes(), check)


def test_a_site_refuses_a_peer_that_is_not_in_its_own_roster() -> None:
    state = HONEST.states[Stage.ADVERTISE][VICTIM]
    pinned = roster_of(TERMS.sites[:-1])
    with pytest.raises(ProtocolViolation, match=f"adverts: {LOST} is not in this site's roster"):
        site.share(state, Bundle(ADVERTS).to_bytes(), pinned, SeededEntropy(0))


def test_a_site_refuses_a_peer_whose_pinned_key_is_another() -> None:
    state = HONEST.states[Stage.ADVERTISE][VICTIM]
    pinned = HONEST.roster | {LOST: identity("someone else").public_key()}
    with pytest.raises(ProtocolViolation, match=f"adverts: {LOST} did not sign"):
        site.share(state, Bundle(ADVERTS).to_bytes(), pinned, SeededEntropy(0))


def test_exactly_the_quorum_of_adverts_is_accepted() -> None:
    HONEST.step(Stage.SHARE, VICTIM, Bundle(without(*TERMS.sites[-2:])).to_bytes())


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

ENVELOPES = dict(Envelopes.from_bytes(HONEST.told[Stage.MASK][VICTIM]).by_dealer)
FOR_SECOND = dict(Envelopes.from_bytes(HONEST.told[Stage.MASK][SECOND]).by_dealer)
OTHER_ENVELOPES = dict(Envelopes.from_bytes(REPLAYED.told[Stage.MASK][VICTIM]).by_dealer)


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


ENVELOPE_LIES: dict[str, tuple[dict[str, Envelope], str]] = {
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
        ENVELOPES | {THIRD: replace(ENVELOPES[THIRD], sealed=flipped(ENVELOPES[THIRD].sealed))},
        f"envelope of {THIRD}: it does not authenticate",
    ),
    "altered commitments": (
        ENVELOPES
        | {THIRD: replace(ENVELOPES[THIRD], commitments=flipped(ENVELOPES[THIRD].commitments))},
        f"envelope of {THIRD}: the shares do not fit the commitments",
    ),
    "an envelope of a stranger": (
        ENVELOPES | {"zz": ENVELOPES[SECOND]},
        "envelopes: one is from no peer that advertised",
    ),
    "an envelope from the victim itself": (
        ENVELOPES | {VICTIM: FOR_SECOND[VICTIM]},
        "envelopes: one is from no peer that advertised",
    ),
    "fewer than the quorum": (
        dict(list(ENVELOPES.items())[:2]),
        "envelopes: fewer than the quorum dealt shares",
    ),
}


@pytest.mark.parametrize("lie", ENVELOPE_LIES)
def test_a_site_refuses_envelopes_with(lie: str) -> None:
    envelopes, check = ENVELOPE_LIES[lie]
    refuse(Stage.MASK, Envelopes(envelopes).to_bytes(), check)


def test_exactly_the_quorum_of_envelopes_is_accepted() -> None:
    enough = Envelopes(dict(list(ENVELOPES.items())[:3]))
    HONEST.step(Stage.MASK, VICTIM, enough.to_bytes())


@pytest.mark.parametrize(
    "words",
    [
        np.zeros(TERMS.length + 1, np.uint32),
        np.zeros(TERMS.length, np.int32),
        np.zeros((TERMS.length, 1), np.uint32),
    ],
)
def test_a_vector_of_another_shape_or_type_is_not_masked(words: np.ndarray) -> None:
    state, envelopes = HONEST.states[Stage.SHARE][VICTIM], HONEST.told[Stage.MASK][VICTIM]
    with pytest.raises(ValueError, match=rf"expected \({TERMS.length},\) uint32"):
        site.mask(state, envelopes, words)


# -- the survivor set ----------------------------------------------------------------------

SURVIVORS = HONEST.signing.survivors
SURVIVOR_LIES: dict[str, tuple[tuple[str, ...], str]] = {
    "fewer than the quorum": (SURVIVORS[:3], "survivor set: below the quorum"),
    "nobody": ((), "survivor set: below the quorum"),
    "the victim missing": (TERMS.sites[1:], "survivor set: this site is missing from it"),
    "a stranger": ((*SURVIVORS, "zz"), "survivor set: it holds a site that dealt no shares"),
}


@pytest.mark.parametrize("lie", SURVIVOR_LIES)
def test_a_site_refuses_a_survivor_set_with(lie: str) -> None:
    survivors, check = SURVIVOR_LIES[lie]
    refuse(Stage.SIGN, Survivors(survivors).to_bytes(), check)


def test_a_site_refuses_a_survivor_whose_envelope_was_kept_from_it() -> None:
    fewer = Envelopes({name: each for name, each in ENVELOPES.items() if name != THIRD})
    state, _ = HONEST.step(Stage.MASK, VICTIM, fewer.to_bytes())
    with pytest.raises(ProtocolViolation, match="survivor set: it holds a site that dealt no"):
        site.sign(state, Survivors(SURVIVORS).to_bytes())


def test_a_site_refuses_a_group_with_too_few_survivors_and_accepts_one_with_none() -> None:
    sites = names(8)
    rehearsal = play(make_terms(8, quorum=5, groups=(sites[:3], sites[3:])))
    for survivors in (sites[2:], sites[:5]):
        with pytest.raises(ProtocolViolation, match="a group is left with too few contributors"):
            rehearsal.step(Stage.SIGN, survivors[0], Survivors(survivors).to_bytes())
    for survivors in (sites, sites[3:], sites[:6]):
        rehearsal.step(Stage.SIGN, survivors[0], Survivors(survivors).to_bytes())


# -- the signatures on it ------------------------------------------------------------------

SIGNATURES = dict(Signatures.from_bytes(HONEST.told[Stage.OPEN][VICTIM]).by_site)
OTHER_SIGNATURES = dict(Signatures.from_bytes(REPLAYED.told[Stage.OPEN][VICTIM]).by_site)


def signature_of(name: str, survivors: tuple[str, ...], session: bytes) -> bytes:
    """A site that colludes signs whatever set the coordinator likes."""
    return keys.sign(identity(name), Label.SURVIVORS, *survivor_body(session, survivors))


SESSION = HONEST.sharing.session
SIGNATURE_LIES: dict[str, tuple[dict[str, bytes], str]] = {
    "fewer than the quorum": (
        dict(list(SIGNATURES.items())[:3]),
        "signatures: fewer than the quorum signed",
    ),
    "none at all": ({}, "signatures: fewer than the quorum signed"),
    "one on another set": (
        SIGNATURES | {SECOND: signature_of(SECOND, TERMS.sites, SESSION)},
        f"signatures: {SECOND} did not sign this survivor set",
    ),
    "one of another session": (
        SIGNATURES | {SECOND: OTHER_SIGNATURES[SECOND]},
        f"signatures: {SECOND} did not sign this survivor set",
    ),
    "one that the coordinator made up": (
        SIGNATURES | {SECOND: bytes(64)},
        f"signatures: {SECOND} did not sign this survivor set",
    ),
    "one under another name": (
        SIGNATURES | {SECOND: SIGNATURES[THIRD]},
        f"signatures: {SECOND} did not sign this survivor set",
    ),
    "one of a lost site": (
        SIGNATURES | {LOST: signature_of(LOST, SURVIVORS, SESSION)},
        "signatures: one is not a survivor's",
    ),
    "one of a stranger": (
        SIGNATURES | {"zz": signature_of("zz", SURVIVORS, SESSION)},
        "signatures: one is not a survivor's",
    ),
}


@pytest.mark.parametrize("lie", SIGNATURE_LIES)
def test_a_site_opens_nothing_on_signatures_with(lie: str) -> None:
    signatures, check = SIGNATURE_LIES[lie]
    refuse(Stage.OPEN, Signatures(signatures).to_bytes(), check)


def test_exactly_the_quorum_of_signatures_is_accepted() -> None:
    HONEST.step(Stage.OPEN, VICTIM, Signatures(dict(list(SIGNATURES.items())[:4])).to_bytes())


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
        name: whole.step(Stage.SIGN, name, Survivors(sites).to_bytes())
        for name in told
        if told[name] == sites
    }
    honest = {name: Agreed.from_bytes(answer).signature for name, (_, answer) in states.items()}
    forged = {name: signature_of(name, sites, whole.sharing.session) for name in colluders}
    relayed = Signatures(honest | forged).to_bytes()
    try:
        for state, _ in states.values():
            site.open_shares(state, relayed)
    except ProtocolViolation:
        return False
    return bool(states)


def test_what_a_site_opens_follows_from_the_set_it_signed() -> None:
    for name in SURVIVORS:
        opened = OpenedShares.from_bytes(HONEST.sent[Stage.OPEN][name])
        assert set(opened.seeds) == set(SURVIVORS)
        assert set(opened.mask_keys) == {LOST}


# -- what is left to see -------------------------------------------------------------------


def test_a_masked_input_says_nothing_of_its_vector() -> None:
    """The difference to the vector is a uniform stream, for the emptiest and the fullest one."""
    terms = make_terms(length=2**18)
    for value in (0, 2**32 - 1):
        vectors = {name: np.full(terms.length, value, np.uint32) for name in terms.sites}
        rehearsal = play(terms, vectors=vectors)
        for data in rehearsal.sent[Stage.MASK].values():
            stream = np.frombuffer(data[4:], "<u4") - np.uint32(value)
            counts = np.bincount(stream >> 24, minlength=256)
            assert 1e-3 < chisquare(counts).pvalue < 1 - 1e-3


def test_a_site_shown_another_model_shares_no_mask_with_the_others() -> None:
    """It never gets that far: its terms differ, so it refuses the adverts of the others."""
    misled = replace(TERMS, model_digest=bytes(32))
    state, own = site.advertise(misled, VICTIM, identity(VICTIM), SeededEntropy(0), FLOOR)
    bundle = Bundle(with_advert(VICTIM, Advert.from_bytes(own)))
    with pytest.raises(ProtocolViolation, match="did not sign these keys for these terms"):
        site.share(state, bundle.to_bytes(), HONEST.roster, SeededEntropy(0))


def test_no_state_of_the_coordinator_holds_one_sites_vector() -> None:
    """The only arrays of the vector's length are the running total and the opened sum."""
    inputs = [np.frombuffer(data[4:], "<u4") for data in HONEST.sent[Stage.MASK].values()]
    total = HONEST.signing.total
    assert not any(np.array_equal(total, words) for words in inputs)
    for state in (HONEST.sharing, HONEST.masking, HONEST.opening):
        held = [getattr(state, name) for name in state.__slots__]
        assert not any(isinstance(value, np.ndarray) for value in held)
    with pytest.raises(RoundFailed, match=r"^mask: 1 of 6 sites"):
        coordinator.collect(HONEST.masking, {VICTIM: HONEST.sent[Stage.MASK][VICTIM]})


def test_the_shares_below_the_threshold_open_no_secret() -> None:
    answers = dict(list(HONEST.sent[Stage.OPEN].items())[: TERMS.threshold - 1])
    with pytest.raises(RoundFailed, match=r"^open: 2 sites gave valid shares"):
        coordinator.reveal(HONEST.opening, answers)
    enough = dict(list(HONEST.sent[Stage.OPEN].items())[: TERMS.threshold])
    revealed = coordinator.reveal(HONEST.opening, enough)
    assert np.array_equal(revealed.words, integer_sum(HONEST.vectors, SURVIVORS))


def test_no_state_prints_a_secret() -> None:
    shared = HONEST.states[Stage.SHARE][VICTIM]
    secrets = [
        shared.seed,
        shared.before.sealing.private,
        shared.before.masking.private,
        *(pair.seed for pair in HONEST.states[Stage.MASK][VICTIM].shares.values()),
        *(pair.mask_key for pair in HONEST.states[Stage.MASK][VICTIM].shares.values()),
    ]
    for states in HONEST.states.values():
        printed = repr(states[VICTIM])
        assert not any(repr(secret)[2:-1] in printed for secret in secrets)


def test_the_last_states_no_longer_hold_the_keys() -> None:
    assert not hasattr(HONEST.states[Stage.MASK][VICTIM], "before")
    assert HONEST.states[Stage.OPEN][VICTIM] == site.Opened(SURVIVORS)
