"""Run rules: one spelling, one signature, and no rule that allows what no run may do."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sample_consortium import KEY, OTHER, RULES, signed_rules

from federation.errors import IntegrityError
from federation.run_rules import RunRules, SignedRunRules

SIGNED = signed_rules()
DATA = SIGNED.to_bytes()

ANY_RULES = st.builds(
    RunRules,
    federation=st.just("f"),
    version=st.integers(1, 2**63 - 1),
    minimum_quorum=st.integers(3, 10**6),
    minimum_threshold=st.integers(2, 10**6),
    minimum_contributors=st.integers(3, 10**6),
    largest_update_clip=st.floats(1e-9, 1e6),
    ring_bits=st.sets(st.sampled_from((16, 20, 24, 32)), min_size=1).map(
        lambda bits: tuple(sorted(bits))
    ),
    least_noise_multiplier=st.floats(0, 1e6),
    least_site_level_noise_multiplier=st.floats(0, 1e6),
    allow_without_privacy=st.booleans(),
    most_rounds=st.integers(1, 10**9),
)


def read(data: bytes) -> SignedRunRules:
    return SignedRunRules.from_bytes(data, KEY.public, "f")


@given(ANY_RULES)
def test_rules_read_back_the_same(rules: RunRules) -> None:
    signed = SignedRunRules.sign(KEY, rules)
    assert read(signed.to_bytes()) == signed
    assert read(signed.to_bytes()).digest() == signed.digest()


def test_the_signature_is_over_a_label_and_canonical_json() -> None:
    plain = json.loads(DATA)
    text = json.dumps(plain["rules"], sort_keys=True, separators=(",", ":"))
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(plain["issuer"]))
    key.verify(bytes.fromhex(plain["signature"]), b"hedgerow/run-rules/v1\x00" + text.encode())


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_refused(position: int, change: int) -> None:
    data = bytearray(DATA)
    data[position] ^= change
    with pytest.raises(IntegrityError):
        read(bytes(data))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("minimum_quorum", 4),
        ("minimum_threshold", 3),
        ("minimum_contributors", 4),
        ("largest_update_clip", 101.0),
        ("ring_bits", (32,)),
        ("least_noise_multiplier", 0.5),
        ("least_site_level_noise_multiplier", 0.5),
        ("allow_without_privacy", False),
        ("most_rounds", 1001),
    ],
)
def test_every_rule_is_signed_and_in_the_digest(field: str, value: object) -> None:
    changed = RULES.model_copy(update={field: value})
    with pytest.raises(IntegrityError, match="the set of run rules was altered"):
        SignedRunRules(KEY.public, changed, SIGNED.signature)
    assert SignedRunRules.sign(KEY, changed).digest() != SIGNED.digest()


def test_the_digest_binds_the_consortium() -> None:
    assert signed_rules(OTHER).rules == SIGNED.rules
    assert signed_rules(OTHER).digest() != SIGNED.digest()


def test_a_wrong_consortium_and_another_federation_are_named() -> None:
    with pytest.raises(IntegrityError, match=r"of another consortium .* than the pinned one"):
        SignedRunRules.from_bytes(DATA, OTHER.public, "f")
    with pytest.raises(IntegrityError, match="for the federation f, not g"):
        SignedRunRules.from_bytes(DATA, KEY.public, "g")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"[]\n",
        DATA.rstrip(),
        DATA + b"\n",
        DATA.replace(b",", b", "),
        DATA.replace(b"100.0", b"1e2"),
        DATA.replace(b"100.0", b"100"),
        DATA.replace(b"[16,20,24,32]", b"[20,16,24,32]"),
        DATA.replace(b'"most_rounds":1000', b'"most_rounds":1000,"most_rounds":1000'),
    ],
)
def test_there_is_one_spelling_of_the_rules(data: bytes) -> None:
    assert data != DATA
    with pytest.raises(IntegrityError, match="it is no set of run rules: "):
        read(data)


@pytest.mark.parametrize(
    ("field", "bad", "good"),
    [
        ("minimum_quorum", 2, 3),
        ("minimum_threshold", 1, 2),
        ("minimum_contributors", 2, 3),
        ("largest_update_clip", 0.0, 1e-9),
        ("largest_update_clip", float("nan"), 1.0),
        ("least_noise_multiplier", -1e-9, 0.0),
        ("least_site_level_noise_multiplier", -1e-9, 0.0),
        ("ring_bits", (), (16,)),
        ("ring_bits", (8,), (20, 24)),
        ("ring_bits", (32, 16), (16, 32)),
        ("ring_bits", (16, 16), (16,)),
        ("most_rounds", 0, 1),
        ("version", 0, 1),
        ("allow_without_privacy", 1, True),
    ],
)
def test_no_rule_is_out_of_its_range(field: str, bad: object, good: object) -> None:
    RunRules.model_validate(RULES.model_dump() | {field: good})
    with pytest.raises(ValidationError, match=field):
        RunRules.model_validate(RULES.model_dump() | {field: bad})
