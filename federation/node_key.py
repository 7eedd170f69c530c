"""A site's node key: the EC P-384 key by which Flower's SuperLink knows the site's node.

In OpenSSH's formats, as Flower reads them. ECDSA over SHA-384 (FIPS 186-5); it proves who holds the
key and stands for nothing else: what a site says in a run, its Ed25519 identity key signs.
"""

from typing import Annotated

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)
from pydantic import AfterValidator, Field

from federation.errors import IntegrityError

_TYPE = "ecdsa-sha2-nistp384"


def generate_node_key() -> ec.EllipticCurvePrivateKey:
    """A fresh key."""
    return ec.generate_private_key(ec.SECP384R1())


def private_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key in OpenSSH's format, without a passphrase."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def public_line(key: ec.EllipticCurvePrivateKey) -> str:
    """The public key as one line without a comment: `ecdsa-sha2-nistp384 AAAA...`."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def read_private(data: bytes) -> ec.EllipticCurvePrivateKey:
    """Undo `private_bytes`.

    Raises:
        IntegrityError: no such key.
    """
    try:
        key = load_ssh_private_key(data, password=None)
    except (ValueError, TypeError, NotImplementedError, UnsupportedAlgorithm) as error:
        raise IntegrityError("no OpenSSH private key without a passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp384r1":
        raise IntegrityError(f"no key of type {_TYPE}")
    return key


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> str:
    """A signature, hexadecimal."""
    return key.sign(message, ec.ECDSA(SHA384())).hex()


def is_signed(line: str, message: bytes, signature: str) -> bool:
    """Whether the key of a public line signed this message."""
    try:
        _parsed(line).verify(bytes.fromhex(signature), message, ec.ECDSA(SHA384()))
    except InvalidSignature:
        return False
    return True


def _parsed(line: str) -> ec.EllipticCurvePublicKey:
    try:
        key = load_ssh_public_key(line.encode())
    except (ValueError, NotImplementedError, UnsupportedAlgorithm) as error:
        raise ValueError(f"no OpenSSH public key of type {_TYPE}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise ValueError(f"no OpenSSH public key of type {_TYPE}")
    if key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() != line:
        raise ValueError("an OpenSSH public key without a comment, written in the usual way")
    return key


def _is_line(line: str) -> str:
    _parsed(line)
    return line


NodeKeyLine = Annotated[str, Field(max_length=300), AfterValidator(_is_line)]
"""A public node key, as `public_line` writes it."""
NodeSignature = Annotated[str, Field(pattern=r"^[0-9a-f]{2,220}$")]
"""As `sign` writes it: DER, of any of its lengths."""
