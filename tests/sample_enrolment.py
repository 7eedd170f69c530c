"""Sites that ask to be enrolled and a federation that they ask, with keys that tests hold."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sample_consortium import KEY, roster_of, signed_rules

from federation import node_key
from federation.consortium import ConsortiumKey
from federation.membership import Membership
from federation.release import Release, SignedRelease
from federation.revocation import RevocationList
from federation.site_package import SitePackage, ca_digest
from federation.site_request import RequestedSite, SiteEnrolment, SiteKeys, make_request
from federation.software import Software
from server.certificate_authority import new_authority
from server.coordinator_config import CoordinatorConfig
from server.federation_home import FederationHome
from server.federation_setup import set_up

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
CREATED = "2027-03-01T10:00:00+00:00"
SOFTWARE = Software(hedgerow="0.1.0", flwr="1.41.0")


@cache
def keys_of(name: str) -> SiteKeys:
    """The same for a name whenever a test asks."""
    seed = name.encode().ljust(32, b".")[:32]
    return SiteKeys(Ed25519PrivateKey.from_private_bytes(seed), node_key.generate_node_key())


def identity(name: str) -> bytes:
    return keys_of(name).identity.public_key().public_bytes_raw()


def line(name: str) -> str:
    return node_key.public_line(keys_of(name).node)


@cache
def request_of(
    site: str, federation: str = "f", keys: SiteKeys | None = None, created: str = CREATED
) -> SiteEnrolment:
    wanted = RequestedSite(site=site, federation=federation, public_rows=100, delta=1e-3)
    return make_request(wanted, keys or keys_of(site), SOFTWARE, created)


@cache
def authority(name: str = "f") -> bytes:
    return new_authority(name, NOW).certificate


def membership_of(
    sites: str = "abc",
    key: ConsortiumKey = KEY,
    federation: str = "f",
    ca: bytes | None = None,
    **changes: object,
) -> Membership:
    roster = roster_of({site: identity(site) for site in sites}, federation, key)
    rules = signed_rules(key, federation=federation)
    release = Release(
        federation=federation,
        version=1,
        signed_at=CREATED,
        roster_digest=roster.digest(),
        rules_digest=rules.digest(),
        node_keys={site: line(site) for site in sites},
        revoked=RevocationList(),
        next_serial=len(sites) + 1,
        superlink="fed.example.org:8443",
        ca_sha256=ca_digest(ca or authority()),
        bundle_sha256=None,
        hedgerow=SOFTWARE.hedgerow,
        flwr=SOFTWARE.flwr,
    )
    changed = Release.model_validate(release.model_dump() | changes)
    return Membership(roster, rules, SignedRelease.sign(key, changed))


def package_of(site: str = "a", members: Membership | None = None) -> SitePackage:
    return SitePackage(site, authority(), members or membership_of())


@dataclass(frozen=True)
class Founded:
    home: FederationHome
    key: ConsortiumKey


def found(folder: Path, name: str = "f", hosts: tuple[str, ...] = ("localhost",)) -> Founded:
    home = FederationHome(folder)
    public = folder.parent / f"{folder.name}.pub"
    public.write_bytes(KEY.public.to_pem())
    config = CoordinatorConfig(name=name, hosts=hosts)
    set_up(home, config, NOW, existing_ca=None, consortium=public)
    return Founded(home, KEY)
