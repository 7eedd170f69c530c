"""A coordinator of our own that asks real agents step by step, and may lie at every one."""

import itertools
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from federation_in_process import Federation

from client.agent import SiteAgent
from client.contribution import Workbench
from client.site_home import SiteHome
from federation.agreement import Agreement
from federation.envelope import Phase, Reply, Request, parse_reply
from federation.errors import RoundFailed
from federation.initial_model import initial_model
from federation.ring_vector import RingVector
from federation.round_layout import RoundKind
from federation.round_messages import Invitation
from privacy.flat_parameters import flat_parameters
from privacy.ledger import verify
from privacy.secure_sum.coordinator import Revealed
from privacy.secure_sum.terms import SessionTerms
from simulations import lying_coordinator
from simulations.lying_coordinator import PHASES, Bodies
from simulations.sites import simulated_site


class Killed(BaseException):
    """A site's process dies here."""


class _Agreed(BaseException):
    """Every site has agreed; from here on another coordinator speaks."""


@dataclass
class Sites:
    """The agents of one run that all have agreed to, and what their own files say."""

    federation: Federation

    def __post_init__(self) -> None:
        line = self.federation.transport()

        def stop(_node: int, request: Request) -> None:
            if request.phase is Phase.ADVERTISE:
                raise _Agreed

        line.before = stop
        with suppress(_Agreed):
            self.federation.play(line)
        self.run = self.federation.folder.id
        self.agreement = Agreement.from_bytes(self.federation.folder.agreement.read_bytes())
        self.names = self.agreement.sites
        self._nonces = itertools.count(1)
        self._rounds = itertools.count(1)
        model = initial_model(self.bench(self.names[0]).task, self.agreement.seed)
        self.model = flat_parameters(model).astype("<f4").tobytes()

    def fresh(self) -> int:
        """The next training round."""
        return next(self._rounds)

    def fresh_evaluation(self) -> int:
        """An evaluation round: nothing is trained or charged, so it is quickly played."""
        return self.agreement.rounds + next(self._rounds)

    def agent(self, site: str) -> SiteAgent:
        index = self.federation.config.federation.sites.index(site)
        return simulated_site(self.federation.folder.path, index).__self__

    def bench(self, site: str) -> Workbench:
        return self.agent(site)._bench(self.run)

    def roster(self):
        return self.agent(self.names[0])._assets.roster.public_keys()

    def request(
        self, phase: Phase, round_: int, attempt: int, body: bytes, rider: Request | None = None
    ) -> Request:
        nonce = f"{next(self._nonces):032x}"
        return Request(
            self.run, round_, attempt, phase, nonce, time.time() + 600, body, rider
        )  # fmt: skip

    def ask(self, site: str, request: Request) -> Reply:
        raw = self.agent(site).answer(request.to_bytes())
        federation = self.agent(site)._assets.roster.federation
        return Reply.verify(raw, federation, request, self.roster()[site], site)

    def invitation(self, round_: int) -> bytes:
        bench, kind = self.bench(self.names[0]), self.kind(round_)
        return Invitation(
            kind=kind,
            agreement_digest=self.agreement.digest().hex(),
            layout_digest=bench.layout(kind).digest().hex(),
        ).to_bytes()

    def kind(self, round_: int) -> RoundKind:
        return RoundKind.EVALUATE if round_ > self.agreement.rounds else RoundKind.TRAIN

    def terms(self, round_: int, attempt: int) -> SessionTerms:
        """As the agents derive them."""
        place = (self.run, round_, attempt)
        open_ = (self.agent(site)._sessions.get(place) for site in self.names)
        for session in open_:
            if session is not None:
                return session.terms
        raise RoundFailed("advertise: no site did")

    def vector(self, site: str, round_: int) -> RingVector:
        """What a site says in a round, from its journal."""
        bench, kind = self.bench(site), self.kind(round_)
        stored = self.agent(site)._assets.journal.contribution(self.run, round_)
        return RingVector(bench.layout(kind).stretches, stored.vector)

    def charges(self, site: str, round_: int) -> tuple[int, int]:
        """How many reservations and releases of a round its ledger holds."""
        folder = self.federation.folder
        key = SiteHome(folder.site_home(site)).read_identity().public_key()
        entries = verify(folder.ledger(site), key)
        reserved = [
            e.seq
            for e in entries
            if e.kind == "reserve" and (e.body["run"], e.body["round"]) == (self.run, round_)
        ]
        released = [e for e in entries if e.body.get("reservation") in reserved]
        return len(reserved), len(released)


@dataclass
class Sitting(lying_coordinator.Sitting):
    """One attempt at one round, during which sites may be killed.

    Attributes:
        dead: sites that were.
    """

    dead: set[str] = field(default_factory=set)

    def put(self, phase: Phase, bodies: Bodies, only: Iterable[str] | None = None) -> None:
        for site in bodies if only is None else only:
            if site in self.dead:
                continue
            try:
                super().put(phase, bodies, only=[site])
            except Killed:
                self.dead.add(site)
                if phase in PHASES[:3]:
                    # Else the others sign a sum without it, and it has no part in the round.
                    raise RoundFailed(f"{phase}: {site} is waited for") from None


def is_exact(sites: Sites, round_: int, revealed: Revealed) -> bool:
    """Whether the sum is that of its survivors' vectors, by Python's integers."""
    vectors = [sites.vector(site, round_) for site in revealed.survivors]
    return all(
        [int(word) % 2**stretch.bits for word in total]
        == [sum(map(int, column)) % 2**stretch.bits for column in zip(*parts, strict=True)]
        for stretch, total, *parts in zip(
            revealed.total.stretches,
            revealed.total.parts(),
            *(vector.parts() for vector in vectors),
            strict=True,
        )
    )


def values(total: RingVector) -> list[list[int]]:
    """Each word of each stretch, reduced to its ring."""
    return [
        [int(word) % 2**stretch.bits for word in part]
        for stretch, part in zip(total.stretches, total.parts(), strict=True)
    ]


def ridden(reply: Reply) -> Reply:
    return parse_reply(reply.rider)[0]
