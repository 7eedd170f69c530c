"""One secure sum over the sites: five questions, of which the coordinator learns one total."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from federation.envelope import Phase
from federation.errors import RoundFailed
from federation.layout import Words
from federation.round_messages import Invitation, Work
from privacy.secure_sum import coordinator
from privacy.secure_sum.terms import SessionTerms
from server.conversation import Answers, Conversation, Place


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


@dataclass(frozen=True, slots=True)
class SecureSum:
    """What one round revealed.

    Attributes:
        words: the modular sum, shape (layout.length,), uint32.
        survivors: the sites it is the sum of.
        dropped: per invited site that is not in it, the phase and why.
    """

    words: Words
    survivors: tuple[str, ...]
    dropped: Mapping[str, str]


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


def sum_securely(
    conversation: Conversation,
    terms: SessionTerms,
    invitation: Invitation,
    model: bytes,
    timeout: float,
    survivors: SurvivorRecord,
) -> SecureSum:
    """Run one session to its sum.

    Args:
        conversation: the line to the sites.
        terms: of the session; every site derives the same for itself.
        invitation: what `terms` are about, as the sites are told.
        model: the global model as it travels.
        timeout: seconds that each of the five exchanges may take.
        survivors: what the sites may have bound themselves to in an earlier attempt.

    Raises:
        FailedRound: fewer than the quorum were left, or the sum could not be opened.
    """
    losses = _Losses()
    place = Place(terms.run, terms.round, terms.attempt)

    def ask(phase: Phase, bodies: Mapping[str, bytes]) -> Mapping[str, bytes]:
        answers = conversation.ask(phase, place, bodies, timeout)
        losses.add(answers)
        return answers.bodies

    try:
        invited = survivors.bound or terms.sites
        adverts = ask(Phase.ADVERTISE, dict.fromkeys(invited, invitation.to_bytes()))
        sharing, bundle = coordinator.gather(terms, adverts, conversation.roster.public_keys())
        dealt = ask(Phase.SHARE, dict.fromkeys(adverts, bundle))
        masking, envelopes = coordinator.route(sharing, dealt)
        work = {site: Work(model, sealed).to_bytes() for site, sealed in envelopes.items()}
        masked = ask(Phase.TRAIN, work)
        signing, named = coordinator.collect(masking, masked)
        survivors.bind(signing.survivors)
        signed = ask(Phase.SIGN, dict.fromkeys(signing.survivors, named))
        opening, signatures = coordinator.relay(signing, signed)
        answers = ask(Phase.OPEN, dict.fromkeys(signed, signatures))
        revealed = coordinator.reveal(opening, answers)
    except RoundFailed as error:
        raise FailedRound(f"{error}{losses.told()}", losses.dropped, losses.refusals) from error
    lost = set(terms.sites) - set(revealed.survivors)
    if survivors.bound:
        losses.note(lost - set(invited), "not invited: the others signed a sum without it before")
    dropped = {
        site: losses.dropped.get(site, "excluded by a failed check") for site in sorted(lost)
    }
    return SecureSum(revealed.words, revealed.survivors, dropped)


class _Losses:
    """Who was lost first where, over the exchanges of one session."""

    def __init__(self) -> None:
        self.dropped: dict[str, str] = {}
        self.refusals: dict[str, str] = {}

    def add(self, answers: Answers) -> None:
        self.dropped = {**answers.lost, **self.dropped}
        self.refusals = {**answers.refusals, **self.refusals}

    def told(self) -> str:
        """Every distinct reason with its sites, as the tail of a sentence; empty without losses."""
        by_reason: dict[str, list[str]] = {}
        for site, reason in sorted(self.dropped.items()):
            by_reason.setdefault(reason, []).append(site)
        return "".join(f"; {', '.join(sites)}: {why}" for why, sites in by_reason.items())

    def note(self, sites: Iterable[str], reason: str) -> None:
        self.dropped = {**dict.fromkeys(sites, reason), **self.dropped}
