"""Secure-sum sessions among sites in memory: honest, with losses, or with altered messages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.entropy import SeededEntropy
from federation.layout import Words
from privacy.secure_sum import coordinator, site
from privacy.secure_sum.terms import SessionTerms

FLOOR = site.SitePolicyFloor(minimum_quorum=3, minimum_threshold=2)


class Stage(IntEnum):
    """The five answers of a site, in order."""

    ADVERTISE = 1
    SHARE = 2
    MASK = 3
    SIGN = 4
    OPEN = 5


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
        "model_digest": bytes([2]) * 32,
        "layout_digest": bytes([3]) * 32,
        "sites": names(n),
        "threshold": 3,
        "quorum": 4,
        "length": 9,
    }
    return SessionTerms(**(values | changes))


def identity(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(SeededEntropy(0).child("identity", name).bytes(32))


def roster_of(sites: tuple[str, ...]) -> dict[str, Ed25519PublicKey]:
    return {name: identity(name).public_key() for name in sites}


def random_vectors(terms: SessionTerms, seed: int = 0) -> dict[str, Words]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 2**32, terms.length, dtype=np.uint32, endpoint=False)
        for name in terms.sites
    }


def integer_sum(vectors: Mapping[str, Words], sites: tuple[str, ...]) -> Words:
    """The modular sum in 64-bit integers, reduced once: an oracle that shares no code."""
    total = sum((vectors[name].astype(np.uint64) for name in sites), np.uint64(0))
    return (total % np.uint64(2**32)).astype(np.uint32)


@dataclass
class Rehearsal:
    """One session, played as far as it goes when `play` is called.

    Attributes:
        terms: of the session.
        lost: per site, the first answer that it fails to give.
        altered: what becomes of a site's answer on its way to the coordinator.
        seed: of all entropy.
        states: per stage and site, the site's state after that answer.
        sent: per stage and site, the answer as the site gave it.
        told: per stage, what the coordinator told each site before that answer.
    """

    terms: SessionTerms
    vectors: Mapping[str, Words] = field(default_factory=dict)
    lost: Mapping[str, Stage] = field(default_factory=dict)
    altered: Mapping[tuple[str, Stage], Alteration] = field(default_factory=dict)
    seed: int = 0
    threads: int = 1
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
        self.sharing, bundle = coordinator.gather(terms, adverts, self.roster)
        dealt = self._ask(Stage.SHARE, dict.fromkeys(self.sharing.adverts, bundle))
        self.masking, envelopes = coordinator.route(self.sharing, dealt)
        masked = self._ask(Stage.MASK, envelopes)
        self.signing, survivors = coordinator.collect(self.masking, masked)
        signed = self._ask(Stage.SIGN, dict.fromkeys(self.signing.survivors, survivors))
        self.opening, signatures = coordinator.relay(self.signing, signed)
        answers = self._ask(Stage.OPEN, dict.fromkeys(signed, signatures))
        return coordinator.reveal(self.opening, answers, self.threads)

    def step(self, stage: Stage, name: str, message: bytes) -> tuple[object, bytes]:
        """One site's answer to any message, from the state it reached by honest ones."""
        entropy = self.entropy(name, stage)
        if stage is Stage.ADVERTISE:
            return site.advertise(self.terms, name, identity(name), entropy, FLOOR)
        state = self.states[Stage(stage - 1)][name]
        if stage is Stage.SHARE:
            return site.share(state, message, self.roster, entropy)
        if stage is Stage.MASK:
            return site.mask(state, message, self.vectors[name], self.threads)
        return (site.sign if stage is Stage.SIGN else site.open_shares)(state, message)

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


def play(terms: SessionTerms, **options: object) -> Rehearsal:
    """A session played to its end."""
    rehearsal = Rehearsal(terms, **options)
    rehearsal.play()
    return rehearsal
