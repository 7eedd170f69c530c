"""Which sites have signed what is in force, and whether runs may begin."""

from collections.abc import Iterable
from datetime import datetime

from federation import countersignature
from federation.bounded_file import read_bounded
from federation.countersignature import Countersignature, require_countersigned
from federation.durable_file import write_atomically
from federation.errors import IntegrityError, UsageError
from federation.membership import Membership, read_membership
from server.federation_home import FederationHome
from server.roster_signing import unsigned_changes


def require_membership(home: FederationHome) -> Membership:
    """What is in force.

    Raises:
        UsageError: the consortium has signed nothing yet.
        IntegrityError: the file is not what was signed.
    """
    members = read_membership(home.given)
    if members is None:
        raise UsageError(
            "no roster is signed yet: hedgerow coordinator enroll FED REQUEST..., then "
            "hedgerow coordinator roster sign FED"
        )
    return members


def accept(home: FederationHome, data: bytes) -> str:
    """Keep a site's countersignature of what is in force; returns the site.

    Raises:
        UsageError: nothing is in force yet.
        IntegrityError: it is none, or of something else than what is in force.
    """
    given = Countersignature.from_bytes(data)
    members = require_membership(home)
    require_countersigned(given, members.roster, members.signed_rules)
    write_atomically(home.countersignature(given.site), given.to_bytes())
    return given.site


def missing(home: FederationHome, members: Membership) -> dict[str, str]:
    """Per site of the roster that has not signed what is in force, why not."""
    found = {}
    for site in members.roster.keys:
        path = home.countersignature(site)
        if not path.exists():
            found[site] = f"{site} has not countersigned the roster"
            continue
        try:
            data = read_bounded(path, countersignature.LARGEST_BYTES, "the countersignature")
            given = Countersignature.from_bytes(data)
            require_countersigned(given, members.roster, members.signed_rules)
        except (IntegrityError, UsageError) as error:
            found[site] = str(error)
        else:
            if given.site != site:
                found[site] = f"{path} is the countersignature of {given.site}"
    return found


def require_ready(
    home: FederationHome, now: datetime, sites: Iterable[str] | None = None
) -> Membership:
    """What is in force, if runs with these sites may begin.

    Args:
        home: of the federation.
        now: UTC.
        sites: who is invited; every site of the roster if None.

    Raises:
        UsageError: nothing is signed, a change is not signed yet, a site is unknown, or one has not
            countersigned; the text says what to do.
        IntegrityError: a certificate has expired, or a file is not what was signed.
    """
    members = require_membership(home)
    members.roster.require_current(int(now.timestamp()))
    unsigned = unsigned_changes(home, members)
    if unsigned:
        raise UsageError(
            f"{unsigned[0]}: the consortium must sign that first: "
            "hedgerow coordinator roster sign FED"
        )
    wanted = set(members.roster.keys if sites is None else sites)
    for site in sorted(wanted - set(members.roster.keys)):
        raise UsageError(f"{site} is not in the roster, which has {', '.join(members.roster.keys)}")
    for site, why in missing(home, members).items():
        if site in wanted:
            raise UsageError(
                f"{why}: it joins with {home.package(site)} and sends back {site}.countersign, "
                f"which hedgerow coordinator roster accept FED {site}.countersign takes"
            )
    return members
