"""One secure sum over the sites: three exchanges, of which the coordinator learns one total.

The keys and shares of the next round ride on the messages of this one, so only a first round, or a
retry, begins with two exchanges for its own.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from federation.envelope import Body, Phase
from federation.errors import ProtocolViolation, RoundFailed
from federation.ring_vector import RingVector
from federation.round_messages import Disclosure, Invitation, Work
from privacy.message_sizes import largest_answer
from privacy.secure_sum import coordinator
from privacy.secure_sum.terms import SessionTerms
from privacy.surplus_noise import SurplusNoisePlan
from server.conversation import Answers, Conversation, Place, Question

EXCHANGES = 3
"""Of a round whose keys were exchanged during the round before."""
EXCHANGES_FOR_KEYS = 2


class SurvivorRecord:
    """The one survivor set of a round, recorded before any site is asked to sign it.

    A site signs one set per round and no other ever again, so a retry must come to the same set.
    """

    def __init__(
        self, bound: tuple[str, ...] | None, record: Callable[[tuple[str, ...]], None]
    ) -> None:
        self.bound, self._record = bound, record

    def bind(self, survivors: tuple[str, ...]) -> None:
        """Note the set that the sites are about to sign.

        Raises:
            RoundFailed: they may have signed another one before.
        """
        if self.bound is None:
            self._record(survivors)
            self.bound = survivors
        elif survivors != self.bound:
            gone = ", ".join(sorted(set(self.bound) - set(survivors)))
            raise RoundFailed(
                f"an earlier attempt had {', '.join(self.bound)} sign for this round, and of them "
                f"{gone} did not come back; the round waits for them"
            )

    def extend(self, survivors: tuple[str, ...]) -> None:
        """Note the set that one more group of the round is about to sign."""
        together = tuple(sorted({*(self.bound or ()), *survivors}))
        self._record(together)
        self.bound = together


@dataclass(frozen=True, slots=True)
class Session:
    """What a session is about, as coordinator and sites know it before any key is exchanged.

    Attributes:
        terms: every site derives the same for itself.
        invitation: what the terms are about, as the sites are told.
    """

    terms: SessionTerms
    invitation: Invitation

    @property
    def place(self) -> Place:
        """Where in the run it is."""
        return Place(self.terms.run, self.terms.round, self.terms.attempt)

    def question(self, phase: Phase, bodies: Mapping[str, Body], noise_seeds: int = 0) -> Question:
        """What sites of the session are asked in a phase, and how large their answers can be."""
        return Question(phase, self.place, bodies, largest_answer(phase, self.terms, noise_seeds))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A session whose keys are exchanged; sites that did not take part are in `losses`.

    Attributes:
        session: what it is about.
        sharing: adverts, from which the session has its name.
        bundles: per site that advertised, the adverts as it is shown them.
        dealt: per site, the shares it dealt.
        losses: who was lost on the way.
        exchanges: what it took beyond the messages it rode on.
    """

    session: Session
    sharing: coordinator.Sharing
    bundles: Mapping[str, bytes] = field(repr=False)
    dealt: Mapping[str, bytes]
    losses: "Losses"
    exchanges: int


@dataclass(frozen=True, slots=True)
class SecureSum:
    """What one round revealed.

    Attributes:
        total: the modular sum, in the layout's rings.
        survivors: the sites it is the sum of.
        dropped: per invited site that is not in it, the phase and why.
        exchanges: how often the sites were asked, what rode along not counted.
        prepared: the session of the following round; why it cannot be, if sites refused it; None
            if it may do to ask anew.
        noise_seeds: per survivor that opened its shares, the seeds of its surplus noise.
    """

    total: RingVector
    survivors: tuple[str, ...]
    dropped: Mapping[str, str]
    exchanges: int
    prepared: "Prepared | FailedRound | None"
    noise_seeds: Mapping[str, tuple[bytes, ...]] = field(repr=False)


class FailedRound(RoundFailed):
    """Too few sites were left; nothing was revealed.

    Attributes:
        dropped: per lost site, the phase and why.
        refusals: per site that refused by its own rules, the code.
    """

    def __init__(
        self, reason: str, dropped: Mapping[str, str], refusals: Mapping[str, str]
    ) -> None:
        self.dropped, self.refusals = dict(dropped), dict(refusals)
        super().__init__(reason)

    @property
    def is_by_rules(self) -> bool:
        """Whether a site would not; one that refuses a message for its age says nothing of that."""
        return bool(set(self.refusals.values()) - {"protocol"})


@dataclass(frozen=True, slots=True)
class Line:
    """The conversation with the sites, and how long an exchange may take, in seconds."""

    conversation: Conversation
    timeout: float

    def ask(self, question: Question, losses: "Losses") -> Mapping[str, bytes]:
        """The answers; who gave none is noted."""
        answers, _ = self.conversation.ask_with_rider(question, None, self.timeout)
        losses.add(answers)
        return answers.bodies


def prepare(line: Line, session: Session, invited: Iterable[str]) -> Prepared:
    """Exchange keys and shares, in two exchanges of their own.

    Raises:
        FailedRound: fewer than the quorum took part.
    """
    losses, roster, invited = Losses(), line.conversation.roster.public_keys(), tuple(invited)
    others = set(session.terms.sites) - set(invited)
    losses.note(others, "not invited: the others signed a sum without it before")
    bodies = dict.fromkeys(invited, session.invitation.to_bytes())
    try:
        adverts = line.ask(session.question(Phase.ADVERTISE, bodies), losses)
        sharing, bundles = coordinator.gather(session.terms, adverts, roster)
        dealt = line.ask(session.question(Phase.SHARE, bundles), losses)
    except RoundFailed as error:
        raise losses.failed(error) from error
    return Prepared(session, sharing, bundles, dealt, losses, EXCHANGES_FOR_KEYS)


def sum_securely(
    line: Line,
    prepared: Prepared,
    model: bytes,
    survivors: SurvivorRecord,
    following: Session | None,
    surplus: SurplusNoisePlan | None = None,
) -> SecureSum:
    """Run a prepared session to its sum, and prepare the following one meanwhile.

    Args:
        line: to the sites.
        prepared: keys and shares of this session.
        model: the global model as it travels.
        survivors: what the sites may have bound themselves to in an earlier attempt.
        following: the session to be prepared; None after the last round.
        surplus: which noise survivors reveal with their shares; None if they reveal none.

    Raises:
        FailedRound: fewer than the quorum were left, or the sum could not be opened.
    """
    session, losses = prepared.session, prepared.losses
    ahead = _Ahead(line, following)
    try:
        # Whoever advertised and was cut off before it dealt may be back.
        prepared = _completed(line, prepared)
        masking, envelopes = coordinator.route(prepared.sharing, prepared.dealt)
        sums = coordinator.Accumulation(masking, hashlib.sha256(model).digest())
        work = {site: Work(model, sealed).pieces() for site, sealed in envelopes.items()}
        ahead.advertise(session.question(Phase.TRAIN, work), losses, sums.add)
        signing, named = sums.close()
        survivors.bind(signing.survivors)
        shown = dict.fromkeys(signing.survivors, named)
        agreed = ahead.advertise(session.question(Phase.SIGN, shown), losses)
        opening, agreements = coordinator.relay(signing, agreed)
        seeds = len(surplus.surplus_components(len(signing.survivors))) if surplus else 0
        answers = ahead.share(session.question(Phase.OPEN, agreements, seeds), losses)
        disclosed = _disclosures(answers, seeds, losses)
        opened = {site: each.shares for site, each in disclosed.items()}
        revealed = coordinator.reveal(opening, opened)
    except RoundFailed as error:
        raise losses.failed(error) from error
    lost = sorted(set(session.terms.sites) - set(revealed.survivors))
    reasons = {site: losses.dropped.get(site, "excluded by a failed check") for site in lost}
    return SecureSum(
        revealed.total,
        revealed.survivors,
        reasons,
        prepared.exchanges + EXCHANGES,
        ahead.prepared(),
        {s: each.noise_seeds for s, each in disclosed.items() if s not in revealed.excluded},
    )


def _disclosures(
    answers: Mapping[str, bytes], seeds: int, losses: "Losses"
) -> dict[str, Disclosure]:
    """What the survivors opened; a site whose answer is too short counts as lost."""
    disclosed = {}
    for site, body in answers.items():
        try:
            disclosed[site] = Disclosure.from_bytes(body, seeds)
        except ProtocolViolation as error:
            losses.note([site], f"{Phase.OPEN}: {error}")
    return disclosed


def _completed(line: Line, prepared: Prepared) -> Prepared:
    """With the shares of sites that were silent when they were asked for them, once more."""
    missing = prepared.losses.silent & (set(prepared.sharing.adverts) - set(prepared.dealt))
    if not missing or prepared.exchanges:
        return prepared
    shown = {site: prepared.bundles[site] for site in sorted(missing)}
    late = line.ask(prepared.session.question(Phase.SHARE, shown), prepared.losses)
    return replace(prepared, dealt={**prepared.dealt, **late}, exchanges=1)


class _Ahead:
    """The following session, prepared by riders on the messages of the running one."""

    def __init__(self, line: Line, session: Session | None) -> None:
        self._line, self._session, self._losses = line, session, Losses()
        self._adverts: dict[str, bytes] = {}
        self._sharing: coordinator.Sharing | None = None
        self._bundles: Mapping[str, bytes] = {}
        self._dealt: dict[str, bytes] = {}
        self._failure: FailedRound | None = None

    def advertise(
        self,
        question: Question,
        losses: "Losses",
        take: Callable[[str, bytes], None] | None = None,
    ) -> Mapping[str, bytes]:
        """Ask `question`; every site that has not advertised for the following session may."""
        rider = None
        if self._session is not None:
            heard = set(self._adverts) | set(self._losses.refusals)
            asked = [site for site in self._session.terms.sites if site not in heard]
            bodies = dict.fromkeys(asked, self._session.invitation.to_bytes())
            rider = self._session.question(Phase.ADVERTISE, bodies)
        return self._ask(question, rider, losses, self._adverts, take)

    def share(self, question: Question, losses: "Losses") -> Mapping[str, bytes]:
        """Ask `question`; every site that advertised for the following session deals its shares."""
        rider = None
        if self._session is not None:
            roster = self._line.conversation.roster.public_keys()
            try:
                gathered = coordinator.gather(self._session.terms, self._adverts, roster)
            except RoundFailed as error:
                # A refusal stands, and is not asked for twice; whoever was silent may be back.
                silent = self._losses.silent
                self._failure = None if silent else self._losses.failed(error)
            else:
                self._sharing, self._bundles = gathered
                rider = self._session.question(Phase.SHARE, self._bundles)
        return self._ask(question, rider, losses, self._dealt)

    def prepared(self) -> Prepared | FailedRound | None:
        """The following session if it got so far, or why it cannot."""
        if self._session is None or self._sharing is None:
            return self._failure
        return Prepared(
            self._session, self._sharing, self._bundles, self._dealt, self._losses, exchanges=0
        )

    def _ask(
        self,
        question: Question,
        rider: Question | None,
        losses: "Losses",
        into: dict[str, bytes],
        take: Callable[[str, bytes], None] | None = None,
    ) -> Mapping[str, bytes]:
        answers, early = self._line.conversation.ask_with_rider(
            question, rider, self._line.timeout, take
        )
        losses.add(answers)
        into.update(early.bodies)
        self._losses.add(early)
        return answers.bodies


class Losses:
    """Who was lost first where, over the exchanges of one session."""

    def __init__(self) -> None:
        self.dropped: dict[str, str] = {}
        self.refusals: dict[str, str] = {}

    def add(self, answers: Answers) -> None:
        """Note who did not answer; whoever answers is back."""
        back = {site: why for site, why in self.dropped.items() if site not in answers.bodies}
        self.dropped = {**answers.lost, **back}
        self.refusals = {**answers.refusals, **self.refusals}

    @property
    def silent(self) -> set[str]:
        """Lost without having refused."""
        return set(self.dropped) - set(self.refusals)

    def failed(self, error: RoundFailed) -> FailedRound:
        """The failure, with every distinct reason and its sites."""
        by_reason: dict[str, list[str]] = {}
        for site, reason in sorted(self.dropped.items()):
            by_reason.setdefault(reason, []).append(site)
        told = "".join(f"; {', '.join(sites)}: {why}" for why, sites in by_reason.items())
        return FailedRound(f"{error}{told}", self.dropped, self.refusals)

    def note(self, sites: Iterable[str], reason: str) -> None:
        """Say of these sites why they are not there, unless it is known better."""
        self.dropped = {**dict.fromkeys(sites, reason), **self.dropped}
