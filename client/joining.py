"""Joining a federation: a package verified against this site's own keys, then installed.

What people must do themselves is to compare the roster's digest by phone: at the first joining
nothing else shows whose consortium it is.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.site_home import SiteHome
from client.site_setup import read_own_request
from federation import node_key, site_package
from federation.bounded_file import read_bounded
from federation.countersignature import Countersignature, countersign
from federation.durable_file import write_atomically
from federation.errors import IntegrityError, UsageError
from federation.file_lock import hold
from federation.membership import Membership, install, read_membership
from federation.membership_changes import changes
from federation.site_package import SitePackage, require_authorities
from federation.site_policy import SitePolicy
from federation.site_request import SiteEnrolment
from federation.software import Software, require_compatible
from federation.timestamp import utc_now
from privacy.ledger import Ledger, stated_public_key


@dataclass(frozen=True, slots=True)
class Joining:
    """A package that this site may install.

    Attributes:
        package: verified.
        before: what is in force at the site; None at the first joining.
    """

    package: SitePackage
    before: Membership | None

    @property
    def changes(self) -> list[str]:
        """What installing it changes, in words; none if it is in force already."""
        return changes(self.before, self.package.membership)


def examine(home: SiteHome, path: Path, software: Software, now: datetime) -> Joining:
    """A package, if it is one that this site may install; nothing is written.

    Args:
        home: of the site.
        path: of the package.
        software: of this machine.
        now: UTC.

    Raises:
        UsageError: a file cannot be read, or the coordinator's software does not fit.
        IntegrityError: it was altered, is for another site, federation or consortium, certifies
            other keys, is older than what is in force, or has expired; one line.
    """
    policy = SitePolicy.read(home.policy)
    own = read_own_request(home, policy.site)
    before = read_membership(home.given)
    data = read_bounded(path, site_package.LARGEST_BYTES, "the site package")
    try:
        package = SitePackage.from_bytes(data)
        _require_for(package, own)
        _require_pinned(home, package)
        if before is not None:
            package.membership.require_follows(before)
        _require_own_keys(home, package)
        package.membership.roster.require_current(int(now.timestamp()))
        _require_current_authorities(package.ca_pem, now)
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error}") from error
    require_compatible(software, package.membership.release.software, "the coordinator")
    return Joining(package, before)


def install_package(home: SiteHome, joining: Joining) -> Countersignature:
    """Put a package in force and countersign it; after a crash the same command finishes it.

    Raises:
        UsageError: the site's agent is running.
    """
    package = joining.package
    with _no_agent(home):
        _promote_keys(home, package)
        write_atomically(home.authority, package.ca_pem)
        install(home.given, package.membership)
        package.connection.write(home.connection)
        members = package.membership
        signed = countersign(
            package.site, home.read_identity(), members.roster, members.signed_rules
        )
        write_atomically(home.countersignature(package.site), signed.to_bytes())
    return signed


@contextmanager
def _no_agent(home: SiteHome) -> Iterator[None]:
    """While files that an agent has read are replaced, there is none."""
    try:
        lock = hold(home.lock)
    except BlockingIOError as error:
        raise UsageError(
            f"the agent of {home.path} is running with what is in force now: stop it, join, and "
            "start it again"
        ) from error
    try:
        yield
    finally:
        os.close(lock)


def _require_for(package: SitePackage, own: SiteEnrolment) -> None:
    if package.membership.federation != own.federation:
        raise IntegrityError(
            f"the package is of the federation {package.membership.federation}, and this site "
            f"asked to join {own.federation}"
        )
    if package.site != own.site:
        raise IntegrityError(f"the package is for the site {package.site}, and this is {own.site}")


def _require_pinned(home: SiteHome, package: SitePackage) -> None:
    """Return if no other consortium is pinned here, whether or not one was joined."""
    if not home.given.consortium.exists():
        return
    pinned = home.given.read_consortium()
    if package.membership.consortium != pinned:
        raise IntegrityError(
            f"it is of another consortium ({package.membership.consortium.short_name}) than the "
            f"pinned one ({pinned.short_name})"
        )


def _require_own_keys(home: SiteHome, package: SitePackage) -> None:
    site, members = package.site, package.membership
    if _certified_identity(home, package) is None:
        raise IntegrityError(
            f"the roster certifies another identity key for {site} than the one in "
            f"{home.identity}: somebody else may speak for this site; call the coordinator"
        )
    if members.release.node_keys[site] not in _node_keys(home):
        raise IntegrityError(
            f"the release names another node key for {site} than the one in {home.node_key}: "
            "somebody else may connect as this site; call the coordinator"
        )


def _certified_identity(home: SiteHome, package: SitePackage) -> Ed25519PrivateKey | None:
    """The one of this site's identity keys, in force or next, that the roster certifies."""
    certified = package.membership.roster.keys[package.site]
    for key in (home.read_identity(), home.read_next_identity()):
        if key is not None and key.public_key().public_bytes_raw() == certified:
            return key
    return None


def _require_current_authorities(pem: bytes, now: datetime) -> None:
    for one in require_authorities(pem):
        if not one.not_valid_before_utc <= now <= one.not_valid_after_utc:
            raise IntegrityError(
                f"the CA {one.subject.rfc4514_string()} is good from "
                f"{one.not_valid_before_utc.isoformat()} to {one.not_valid_after_utc.isoformat()}; "
                f"this machine's clock says {now.astimezone(UTC).isoformat(timespec='seconds')}"
            )


def _node_keys(home: SiteHome) -> dict[str, Path]:
    """The node keys that this site has, the one in force and the next one: public line to file."""
    found = {}
    for path in (home.node_key, home.next_node_key):
        if not path.exists():
            continue
        try:
            held = node_key.read_private(read_bounded(path, 16_384, "the node key"))
        except IntegrityError as error:
            raise IntegrityError(f"{path} holds {error}") from error
        found[node_key.public_line(held)] = path
    return found


def _promote_keys(home: SiteHome, package: SitePackage) -> None:
    """Put the next keys in force if the release names them; each step may be done again."""
    _promote_identity(home, package)
    line, exchange = package.membership.release.node_keys[package.site], None
    if _node_keys(home)[line] == home.next_node_key:
        home.next_node_key.replace(home.node_key)
        write_atomically(home.node_key_public, f"{line}\n".encode())
    if home.exchange(package.site).exists():
        exchange = SiteEnrolment.from_bytes(home.exchange(package.site).read_bytes())
    if exchange is not None and exchange.node_key == line:
        home.exchange(package.site).replace(home.request(package.site))


def _promote_identity(home: SiteHome, package: SitePackage) -> None:
    """Have the ledger go on under the next identity key, then put that in the present one's place.

    In this order: after a crash between the two the ledger is under the next key already.
    """
    present, certified = home.read_identity(), _certified_identity(home, package)
    if certified is None or certified.public_key() == present.public_key():
        return
    if stated_public_key(home.ledger) != certified.public_key().public_bytes_raw().hex():
        ledger = Ledger.open(home.ledger, present, utc_now)
        try:
            ledger.hand_over(certified)
        finally:
            ledger.close()
    home.next_identity.replace(home.identity)
