"""`<site>.countersign`: a site's word that it holds this roster and these run rules."""

from typing import Literal, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation import canonical
from federation.canonical import Digest
from federation.consortium import Signature
from federation.errors import IntegrityError
from federation.roster import Roster
from federation.run_rules import SignedRunRules
from federation.section import Name, Section

LARGEST_BYTES = 4096
"""No countersignature is longer."""
_LABEL = b"hedgerow/roster-countersignature/v1\x00"


class Countersignature(Section):
    """What one site signed; `require_countersigned` says whether it is for a roster."""

    version: Literal[1]
    site: Name
    federation: Name
    roster_digest: Digest
    rules_digest: Digest
    signature: Signature
    """By the site's identity key, over all other fields."""

    @property
    def signed(self) -> bytes:
        """What the signature is over."""
        return _LABEL + canonical.encode(self.model_dump(mode="json", exclude={"signature"}))

    def to_bytes(self) -> bytes:
        """Canonical JSON and a newline."""
        return canonical.encode(self.model_dump(mode="json")) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse; nothing is verified yet.

        Raises:
            IntegrityError: no countersignature, or another spelling of one.
        """
        try:
            return canonical.decode_line(cls, data)
        except ValueError as error:
            raise IntegrityError(
                f"it is no countersignature, as hedgerow site join writes: {error}"
            ) from error


def countersign(
    site: str, key: Ed25519PrivateKey, roster: Roster, rules: SignedRunRules
) -> Countersignature:
    """The site's signature on what it installed."""
    unsigned = Countersignature(
        version=1,
        site=site,
        federation=roster.federation,
        roster_digest=roster.digest(),
        rules_digest=rules.digest(),
        signature="0" * 128,
    )
    return unsigned.model_copy(update={"signature": key.sign(unsigned.signed).hex()})


def require_countersigned(given: Countersignature, roster: Roster, rules: SignedRunRules) -> None:
    """Return if a site of the roster signed this roster and these rules.

    Raises:
        IntegrityError: it is of another federation, site, roster or set of rules, or not the
            site's signature; the text says which.
    """
    if given.federation != roster.federation:
        raise IntegrityError(
            f"the countersignature of {given.site} is for the federation {given.federation}, not "
            f"{roster.federation}"
        )
    key = roster.keys.get(given.site)
    if key is None:
        raise IntegrityError(f"the roster has no site {given.site}; its signature counts nothing")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(given.signature), given.signed)
    except InvalidSignature as error:
        raise IntegrityError(
            f"the countersignature of {given.site} is not by the key that the roster certifies"
        ) from error
    for name, theirs, ours in (
        ("roster", given.roster_digest, roster.digest()),
        ("set of run rules", given.rules_digest, rules.digest()),
    ):
        if theirs != ours:
            raise IntegrityError(
                f"{given.site} countersigned another {name} ({theirs[:16]}...) than the one in "
                f"force ({ours[:16]}...); it joins with the newest package and sends that signature"
            )
