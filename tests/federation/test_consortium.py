"""Certificates: what the consortium signed is believed, and nothing that differs by a byte."""

import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from sample_consortium import KEY, OTHER, signed_rules

from federation.consortium import (
    END_OF_9999,
    Consortium,
    ConsortiumKey,
    SiteCertificate,
    certify,
    require_current,
    verify,
)
from federation.entropy import SeededEntropy
from federation.errors import IntegrityError

CERTIFICATE = certify(KEY, "f", "ulm", bytes(range(32)), (1000, 2000), 7)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)


@given(NAMES, NAMES, st.binary(min_size=32, max_size=32), st.integers(1, 2**63 - 1))
def test_a_certificate_reads_back_and_verifies(federation, site, key, serial) -> None:
    made = certify(KEY, federation, site, key, (0, END_OF_9999), serial)
    read = SiteCertificate.from_bytes(made.to_bytes())
    assert read == made
    assert bytes.fromhex(read.public_key) == key
    verify(read, KEY.public, federation)


def test_the_signature_is_over_a_label_and_canonical_json() -> None:
    """An independent spelling of what is signed: others must be able to write a verifier."""
    plain = json.loads(CERTIFICATE.to_bytes())
    signature = bytes.fromhex(plain.pop("signature"))
    assert plain == {
        "issuer": KEY.public.key.hex(), "federation": "f", "site": "ulm",
        "public_key": bytes(range(32)).hex(), "not_before": 1000, "not_after": 2000, "serial": 7,
    }  # fmt: skip
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    signed = b"hedgerow/site-certificate/v1\x00" + text.encode()
    Ed25519PublicKey.from_public_bytes(KEY.public.key).verify(signature, signed)


@given(st.integers(0, len(CERTIFICATE.to_bytes()) - 1), st.integers(1, 255))
def test_one_changed_byte_anywhere_is_refused(position: int, change: int) -> None:
    data = bytearray(CERTIFICATE.to_bytes())
    data[position] ^= change
    with pytest.raises(IntegrityError):
        verify(SiteCertificate.from_bytes(bytes(data)), KEY.public, "f")


@pytest.mark.parametrize(
    "changes",
    [
        {"federation": "g"},
        {"site": "bonn"},
        {"public_key": "00" * 32},
        {"not_before": 999},
        {"not_after": 2001},
        {"serial": 8},
        {"signature": "00" * 64},
    ],
)
def test_every_field_is_signed(changes: dict) -> None:
    altered = CERTIFICATE.model_copy(update=changes)
    with pytest.raises(IntegrityError, match=r"^the certificate of \w+ \(serial \d\) was altered"):
        verify(altered, KEY.public, altered.federation)


def test_a_wrong_consortium_and_another_federation_are_named() -> None:
    with pytest.raises(IntegrityError, match=r"of another consortium .* than the pinned one"):
        verify(CERTIFICATE, OTHER.public, "f")
    with pytest.raises(IntegrityError, match="for the federation f, not g"):
        verify(CERTIFICATE, KEY.public, "g")
    # It claims the pinned consortium, and another signed it.
    forged = certify(OTHER, "f", "ulm", bytes(32), (1000, 2000), 7)
    forged = forged.model_copy(update={"issuer": KEY.public.key.hex()})
    with pytest.raises(IntegrityError, match="altered"):
        verify(forged, KEY.public, "f")


def test_a_certificate_is_good_from_its_first_second_to_its_last() -> None:
    require_current(CERTIFICATE, 1000)
    require_current(CERTIFICATE, 2000)
    expired = datetime.fromtimestamp(2000, UTC).isoformat()
    with pytest.raises(IntegrityError, match=f"ulm .* expired at {expired}".replace("+", r"\+")):
        require_current(CERTIFICATE, 2001)
    with pytest.raises(IntegrityError, match=r"good from 1970-01-01T00:16:40.* clock says"):
        require_current(CERTIFICATE, 999)


GOOD = json.loads(CERTIFICATE.to_bytes())


def spelled(plain: object, **how: object) -> bytes:
    return json.dumps(plain, **{"sort_keys": True, "separators": (",", ":")} | how).encode()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "no site certificate"),
        (b"\xff", "no site certificate"),
        (b"[]", "no site certificate"),
        (spelled(GOOD | {"extra": 1}), "extra"),
        (spelled({k: v for k, v in GOOD.items() if k != "site"}), "site: Field required"),
        (spelled(GOOD | {"serial": "7"}), "serial"),
        (spelled(GOOD | {"serial": True}), "serial"),
        (spelled(GOOD | {"serial": 7.0}), "serial"),
        (spelled(GOOD | {"serial": 0}), "serial"),
        (spelled(GOOD | {"not_before": -1}), "not_before"),
        (spelled(GOOD | {"not_after": END_OF_9999 + 1}), "not_after"),
        (spelled(GOOD | {"not_after": 999}), "not_after is before not_before"),
        (spelled(GOOD | {"site": "Ulm"}), "site"),
        (spelled(GOOD | {"site": "ulm\n"}), "site"),
        (spelled(GOOD | {"public_key": "0" * 63}), "public_key"),
        (spelled(GOOD | {"public_key": bytes(range(32)).hex().upper()}), "public_key"),
        (spelled(GOOD, separators=(", ", ": ")), "not written in the one canonical way"),
        (spelled(dict(reversed(GOOD.items())), sort_keys=False), "not written in the one"),
        (spelled(GOOD).replace(b'"ulm"', b'"\\u0075lm"'), "not written in the one"),
        (spelled(GOOD).replace(b"{", b'{"site":"x",', 1), "not written in the one"),
        (spelled(GOOD) + b"\n", "not written in the one"),
    ],
)
def test_there_is_one_spelling_of_a_certificate(data: bytes, named: str) -> None:
    with pytest.raises(IntegrityError, match=named):
        SiteCertificate.from_bytes(data)


def test_the_base_of_the_cases_above_is_itself_good() -> None:
    assert SiteCertificate.from_bytes(spelled(GOOD)) == CERTIFICATE


@pytest.mark.parametrize(
    "wrong",
    [
        {"federation": "F"},
        {"site": ""},
        {"public_key": bytes(31)},
        {"validity": (2, 1)},
        {"validity": (-1, 1)},
        {"serial": 0},
    ],
)
def test_nothing_out_of_range_is_certified(wrong: dict) -> None:
    good = {
        "federation": "f", "site": "s", "public_key": bytes(32), "validity": (1, 1), "serial": 1
    }  # fmt: skip
    certify(KEY, **good)
    with pytest.raises(ValueError, match="validation error"):
        certify(KEY, **good | wrong)


def test_a_signature_for_one_purpose_is_none_for_another() -> None:
    rules = signed_rules()
    content = rules.rules.model_dump(mode="json")
    with pytest.raises(IntegrityError, match="altered"):
        KEY.public.require_signed(
            "x", b"hedgerow/site-certificate/v1\x00", content, rules.signature
        )


def test_the_private_key_is_of_the_given_entropy_and_never_shown() -> None:
    made = ConsortiumKey.generate(SeededEntropy(3))
    private = SeededEntropy(3).bytes(32)
    assert made.private.private_bytes_raw() == private
    assert made.public.key == (
        Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    )
    assert "private" not in repr(made)


def test_the_pinned_key_reads_back_from_pem() -> None:
    assert Consortium.from_pem(KEY.public.to_pem()) == KEY.public
    assert Consortium.from_pem(OTHER.public.to_pem()) != KEY.public
    with pytest.raises(ValueError, match="32"):
        Consortium(bytes(31))


PEM = KEY.public.to_pem()


@given(st.integers(0, len(PEM) - 1), st.integers(1, 255))
def test_a_changed_pem_is_refused_or_another_key(position: int, change: int) -> None:
    data = bytearray(PEM)
    data[position] ^= change
    try:
        read = Consortium.from_pem(bytes(data))
    except IntegrityError:
        return
    assert read != KEY.public


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no public key"),
        (PEM + b"\n", "something beside"),
        (b"# ours\n" + PEM, "something beside"),
        (
            X25519PrivateKey.generate().public_key().public_bytes(
                Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
            ),
            "no Ed25519 public key",
        ),
    ],
)  # fmt: skip
def test_what_is_no_pinned_key_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(IntegrityError, match=says):
        Consortium.from_pem(data)
