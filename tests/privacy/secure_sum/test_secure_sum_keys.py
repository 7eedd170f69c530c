"""Keys against published vectors, and against HKDF written out as the RFC has it."""

import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from federation.entropy import SeededEntropy
from federation.errors import ProtocolViolation
from privacy.secure_sum import keys
from privacy.secure_sum.keys import AgreementKey, Channel, Direction
from privacy.secure_sum.transcript import DOMAIN, Label, digest, join

VECTORS = json.loads((Path(__file__).parent / "known_answers.json").read_text())
SECRET = bytes(range(32))
ALPHA = Channel.derive(SECRET, bytes(32), "alpha", "beta")
BETA = Channel.derive(SECRET, bytes(32), "beta", "alpha")
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, section 2, written out."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    output, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
        output += block
    return output[:length]


@pytest.mark.parametrize("vector", VECTORS["x25519"], ids=lambda v: v["source"])
def test_agreement_gives_the_rfc_7748_answers(vector: dict[str, str]) -> None:
    mine = AgreementKey(bytes.fromhex(vector["private"]))
    assert mine.shared_secret(bytes.fromhex(vector["public"])).hex() == vector["shared"]


def test_agreement_gives_the_rfc_7748_iterated_answers() -> None:
    private = public = bytes([9]) + bytes(31)
    for count in range(1, 1001):
        private, public = AgreementKey(private).shared_secret(public), private
        if str(count) in VECTORS["x25519_iterated"]:
            assert private.hex() == VECTORS["x25519_iterated"][str(count)]


@pytest.mark.parametrize("vector", VECTORS["x25519_refused"], ids=lambda v: v["why"])
def test_a_public_key_with_a_known_secret_is_refused_with_any_private_key(
    vector: dict[str, str],
) -> None:
    public = bytes.fromhex(vector["public"])
    with pytest.raises(ProtocolViolation, match="not usable"):
        AgreementKey.generate(SeededEntropy(1)).shared_secret(public)
    with pytest.raises(ProtocolViolation, match="not usable"):
        keys.require_usable(public)


def test_both_ends_agree_and_an_ordinary_key_is_usable() -> None:
    one, other = (AgreementKey.generate(SeededEntropy(seed)) for seed in (1, 2))
    assert one.shared_secret(other.public) == other.shared_secret(one.public)
    keys.require_usable(one.public)


@pytest.mark.parametrize("u", sorted(keys._LOW_ORDER))
@pytest.mark.parametrize("written", [0, 1, 2])
def test_every_way_to_write_a_low_order_point_is_refused_with_and_without_an_exchange(
    u: int, written: int
) -> None:
    """As it is, with the ignored top bit set, and not reduced where that still fits 255 bits."""
    forms = [u, u + 2**255, u + keys._FIELD if u + keys._FIELD < 2**255 else u]
    public = forms[written].to_bytes(32, "little")
    with pytest.raises(ProtocolViolation, match="not usable"):
        keys.require_usable(public)
    with pytest.raises(ProtocolViolation, match="not usable"):
        AgreementKey.generate(SeededEntropy(1)).shared_secret(public)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_public_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ProtocolViolation, match="not usable"):
        keys.require_usable(bytes([9]) * length)


def test_no_private_key_is_printed() -> None:
    private = b"\x07" * 32
    key = AgreementKey(private)
    assert repr(key) == f"AgreementKey(public={key.public!r})"
    assert repr(private)[2:-1] not in repr(key)


@pytest.mark.parametrize("vector", VECTORS["hkdf_sha256"], ids=lambda v: v["source"])
def test_the_oracle_for_derivation_gives_the_rfc_5869_answers(vector: dict[str, str]) -> None:
    secret, salt, info, output = (
        bytes.fromhex(vector[name]) for name in ("secret", "salt", "info", "output")
    )
    assert hkdf(secret, salt, info, len(output)) == output


@pytest.mark.parametrize("label", list(Label))
def test_derivation_is_hkdf_under_the_label_and_whole_context(label: Label) -> None:
    info = join(b"hedgerow/secure-sum/v3/" + label.encode(), b"one", b"two")
    assert keys.derive(SECRET, 32, label, b"one", b"two") == hkdf(SECRET, b"", info, 32)


def test_every_purpose_and_context_has_a_key_of_its_own() -> None:
    derived = [
        keys.self_mask_key(SECRET, bytes(32), "alpha"),
        keys.self_mask_key(SECRET, bytes(32), "beta"),
        keys.self_mask_key(SECRET, bytes([1]) * 32, "alpha"),
        keys.pairwise_mask_key(SECRET, bytes(32), "alpha", "beta"),
        keys.pairwise_mask_key(SECRET, bytes(32), "alpha", "gamma"),
        keys.pairwise_mask_key(SECRET, bytes([1]) * 32, "alpha", "beta"),
        *(keys.derive(SECRET, 32, label) for label in Label),
        keys.derive(SECRET, 32, Label.CHANNEL, b"ab", b"c"),
        keys.derive(SECRET, 32, Label.CHANNEL, b"a", b"bc"),
    ]
    assert len(set(derived)) == len(derived)


def test_a_pair_has_one_mask_key_whoever_asks() -> None:
    assert keys.pairwise_mask_key(SECRET, bytes(32), "a", "b") == keys.pairwise_mask_key(
        SECRET, bytes(32), "b", "a"
    )


@pytest.mark.parametrize("vector", VECTORS["aes256_gcm"], ids=lambda v: v["source"])
def test_the_cipher_that_seals_gives_the_published_answers(vector: dict[str, str]) -> None:
    key, nonce, plaintext, context, sealed = (
        bytes.fromhex(vector[name]) for name in ("key", "nonce", "plaintext", "context", "sealed")
    )
    assert AESGCM(key).encrypt(nonce, plaintext, context) == sealed


def test_a_channel_has_a_key_for_each_purpose_and_direction() -> None:
    info = join(DOMAIN + b"channel", bytes(32), b"alpha", b"beta")
    material = hkdf(SECRET, b"", info, 192)
    six = [material[at : at + 32] for at in range(0, 192, 32)]
    up, down = six[:3], six[3:]
    assert [ALPHA.seals, ALPHA.tags, ALPHA.vouching] == list(zip(up, down, strict=True))
    assert [BETA.seals, BETA.tags, BETA.vouching] == list(zip(down, up, strict=True))
    assert len(set(six)) == 6
    assert (ALPHA.out, ALPHA.into) == (BETA.into, BETA.out)


def test_sealing_is_that_cipher_under_a_key_and_context_of_the_channel() -> None:
    context = join(bytes(32), b"alpha", b"beta")
    nonce = SeededEntropy(5).bytes(12)
    expected = AESGCM(ALPHA.seals[0]).encrypt(nonce, b"shares", context)
    assert ALPHA.seal(b"shares", SeededEntropy(5)) == nonce + expected


def test_what_is_sealed_opens_again_and_is_longer_by_nonce_and_tag() -> None:
    sealed = ALPHA.seal(b"shares", SeededEntropy(5))
    assert BETA.unseal(sealed) == b"shares"
    assert len(sealed) == len(b"shares") + keys.SEALING_BYTES


@pytest.mark.parametrize(
    "channel",
    [
        Channel.derive(SECRET, bytes([1]) * 32, "beta", "alpha"),
        Channel.derive(SECRET, bytes(32), "gamma", "alpha"),
        Channel.derive(SECRET, bytes(32), "beta", "gamma"),
        Channel.derive(bytes(32), bytes(32), "beta", "alpha"),
        ALPHA,
    ],
)
def test_what_is_sealed_does_not_open_in_another_channel_or_at_its_sender(
    channel: Channel,
) -> None:
    sealed = ALPHA.seal(b"shares", SeededEntropy(5))
    with pytest.raises(ProtocolViolation, match="does not authenticate"):
        channel.unseal(sealed)


@pytest.mark.parametrize("end", ["out", "into"])
def test_the_direction_is_authenticated_whatever_the_key(end: str) -> None:
    sealed = ALPHA.seal(b"shares", SeededEntropy(5))
    other = Direction(bytes(32), "alpha", "gamma")
    with pytest.raises(ProtocolViolation, match="does not authenticate"):
        replace(BETA, into=other).unseal(sealed)
    assert getattr(ALPHA, end) != other


def test_no_altered_or_cut_byte_passes() -> None:
    sealed = ALPHA.seal(b"shares", SeededEntropy(5))
    altered = [
        bytes([*sealed[:at], sealed[at] ^ 1, *sealed[at + 1 :]]) for at in range(len(sealed))
    ]
    for wrong in [*altered, *(sealed[:at] for at in range(len(sealed)))]:
        with pytest.raises(ProtocolViolation, match="envelope of alpha: it does not authenticate"):
            BETA.unseal(wrong)


def test_sealing_twice_repeats_no_nonce() -> None:
    entropy = SeededEntropy(5)
    nonces = {ALPHA.seal(b"shares", entropy)[:12] for _ in range(10)}
    assert len(nonces) == 10


def test_no_key_of_a_channel_is_printed() -> None:
    secret = (*ALPHA.seals, *ALPHA.tags, *ALPHA.vouching)
    assert not any(repr(key)[2:-1] in repr(ALPHA) for key in secret)


@pytest.mark.parametrize("vector", VECTORS["hmac_sha256"], ids=lambda v: v["source"])
def test_tags_are_the_rfc_4231_answers_cut_to_16_bytes(vector: dict[str, str]) -> None:
    key, message, expected = (bytes.fromhex(vector[name]) for name in ("key", "message", "tag"))
    assert keys.tag(key, message) == expected
    assert keys.is_tagged(key, message, expected)
    for wrong in (expected[:-1], expected + b"\0", bytes(16), b""):
        assert not keys.is_tagged(key, message, wrong)


@pytest.mark.parametrize("vector", VECTORS["ed25519"], ids=lambda v: v["source"])
def test_the_signatures_used_give_the_rfc_8032_answers(vector: dict[str, str]) -> None:
    private, public, message, signature = (
        bytes.fromhex(vector[name]) for name in ("private", "public", "message", "signature")
    )
    key = Ed25519PrivateKey.from_private_bytes(private)
    assert key.public_key().public_bytes_raw() == public
    assert key.sign(message) == signature
    Ed25519PublicKey.from_public_bytes(public).verify(signature, message)


def test_a_signature_holds_for_its_label_parts_and_key_only() -> None:
    key, other = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
    signature = keys.sign(key, Label.ADVERT, b"ab", b"c")
    assert signature == key.sign(join(b"hedgerow/secure-sum/v3/advert", b"ab", b"c"))
    public = key.public_key()
    assert keys.is_signed(public, signature, Label.ADVERT, b"ab", b"c")
    assert not keys.is_signed(public, signature, Label.SURVIVORS, b"ab", b"c")
    assert not keys.is_signed(public, signature, Label.ADVERT, b"a", b"bc")
    assert not keys.is_signed(public, signature, Label.ADVERT, b"ab")
    assert not keys.is_signed(other.public_key(), signature, Label.ADVERT, b"ab", b"c")
    assert not keys.is_signed(public, signature[:-1], Label.ADVERT, b"ab", b"c")


def test_a_second_form_of_a_signature_is_refused() -> None:
    """RFC 8032, section 5.1.7: S must be below the group's order."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
    signature = keys.sign(key, Label.ADVERT, b"a")
    larger = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    malleable = signature[:32] + larger.to_bytes(32, "little")
    assert not keys.is_signed(key.public_key(), malleable, Label.ADVERT, b"a")


def test_labels_are_distinct() -> None:
    assert len({label.value for label in Label}) == len(Label) == 16


def test_digests_are_sha256_of_the_bound_parts() -> None:

    expected = hashlib.sha256(join(b"hedgerow/secure-sum/v3/session", b"a")).digest()
    assert digest(Label.SESSION, b"a") == expected
