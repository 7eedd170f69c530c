"""`membership.json`: roster, run rules and release in one file, of which no part can be exchanged.

One file, so that it is replaced as a whole. `roster.json`, `run-rules.json` and `consortium.pub`
beside it are copies for those who need one part: `settle` writes them again after a crash.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from federation import canonical
from federation.bounded_file import read_bounded
from federation.consortium import Consortium
from federation.consortium_files import ConsortiumFiles
from federation.durable_file import write_atomically
from federation.errors import IntegrityError
from federation.release import Release, SignedRelease
from federation.revocation import require_grown, require_none_revoked
from federation.roster import Roster
from federation.run_rules import RunRules, SignedRunRules
from federation.section import Section

LARGEST_BYTES = 2**24
"""No membership is longer: thousands of sites."""


class _File(Section):
    version: Literal[1]
    consortium_pub: str
    roster: str
    run_rules: str
    release: str


@dataclass(frozen=True, slots=True)
class Membership:
    """What one release puts in force; there is no such object whose parts do not fit together.

    Attributes:
        roster: which key speaks for which site.
        signed_rules: what every run must keep to.
        signed_release: that names both.

    Raises:
        IntegrityError: the parts are of other consortia or federations, the release names another
            roster, other rules or other sites, or a key in force was revoked.
    """

    roster: Roster
    signed_rules: SignedRunRules
    signed_release: SignedRelease

    def __post_init__(self) -> None:
        release = self.release
        consortia = {self.roster.consortium, self.signed_rules.consortium}
        if consortia != {self.signed_release.consortium}:
            raise IntegrityError("roster, run rules and release are not of one consortium")
        if {self.roster.federation, self.rules.federation} != {release.federation}:
            raise IntegrityError("roster, run rules and release are not of one federation")
        if release.roster_digest != self.roster.digest():
            raise IntegrityError("the release names another roster than the one beside it")
        if release.rules_digest != self.signed_rules.digest():
            raise IntegrityError("the release names other run rules than those beside it")
        if set(release.node_keys) != set(self.roster.keys):
            raise IntegrityError("the release has node keys of other sites than the roster's")
        if len(set(release.node_keys.values())) != len(release.node_keys):
            raise IntegrityError("the release has one node key for two sites")
        require_none_revoked(self.roster, release.node_keys, release.revoked)

    @property
    def consortium(self) -> Consortium:
        """Who signed all of it."""
        return self.roster.consortium

    @property
    def federation(self) -> str:
        """Whose members these are."""
        return self.roster.federation

    @property
    def rules(self) -> RunRules:
        """What the run rules say."""
        return self.signed_rules.rules

    @property
    def release(self) -> Release:
        """What the release says."""
        return self.signed_release.release

    def require_follows(self, before: "Membership") -> None:
        """Return if this may take the place of an earlier one, or is the same.

        Raises:
            IntegrityError: of another consortium or federation; older; another of the same
                version; or it takes a revocation back.
        """
        if self.consortium != before.consortium:
            raise IntegrityError(
                f"it is of another consortium ({self.consortium.short_name}) than the pinned one "
                f"({before.consortium.short_name})"
            )
        if self.federation != before.federation:
            raise IntegrityError(
                f"it is of the federation {self.federation}, not {before.federation}"
            )
        mine, held = self.release.version, before.release.version
        if mine < held:
            raise IntegrityError(
                f"it is release {mine}, and release {held} is in force here: an old one must not "
                "come back; ask the coordinator for the newest package"
            )
        if mine == held and self.to_bytes() != before.to_bytes():
            raise IntegrityError(
                f"it is another release {mine} than the one in force here: the consortium signed "
                "two of one number; tell the other sites by phone"
            )
        if self.rules.version < before.rules.version:
            raise IntegrityError(
                f"its run rules are of version {self.rules.version}, and version "
                f"{before.rules.version} is in force here"
            )
        require_grown(before.release.revoked, self.release.revoked)

    def to_bytes(self) -> bytes:
        """Canonical JSON and a newline."""
        file = _File(
            version=1,
            consortium_pub=self.consortium.to_pem().decode(),
            roster=self.roster.to_bytes().decode(),
            run_rules=self.signed_rules.to_bytes().decode(),
            release=self.signed_release.to_bytes().decode(),
        )
        return canonical.encode(file.model_dump(mode="json")) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, pinned: Consortium | None = None) -> Self:
        """Parse and verify what `to_bytes` wrote; certificates may have expired.

        Args:
            data: of the file.
            pinned: whose it must be; None where it is to be pinned now, and people compare.

        Raises:
            IntegrityError: it is not that.
        """
        try:
            file = canonical.decode_line(_File, data)
        except ValueError as error:
            raise IntegrityError(f"it is no membership: {error}") from error
        consortium = Consortium.from_pem(file.consortium_pub.encode())
        if pinned is not None and consortium != pinned:
            raise IntegrityError(
                f"it is of another consortium ({consortium.short_name}) than the pinned one "
                f"({pinned.short_name})"
            )
        roster = Roster.of_any_time(file.roster.encode(), consortium)
        rules = SignedRunRules.from_bytes(file.run_rules.encode(), consortium, roster.federation)
        release = SignedRelease.from_bytes(file.release.encode(), consortium)
        return cls(roster, rules, release)


def read_membership(files: ConsortiumFiles) -> Membership | None:
    """What is in force in a folder, under the key pinned there; None before the first release.

    Raises:
        UsageError: a file cannot be read.
        IntegrityError: it is not what the consortium signed.
    """
    if not files.membership.exists():
        return None
    data = read_bounded(files.membership, LARGEST_BYTES, "the membership")
    try:
        return Membership.from_bytes(data, files.read_consortium())
    except IntegrityError as error:
        raise IntegrityError(f"{files.membership}: {error}") from error


def install(files: ConsortiumFiles, membership: Membership) -> None:
    """Put a membership in force in a folder: it first, then the copies of its parts."""
    if not files.consortium.exists():
        write_atomically(files.consortium, membership.consortium.to_pem())
    write_atomically(files.membership, membership.to_bytes())
    settle(files, membership)


def settle(files: ConsortiumFiles, membership: Membership) -> None:
    """Write those copies again that are not of what is in force, as after a crash."""
    for path, data in (
        (files.roster, membership.roster.to_bytes()),
        (files.run_rules, membership.signed_rules.to_bytes()),
    ):
        if _content(path) != data:
            write_atomically(path, data)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
