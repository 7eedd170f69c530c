"""Key agreement, derivation, sealing and signatures of the secure sum.

X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), AES-256-GCM (NIST SP 800-38D), Ed25519 (RFC 8032), all
from pyca/cryptography. Every derived key names the protocol, its purpose, the session and the two
ends, so that no key serves twice.
"""

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from federation.entropy import Entropy
from federation.errors import ProtocolViolation
from privacy.secure_sum.terms import DOMAIN, join

KEY_BYTES = 32
NONCE = bytes(12)
"""One message is sealed under each key, so the nonce may stand still (SP 800-38D, section 8)."""


@dataclass(frozen=True, slots=True)
class AgreementKey:
    """An ephemeral X25519 key pair."""

    private: bytes

    @classmethod
    def generate(cls, entropy: Entropy) -> "AgreementKey":
        """A fresh pair; X25519 clamps the 32 random bytes itself."""
        return cls(entropy.bytes(KEY_BYTES))

    @property
    def public(self) -> bytes:
        """32 bytes."""
        return X25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw()

    def shared_secret(self, public: bytes) -> bytes:
        """32 bytes that both ends derive.

        Raises:
            ProtocolViolation: `public` is a low-order point: the secret would be known to all.
        """
        try:
            mine = X25519PrivateKey.from_private_bytes(self.private)
            return mine.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise ProtocolViolation("key agreement: a peer's key is not usable") from error


def derive(secret: bytes, purpose: bytes, *context: bytes) -> bytes:
    """A 32-byte key for one purpose in one context (HKDF with the whole context in `info`)."""
    info = join(DOMAIN + purpose, *context)
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(secret)


def self_mask_key(seed: bytes, session: bytes) -> bytes:
    """Key of a site's own mask."""
    return derive(seed, b"self-mask", session)


def pairwise_mask_key(secret: bytes, session: bytes, one: str, other: str) -> bytes:
    """Key of the mask that two sites share; the same whoever asks."""
    low, high = sorted((one, other))
    return derive(secret, b"pairwise-mask", session, low.encode(), high.encode())


def seal(secret: bytes, session: bytes, sender: str, receiver: str, plaintext: bytes) -> bytes:
    """Encrypt one message from `sender` to `receiver`; 16 bytes longer than the plaintext."""
    key = _sealing_key(secret, session, sender, receiver)
    return AESGCM(key).encrypt(NONCE, plaintext, _ends(session, sender, receiver))


def unseal(secret: bytes, session: bytes, sender: str, receiver: str, sealed: bytes) -> bytes:
    """Undo `seal`.

    Raises:
        ProtocolViolation: it was altered, or sealed for other ends or another session.
    """
    key = _sealing_key(secret, session, sender, receiver)
    try:
        return AESGCM(key).decrypt(NONCE, sealed, _ends(session, sender, receiver))
    except InvalidTag as error:
        raise ProtocolViolation(f"share from {sender}: it does not authenticate") from error


def sign(identity: Ed25519PrivateKey, label: bytes, *parts: bytes) -> bytes:
    """A 64-byte signature under this protocol's domain."""
    return identity.sign(join(DOMAIN + label, *parts))


def is_signed(key: Ed25519PublicKey, signature: bytes, label: bytes, *parts: bytes) -> bool:
    """Whether `signature` is the key's on these parts under this label."""
    try:
        key.verify(signature, join(DOMAIN + label, *parts))
    except InvalidSignature:
        return False
    return True


def _sealing_key(secret: bytes, session: bytes, sender: str, receiver: str) -> bytes:
    return derive(secret, b"seal", session, sender.encode(), receiver.encode())


def _ends(session: bytes, sender: str, receiver: str) -> bytes:
    return join(session, sender.encode(), receiver.encode())
