"""The terms of one secure-sum session: what every key, signature and share is bound to.

Bonawitz et al. 2017 (doi:10.1145/3133956.3133982), the active-adversary variant. With n sites,
threshold t and quorum q, these conditions are enforced, and why:

* 2 <= t <= q <= n: the survivors of the masked stage can open the sum, and nobody can alone.
* n >= 3 and q >= 3: the sum of two gives each of them the other's vector.
* 2q > n + 1: an honest site signs one survivor set. If c sites collude with the coordinator, two
  sets with q signatures each need 2q signatures, of which the n - c honest sites give one at most
  and the colluders two: possible only if 2q <= n + c. So with c <= 2q - n - 1 there is one valid
  set, and shares of a site's seed and of its mask key are never both given out (section 6.2 of the
  paper). The condition says that at least c = 1 is tolerated.

Against a coordinator that follows the protocol, t - 1 colluding sites learn nothing of the others
beyond the sum; against one that lies, min(t - 1, 2q - n - 1) do (`tolerated_colluders`).
"""

import hashlib
import struct
from dataclasses import dataclass

from federation.errors import ConfigError

DOMAIN = b"hedgerow/secure-sum/v1/"
FEWEST_SITES = 3


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """One attempt at one round; coordinator and sites derive it each for themselves.

    Attributes:
        federation: name of the federation.
        run: id of the run.
        round: >= 1.
        attempt: >= 1; a number is never used twice.
        config_digest: SHA-256 of the agreement, 32 bytes.
        model_digest: SHA-256 of the global model, 32 bytes. Showing different models to different
            sites gives them different masks, which do not cancel (Pasquini et al. 2022,
            arXiv:2111.07380).
        layout_digest: of the vector's layout, 32 bytes.
        sites: the invited sites, sorted, distinct.
        threshold: t, fewest sites that together reconstruct a secret.
        quorum: q, fewest survivors whose sum is opened.
        length: words in a vector.
        groups: disjoint sets of sites whose sums the vector holds apart.
        minimum_contributors: fewest survivors of a group, unless it has none.

    Raises:
        ConfigError: a condition above does not hold.
    """

    federation: str
    run: str
    round: int
    attempt: int
    config_digest: bytes
    model_digest: bytes
    layout_digest: bytes
    sites: tuple[str, ...]
    threshold: int
    quorum: int
    length: int
    groups: tuple[tuple[str, ...], ...] = ()
    minimum_contributors: int = FEWEST_SITES

    def __post_init__(self) -> None:
        n, t, q = len(self.sites), self.threshold, self.quorum
        if list(self.sites) != sorted(set(self.sites)):
            raise ConfigError("terms.sites", self.sites, "sorted, distinct names")
        if n < FEWEST_SITES or q < FEWEST_SITES:
            raise ConfigError(
                "terms.quorum", q, f"at least {FEWEST_SITES} sites and quorum, not {n} sites"
            )
        if not 2 <= t <= q <= n:
            raise ConfigError(
                "terms.threshold", t, f"2 <= threshold <= quorum = {q} <= sites = {n}"
            )
        if 2 * q <= n + 1:
            raise ConfigError(
                "terms.quorum", q, f"2 * quorum > sites + 1 = {n + 1}",
                "else one colluding site suffices to have two survivor sets signed",
            )  # fmt: skip
        if self.round < 1 or self.attempt < 1 or self.length < 1:
            raise ConfigError(
                "terms", (self.round, self.attempt, self.length), "round, attempt, length >= 1"
            )
        for name in ("config_digest", "model_digest", "layout_digest"):
            if len(getattr(self, name)) != 32:
                raise ConfigError(f"terms.{name}", getattr(self, name), "32 bytes")
        members = [site for group in self.groups for site in group]
        if len(set(members)) != len(members) or not set(members) <= set(self.sites):
            raise ConfigError("terms.groups", self.groups, "disjoint sets of the sites")

    @property
    def tolerated_colluders(self) -> int:
        """How many sites may collude with a lying coordinator and still learn the sum only."""
        return min(self.threshold - 1, 2 * self.quorum - len(self.sites) - 1)

    def digest(self) -> bytes:
        """SHA-256 over an injective encoding of every field, 32 bytes."""
        return digest(
            b"terms",
            self.federation.encode(),
            self.run.encode(),
            _number(self.round),
            _number(self.attempt),
            self.config_digest,
            self.model_digest,
            self.layout_digest,
            join(*(site.encode() for site in self.sites)),
            _number(self.threshold),
            _number(self.quorum),
            _number(self.length),
            join(*(join(*(site.encode() for site in group)) for group in self.groups)),
            _number(self.minimum_contributors),
        )


def join(*parts: bytes) -> bytes:
    """An injective encoding of byte strings: their count, and each with its length."""
    framed = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return struct.pack(">I", len(parts)) + framed


def digest(label: bytes, *parts: bytes) -> bytes:
    """SHA-256 under this protocol's domain and a label, 32 bytes."""
    return hashlib.sha256(join(DOMAIN + label, *parts)).digest()


def _number(value: int) -> bytes:
    return struct.pack(">Q", value)
