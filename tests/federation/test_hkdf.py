"""Keys derived by hand-written HKDF: the RFC's, and cryptography's, byte for byte."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from federation.entropy import SeededEntropy
from federation.hkdf import expand, extract


def of_cryptography(key: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=info).derive(key)


def test_the_vector_without_salt_of_rfc_5869() -> None:
    pseudorandom_key = extract(b"\x0b" * 22)  # appendix A.3
    assert pseudorandom_key.hex() == (
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04"
    )
    assert expand(pseudorandom_key, b"").hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    )


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_every_key_and_purpose_gives_the_bytes_of_cryptography(key: bytes, info: bytes) -> None:
    assert expand(extract(key), info) == of_cryptography(key, info)


def test_a_seeded_source_is_the_keystream_of_its_labels() -> None:
    key = of_cryptography(b"hedgerow seed 7", b"hedgerow/v1/child\0\0\0\tstr:noise\0\0\0\5int:3")
    stream = of_cryptography(key, b"hedgerow/v1/stream")
    aes = Cipher(algorithms.AES(stream), modes.CTR(bytes(16))).encryptor()
    drawn = SeededEntropy(7).child("noise", 3)
    assert drawn.bytes(5) + drawn.bytes(11) == aes.update(bytes(16))


def test_drawing_from_a_source_moves_none_of_its_children() -> None:
    drawn, fresh = SeededEntropy(7), SeededEntropy(7)
    drawn.bytes(100)
    assert drawn.child("a").bytes(8) == fresh.child("a").bytes(8)
    assert drawn.child("a").bytes(8) != fresh.child("b").bytes(8)
