"""What binds a session, a dealing and a commitment: change any part, and it is another one."""

from dataclasses import replace

import pytest
from rehearsal import make_terms

from federation.entropy import SeededEntropy
from federation.errors import ProtocolViolation
from privacy.secure_sum import shamir
from privacy.secure_sum.dealing import (
    Secret,
    SharePair,
    commitment,
    commitment_body,
    commitments,
    deal,
    fits,
    seed_commitment,
)
from privacy.secure_sum.keys import Direction
from privacy.secure_sum.messages import Advert
from privacy.secure_sum.session import (
    round_digest,
    session_digest,
    share_points,
    survivor_digest,
)
from privacy.secure_sum.transcript import Label, digest

CHANNEL = Direction(bytes(32), "dealer", "holder")
ADVERTS = {
    name: Advert(bytes([at]) * 32, bytes([at + 100]) * 32, bytes(64))
    for at, name in enumerate(("site-00", "site-01", "site-02", "site-03"))
}
PRIME = shamir.PRIME.to_bytes(33, "little")
LARGEST = (shamir.PRIME - 1).to_bytes(33, "little")


def test_a_session_is_named_by_its_terms_and_every_advertised_key() -> None:
    terms, first = make_terms(), ADVERTS["site-00"]
    others = [
        session_digest(make_terms(attempt=2), ADVERTS),
        session_digest(terms, ADVERTS | {"site-00": replace(first, sealing_key=b"\x09" * 32)}),
        session_digest(terms, ADVERTS | {"site-00": replace(first, mask_key=b"\x09" * 32)}),
        session_digest(terms, ADVERTS | {"site-04": replace(first, mask_key=b"\x09" * 32)}),
        session_digest(terms, {name: ADVERTS[name] for name in list(ADVERTS)[:3]}),
    ]
    assert len({session_digest(terms, ADVERTS), *others}) == 6


def test_a_session_does_not_depend_on_signatures_or_on_the_order_of_arrival() -> None:
    """Two valid signatures on the same keys are the same advert."""
    resigned = {name: replace(one, signature=b"\x01" * 64) for name, one in ADVERTS.items()}
    reordered = dict(reversed(resigned.items()))
    assert session_digest(make_terms(), reordered) == session_digest(make_terms(), ADVERTS)


def test_points_are_numbers_among_the_invited_not_among_the_holders() -> None:
    assert share_points(make_terms(), {"site-03", "site-01"}) == {"site-01": 2, "site-03": 4}


def test_a_round_is_named_by_its_session_and_model() -> None:
    one = round_digest(bytes(32), bytes(32))
    assert one != round_digest(bytes([1]) * 32, bytes(32))
    assert one != round_digest(bytes(32), bytes([1]) * 32)


def test_what_survivors_agree_on_depends_on_round_and_set_but_not_its_order() -> None:
    one = survivor_digest(bytes(32), ("a", "b"))
    assert one == survivor_digest(bytes(32), ("b", "a"))
    assert one != survivor_digest(bytes([1]) * 32, ("a", "b"))
    assert one != survivor_digest(bytes(32), ("ab",))


def test_a_commitment_to_a_seed_is_bound_to_session_dealer_and_seed() -> None:
    commitments_ = [
        seed_commitment(bytes(32), "dealer", bytes(32)),
        seed_commitment(bytes([1]) * 32, "dealer", bytes(32)),
        seed_commitment(bytes(32), "other", bytes(32)),
        seed_commitment(bytes(32), "dealer", bytes([1]) * 32),
    ]
    assert len(set(commitments_)) == 4


def test_a_dealing_gives_both_secrets_back_each_from_its_own_shares() -> None:
    seed, key, points = bytes(range(32)), bytes(32), {"a": 1, "b": 2, "c": 5}
    pairs = deal(seed, key, 2, points, SeededEntropy(0))
    assert shamir.combine({1: pairs["a"].seed, 5: pairs["c"].seed}) == seed
    assert shamir.combine({2: pairs["b"].mask_key, 5: pairs["c"].mask_key}) == key


def test_a_pair_reads_back_the_same_and_is_not_printed() -> None:
    pair = SharePair(LARGEST, bytes(33))
    assert SharePair.from_bytes(pair.to_bytes()) == pair
    assert repr(pair) == "SharePair()"


@pytest.mark.parametrize("data", [PRIME + bytes(33), bytes(33) + PRIME, bytes(65), bytes(67)])
def test_a_pair_that_is_not_two_field_elements_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="not a field element"):
        SharePair.from_bytes(data)


def test_a_commitment_is_16_bytes_of_a_digest_bound_to_everything() -> None:
    expected = digest(Label.SHARE, bytes(32), b"dealer", b"holder", b"seed", bytes(33))[:16]
    assert commitment(CHANNEL, Secret.SEED, bytes(33)) == expected
    others = [
        commitment(replace(CHANNEL, session=bytes([1]) * 32), Secret.SEED, bytes(33)),
        commitment(replace(CHANNEL, sender="other"), Secret.SEED, bytes(33)),
        commitment(replace(CHANNEL, receiver="other"), Secret.SEED, bytes(33)),
        commitment(CHANNEL, Secret.MASK_KEY, bytes(33)),
        commitment(CHANNEL, Secret.SEED, LARGEST),
    ]
    assert len({expected, *others}) == 6


def test_each_share_fits_its_own_half_of_the_commitments_only() -> None:
    pair = SharePair(bytes(33), LARGEST)
    committed = commitments(CHANNEL, pair)
    assert fits(CHANNEL, Secret.SEED, pair.seed, committed)
    assert fits(CHANNEL, Secret.MASK_KEY, pair.mask_key, committed)
    assert not fits(CHANNEL, Secret.SEED, pair.mask_key, committed)
    assert not fits(CHANNEL, Secret.MASK_KEY, pair.seed, committed)
    assert not fits(CHANNEL, Secret.SEED, pair.seed, committed[16:] + committed[:16])


def test_what_a_dealer_signs_is_bound_to_session_dealer_holders_and_commitments() -> None:
    seed = bytes(32)
    bodies = [
        commitment_body(bytes(32), "a", {"b": bytes(32), "c": bytes(32)}, seed),
        commitment_body(bytes([1]) * 32, "a", {"b": bytes(32), "c": bytes(32)}, seed),
        commitment_body(bytes(32), "z", {"b": bytes(32), "c": bytes(32)}, seed),
        commitment_body(bytes(32), "a", {"b": bytes(32), "d": bytes(32)}, seed),
        commitment_body(bytes(32), "a", {"b": bytes(32), "c": bytes([1]) * 32}, seed),
        commitment_body(bytes(32), "a", {"b": bytes(32)}, seed),
        commitment_body(bytes(32), "a", {"b": bytes(32), "c": bytes(32)}, bytes([1]) * 32),
    ]
    assert len(set(bodies)) == len(bodies)
    reordered = commitment_body(bytes(32), "a", {"c": bytes(32), "b": bytes(32)}, seed)
    assert reordered == bodies[0]
