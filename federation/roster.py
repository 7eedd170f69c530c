"""The roster: which public identity key speaks for which site, by the consortium's certificates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from federation import canonical
from federation.consortium import Consortium, SiteCertificate, require_current, verify
from federation.errors import IntegrityError
from federation.section import Section


class _File(Section):
    version: Literal[1]
    certificates: Annotated[tuple[SiteCertificate, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Roster:
    """The sites of one federation: there is no such object with a certificate that is not genuine.

    Whether the certificates are good at a time is another question: `require_current`.

    Attributes:
        consortium: that certified every site.
        certificates: one per site, sorted by site.

    Raises:
        IntegrityError: a certificate is not the consortium's, was altered, or is for another
            federation than the first; a site or a key has two; they are out of order.
    """

    consortium: Consortium
    certificates: tuple[SiteCertificate, ...]

    def __post_init__(self) -> None:
        if not self.certificates:
            raise IntegrityError("a roster without a site")
        for certificate in self.certificates:
            verify(certificate, self.consortium, self.federation)
        sites = [certificate.site for certificate in self.certificates]
        if sites != sorted(set(sites)):
            raise IntegrityError("certificates out of order, or two for one site")
        if len({certificate.public_key for certificate in self.certificates}) != len(sites):
            raise IntegrityError("one key is certified for two sites")

    @property
    def federation(self) -> str:
        """Name of the federation."""
        return self.certificates[0].federation

    @property
    def keys(self) -> Mapping[str, bytes]:
        """Per site its Ed25519 public key (RFC 8032), 32 bytes."""
        return {one.site: bytes.fromhex(one.public_key) for one in self.certificates}

    def public_keys(self) -> dict[str, Ed25519PublicKey]:
        """The keys, ready to verify with."""
        return {site: Ed25519PublicKey.from_public_bytes(key) for site, key in self.keys.items()}

    def digest(self) -> str:
        """What sites compare by phone: SHA-256 over all certificates, each with its consortium."""
        return canonical.digest(self._file().model_dump(mode="json"))

    def require_current(self, now: int) -> None:
        """Return if every certificate is good at `now`, in seconds since the epoch.

        Raises:
            IntegrityError: the first that is not.
        """
        for certificate in self.certificates:
            require_current(certificate, now)

    def to_bytes(self) -> bytes:
        """Canonical JSON and a newline."""
        return canonical.encode(self._file().model_dump(mode="json")) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, consortium: Consortium, now: int) -> Self:
        """Parse and verify what `to_bytes` wrote, for use at `now`.

        Raises:
            IntegrityError: no roster; a certificate is not genuine, or not good at `now`.
        """
        roster = cls.of_any_time(data, consortium)
        roster.require_current(now)
        return roster

    @classmethod
    def of_any_time(cls, data: bytes, consortium: Consortium) -> Self:
        """As `from_bytes`, whether or not the certificates are still good: to look at the past.

        Raises:
            IntegrityError: no roster, or a certificate is not genuine.
        """
        try:
            file = canonical.decode_line(_File, data)
        except ValueError as error:
            raise IntegrityError(f"it is no roster: {error}") from error
        return cls(consortium, file.certificates)

    def _file(self) -> _File:
        return _File(version=1, certificates=self.certificates)
