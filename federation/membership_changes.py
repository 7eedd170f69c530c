"""What one membership changes of another, in the words of whoever must agree to it."""

from collections.abc import Iterator
from datetime import UTC, datetime

from federation.membership import Membership


def changes(before: Membership | None, after: Membership) -> list[str]:
    """One line per change; all that is new where there was nothing before."""
    if before is None:
        return [
            f"site added: {one.site}, identity key {one.public_key[:16]}..., until "
            f"{_day(one.not_after)}"
            for one in after.roster.certificates
        ]
    return [*_sites(before, after), *_rules(before, after), *_places(before, after)]


def _sites(before: Membership, after: Membership) -> Iterator[str]:
    old = {one.site: one for one in before.roster.certificates}
    new = {one.site: one for one in after.roster.certificates}
    revoked = {one.key for one in after.release.revoked.revoked if one.reason == "revoked"}
    for site in sorted(old.keys() - new.keys()):
        how = "revoked" if old[site].public_key in revoked else "removed"
        yield f"site {how}: {site}"
    for site in sorted(new.keys() - old.keys()):
        yield f"site added: {site}, identity key {new[site].public_key[:16]}..."
    for site in sorted(new.keys() & old.keys()):
        if new[site].public_key != old[site].public_key:
            yield f"identity key exchanged: {site}, now {new[site].public_key[:16]}..."
        elif new[site] != old[site]:
            yield f"certificate renewed: {site}, until {_day(new[site].not_after)}"
        if after.release.node_keys[site] != before.release.node_keys[site]:
            yield f"node key exchanged: {site}"


def _rules(before: Membership, after: Membership) -> Iterator[str]:
    old, new = before.rules.model_dump(), after.rules.model_dump()
    for name in sorted(new.keys() - {"version", "federation"}):
        if old[name] != new[name]:
            yield f"run rules: {name} was {old[name]}, now {new[name]}"


def _places(before: Membership, after: Membership) -> Iterator[str]:
    old, new = before.release, after.release
    if old.superlink != new.superlink:
        yield f"coordinator's address: was {old.superlink}, now {new.superlink}"
    if old.ca_sha256 != new.ca_sha256:
        yield f"CA of the coordinator: now {new.ca_sha256[:16]}..., was {old.ca_sha256[:16]}..."
    if old.bundle_sha256 != new.bundle_sha256:
        yield f"app bundle: now {new.bundle_sha256 or 'none named'}"
    if old.software != new.software:
        yield f"software: hedgerow {new.hedgerow}, flwr {new.flwr}"


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
