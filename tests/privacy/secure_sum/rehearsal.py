"""Secure-sum sessions among sites in memory: honest, with losses, or with altered messages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.entropy import SeededEntropy
from federation.ring_vector import RingVector, Stretch
from privacy.secure_sum import coordinator, site
from privacy.secure_sum.terms import SessionTerms
from privacy.secure_sum.vouchers import NOBODY, Acquaintances

FLOOR = site.SitePolicyFloor(minimum_quorum=3, minimum_threshold=2)


class Stage(IntEnum):
    """The five answers of a site, in order."""

    ADVERTISE = 1
    SHARE = 2
    MASK = 3
    SIGN = 4
    OPEN = 5


MASKED_HEAD = 4 + 32
"""Bytes of a masked input before its words."""

Alteration = Callable[[bytes], bytes]


def names(n: int) -> tuple[str, ...]:
    return tuple(f"site-{number:02d}" for number in range(n))


def make_terms(n: int = 5, **changes: object) -> SessionTerms:
    values = {
        "federation": "hospitals",
        "run": "run-1",
        "round": 1,
        "attempt": 1,
        "config_digest": bytes([1]) * 32,
        "layout_digest": bytes([3]) * 32,
        "sites": names(n),
        "threshold": 3,
        "quorum": 4,
        "degree": n - 1,
    }
    length = changes.pop("length", 9)
    if "stretches" not in changes:
        values["stretches"] = (Stretch(32, length),)
    return SessionTerms(**(values | changes))


MODEL = bytes([2]) * 32


def identity(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(SeededEntropy(0).child("identity", name).bytes(32))


def roster_of(sites: tuple[str, ...]) -> dict[str, Ed25519PublicKey]:
    return {name: identity(name).public_key() for name in sites}


Vectors = Mapping[str, RingVector]


def random_vectors(terms: SessionTerms, seed: int = 0) -> dict[str, RingVector]:
    rng = np.random.default_rng(seed)
    return {
        name: RingVector.of(
            terms.stretches,
            [rng.integers(0, 2**s.bits, s.length).astype(s.dtype) for s in terms.stretches],
        )
        for name in terms.sites
    }


def constant(terms: SessionTerms, value: int) -> dict[str, RingVector]:
    """Every word of every site is `value`."""
    words = [np.full(s.length, value, s.dtype) for s in terms.stretches]
    return {name: RingVector.of(terms.stretches, words) for name in terms.sites}


def integer_sum(vectors: Vectors, sites: tuple[str, ...]) -> list[list[int]]:
    """The sum in Python's integers, reduced once: an oracle that shares no code."""
    parts = [vectors[name].parts() for name in sites]
    return [
        [sum(map(int, column)) % 2**stretch.bits for column in zip(*words, strict=True)]
        for stretch, words in zip(
            vectors[sites[0]].stretches, zip(*parts, strict=True), strict=True
        )
    ]


def values(total: RingVector) -> list[list[int]]:
    """Each word of each stretch, reduced to its ring."""
    return [
        [int(word) % 2**stretch.bits for word in part]
        for stretch, part in zip(total.stretches, total.parts(), strict=True)
    ]


@dataclass
class Rehearsal:
    """One session, played as far as it goes when `play` is called.

    Attributes:
        terms: of the session.
        lost: per site, the first answer that it fails to give.
        altered: what becomes of a site's answer on its way to the coordinator.
        seed: of all entropy.
        known: per site, whom it knows from an earlier session.
        states: per stage and site, the site's state after that answer.
        sent: per stage and site, the answer as the site gave it.
        told: per stage, what the coordinator told each site before that answer.
    """

    terms: SessionTerms
    vectors: Vectors = field(default_factory=dict)
    lost: Mapping[str, Stage] = field(default_factory=dict)
    altered: Mapping[tuple[str, Stage], Alteration] = field(default_factory=dict)
    seed: int = 0
    threads: int = 1
    known: Mapping[str, Acquaintances] = field(default_factory=dict)
    states: dict[Stage, dict[str, object]] = field(default_factory=dict)
    sent: dict[Stage, dict[str, bytes]] = field(default_factory=dict)
    told: dict[Stage, dict[str, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.vectors = self.vectors or random_vectors(self.terms)
        self.roster = roster_of(self.terms.sites)

    def entropy(self, name: str, stage: Stage) -> SeededEntropy:
        return SeededEntropy(self.seed).child(name, int(stage))

    def play(self) -> coordinator.Revealed:
        terms = self.terms
        adverts = self._ask(Stage.ADVERTISE, dict.fromkeys(terms.sites, b""))
        self.sharing, bundles = coordinator.gather(terms, adverts, self.roster)
        dealt = self._ask(Stage.SHARE, bundles)
        self.masking, envelopes = coordinator.route(self.sharing, dealt)
        masked = self._ask(Stage.MASK, envelopes)
        self.signing, survivors = collect(self.masking, masked)
        signed = self._ask(Stage.SIGN, dict.fromkeys(self.signing.survivors, survivors))
        self.opening, agreements = coordinator.relay(self.signing, signed)
        answers = self._ask(Stage.OPEN, agreements)
        return coordinator.reveal(self.opening, answers, self.threads)

    def step(self, stage: Stage, name: str, message: bytes) -> tuple[object, bytes]:
        """One site's answer to any message, from the state it reached by honest ones."""
        entropy = self.entropy(name, stage)
        if stage is Stage.ADVERTISE:
            known = self.known.get(name, NOBODY)
            return site.advertise(self.terms, name, identity(name), entropy, FLOOR, known)
        state = self.states[Stage(stage - 1)][name]
        if stage is Stage.SHARE:
            return site.share(state, message, self.roster, entropy)
        if stage is Stage.MASK:
            return site.mask(state, message, MODEL, self.vectors[name], self.threads)
        return (site.sign if stage is Stage.SIGN else site.open_shares)(state, message)

    @property
    def acquaintances(self) -> dict[str, Acquaintances]:
        """Whom each site knows when this session is its latest."""
        return {name: state.acquaintances for name, state in self.states[Stage.SHARE].items()}

    def _ask(self, stage: Stage, messages: Mapping[str, bytes]) -> dict[str, bytes]:
        self.told[stage] = dict(messages)
        self.states[stage], self.sent[stage] = {}, {}
        answers = {}
        for name, message in messages.items():
            if self.lost.get(name, stage + 1) <= stage:
                continue
            state, answer = self.step(stage, name, message)
            self.states[stage][name], self.sent[stage][name] = state, answer
            answers[name] = self.altered.get((name, stage), lambda data: data)(answer)
        return answers


def collect(
    masking: coordinator.Masking, masked: Mapping[str, bytes]
) -> tuple[coordinator.Signing, bytes]:
    accumulation = coordinator.Accumulation(masking, MODEL)
    for name, data in sorted(masked.items()):
        accumulation.add(name, data)
    return accumulation.close()


def play(terms: SessionTerms, **options: object) -> Rehearsal:
    """A session played to its end."""
    rehearsal = Rehearsal(terms, **options)
    rehearsal.play()
    return rehearsal


def play_again(before: Rehearsal, **options: object) -> Rehearsal:
    """The session of the following round, played to its end by sites that met before."""
    terms = replace(before.terms, round=before.terms.round + 1)
    return play(terms, **({"known": before.acquaintances, "seed": before.seed + 1000} | options))
