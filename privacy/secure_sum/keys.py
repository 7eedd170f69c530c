"""Key agreement, derivation, sealing, tags and signatures of the secure sum.

X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), AES-256-GCM (NIST SP 800-38D), HMAC-SHA256 (RFC 2104)
and Ed25519 (RFC 8032), all from pyca/cryptography and the standard library. Every derived key names
the protocol, its purpose, the session and the two ends, so that no key serves twice.
"""

import hmac
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
MASK_KEY_BYTES = 16
"""AES-128: as strong as X25519, and a third faster than AES-256 over millions of words."""
SIGNATURE_BYTES = 64
TAG_BYTES = 16
NONCE_BYTES = 12
SEALING_BYTES = NONCE_BYTES + 16
"""How much longer than its plaintext a sealed message is: the nonce and the tag."""

_FIELD = 2**255 - 19
_LOW_ORDER = frozenset({
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    _FIELD - 1,
})  # fmt: skip
"""u-coordinates of the points of order 1, 2, 4 and 8 on the curve and on its twist (Bernstein,
cr.yp.to/ecdh.html, "How do I validate Curve25519 public keys?")."""


@dataclass(frozen=True, slots=True)
class AgreementKey:
    """An ephemeral X25519 key pair.

    Attributes:
        private: 32 bytes.
        public: 32 bytes.
    """

    private: bytes = field(repr=False)
    public: bytes = field(init=False, compare=False)
    _key: X25519PrivateKey = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Kept: making the object again costs as much as an exchange.
        key = X25519PrivateKey.from_private_bytes(self.private)
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "public", key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, entropy: Entropy) -> "AgreementKey":
        """A fresh pair; X25519 clamps the 32 random bytes itself."""
        return cls(entropy.bytes(KEY_BYTES))

    def shared_secret(self, public: bytes) -> bytes:
        """32 bytes that both ends derive.

        Raises:
            ProtocolViolation: `public` is no 32-byte point, or a low-order one, whose secret is
                zero and known to all (RFC 7748, section 6.1).
        """
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise ProtocolViolation("key agreement: a public key is not usable") from error


def require_usable(public: bytes) -> None:
    """Refuse a key that every X25519 exchange would refuse, without one.

    Raises:
        ProtocolViolation: as in `AgreementKey.shared_secret`. A low-order point gives zero with
            every private key, because clamping makes them all multiples of the cofactor. The
            topmost bit is ignored (RFC 7748, section 5).
    """
    u = int.from_bytes(public, "little") % 2**255 % _FIELD
    if len(public) != KEY_BYTES or u in _LOW_ORDER:
        raise ProtocolViolation("key agreement: a public key is not usable")


def derive(secret: bytes, length: int, label: Label, *context: bytes) -> bytes:
    """A key for one purpose in one context (HKDF with the whole context in `info`)."""
    return HKDF(SHA256(), length, salt=None, info=bind(label, *context)).derive(secret)


def self_mask_key(seed: bytes, round_: bytes, site: str) -> bytes:
    """Key of a site's own mask in a round, 16 bytes."""
    return derive(seed, MASK_KEY_BYTES, Label.SELF_MASK, round_, site.encode())


def pairwise_mask_key(secret: bytes, round_: bytes, one: str, other: str) -> bytes:
    """Key of the mask that two sites share in a round, 16 bytes; the same whoever asks."""
    low, high = sorted((one, other))
    context = (round_, low.encode(), high.encode())
    return derive(secret, MASK_KEY_BYTES, Label.PAIRWISE_MASK, *context)


@dataclass(frozen=True, slots=True)
class Direction:
    """From one site to another within a session."""

    session: bytes
    sender: str
    receiver: str

    @property
    def context(self) -> tuple[bytes, bytes, bytes]:
        """What its messages are bound to."""
        return self.session, self.sender.encode(), self.receiver.encode()


@dataclass(frozen=True, slots=True)
class Channel:
    """What two sites derive from the secret they share: a key per purpose and direction.

    Attributes:
        out: direction of what this end sends.
        into: direction of what it receives.
        seals: keys that seal messages out and open those that come in, 32 bytes each.
        tags: keys of the tags on messages out and in, 32 bytes each.
        vouching: keys of the vouchers on adverts of the next session, out and in, 32 bytes each.
    """

    out: Direction
    into: Direction
    seals: tuple[bytes, bytes] = field(repr=False)
    tags: tuple[bytes, bytes] = field(repr=False)
    vouching: tuple[bytes, bytes] = field(repr=False)

    @classmethod
    def derive(cls, secret: bytes, session: bytes, site: str, peer: str) -> "Channel":
        """The channel of `site` to `peer`, from their X25519 secret."""
        low, high = sorted((site, peer))
        context = (session, low.encode(), high.encode())
        material = derive(secret, 6 * KEY_BYTES, Label.CHANNEL, *context)
        up, down = material[: 3 * KEY_BYTES], material[3 * KEY_BYTES :]
        mine, theirs = (up, down) if site == low else (down, up)
        seals, tags, vouching = (
            (mine[at : at + KEY_BYTES], theirs[at : at + KEY_BYTES])
            for at in range(0, 3 * KEY_BYTES, KEY_BYTES)
        )
        return cls(
            Direction(session, site, peer), Direction(session, peer, site), seals, tags, vouching
        )

    def seal(self, plaintext: bytes, entropy: Entropy) -> bytes:
        """Nonce, ciphertext and tag; the direction is authenticated with them.

        The nonce is random although each key seals one message: a caller that repeats a step from
        a state it should have dropped then still repeats no nonce.
        """
        nonce = entropy.bytes(NONCE_BYTES)
        return nonce + AESGCM(self.seals[0]).encrypt(nonce, plaintext, join(*self.out.context))

    def unseal(self, sealed: bytes) -> bytes:
        """Undo the other end's `seal`.

        Raises:
            ProtocolViolation: it was altered, or sealed for another channel.
        """
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return AESGCM(self.seals[1]).decrypt(nonce, ciphertext, join(*self.into.context))
        except (InvalidTag, ValueError) as error:
            raise ProtocolViolation(
                f"envelope of {self.into.sender}: it does not authenticate"
            ) from error


def tag(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 cut to 16 bytes (RFC 2104, section 5)."""
    return hmac.digest(key, message, "sha256")[:TAG_BYTES]


def is_tagged(key: bytes, message: bytes, given: bytes) -> bool:
    """Whether `given` is the key's tag on `message`, in constant time."""
    return hmac.compare_digest(tag(key, message), given)


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
