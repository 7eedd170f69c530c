"""One secure sum over the sites: five questions, of which the coordinator learns one total."""

from collections.abc import Mapping
from dataclasses import dataclass

from federation.envelope import Phase
from federation.errors import RoundFailed
from federation.layout import Words
from federation.round_messages import Invitation, Work
from privacy.secure_sum import coordinator
from privacy.secure_sum.terms import SessionTerms
from server.conversation import Answers, Conversation, Place


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
) -> SecureSum:
    """Run one session to its sum.

    Args:
        conversation: the line to the sites.
        terms: of the session; every site derives the same for itself.
        invitation: what `terms` are about, as the sites are told.
        model: the global model as it travels.
        timeout: seconds that each of the five exchanges may take.

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
        adverts = ask(Phase.ADVERTISE, dict.fromkeys(terms.sites, invitation.to_bytes()))
        sharing, bundle = coordinator.gather(terms, adverts, conversation.roster.public_keys())
        dealt = ask(Phase.SHARE, dict.fromkeys(adverts, bundle))
        masking, envelopes = coordinator.route(sharing, dealt)
        work = {site: Work(model, sealed).to_bytes() for site, sealed in envelopes.items()}
        masked = ask(Phase.TRAIN, work)
        signing, survivors = coordinator.collect(masking, masked)
        signed = ask(Phase.SIGN, dict.fromkeys(masked, survivors))
        opening, signatures = coordinator.relay(signing, signed)
        answers = ask(Phase.OPEN, dict.fromkeys(signed, signatures))
        revealed = coordinator.reveal(opening, answers)
    except RoundFailed as error:
        raise FailedRound(str(error), losses.dropped, losses.refusals) from error
    lost = set(terms.sites) - set(revealed.survivors)
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
