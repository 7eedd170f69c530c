"""Public lines of node keys as they come from elsewhere."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from federation import node_key
from federation.errors import DataError
from server.flower_control import stored_key

KEY = ec.derive_private_key(7, ec.SECP384R1())


def compressed_line() -> str:
    """A key whose point is compressed, which OpenSSH does not write (RFC 5656, section 3.1)."""
    kind, data = node_key.public_line(KEY).split()
    whole = base64.b64decode(data)
    point = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    short = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    head = whole[: -len(point) - 4]
    return f"{kind} {base64.b64encode(head + len(short).to_bytes(4, 'big') + short).decode()}"


@pytest.mark.parametrize(
    "line",
    [
        compressed_line(),
        node_key.public_line(KEY) + " comment",
        node_key.public_line(KEY)[:-4],
        node_key.public_line(ec.derive_private_key(7, ec.SECP256R1())),
        "ssh-ed25519 AAAA",
        "",
    ],
)
def test_what_is_no_usual_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"an? OpenSSH public key|no OpenSSH public key"):
        node_key.is_signed(line, b"message", "00")


@pytest.mark.parametrize("line", [compressed_line(), "ecdsa-sha2-nistp384 AAAA", "x"])
def test_flower_is_not_handed_what_is_no_key(line: str) -> None:
    with pytest.raises(DataError, match="expected an OpenSSH public key"):
        stored_key(line)


def test_a_message_is_signed_by_the_key_of_its_line_alone() -> None:
    line, signature = node_key.public_line(KEY), node_key.sign(KEY, b"message")
    assert node_key.is_signed(line, b"message", signature)
    assert not node_key.is_signed(line, b"other", signature)
    other = node_key.public_line(ec.derive_private_key(8, ec.SECP384R1()))
    assert not node_key.is_signed(other, b"message", signature)
