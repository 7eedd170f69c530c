"""A release: under one signature of the consortium, all that is in force from now on.

Roster and run rules by their digests, the sites' node keys, whom to believe no more, where the
coordinator is and which CA its certificate is of. The version rises with every release, so that an
old one cannot be given out again.
"""

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field

from federation import canonical
from federation.canonical import Digest
from federation.consortium import Consortium, ConsortiumKey, PublicKey, Signature
from federation.errors import IntegrityError
from federation.network_address import Address
from federation.node_key import NodeKeyLine
from federation.revocation import RevocationList
from federation.section import Name, Section
from federation.software import Software, Version

_LABEL = b"hedgerow/release/v1\x00"


class Release(Section):
    """What the consortium says is in force."""

    federation: Name
    """Which federation's."""
    version: Annotated[int, Field(ge=1, lt=2**63)]
    """Rises with each."""
    signed_at: Annotated[str, Field(min_length=1, max_length=40)]
    """UTC, ISO 8601."""
    roster_digest: Digest
    """Of the roster; what people compare by phone."""
    rules_digest: Digest
    """Of the run rules."""
    node_keys: dict[Name, NodeKeyLine]
    """Per site of the roster the key of its node."""
    revoked: RevocationList
    """All keys that were ever revoked or exchanged."""
    next_serial: Annotated[int, Field(ge=1, lt=2**63)]
    """For the next certificate: no serial is given twice."""
    superlink: Address
    """The coordinator's public address."""
    ca_sha256: Digest
    """Of the CA file that the coordinator's certificate is verified by."""
    bundle_sha256: Digest | None
    """Of the app bundle, if the consortium names one."""
    hedgerow: Version
    """At the coordinator."""
    flwr: Version
    """At the coordinator."""

    @property
    def software(self) -> Software:
        """Of the coordinator."""
        return Software(hedgerow=self.hedgerow, flwr=self.flwr)


class _File(Section):
    issuer: PublicKey
    release: Release
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignedRelease:
    """A release that its consortium signed: there is no such object with a wrong signature.

    Attributes:
        consortium: whose it is.
        release: what it says.
        signature: 128 hexadecimal digits.

    Raises:
        IntegrityError: the signature is not the consortium's on this release.
    """

    consortium: Consortium
    release: Release
    signature: str

    def __post_init__(self) -> None:
        content = self.release.model_dump(mode="json")
        self.consortium.require_signed("the release", _LABEL, content, self.signature)

    @classmethod
    def sign(cls, key: ConsortiumKey, release: Release) -> Self:
        """The release under the consortium's signature."""
        return cls(key.public, release, key.sign(_LABEL, release.model_dump(mode="json")))

    def to_bytes(self) -> bytes:
        """Canonical JSON and a newline."""
        file = _File(
            issuer=self.consortium.key.hex(), release=self.release, signature=self.signature
        )
        return canonical.encode(file.model_dump(mode="json")) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, consortium: Consortium) -> Self:
        """Parse and verify what `to_bytes` wrote.

        Raises:
            IntegrityError: no release, of another consortium, or altered.
        """
        try:
            file = canonical.decode_line(_File, data)
        except ValueError as error:
            raise IntegrityError(f"it is no release: {error}") from error
        consortium.require_issuer("the release is", file.issuer)
        return cls(consortium, file.release, file.signature)
