"""Who is to be in a federation: requests verified and kept, keys exchanged, sites revoked.

Nothing of it is in force until the consortium signs it (`server.roster_signing`); only a revoked
node key is shut out at once (`FederationHome.node_keys`).
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from federation import site_request
from federation.bounded_file import read_bounded
from federation.durable_file import sync_folder, write_atomically
from federation.errors import IntegrityError, UsageError
from federation.revocation import Revocation
from federation.site_request import SiteEnrolment, require_exchange, require_recent
from federation.software import Software, require_compatible
from server.federation_home import FederationHome


def read_request(path: Path) -> SiteEnrolment:
    """A request, its proofs verified.

    Raises:
        UsageError: it cannot be read.
        IntegrityError: it is none, or was altered.
    """
    data = read_bounded(path, site_request.LARGEST_BYTES, "the site request")
    try:
        return SiteEnrolment.from_bytes(data)
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error}") from error


def enrolled(home: FederationHome) -> dict[str, SiteEnrolment]:
    """The request of each site that is to be in the roster, sorted by site.

    Raises:
        UsageError, IntegrityError: as `read_request`.
    """
    requests = [read_request(path) for path in sorted(home.sites.glob("*.request"))]
    return {request.site: request for request in sorted(requests, key=lambda one: one.site)}


def enroll(home: FederationHome, request: SiteEnrolment, now: datetime, software: Software) -> None:
    """Take a new site in; it is in the next release.

    Raises:
        UsageError: the site is in already, under this request or another, or its software does not
            fit.
        IntegrityError: for another federation, too old, or with a key that is or was somebody's.
    """
    _require_for_us(home, request, now, software)
    if request.replaces is not None:
        raise UsageError(
            f"the request of {request.site} asks to have keys exchanged: "
            "hedgerow coordinator rotate FED REQUEST"
        )
    sites = enrolled(home)
    if request.site in sites:
        same = sites[request.site] == request
        raise UsageError(
            f"{request.site} is enrolled already"
            + (" with this request" if same else ", with another request; a site asks to have its ")
            + ("" if same else "keys exchanged with hedgerow site rotate-keys HOME")
        )
    _require_fresh_keys(home, request, sites)
    write_atomically(home.request(request.site), request.to_bytes())


def rotate(
    home: FederationHome,
    request: SiteEnrolment,
    now: datetime,
    software: Software,
    *,
    node_lost: bool,
) -> None:
    """Exchange a site's keys; the old ones are never good again.

    Args:
        home: of the federation.
        request: of the site, made by `hedgerow site rotate-keys`.
        now: UTC.
        software: of this machine.
        node_lost: whether the site says that it lost its node key, which then need not sign.

    Raises:
        UsageError: the site is not enrolled, or its software does not fit.
        IntegrityError: as `enroll`; it is not signed by the keys in force, or replaces others.
    """
    _require_for_us(home, request, now, software)
    sites = enrolled(home)
    held = _held(sites, request.site)
    if held == request:
        raise UsageError(f"the keys of {request.site} were exchanged by this request already")
    require_exchange(request, held, node_lost=node_lost)
    if (request.identity_key, request.node_key) == (held.identity_key, held.node_key):
        raise UsageError(f"the request of {request.site} has the same keys as the one in force")
    others = {site: one for site, one in sites.items() if site != request.site}
    kept = {held.identity_key, held.node_key}
    _require_fresh_keys(home, request, others, kept)
    gone = [
        one
        for one in _revocations(held, "rotated", now)
        if one.key not in {request.identity_key, request.node_key}
    ]
    # First the list: after a crash between the two, the same command goes on.
    home.write_revocations(home.revocations().with_added(gone))
    write_atomically(home.request(request.site), request.to_bytes())


def revoke(home: FederationHome, site: str, now: datetime) -> SiteEnrolment:
    """Shut a site out; returns the request that it had.

    Raises:
        UsageError: there is no such site.
    """
    held = _held(enrolled(home), site)
    home.write_revocations(home.revocations().with_added(_revocations(held, "revoked", now)))
    home.request(site).unlink()
    sync_folder(home.sites)
    for leftover in (home.package(site), home.countersignature(site)):
        leftover.unlink(missing_ok=True)
    return held


def _held(sites: Mapping[str, SiteEnrolment], site: str) -> SiteEnrolment:
    if site not in sites:
        known = f"enrolled are {', '.join(sites)}" if sites else "no site is enrolled"
        raise UsageError(f"there is no site {site} here; {known}")
    return sites[site]


def _require_for_us(
    home: FederationHome, request: SiteEnrolment, now: datetime, software: Software
) -> None:
    ours = home.config().name
    if request.federation != ours:
        raise IntegrityError(
            f"the request of {request.site} is for the federation {request.federation}, and this "
            f"is {ours}"
        )
    require_recent(request, now)
    require_compatible(software, request.software, f"the site {request.site}")


def _require_fresh_keys(
    home: FederationHome,
    request: SiteEnrolment,
    others: Mapping[str, SiteEnrolment],
    kept: frozenset[str] | set[str] = frozenset(),
) -> None:
    """Return if no other site has a key of the request, and none of them was ever revoked."""
    keys = {request.identity_key: "identity", request.node_key: "node"}
    for site, other in others.items():
        for key, kind in keys.items():
            if key in {other.identity_key, other.node_key}:
                raise IntegrityError(
                    f"the {kind} key of {request.site} is that of {site} already: each site has "
                    "keys of its own"
                )
    for gone in home.revocations().revoked:
        if gone.key in keys.keys() - kept:
            raise IntegrityError(
                f"the {gone.kind} key of {request.site} was {gone.reason} at {gone.at} (it was "
                f"{gone.site}'s); it is never good again: the site makes new keys"
            )


def _revocations(held: SiteEnrolment, reason: str, now: datetime) -> list[Revocation]:
    at = now.isoformat(timespec="seconds")
    return [
        Revocation.model_validate(
            {"site": held.site, "kind": kind, "key": key, "reason": reason, "at": at}
        )
        for kind, key in (("identity", held.identity_key), ("node", held.node_key))
    ]
