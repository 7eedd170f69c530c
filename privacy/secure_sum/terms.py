"""The terms of one secure-sum session: what every key, signature and share is bound to.

Bonawitz et al. 2017 (doi:10.1145/3133956.3133982), the active-adversary variant (sections 6.2 and
7.2). Sites agree on the survivors by tags that each gives every other; a tag convinces only the one
who shares its key, which is all that is asked of it. With n invited sites, threshold t and quorum
q, and c sites that collude with a coordinator that lies, these conditions are enforced:

* n >= 3 and q >= 3: the sum of two gives each of them the other's vector.
* 2 <= t <= q <= n: nobody opens a secret alone, and the survivors of the masked stage always can.
* 2q > n + 1: at least one colluding site is tolerated, by this argument. An honest site agrees to
  one survivor set, and opens for a set only if q sites, itself included, agreed to it. Two sets
  need 2q agreements, of which the n - c honest sites give one each and the colluders two each:
  possible only if 2q <= n + c. So for c <= 2q - n - 1 all honest sites open for the same set, and
  of any site they give out shares of its self-mask seed or of its mask key, never both. The
  colluders add c shares of the other kind, which is short of the threshold for c <= t - 1. Hence
  at most min(t - 1, 2q - n - 1) colluders are tolerated (`tolerated_colluders`). The familiar
  2t > n + c is what replaces the agreement where there is none; with it, it is not needed.

  The coordinator may also show each site other envelopes, so that a site masks with some peers
  only. On the complete graph, let k honest survivors not have agreed. One of them, u, masked with
  at least q sites, itself included, and the set holds q + k at least: they share 2q + k - n > c + k
  sites, so one at least is an honest site that agreed, and checked that it shares a mask with every
  survivor. The pairwise masks thus connect all honest survivors, and no part of their sum can be
  opened apart from the rest.
* On a sparse graph of even degree k: k / 2 + 1 <= t <= k, and a site masks only if t of its
  neighbours dealt it shares. How likely colluders are to stand too close to each other on the
  circle, and why no part of the sum can be opened apart if they do not: `graph_parameters`.

All of this takes for granted that the keys an honest site accepts as an honest peer's are that
peer's, for these terms: by the peer's signature, or by its voucher, which `vouchers` argues to be
as good.

Against a coordinator that follows the protocol, t - 1 colluding sites learn nothing of the others
beyond the sum. In every case the sum hides a site among the honest survivors, q - c at least.
"""

from dataclasses import dataclass, field
from typing import Self

from federation.errors import ConfigError, ProtocolViolation
from federation.ring_vector import Stretch
from privacy.secure_sum import wire
from privacy.secure_sum.transcript import DIGEST_BYTES, Label, digest

FEWEST_SITES = 3
FEWEST_SHARES = 2
_KIND = 0


def tolerated_colluders(threshold: int, quorum: int, sites: int) -> int:
    """How many of `sites` may collude with a lying coordinator, by the argument above."""
    return min(threshold - 1, 2 * quorum - sites - 1)


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """One attempt at one round; coordinator and sites derive it each for themselves.

    Attributes:
        federation: name of the federation, 1 to 200 bytes, like the other names.
        run: id of the run.
        round: from 1.
        attempt: from 1; a number is never used twice.
        config_digest: SHA-256 of the agreement, 32 bytes.
        layout_digest: of the vector's layout, 32 bytes.
        sites: the invited sites, sorted, distinct.
        threshold: t, fewest sites that together reconstruct a secret.
        quorum: q, fewest survivors whose sum is opened.
        degree: neighbours of each site: one less than the sites (the complete graph), or an even
            number below that.
        stretches: what a vector is made of; at least one, of distinct rings, narrow ones first.
        groups: disjoint sets of sites, each sorted, whose sums the vector holds apart. None, or
            all sites are in one: else the total less the groups would be read apart too.
        minimum_contributors: fewest survivors of a group, unless it has none; from 3.

    Raises:
        ConfigError: a condition above does not hold.
    """

    federation: str
    run: str
    round: int
    attempt: int
    config_digest: bytes
    layout_digest: bytes
    sites: tuple[str, ...]
    threshold: int
    quorum: int
    degree: int
    stretches: tuple[Stretch, ...]
    groups: tuple[tuple[str, ...], ...] = ()
    minimum_contributors: int = FEWEST_SITES
    _digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_fields()
        self._check_quorum()
        self._check_degree()
        self._check_groups()
        # Kept: every signature and key asks for it.
        object.__setattr__(self, "_digest", digest(Label.TERMS, self.to_bytes()))

    def _check_fields(self) -> None:
        for name in ("federation", "run"):
            _require_name(f"terms.{name}", getattr(self, name))
        for site in self.sites:
            _require_name("terms.sites", site)
        if list(self.sites) != sorted(set(self.sites)):
            raise ConfigError("terms.sites", self.sites, "sorted, distinct names")
        for name in ("round", "attempt"):
            if not 1 <= getattr(self, name) <= wire.LARGEST_NUMBER:
                raise ConfigError(f"terms.{name}", getattr(self, name), "from 1 to 2**32 - 1")
        for name in ("config_digest", "layout_digest"):
            if len(getattr(self, name)) != DIGEST_BYTES:
                raise ConfigError(f"terms.{name}", getattr(self, name), f"{DIGEST_BYTES} bytes")
        rings = [stretch.bits for stretch in self.stretches]
        if not rings or rings != sorted(set(rings)):
            raise ConfigError("terms.stretches", rings, "at least one ring, narrow ones first")

    def _check_quorum(self) -> None:
        n, t, q = len(self.sites), self.threshold, self.quorum
        if n < FEWEST_SITES:
            raise ConfigError("terms.sites", self.sites, f"at least {FEWEST_SITES}")
        if not FEWEST_SITES <= q <= n:
            raise ConfigError("terms.quorum", q, f"from {FEWEST_SITES} to the {n} sites")
        if not FEWEST_SHARES <= t <= q:
            raise ConfigError("terms.threshold", t, f"from {FEWEST_SHARES} to the quorum, {q}")
        if 2 * q <= n + 1:
            raise ConfigError(
                "terms.quorum", q, f"at least {(n + 1) // 2 + 1} for {n} sites",
                "else one colluding site suffices to have two survivor sets signed",
            )  # fmt: skip

    def _check_degree(self) -> None:
        n, t, k = len(self.sites), self.threshold, self.degree
        if k == n - 1:
            return
        if k % 2 or not 2 <= k < n - 1:
            raise ConfigError(
                "terms.degree", k, f"{n - 1}, the complete graph, or an even number below"
            )
        if not k // 2 + 1 <= t <= k:
            raise ConfigError(
                "terms.threshold", t, f"from {k // 2 + 1} to {k} for {k} neighbours",
                "else a stretch of the circle could be opened apart from the rest",
            )  # fmt: skip

    def _check_groups(self) -> None:
        least = self.minimum_contributors
        if not FEWEST_SITES <= least <= wire.LARGEST_NUMBER:
            raise ConfigError(
                "terms.minimum_contributors", least, f"from {FEWEST_SITES} to 2**32 - 1"
            )
        members = [site for group in self.groups for site in group]
        if self.groups and sorted(members) != list(self.sites):
            raise ConfigError(
                "terms.groups", self.groups, "disjoint sets that hold every site",
                "the total less the groups would give the rest away",
            )  # fmt: skip
        for group in self.groups:
            if list(group) != sorted(group) or len(group) < least:
                raise ConfigError("terms.groups", group, f"sorted, {least} sites at least")

    @property
    def is_complete(self) -> bool:
        """Whether every site is every other's neighbour."""
        return self.degree == len(self.sites) - 1

    @property
    def tolerated_colluders(self) -> int:
        """How many sites may collude with a lying coordinator and still learn the sum only.

        On a sparse graph that holds unless too many of them happen to stand close to each other.
        """
        return tolerated_colluders(self.threshold, self.quorum, len(self.sites))

    def group_below_minimum(self, survivors: frozenset[str]) -> tuple[str, ...] | None:
        """The first group with survivors, but too few to be read apart."""
        for group in self.groups:
            if 0 < len(survivors.intersection(group)) < self.minimum_contributors:
                return group
        return None

    def digest(self) -> bytes:
        """SHA-256 over every field, 32 bytes."""
        return self._digest

    def to_bytes(self) -> bytes:
        """The one encoding of these terms."""
        return wire.frame(
            _KIND,
            wire.text(self.federation),
            wire.text(self.run),
            wire.number(self.round),
            wire.number(self.attempt),
            self.config_digest,
            self.layout_digest,
            wire.names(self.sites),
            wire.number(self.threshold),
            wire.number(self.quorum),
            wire.number(self.degree),
            wire.number(len(self.stretches)),
            *(wire.number(s.bits) + wire.number(s.length) for s in self.stretches),
            wire.number(len(self.groups)),
            *(wire.names(group) for group in self.groups),
            wire.number(self.minimum_contributors),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse.

        Raises:
            ProtocolViolation: malformed, or a condition of the terms does not hold.
        """
        reader = wire.Reader(data, _KIND, "terms")
        try:
            terms = cls(
                federation=reader.text(),
                run=reader.text(),
                round=reader.number(),
                attempt=reader.number(),
                config_digest=reader.exactly(DIGEST_BYTES),
                layout_digest=reader.exactly(DIGEST_BYTES),
                sites=reader.names(),
                threshold=reader.number(),
                quorum=reader.number(),
                degree=reader.number(),
                stretches=tuple(
                    Stretch(reader.number(), reader.number()) for _ in range(reader.number())
                ),
                groups=tuple(reader.names() for _ in range(reader.number())),
                minimum_contributors=reader.number(),
            )
        except ConfigError as error:
            raise ProtocolViolation(f"terms: {error}") from error
        reader.end()
        return terms


def _require_name(key: str, name: str) -> None:
    if not 1 <= len(name.encode()) <= wire.LARGEST_NAME:
        raise ConfigError(key, name, f"1 to {wire.LARGEST_NAME} bytes")
