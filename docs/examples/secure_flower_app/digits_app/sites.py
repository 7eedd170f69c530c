"""Five sites, for a simulation: keys that anybody can derive, and what each site demands.

In a deployment a site makes its own key and pins the public keys that the others gave it.
"""

from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context

from client.journaled_site import SecureSumSite
from client.session_journal import FolderJournal
from privacy.secure_sum.site import SitePolicyFloor

FEDERATION = "digits"
NAMES = tuple(f"site-{number}" for number in range(5))


def _simulated_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(f"simulated {name}".encode()).digest())


ROSTER = {name: _simulated_key(name).public_key() for name in NAMES}


def this_site(context: Context) -> SecureSumSite:
    """Which site the node plays, and what that site demands."""
    name = NAMES[int(context.node_config["partition-id"])]
    return SecureSumSite(
        federation=FEDERATION,
        name=name,
        identity=_simulated_key(name),
        roster=ROSTER,
        floor=SitePolicyFloor(minimum_quorum=4, minimum_threshold=2),
        clip=20.0,
        largest_weight=400,
        journal=FolderJournal(Path(str(context.run_config["journal"]))),
    )
