"""Key agreement, derivation, sealing and signatures of the secure sum.

X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), AES-256-GCM (NIST SP 800-38D) and Ed25519 (RFC 8032),
all from pyca/cryptography. Every derived key names the protocol, its purpose, the session and the
two ends, so that no key serves twice.
"""

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from federation.entropy import Entropy
from federation.errors import ProtocolViolation
from privacy.secure_sum.transcript import Label, bind, join

KEY_BYTES = 32
SIGNATURE_BYTES = 64
NONCE_BYTES = 12
SEALING_BYTES = NONCE_BYTES + 16
"""How much longer than its plaintext a sealed message is: the nonce and the tag."""


@dataclass(frozen=True, slots=True)
class AgreementKey:
    """An ephemeral X25519 key pair."""

    private: bytes = field(repr=False)

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
            ProtocolViolation: `public` is no 32-byte point, or a low-order one, whose secret is
                zero and known to all (RFC 7748, section 6.1).
        """
        try:
            mine = X25519PrivateKey.from_private_bytes(self.private)
            return mine.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise ProtocolViolation("key agreement: a public key is not usable") from error


@dataclass(frozen=True, slots=True)
class Channel:
    """One direction between two sites within a session."""

    session: bytes
    sender: str
    receiver: str

    @property
    def context(self) -> tuple[bytes, bytes, bytes]:
        """What its keys and messages are bound to."""
        return self.session, self.sender.encode(), self.receiver.encode()


def require_usable(public: bytes) -> None:
    """Refuse a key that every X25519 exchange would refuse.

    Raises:
        ProtocolViolation: as in `AgreementKey.shared_secret`. A low-order point gives zero with
            every private key, because clamping makes them all multiples of the cofactor.
    """
    AgreementKey(bytes(KEY_BYTES)).shared_secret(public)


def derive(secret: bytes, label: Label, *context: bytes) -> bytes:
    """A 32-byte key for one purpose in one context (HKDF with the whole context in `info`)."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=bind(label, *context)).derive(secret)


def self_mask_key(seed: bytes, session: bytes, site: str) -> bytes:
    """Key of a site's own mask."""
    return derive(seed, Label.SELF_MASK, session, site.encode())


def pairwise_mask_key(secret: bytes, session: bytes, one: str, other: str) -> bytes:
    """Key of the mask that two sites share; the same whoever asks."""
    low, high = sorted((one, other))
    return derive(secret, Label.PAIRWISE_MASK, session, low.encode(), high.encode())


def seal(secret: bytes, channel: Channel, plaintext: bytes, entropy: Entropy) -> bytes:
    """Nonce, ciphertext and tag; the channel is authenticated with them.

    The nonce is random although each key seals one message: a caller that repeats a step from a
    state it should have dropped then still repeats no nonce.
    """
    nonce = entropy.bytes(NONCE_BYTES)
    key = derive(secret, Label.SEAL, *channel.context)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, join(*channel.context))


def unseal(secret: bytes, channel: Channel, sealed: bytes) -> bytes:
    """Undo `seal`.

    Raises:
        ProtocolViolation: it was altered, or sealed for another channel.
    """
    key = derive(secret, Label.SEAL, *channel.context)
    nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, join(*channel.context))
    except (InvalidTag, ValueError) as error:
        raise ProtocolViolation(
            f"envelope of {channel.sender}: it does not authenticate"
        ) from error


def sign(identity: Ed25519PrivateKey, label: Label, *parts: bytes) -> bytes:
    """A 64-byte signature on these parts under this label."""
    return identity.sign(bind(label, *parts))


def is_signed(key: Ed25519PublicKey, signature: bytes, label: Label, *parts: bytes) -> bool:
    """Whether `signature` is the key's on these parts under this label."""
    try:
        key.verify(signature, bind(label, *parts))
    except InvalidSignature:
        return False
    return True
