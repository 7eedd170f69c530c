"""A whole secure sum in one process: to see what it gives, and what it costs, before any network.

Sites and coordinator run the protocol that they run in a deployment, message for message; only the
wire is missing. As one process holds every secret here, nothing is hidden from it.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.entropy import Entropy, SystemEntropy
from federation.errors import ConfigError
from federation.layout import Floats, VectorLayout, finest_segment
from federation.ring_vector import RingVector
from privacy.secure_sum import coordinator, site
from privacy.secure_sum.terms import FEWEST_SHARES, FEWEST_SITES, SessionTerms

_SYSTEM = SystemEntropy()
_NO_MODEL = sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class SecureSum:
    """What a coordinator learns.

    Attributes:
        total: shape (d,), float64; the sum of the survivors' vectors, each rounded to `step`.
        survivors: whose vectors are in it, sorted.
        step: resolution of the fixed-point code: `total` is off by half of it per survivor at most.
    """

    total: Floats
    survivors: tuple[str, ...]
    step: float

    @property
    def mean(self) -> Floats:
        """Of the survivors' vectors, shape (d,)."""
        return self.total / len(self.survivors)


def secure_sum(
    vectors: Mapping[str, Floats],
    bound: float,
    *,
    quorum: int | None = None,
    ring_bits: int = 32,
    lost: Collection[str] = (),
    entropy: Entropy = _SYSTEM,
) -> SecureSum:
    """The sum of float vectors by one session of the protocol, played in memory.

    Args:
        vectors: per site, shape (d,), float64; at least three sites.
        bound: largest absolute value of a coordinate; a vector beyond it is refused, not clipped.
        quorum: fewest survivors whose sum is opened; two thirds of the sites and one if not given.
        ring_bits: of the ring that is summed in, 16, 20, 24 or 32; more give a finer step.
        lost: sites that fall silent after they dealt their shares.
        entropy: of keys and masks; a seed makes the session repeatable.

    Raises:
        ConfigError: too few sites, an unknown lost one, a quorum, bound or ring out of range.
        ValueError: vectors of different shapes, or a coordinate that is NaN or out of bound.
        RoundFailed: fewer than the quorum are left.

    >>> import numpy as np
    >>> vectors = {name: np.array([1.0, -2.0]) for name in ("a", "b", "c", "d")}
    >>> result = secure_sum(vectors, bound=2.0, lost=["d"])
    >>> result.total.tolist(), result.survivors
    ([3.0, -6.0], ('a', 'b', 'c'))
    """
    sites = tuple(sorted(vectors))
    if len(sites) < FEWEST_SITES:
        raise ConfigError("vectors", sites, f"at least {FEWEST_SITES} sites")
    if unknown := set(lost) - set(sites):
        raise ConfigError("lost", sorted(unknown), f"some of {', '.join(sites)}")
    if not 0 < bound < math.inf:
        raise ConfigError("bound", bound, "a finite number > 0")
    length = len(vectors[sites[0]])
    segment = finest_segment("vector", length, bound, len(sites), ring_bits)
    layout = VectorLayout((segment,), len(sites))
    quorum = 2 * len(sites) // 3 + 1 if quorum is None else quorum
    terms = SessionTerms(
        "one process", "run", 1, 1, layout.digest(), layout.digest(), sites,
        max(FEWEST_SHARES, len(sites) // 3 + 1), quorum, len(sites) - 1, layout.stretches,
    )  # fmt: skip
    encoded = {name: layout.encode({"vector": vectors[name]}) for name in sites}
    revealed = _play(terms, encoded, frozenset(lost), entropy)
    return SecureSum(layout.decode(revealed.total)["vector"], revealed.survivors, segment.step)


def _play(
    terms: SessionTerms, vectors: Mapping[str, RingVector], lost: frozenset[str], entropy: Entropy
) -> coordinator.Revealed:
    """The session: the five answers of each site, and what the coordinator makes of them."""
    identities = {
        name: Ed25519PrivateKey.from_private_bytes(entropy.child("identity", name).bytes(32))
        for name in terms.sites
    }
    roster = {name: identity.public_key() for name, identity in identities.items()}
    floor = site.SitePolicyFloor(terms.quorum, terms.threshold)

    advertised = {
        name: site.advertise(terms, name, identity, entropy.child("keys", name), floor)
        for name, identity in identities.items()
    }
    sharing, bundles = coordinator.gather(terms, _answers(advertised), roster)

    shared = {
        name: site.share(state, bundles[name], roster, entropy.child("shares", name))
        for name, (state, _) in advertised.items()
    }
    masking, envelopes = coordinator.route(sharing, _answers(shared))

    accumulation = coordinator.Accumulation(masking, _NO_MODEL)
    masked = {}
    for name in sorted(set(terms.sites) - lost):
        masked[name], answer = site.mask(shared[name][0], envelopes[name], _NO_MODEL, vectors[name])
        accumulation.add(name, answer)
    signing, survivors = accumulation.close()

    signed = {name: site.sign(state, survivors) for name, state in masked.items()}
    opening, agreements = coordinator.relay(signing, _answers(signed))
    opened = {
        name: site.open_shares(state, agreements[name]) for name, (state, _) in signed.items()
    }
    return coordinator.reveal(opening, _answers(opened))


def _answers(steps: Mapping[str, tuple[object, bytes]]) -> dict[str, bytes]:
    return {name: answer for name, (_, answer) in steps.items()}
