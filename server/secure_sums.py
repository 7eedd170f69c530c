"""The sums of a run's rounds, each under the next unused attempt, by the secure-sum protocol."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from federation.agreement import Agreement
from federation.layout import VectorLayout
from federation.round_layout import RoundKind
from federation.round_messages import COMPLETED, Invitation, Spending, Statement
from federation.run_folder import RunFolder
from federation.sum_groups import SumGroup, sum_groups
from privacy.run_plan import noise_in_the_sum
from privacy.secure_sum.terms import SessionTerms
from server.closing import closing_statements
from server.conversation import Conversation
from server.grouped_round import sum_in_groups
from server.ledger_witness import show_at_the_end
from server.run_record import record_attempt, record_survivors
from server.secure_round import (
    FailedRound,
    Line,
    Prepared,
    SecureSum,
    Session,
    SurvivorRecord,
    prepare,
    sum_securely,
)


class Sums(Protocol):
    """Where the sums of a run's rounds come from."""

    def attempt(self, number: int, kind: RoundKind, model: bytes) -> SecureSum:
        """One attempt at a round; what is tried again gives the same vectors.

        Args:
            number: of the round.
            kind: of the round.
            model: the global model as it travels.

        Raises:
            FailedRound: too few sites were left; nothing was revealed.
        """
        ...

    def close(self, *, completed: bool) -> Mapping[str, Spending]:
        """What each site has spent; a silent site says nothing."""
        ...


def drawn_groups(agreement: Agreement, number: int) -> tuple[SumGroup, ...]:
    """The sites that sum in a round; those that are drawn for it can reach its quorum.

    Raises:
        FailedRound: they cannot.
    """
    groups = sum_groups(agreement, number)
    if agreement.sampling.kind == "all":
        return groups
    (group,) = groups
    if len(group.sites) < group.quorum:
        raise FailedRound(
            f"{len(group.sites)} sites were drawn for the round, its quorum is {group.quorum}",
            {},
            {},
        )
    return groups


@dataclass(frozen=True)
class SecureSums:
    """Sums by secure aggregation over a conversation with the sites.

    Attributes:
        conversation: the line to the sites.
        folder: of the run.
        agreement: that all sites signed.
        federation: the roster's name of it.
        layout: of the vector of a round.
        survivors: per round number, the set that the sites were asked to sign; rounds add theirs.
        attempts: per round number, the last attempt's; rounds add theirs.
        ahead: what the last round prepared for the next one; at most one.
    """

    conversation: Conversation
    folder: RunFolder
    agreement: Agreement
    federation: str
    layout: Callable[[RoundKind], VectorLayout]
    survivors: dict[int, tuple[str, ...]]
    attempts: dict[int, int]
    ahead: list[Prepared | FailedRound] = field(default_factory=list)

    def attempt(self, number: int, kind: RoundKind, model: bytes) -> SecureSum:
        """One attempt at a round, as `Sums.attempt`."""
        line = Line(self.conversation, self.agreement.federation.round_timeout_seconds)
        survivors = self._survivors(number)
        rule = self.agreement.robustness
        if rule.is_grouped and kind is RoundKind.TRAIN:
            sessions = self._sessions(number, kind)
            record_attempt(self.folder, number, self.attempts[number])
            return sum_in_groups(line, sessions, model, survivors, rule.fewest_groups)
        prepared = self._prepared_for(number, kind)
        if prepared is None:
            session = self._session(number, kind)
            record_attempt(self.folder, number, session.terms.attempt)
            prepared = prepare(line, session, survivors.bound or session.terms.sites)
        else:
            record_attempt(self.folder, number, prepared.session.terms.attempt)
        following = self._following(number)
        if following is not None:
            terms = following.terms
            record_attempt(self.folder, terms.round, terms.attempt, ahead=True)
        plan = noise_in_the_sum(self.agreement) if kind is RoundKind.TRAIN else None
        surplus = plan.surplus if plan else None
        done = sum_securely(line, prepared, model, survivors, following, surplus)
        if done.prepared is not None:
            self.ahead.append(done.prepared)
        return done

    def close(self, *, completed: bool) -> dict[str, Statement]:
        """Every site's ledger statement, which all others are then shown.

        Sites forget the vectors of a completed run; those of a stopped one may be resent.

        Raises:
            IntegrityError: a ledger lost entries while the run went on.
        """
        timeout = self.agreement.federation.round_timeout_seconds
        body = COMPLETED if completed else b""
        statements = closing_statements(
            self.conversation, self.folder.id, self.agreement.sites, body, timeout
        )
        show_at_the_end(self.conversation, self.folder, statements, timeout)
        return statements

    def _prepared_for(self, number: int, kind: RoundKind) -> Prepared | None:
        """What the last round prepared, if it is for this one.

        Raises:
            FailedRound: sites refused this round already.
        """
        if not self.ahead:
            return None
        prepared = self.ahead.pop()
        if isinstance(prepared, FailedRound):
            raise prepared
        of = prepared.session
        return prepared if (of.terms.round, of.invitation.kind) == (number, kind) else None

    def _following(self, number: int) -> Session | None:
        """The session after a round that succeeds; None if there is none, or of other sites."""
        agreed = self.agreement
        if number > agreed.rounds or agreed.robustness.is_grouped or agreed.sampling.kind != "all":
            return None
        last = number == self.agreement.rounds
        return self._session(number + 1, RoundKind.EVALUATE if last else RoundKind.TRAIN)

    def _session(self, number: int, kind: RoundKind) -> Session:
        """A session of all sites under the next unused attempt of a round; nothing is asked yet."""
        (session,) = self._sessions(number, kind)
        return session

    def _sessions(self, number: int, kind: RoundKind) -> tuple[Session, ...]:
        """As `_session`, one per group of sites that sum together.

        Raises:
            FailedRound: too few sites were drawn; no attempt is used up.
        """
        groups = drawn_groups(self.agreement, number)
        self.attempts[number] = self.attempts.get(number, 0) + 1
        return tuple(self._session_of(group, number, kind) for group in groups)

    def _session_of(self, group: SumGroup, number: int, kind: RoundKind) -> Session:
        layout = self.layout(kind)
        terms = SessionTerms(
            federation=self.federation,
            run=self.folder.id,
            round=number,
            attempt=self.attempts[number],
            config_digest=self.agreement.digest(),
            layout_digest=layout.digest(),
            sites=group.sites,
            threshold=group.threshold,
            quorum=group.quorum,
            degree=self.agreement.federation.degree_among(group.sites),
            stretches=layout.stretches,
            groups=self.agreement.groups,
            minimum_contributors=self.agreement.evaluation.minimum_contributors,
        )
        invitation = Invitation(
            kind=kind,
            agreement_digest=terms.config_digest.hex(),
            layout_digest=terms.layout_digest.hex(),
        )
        return Session(terms, invitation)

    def _survivors(self, number: int) -> SurvivorRecord:
        def record(sites: tuple[str, ...]) -> None:
            record_survivors(self.folder, number, sites)
            self.survivors[number] = sites

        return SurvivorRecord(self.survivors.get(number), record)
