"""Keys that must never speak again: those of revoked sites, and those that were exchanged.

By key and not by serial: a certificate that is issued anew for a revoked key stays worthless.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field

from federation import canonical
from federation.errors import IntegrityError
from federation.roster import Roster
from federation.section import Name, Section

LARGEST_BYTES = 2**22
"""No list is longer."""


class Revocation(Section):
    """One key that is no longer good."""

    site: Name
    """Whose it was."""
    kind: Literal["identity", "node"]
    """What it was for."""
    key: Annotated[str, Field(min_length=1, max_length=300)]
    """The public key: 64 hexadecimal digits, or a line of OpenSSH."""
    reason: Literal["revoked", "rotated"]
    """`revoked`: the site is out. `rotated`: it has another key now."""
    at: Annotated[str, Field(min_length=1, max_length=40)]
    """UTC, ISO 8601."""


class RevocationList(Section):
    """All of them, in the order in which they came; it only grows."""

    version: Literal[1] = 1
    revoked: tuple[Revocation, ...] = ()

    def keys(self, kind: Literal["identity", "node"]) -> set[str]:
        """The revoked keys of a kind."""
        return {one.key for one in self.revoked if one.kind == kind}

    def with_added(self, more: Iterable[Revocation]) -> Self:
        """The list with what it does not hold yet."""
        known = {(one.kind, one.key) for one in self.revoked}
        new = tuple(one for one in more if (one.kind, one.key) not in known)
        return self.model_copy(update={"revoked": self.revoked + new})

    def to_bytes(self) -> bytes:
        """Canonical JSON and a newline."""
        return canonical.encode(self.model_dump(mode="json")) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Undo `to_bytes`.

        Raises:
            IntegrityError: no such list.
        """
        try:
            return canonical.decode_line(cls, data)
        except ValueError as error:
            raise IntegrityError(f"it is no list of revoked keys: {error}") from error


def require_none_revoked(
    roster: Roster, node_keys: Mapping[str, str], revoked: RevocationList
) -> None:
    """Return if no site has a key that was revoked.

    Raises:
        IntegrityError: one has; names site and key.
    """
    identities, nodes = revoked.keys("identity"), revoked.keys("node")
    for site, key in roster.keys.items():
        if key.hex() in identities:
            raise IntegrityError(
                f"the roster certifies a revoked identity key ({key.hex()[:16]}...) for {site}"
            )
    for site, line in node_keys.items():
        if line in nodes:
            raise IntegrityError(f"the roster names a revoked node key for {site}")


def require_grown(before: RevocationList, after: RevocationList) -> None:
    """Return if the second list holds all of the first.

    Raises:
        IntegrityError: a revocation was taken back.
    """
    for one in before.revoked:
        if one not in after.revoked:
            raise IntegrityError(
                f"the revocation of the {one.kind} key of {one.site} was taken back; a revoked key "
                "stays revoked"
            )
