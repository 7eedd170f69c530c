"""A consortium whose key the tests hold: rosters and run rules for whatever a test needs."""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.consortium import END_OF_9999, ConsortiumKey, certify
from federation.roster import Roster
from federation.run_rules import RunRules, SignedRunRules

KEY = ConsortiumKey(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
OTHER = ConsortiumKey(Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32))
ALWAYS = (0, END_OF_9999)
RULES = RunRules(
    federation="f",
    version=1,
    minimum_quorum=3,
    minimum_threshold=2,
    minimum_contributors=3,
    largest_update_clip=100.0,
    ring_bits=(16, 20, 24, 32),
    least_noise_multiplier=0.0,
    least_site_level_noise_multiplier=0.0,
    allow_without_privacy=True,
    most_rounds=1000,
)


def roster_of(
    keys: Mapping[str, bytes],
    federation: str = "f",
    key: ConsortiumKey = KEY,
    validity: tuple[int, int] = ALWAYS,
) -> Roster:
    certificates = [
        certify(key, federation, site, keys[site], validity, serial)
        for serial, site in enumerate(sorted(keys), start=1)
    ]
    return Roster(key.public, tuple(certificates))


def signed_rules(key: ConsortiumKey = KEY, **changes: object) -> SignedRunRules:
    rules = RunRules.model_validate(RULES.model_dump() | changes)
    return SignedRunRules.sign(key, rules)
