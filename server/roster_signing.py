"""What the consortium signs: certificates, run rules and the release, and the packages from it.

It needs requests, settings and the consortium's key, and no network: so it works in a copy of the
federation's folder on any machine (`export_unsigned`), and what is signed there comes back
(`import_signed`).
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from federation.bounded_file import read_bounded
from federation.consortium import ConsortiumKey, SiteCertificate, certify
from federation.durable_file import write_atomically
from federation.errors import IntegrityError, UsageError
from federation.membership import Membership, install, read_membership, settle
from federation.membership_changes import changes
from federation.release import Release, SignedRelease
from federation.roster import Roster
from federation.run_rules import SignedRunRules
from federation.site_package import SitePackage, ca_digest
from federation.site_request import SiteEnrolment
from federation.software import Software
from server.enrolment import enrolled
from server.federation_home import FederationHome
from server.rules_draft import read_draft

RENEWED_BEFORE = timedelta(days=90)
"""A site's certificate that ends sooner is issued anew with the next release."""
BACKDATED = timedelta(days=1)
"""By so much a site's clock may be slow."""
_UNSIGNED = (
    "coordinator.toml", "run-rules.toml", "revoked.json", "consortium.pub", "membership.json"
)  # fmt: skip


def write_consortium_key(path: Path, key: ConsortiumKey) -> None:
    """Write the private key as PEM, for its owner alone."""
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomically(path, pem, mode=0o600)


def read_consortium_key(path: Path) -> ConsortiumKey:
    """Undo `write_consortium_key`.

    Raises:
        UsageError: it cannot be read: it is kept elsewhere, perhaps.
        IntegrityError: it holds no Ed25519 key.
    """
    try:
        key = load_pem_private_key(read_bounded(path, 4096, "the consortium's key"), password=None)
    except UsageError as error:
        raise UsageError(
            f"{error}; whoever keeps it names it with --consortium-key PATH"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IntegrityError(f"{path} holds no private key in PEM without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IntegrityError(f"{path} holds no Ed25519 key")
    return ConsortiumKey(key)


@dataclass(frozen=True, slots=True)
class Signing:
    """What signing did.

    Attributes:
        membership: now in force.
        changes: in words; none where nothing had changed, and nothing was signed.
    """

    membership: Membership
    changes: list[str]


def sign(home: FederationHome, key: ConsortiumKey, now: datetime, software: Software) -> Signing:
    """Put what is enrolled and drafted in force, as the next release, and write the packages.

    Args:
        home: of the federation, or a copy of it.
        key: the consortium's.
        now: UTC.
        software: at the coordinator, which sites must be compatible with.

    Raises:
        UsageError: no site is enrolled, or a file cannot be read.
        ConfigError: the settings or the drafted rules are wrong.
        IntegrityError: the key is not the pinned one, or something is not what was written.
    """
    if key.public != home.given.read_consortium():
        raise IntegrityError(
            f"the key is of another consortium ({key.public.short_name}) than the one in "
            f"{home.given.consortium}"
        )
    before, requests = read_membership(home.given), enrolled(home)
    after = _next(home, key, before, requests, now, software)
    if before is not None and _says_the_same(before, after):
        settle(home.given, before)
        write_packages(home, before)
        return Signing(before, [])
    if before is not None:
        after.require_follows(before)
    install(home.given, after)
    write_packages(home, after)
    return Signing(after, changes(before, after) or ["nothing that sites see"])


def write_packages(home: FederationHome, members: Membership) -> None:
    """Write each site's package; take away those of sites that are out."""
    ca = home.ca.read_bytes()
    for site in members.roster.keys:
        write_atomically(home.package(site), SitePackage(site, ca, members).to_bytes())
    for old in home.package("any").parent.glob("*.hedgerow"):
        if old.stem not in members.roster.keys:
            old.unlink()


def export_unsigned(home: FederationHome, folder: Path) -> None:
    """Copy what signing needs, and no private key, to a new folder.

    Raises:
        UsageError: the folder exists and is not empty.
    """
    copy = FederationHome(folder)
    copy.create(home.config())
    for name in _UNSIGNED:
        if (home.path / name).exists():
            shutil.copy2(home.path / name, folder / name)
    paths = [*home.sites.glob("*.request"), home.ca, *(home.path / "app").glob("*.fab")]
    for path in paths:
        shutil.copy2(path, folder / path.relative_to(home.path))


def import_signed(home: FederationHome, folder: Path) -> Signing:
    """Take what was signed in a copy of this folder.

    Raises:
        UsageError: nothing is signed there.
        IntegrityError: it is not the pinned consortium's, is older than what is in force, or is not
            of what is enrolled here.
    """
    there = FederationHome(folder).given
    if not there.membership.exists():
        raise UsageError(f"{folder} holds no membership.json; sign it there first")
    signed, before = _read_pinned(home, there.membership), read_membership(home.given)
    if before is not None:
        signed.require_follows(before)
    mismatch = unsigned_changes(home, signed)
    if mismatch:
        raise IntegrityError(
            f"what was signed in {folder} is not what is enrolled here: {mismatch[0]}; export and "
            "sign again"
        )
    install(home.given, signed)
    write_packages(home, signed)
    return Signing(signed, changes(before, signed) if signed != before else [])


def unsigned_changes(home: FederationHome, members: Membership | None) -> list[str]:
    """What is enrolled, revoked or set here and is not in what was signed, in words.

    Args:
        home: of the federation.
        members: what was signed; None if nothing was.
    """
    requests = enrolled(home)
    if members is None:
        return [f"{site} is enrolled and not in a roster" for site in requests]
    release, config = members.release, home.config()
    found = [
        f"the {gone.kind} key of {gone.site} was {gone.reason}"
        for gone in home.revocations().revoked
        if gone not in release.revoked.revoked
    ]
    for site in sorted(requests.keys() | members.roster.keys.keys()):
        found += _unsigned_change(site, requests.get(site), members)
    if release.superlink != config.superlink:
        found.append(f"sites are told {release.superlink}, and it is {config.superlink} now")
    if release.ca_sha256 != ca_digest(home.ca.read_bytes()):
        found.append("sites are told another CA")
    return found


def _unsigned_change(
    site: str, request: SiteEnrolment | None, members: Membership
) -> Iterator[str]:
    if request is None:
        yield f"{site} is in the roster and no longer enrolled"
    elif site not in members.roster.keys:
        yield f"{site} is enrolled and not in the roster"
    elif members.roster.keys[site].hex() != request.identity_key:
        yield f"the roster has the old identity key of {site}"
    elif members.release.node_keys[site] != request.node_key:
        yield f"the release has the old node key of {site}"


def _read_pinned(home: FederationHome, path: Path) -> Membership:
    data = read_bounded(path, 2**24, "the membership")
    try:
        return Membership.from_bytes(data, home.given.read_consortium())
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error}") from error


def _says_the_same(before: Membership, after: Membership) -> bool:
    numbered = {"version": before.release.version, "signed_at": before.release.signed_at}
    return after.release.model_copy(update=numbered) == before.release


def _next(
    home: FederationHome,
    key: ConsortiumKey,
    before: Membership | None,
    requests: Mapping[str, SiteEnrolment],
    now: datetime,
    software: Software,
) -> Membership:
    config = home.config()
    if not requests:
        raise UsageError(
            "no site is enrolled, and a roster has one at least: hedgerow coordinator enroll FED "
            "REQUEST..."
        )
    certificates, next_serial = _certificates(key, config.name, before, requests, (
        int((now - BACKDATED).timestamp()),
        int((now + timedelta(config.site_certificate_days)).timestamp()),
    ))  # fmt: skip
    roster = Roster(key.public, certificates)
    rules = read_draft(home.rules_draft, config.name, before.rules if before else None)
    signed_rules = SignedRunRules.sign(key, rules)
    release = Release(
        federation=config.name,
        version=before.release.version + 1 if before else 1,
        signed_at=now.isoformat(timespec="seconds"),
        roster_digest=roster.digest(),
        rules_digest=signed_rules.digest(),
        node_keys={site: request.node_key for site, request in requests.items()},
        revoked=home.revocations(),
        next_serial=next_serial,
        superlink=config.superlink,
        ca_sha256=ca_digest(home.ca.read_bytes()),
        bundle_sha256=_bundle_digest(home, software),
        hedgerow=software.hedgerow,
        flwr=software.flwr,
    )
    return Membership(roster, signed_rules, SignedRelease.sign(key, release))


def _certificates(
    key: ConsortiumKey,
    federation: str,
    before: Membership | None,
    requests: Mapping[str, SiteEnrolment],
    validity: tuple[int, int],
) -> tuple[tuple[SiteCertificate, ...], int]:
    """One per site: the one it has while it is long good and for its key, else a new one."""
    held = {one.site: one for one in before.roster.certificates} if before else {}
    serial = before.release.next_serial if before else 1
    now = validity[0] + int(BACKDATED.total_seconds())
    margin = min(int(RENEWED_BEFORE.total_seconds()), (validity[1] - now) // 3)
    made = []
    for site in sorted(requests):
        present, wanted = held.get(site), requests[site].identity_key
        if present and present.public_key == wanted and present.not_after > now + margin:
            made.append(present)
            continue
        made.append(certify(key, federation, site, bytes.fromhex(wanted), validity, serial))
        serial += 1
    return tuple(made), serial


def _bundle_digest(home: FederationHome, software: Software) -> str | None:
    path = home.bundle(software.hedgerow)
    return sha256(path.read_bytes()).hexdigest() if path.exists() else None
