"""The consortium's certificates: which identity key speaks for which site, and for how long.

The consortium is whoever the sites trust to say who is one of them; it is not the coordinator's
operator, who holds none of its keys. Its Ed25519 signatures (RFC 8032) are over a label of their
purpose and the canonical JSON of what is signed, so that none can be taken for another's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from pydantic import Field, model_validator

from federation import canonical
from federation.entropy import Entropy
from federation.errors import IntegrityError
from federation.section import Name, Section

END_OF_9999 = 253_402_300_799
"""Seconds since the epoch; the last that a date can be written for."""
Seconds = Annotated[int, Field(ge=0, le=END_OF_9999)]
PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
_CERTIFICATE = b"hedgerow/site-certificate/v1\x00"


@dataclass(frozen=True, slots=True)
class Consortium:
    """The public half of a consortium's key, 32 bytes: what a site pins.

    Raises:
        ValueError: `key` has another length.
    """

    key: bytes

    def __post_init__(self) -> None:
        Ed25519PublicKey.from_public_bytes(self.key)

    @property
    def short_name(self) -> str:
        """The first 16 digits of the key, for messages."""
        return f"{self.key.hex()[:16]}..."

    def require_signed(
        self, what: str, label: bytes, content: Mapping[str, object], signature: str
    ) -> None:
        """Return if the consortium signed this content under this label.

        Raises:
            IntegrityError: it did not; the text begins with `what`.
        """
        key = Ed25519PublicKey.from_public_bytes(self.key)
        try:
            key.verify(bytes.fromhex(signature), label + canonical.encode(content))
        except InvalidSignature as error:
            raise IntegrityError(
                f"{what} was altered: the consortium's signature does not fit it"
            ) from error

    def require_issuer(self, what: str, issuer: str) -> None:
        """Return if `issuer`, hexadecimal, is this consortium's key.

        Raises:
            IntegrityError: it is another's; the text begins with `what`, such as `the rules are`.
        """
        if issuer != self.key.hex():
            raise IntegrityError(
                f"{what} of another consortium ({issuer[:16]}...) than the pinned one "
                f"({self.short_name})"
            )

    def to_pem(self) -> bytes:
        """The key as PEM, as `openssl pkey -pubin` reads it."""
        key = Ed25519PublicKey.from_public_bytes(self.key)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def from_pem(cls, data: bytes) -> Self:
        """Undo `to_pem`.

        Raises:
            IntegrityError: not the PEM of an Ed25519 public key, or another spelling of it.
        """
        try:
            key = load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise IntegrityError("it holds no public key") from error
        if not isinstance(key, Ed25519PublicKey):
            raise IntegrityError("it holds no Ed25519 public key")
        read = cls(key.public_bytes_raw())
        if read.to_pem() != data:
            raise IntegrityError("it holds something beside the public key")
        return read


@dataclass(frozen=True, slots=True)
class ConsortiumKey:
    """The private half: whoever holds it decides who is a site and what every run must keep to."""

    private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, entropy: Entropy) -> Self:
        """A fresh key."""
        return cls(Ed25519PrivateKey.from_private_bytes(entropy.bytes(32)))

    @property
    def public(self) -> Consortium:
        """What sites pin."""
        return Consortium(self.private.public_key().public_bytes_raw())

    def sign(self, label: bytes, content: Mapping[str, object]) -> str:
        """The signature on this content under this label, 128 hexadecimal digits."""
        return self.private.sign(label + canonical.encode(content)).hex()


class SiteCertificate(Section):
    """The consortium's word that a key speaks for a site of a federation, for a time."""

    issuer: PublicKey
    """The consortium's public key."""
    federation: Name
    """The site's key is good for this federation alone."""
    site: Name
    """Whom the key speaks for."""
    public_key: PublicKey
    """The site's Ed25519 identity key."""
    not_before: Seconds
    """First second since the epoch at which the certificate is good."""
    not_after: Seconds
    """The last one."""
    serial: Annotated[int, Field(ge=1, lt=2**63)]
    """Tells the certificates of one consortium apart."""
    signature: Signature
    """The consortium's, over all other fields."""

    @model_validator(mode="after")
    def _is_good_at_some_time(self) -> Self:
        if self.not_after < self.not_before:
            raise ValueError("not_after is before not_before")
        return self

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"the certificate of {self.site} (serial {self.serial})"

    @property
    def signed(self) -> dict[str, object]:
        """What the signature is over."""
        return self.model_dump(mode="json", exclude={"signature"})

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.encode(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse; nothing is verified yet.

        Raises:
            IntegrityError: not a certificate, or another spelling of one.
        """
        try:
            return canonical.decode(cls, data)
        except ValueError as error:
            raise IntegrityError(f"it is no site certificate: {error}") from error


def certify(
    key: ConsortiumKey,
    federation: str,
    site: str,
    public_key: bytes,
    validity: tuple[int, int],
    serial: int,
) -> SiteCertificate:
    """A signed certificate.

    Args:
        key: the consortium's.
        federation: name of the federation.
        site: name of the site.
        public_key: the site's Ed25519 identity key, 32 bytes.
        validity: first and last second since the epoch at which it is good.
        serial: of this certificate, never given twice.

    Raises:
        ValueError: a name, key or number is out of its range.
    """
    not_before, not_after = validity
    unsigned = SiteCertificate(
        issuer=key.public.key.hex(),
        federation=federation,
        site=site,
        public_key=public_key.hex(),
        not_before=not_before,
        not_after=not_after,
        serial=serial,
        signature="0" * 128,
    )
    return unsigned.model_copy(update={"signature": key.sign(_CERTIFICATE, unsigned.signed)})


def verify(certificate: SiteCertificate, consortium: Consortium, federation: str) -> None:
    """Return if the pinned consortium issued this certificate for this federation.

    Whether it is good at the time is another question: `require_current`.

    Raises:
        IntegrityError: another consortium issued it, it was altered, or it is for another
            federation; the text says which.
    """
    consortium.require_issuer(f"{certificate.name} is", certificate.issuer)
    consortium.require_signed(
        certificate.name, _CERTIFICATE, certificate.signed, certificate.signature
    )
    if certificate.federation != federation:
        raise IntegrityError(
            f"{certificate.name} is for the federation {certificate.federation}, not {federation}"
        )


def require_current(certificate: SiteCertificate, now: int) -> None:
    """Return if the certificate is good at `now`, in seconds since the epoch.

    Raises:
        IntegrityError: it has expired, or is not good yet.
    """
    if now > certificate.not_after:
        raise IntegrityError(f"{certificate.name} expired at {_utc(certificate.not_after)}")
    if now < certificate.not_before:
        raise IntegrityError(
            f"{certificate.name} is good from {_utc(certificate.not_before)} on only; "
            f"this machine's clock says {_utc(now)}"
        )


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
