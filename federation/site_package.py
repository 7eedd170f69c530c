"""`<site>.hedgerow`: the one file that a site installs to join, or to learn of a newer release."""

import hashlib
from dataclasses import dataclass
from typing import Literal, Self

from cryptography import x509
from pydantic import Field

from federation import canonical, membership
from federation.errors import IntegrityError
from federation.membership import Membership
from federation.section import Name, Section
from federation.site_connection import SiteConnection

LARGEST_BYTES = membership.LARGEST_BYTES + 2**20
"""No package is longer."""


class _File(Section):
    version: Literal[1]
    site: Name
    ca_pem: str = Field(max_length=2**18)
    membership: str


@dataclass(frozen=True, slots=True)
class SitePackage:
    """What a site needs; there is no such object with a CA that the consortium did not name.

    Attributes:
        site: whom it is for.
        ca_pem: that the coordinator's certificate is verified by.
        membership: roster, run rules and release.

    Raises:
        IntegrityError: the site is not in the roster; the CA is another, or no CA.
    """

    site: str
    ca_pem: bytes
    membership: Membership

    def __post_init__(self) -> None:
        if self.site not in self.membership.roster.keys:
            raise IntegrityError(f"the package is for {self.site}, which is not in its roster")
        if ca_digest(self.ca_pem) != self.membership.release.ca_sha256:
            raise IntegrityError(
                "the package holds another CA than the one that the consortium named: somebody "
                "may want to stand between this site and the coordinator"
            )
        require_authorities(self.ca_pem)

    @property
    def connection(self) -> SiteConnection:
        """What becomes `connection.toml`."""
        release = self.membership.release
        return SiteConnection(
            site=self.site,
            federation=release.federation,
            superlink=release.superlink,
            hedgerow=release.hedgerow,
            flwr=release.flwr,
            roster_version=release.version,
            bundle_sha256=release.bundle_sha256,
        )

    def to_bytes(self) -> bytes:
        """Canonical JSON and a newline."""
        file = _File(
            version=1,
            site=self.site,
            ca_pem=self.ca_pem.decode(),
            membership=self.membership.to_bytes().decode(),
        )
        return canonical.encode(file.model_dump(mode="json")) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse and verify what `to_bytes` wrote; whose consortium it is, people compare.

        Raises:
            IntegrityError: no package, or not as it was signed.
        """
        try:
            file = canonical.decode_line(_File, data)
        except ValueError as error:
            raise IntegrityError(
                f"it is no site package, as hedgerow coordinator roster sign writes: {error}"
            ) from error
        held = Membership.from_bytes(file.membership.encode())
        return cls(file.site, file.ca_pem.encode(), held)


def ca_digest(pem: bytes) -> str:
    """SHA-256 of the file as it is, 64 hexadecimal digits."""
    return hashlib.sha256(pem).hexdigest()


def require_authorities(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in a PEM file, all of them of authorities.

    Raises:
        IntegrityError: there is none, or one may not sign certificates.
    """
    try:
        found = tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise IntegrityError("the CA file holds no certificate in PEM") from error
    for one in found:
        if not _is_authority(one):
            raise IntegrityError(
                f"the CA file holds a certificate that is no CA's: {one.subject.rfc4514_string()}"
            )
    return found


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return False
    return constraints.value.ca
