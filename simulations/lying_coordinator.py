"""A coordinator that asks sites step by step and may lie at every one, and what it comes to.

`Sitting` plays one attempt at one round; a lie is what is shown to whom. `LyingTransport` lets an
honest run enlist its sites and have them agree, and then speaks in the coordinator's place: it
tells the one lie that `simulation.coordinator` names, and ends the run with the sites' refusal. The
sites are the real ones; which rule catches the lie is theirs to say. See `docs/threat-model.md`.
"""

import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from evaluation.run_layout import run_layout, run_tally_spec
from federation.agreement import Agreement
from federation.envelope import Phase, Reply, Request
from federation.errors import PrivacyRefusal, RoundFailed
from federation.fault_choice import CoordinatorKind
from federation.initial_model import initial_model, parameter_count
from federation.mitigated_task import mitigated, multiplier_count
from federation.roster import Roster
from federation.round_layout import RoundKind
from federation.round_messages import Invitation, Work
from federation.task import Task
from privacy.flat_parameters import flat_parameters
from privacy.secure_sum import coordinator
from privacy.secure_sum.coordinator import Accumulation, Revealed
from privacy.secure_sum.messages import Agreed, Agreements, Survivors
from privacy.secure_sum.terms import SessionTerms
from server.checkpoint import Checkpoint
from server.transport import Lost, Transport

PHASES = (Phase.ADVERTISE, Phase.SHARE, Phase.TRAIN, Phase.SIGN, Phase.OPEN)
"""Of a round, in their order."""
Bodies = Mapping[str, bytes]
Lie = Callable[[Phase, dict[str, bytes]], dict[str, bytes]]
"""What is shown to whom in a phase, given what an honest coordinator would show."""


class Audience(Protocol):
    """Sites that have agreed to a run, and how a coordinator reaches them."""

    @property
    def names(self) -> tuple[str, ...]:
        """The sites, as agreed."""
        ...

    @property
    def model(self) -> bytes:
        """As it travels."""
        ...

    def roster(self) -> Mapping[str, Ed25519PublicKey]:
        """The sites' public keys."""
        ...

    def invitation(self, round_: int) -> bytes:
        """To a round."""
        ...

    def terms(self, round_: int, attempt: int) -> SessionTerms:
        """Of a session, as the sites derive them."""
        ...

    def request(
        self, phase: Phase, round_: int, attempt: int, body: bytes, rider: Request | None = None
    ) -> Request:
        """A fresh question."""
        ...

    def ask(self, site: str, request: Request) -> Reply:
        """A site's verified reply."""
        ...


@dataclass
class Sitting:
    """One attempt at one round; every exchange by itself, with a lie where one is given.

    Attributes:
        sites: that are asked.
        round: of the run.
        attempt: at it.
        lie: what is shown; the honest thing unless given.
        shown: per phase, what an honest coordinator would show each site.
        heard: per phase, what the sites answered.
        refused: per phase, who refused and why.
    """

    sites: Audience
    round: int
    attempt: int
    lie: Lie = lambda _phase, bodies: bodies
    shown: dict[Phase, dict[str, bytes]] = field(default_factory=dict)
    heard: dict[Phase, dict[str, bytes]] = field(default_factory=dict)
    refused: dict[Phase, dict[str, str]] = field(default_factory=dict)

    def play(self, until: Phase = Phase.OPEN) -> Revealed:
        """All steps, then the sum.

        Raises:
            RoundFailed: too few are left.
        """
        for phase in PHASES:
            self.step(phase)
            if phase is until:
                break
        return self.reveal()

    def step(self, phase: Phase) -> None:
        """One exchange, with the lie."""
        self.prepare(phase)
        self.put(phase, self.lie(phase, dict(self.shown[phase])))

    def prepare(self, phase: Phase) -> None:
        """What an honest coordinator would show now.

        Raises:
            RoundFailed: too few are left.
        """
        if phase is Phase.ADVERTISE:
            self.shown[phase] = dict.fromkeys(self.sites.names, self.sites.invitation(self.round))
        elif phase is Phase.SHARE:
            self.sharing, bundles = coordinator.gather(
                self.terms, self.heard.get(Phase.ADVERTISE, {}), self.sites.roster()
            )
            self.shown[phase] = dict(bundles)
        elif phase is Phase.TRAIN:
            self.masking, envelopes = coordinator.route(
                self.sharing, self.heard.get(Phase.SHARE, {})
            )
            self.shown[phase] = {
                site: Work(self.sites.model, sealed).to_bytes()
                for site, sealed in envelopes.items()
            }
        elif phase is Phase.SIGN:
            self.signing, named = self.collect(self.heard.get(Phase.TRAIN, {}))
            self.shown[phase] = dict.fromkeys(self.signing.survivors, named)
        else:
            self.opening, self.shown[phase] = coordinator.relay(
                self.signing, self.heard.get(Phase.SIGN, {})
            )

    def put(self, phase: Phase, bodies: Bodies, only: Iterable[str] | None = None) -> None:
        """Ask each site what stands in `bodies`, and note what it says."""
        for site in bodies if only is None else only:
            self.note(phase, site, self.sites.ask(site, self.request(phase, bodies[site])))

    def request(self, phase: Phase, body: bytes, rider: Request | None = None) -> Request:
        """A question of this sitting."""
        return self.sites.request(phase, self.round, self.attempt, body, rider)

    def note(self, phase: Phase, site: str, reply: Reply) -> None:
        """Keep what a site said."""
        if reply.status == "ok":
            # The first answer stands, as an honest coordinator would have it.
            self.heard.setdefault(phase, {}).setdefault(site, reply.body)
        else:
            self.refused.setdefault(phase, {})[site] = f"{reply.code}: {reply.reason}"

    @property
    def terms(self) -> SessionTerms:
        """Of the session."""
        return self.sites.terms(self.round, self.attempt)

    def collect(self, masked: Bodies) -> tuple[coordinator.Signing, bytes]:
        """The sum of masked vectors, and the naming of their sites.

        Raises:
            RoundFailed: they are fewer than the quorum.
        """
        sums = Accumulation(self.masking, hashlib.sha256(self.sites.model).digest())
        for site, data in masked.items():
            sums.add(site, data)
        return sums.close()

    def reveal(self) -> Revealed:
        """The sum.

        Raises:
            RoundFailed: too few opened their shares.
        """
        return coordinator.reveal(self.opening, self.heard.get(Phase.OPEN, {}))


@dataclass(frozen=True)
class AgreedSites:
    """An `Audience` at the other end of a transport.

    Attributes:
        transport: to the sites; node k speaks for the k-th name.
        nodes: per site, its node.
        agreement: that all of them signed.
        agreed_roster: their keys.
        task: of the agreement.
    """

    transport: Transport
    nodes: Mapping[str, int]
    agreement: Agreement
    agreed_roster: Roster
    task: Task

    @property
    def names(self) -> tuple[str, ...]:
        """The sites, as agreed."""
        return self.agreement.sites

    @cached_property
    def model(self) -> bytes:
        """As initialised."""
        trained = mitigated(self.task, self.agreement.mitigation)
        parameters = flat_parameters(initial_model(trained, self.agreement.seed))
        none = np.zeros(multiplier_count(trained))
        return Checkpoint(0, parameters.astype(np.float64), {}, none, none).model_bytes()

    def roster(self) -> Mapping[str, Ed25519PublicKey]:
        """The sites' public keys."""
        return self.agreed_roster.public_keys()

    def invitation(self, round_: int) -> bytes:
        """To a training round."""
        terms = self.terms(round_, 1)
        return Invitation(
            kind=RoundKind.TRAIN,
            agreement_digest=terms.config_digest.hex(),
            layout_digest=terms.layout_digest.hex(),
        ).to_bytes()

    def terms(self, round_: int, attempt: int) -> SessionTerms:
        """As `server.rounds` has them for a training round of all sites."""
        agreed = self.agreement
        trained = mitigated(self.task, agreed.mitigation)
        spec, parameters = run_tally_spec(trained.schema, agreed), self._parameters
        layout = run_layout(spec, agreed, parameters, RoundKind.TRAIN)
        return SessionTerms(
            federation=self.agreed_roster.federation,
            run=agreed.run,
            round=round_,
            attempt=attempt,
            config_digest=agreed.digest(),
            layout_digest=layout.digest(),
            sites=agreed.sites,
            threshold=agreed.federation.threshold,
            quorum=agreed.federation.quorum,
            degree=agreed.federation.degree_among(agreed.sites),
            stretches=layout.stretches,
            groups=agreed.groups,
            minimum_contributors=agreed.evaluation.minimum_contributors,
        )

    @cached_property
    def _parameters(self) -> int:
        return parameter_count(mitigated(self.task, self.agreement.mitigation), self.agreement.seed)

    def request(
        self, phase: Phase, round_: int, attempt: int, body: bytes, rider: Request | None = None
    ) -> Request:
        """A fresh question."""
        expires = time.time() + self.agreement.federation.round_timeout_seconds
        nonce = secrets.token_hex(16)
        return Request(self.agreement.run, round_, attempt, phase, nonce, expires, body, rider)

    def ask(self, site: str, request: Request) -> Reply:
        """A site's verified reply.

        Raises:
            RoundFailed: it gave none.
        """
        node, timeout = self.nodes[site], self.agreement.federation.round_timeout_seconds
        for _, raw in self.transport.exchange({node: request}, timeout):
            if isinstance(raw, Lost):
                raise RoundFailed(f"{site}: {raw.reason}")
            key = self.roster()[site]
            return Reply.verify(raw, self.agreed_roster.federation, request, key, site)
        raise RoundFailed(f"{site}: no reply")


Refusals = Mapping[str, str]
"""Per site that refused, code and reason."""


def two_survivor_sets(sites: Audience) -> tuple[Phase, Refusals]:
    """Half of the sites are told that all survived, the others that the last one did not.

    Were both opened, their difference would be that one site's vector.
    """
    sitting = _played(sites, 1, 1, Phase.TRAIN)
    everyone, fewer = sites.names, sites.names[:-1]
    told = {site: everyone if at % 2 else fewer for at, site in enumerate(everyone)}
    told[everyone[-1]] = everyone
    named = {site: Survivors(told[site]).to_bytes(everyone) for site in everyone}
    sitting.put(Phase.SIGN, named)
    sitting.put(Phase.OPEN, _tags_of_the_like_minded(sitting, told))
    return Phase.OPEN, sitting.refused.get(Phase.OPEN, {})


def two_models(sites: Audience) -> tuple[Phase, Refusals]:
    """Half of the sites are sent another model: their updates would say which rows they hold."""
    other = (np.frombuffer(sites.model, "<f4") + np.float32(1)).tobytes()
    half = frozenset(sites.names[: len(sites.names) // 2])

    def tell(phase: Phase, bodies: dict[str, bytes]) -> dict[str, bytes]:
        if phase is Phase.TRAIN:
            for site in half:
                bodies[site] = Work(other, Work.from_bytes(bodies[site]).envelopes).to_bytes()
        return bodies

    sitting = Sitting(sites, 1, 1, tell)
    for phase in PHASES[:3]:
        sitting.step(phase)
    told = dict.fromkeys(sites.names, sites.names)
    sitting.put(
        Phase.SIGN, dict.fromkeys(sites.names, Survivors(sites.names).to_bytes(sites.names))
    )
    sitting.put(Phase.OPEN, _tags_of_the_like_minded(sitting, told))
    return Phase.OPEN, sitting.refused.get(Phase.OPEN, {})


def second_sum(sites: Audience) -> tuple[Phase, Refusals]:
    """A round is summed, and asked for once more without its last site."""
    Sitting(sites, 1, 1).play()
    again = _played(sites, 1, 2, Phase.TRAIN)
    fewer = sites.names[:-1]
    named = Survivors(fewer).to_bytes(sites.names)
    again.put(Phase.SIGN, dict.fromkeys(fewer, named))
    return Phase.SIGN, again.refused.get(Phase.SIGN, {})


def another_agreement(sites: AgreedSites) -> tuple[Phase, Refusals]:
    """After all sites have signed, they are asked to sign other terms for the same run."""
    changed = sites.agreement.model_copy(update={"seed": sites.agreement.seed + 1})
    refused = {}
    for site in sites.names:
        reply = sites.ask(site, sites.request(Phase.AGREE, 0, 0, changed.to_bytes()))
        if reply.status != "ok":
            refused[site] = f"{reply.code}: {reply.reason}"
    return Phase.AGREE, refused


LIES: Mapping[CoordinatorKind, Callable[[AgreedSites], tuple[Phase, Refusals]]] = {
    "two_survivor_sets": two_survivor_sets,
    "two_models": two_models,
    "second_sum": second_sum,
    "another_agreement": another_agreement,
}
"""Each returns where it must be caught, and by whom it was."""


class LyingTransport:
    """Carries an honest run until all have agreed; then it lies, and no round is begun."""

    def __init__(
        self, transport: Transport, kind: CoordinatorKind, agreed: Callable[[], AgreedSites]
    ) -> None:
        """Where to lie.

        Args:
            transport: to the sites.
            kind: of lie.
            agreed: gives the sites once they have agreed.
        """
        self._transport, self._kind, self._agreed = transport, kind, agreed

    def nodes(self) -> list[int]:
        """As the transport's."""
        return self._transport.nodes()

    def exchange(
        self, requests: Mapping[int, Request], timeout: float
    ) -> Iterator[tuple[int, bytes | Lost]]:
        """As the transport's, until the first round.

        Raises:
            PrivacyRefusal: the sites refused the lie, as they must.
            AssertionError: they did not: a fault of ours.
        """
        if any(request.phase is Phase.ADVERTISE for request in requests.values()):
            self._lie()
        return self._transport.exchange(requests, timeout)

    def _lie(self) -> None:
        sites = self._agreed()
        phase, refused = LIES[self._kind](sites)
        if not refused:
            raise AssertionError(f"no site refused {self._kind}")
        (why, _), *_ = Counter(refused.values()).most_common(1)
        raise PrivacyRefusal(
            f"simulation.coordinator = {self._kind}: {len(refused)} of {len(sites.names)} sites "
            f"refused in phase {phase}: {why}"
        )


def _played(sites: Audience, round_: int, attempt: int, until: Phase) -> Sitting:
    sitting = Sitting(sites, round_, attempt)
    for phase in PHASES[: PHASES.index(until) + 1]:
        sitting.step(phase)
    return sitting


def _tags_of_the_like_minded(
    sitting: Sitting, told: Mapping[str, tuple[str, ...]]
) -> dict[str, bytes]:
    """Per site, the tags that those gave it who were told the same survivors."""
    names = sitting.sites.names
    signed = {
        site: Agreed.from_bytes(body, names).tags
        for site, body in sitting.heard.get(Phase.SIGN, {}).items()
    }
    return {
        site: Agreements(
            {
                peer: tags[site]
                for peer, tags in signed.items()
                if peer != site and told[peer] == told[site]
            }
        ).to_bytes(names)
        for site in signed
    }
