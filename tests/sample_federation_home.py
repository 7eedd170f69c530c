"""A coordinator's folder on free ports of this machine, and sites that are enrolled in it."""

import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation import node_key
from federation.countersignature import countersign
from federation.membership import Membership
from federation.site_request import RequestedSite, SiteKeys, make_request
from federation.software import Software
from server.coordinator_config import CoordinatorConfig
from server.countersigning import accept
from server.enrolment import enroll
from server.federation_home import FederationHome
from server.federation_setup import set_up
from server.roster_signing import read_consortium_key, sign

ROWS = 200


@dataclass(frozen=True)
class Enrolled:
    """A federation whose sites have all signed; tests hold their keys."""

    home: FederationHome
    keys: dict[str, SiteKeys]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def sample_home(path: Path) -> FederationHome:
    """A folder as `hedgerow coordinator init` makes it, for 127.0.0.1 and localhost."""
    port, superlink, health, metrics, console = free_ports(5)
    config = CoordinatorConfig(
        name="trial",
        hosts=("localhost", "127.0.0.1"),
        port=port,
        bind="127.0.0.1",
        superlink_port=superlink,
        health_port=health,
        metrics_port=metrics,
        console_port=console,
    )
    home = FederationHome(path)
    set_up(home, config, datetime.now(UTC), existing_ca=None, consortium=None)
    return home


def enrolled_home(path: Path, *sites: str) -> Enrolled:
    """A folder with a release in force that all of these sites countersigned."""
    home = sample_home(path)
    keys = {
        site: SiteKeys(Ed25519PrivateKey.generate(), node_key.generate_node_key()) for site in sites
    }
    now, software = datetime.now(UTC), Software.installed()
    for site in sites:
        wanted = RequestedSite(site=site, federation="trial", public_rows=ROWS, delta=1e-3)
        created = now.isoformat(timespec="seconds")
        enroll(home, make_request(wanted, keys[site], software, created), now, software)
    members = sign_anew(home)
    for site in sites:
        identity = keys[site].identity
        accept(home, countersign(site, identity, members.roster, members.signed_rules).to_bytes())
    return Enrolled(home, keys)


def sign_anew(home: FederationHome) -> Membership:
    """Put in force what is enrolled now."""
    key = read_consortium_key(home.consortium_key)
    return sign(home, key, datetime.now(UTC), Software.installed()).membership
