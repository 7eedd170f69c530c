"""One agreement, one secure sum, one closing: how sites are asked when nothing is trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from federation.analytics_agreement import AnalyticsAgreement
from federation.config import FederationRules
from federation.durable_file import write_atomically
from federation.errors import IntegrityError, PrivacyRefusal, RoundFailed, UsageError
from federation.evaluation_agreement import EvaluationAgreement
from federation.layout import VectorLayout
from federation.roster import Roster
from federation.round_layout import RoundKind
from federation.round_messages import COMPLETED, Enlistment, Invitation, Statement
from federation.run_folder import RunFolder
from federation.task import Floats
from federation.timestamp import utc_now
from privacy.secure_sum.terms import SessionTerms
from server.closing import closing_statements
from server.conversation import Conversation, Place
from server.enlistment import agree, common_rules, enlist
from server.ledger_witness import Shown, show_at_the_end
from server.run_record import read_record, record_attempt, record_start, record_survivors
from server.secure_round import FailedRound, Line, Session, SurvivorRecord, prepare, sum_securely
from server.transport import Transport

A = TypeVar("A", AnalyticsAgreement, EvaluationAgreement)

ROUND = 1
"""The only one."""


@dataclass(frozen=True, slots=True)
class Terms(Generic[A]):
    """What is asked.

    Attributes:
        rules: who is asked, and how many must answer.
        kind: of the round.
        propose: the agreement, given each site's public facts and the digest of the run rules.
        read: an agreement that was written before; raises UsageError.
        layout: of the vector.
        model: what travels to the sites, if anything.
    """

    rules: FederationRules
    kind: RoundKind
    propose: Callable[[Mapping[str, Enlistment], str], A]
    read: Callable[[bytes], A]
    layout: Callable[[A], VectorLayout]
    model: bytes = b""


@dataclass(frozen=True, slots=True)
class SingleSum(Generic[A]):
    """What came of it; the sites keep their vectors until it is finished.

    Attributes:
        agreement: that all sites signed.
        sums: per segment, shape (segment.length,).
        survivors: whose rows they are of.
        dropped: per lost site, the phase it was lost in and why.
        attempt: number of the one that succeeded.
        statements: what the ledgers say.
    """

    agreement: A
    sums: Mapping[str, Floats]
    survivors: tuple[str, ...]
    dropped: Mapping[str, str]
    attempt: int
    statements: Mapping[str, Statement]
    _conversation: Conversation

    def finish(self, folder: RunFolder) -> None:
        """Let the sites forget their vectors: what they said is written, nothing is asked again."""
        statements = _close(self._conversation, self.agreement, COMPLETED)
        timeout = self.agreement.federation.round_timeout_seconds
        show_at_the_end(self._conversation, folder, statements, timeout)


def sum_once(
    transport: Transport, folder: RunFolder, roster: Roster, terms: Terms[A]
) -> SingleSum[A]:
    """Have all sites agree and sum; starting again in the same folder resends what they have.

    Args:
        transport: to the sites.
        folder: of this sum alone; its name is the run that the sites are asked under.
        roster: of the federation.
        terms: what is asked.

    Raises:
        PrivacyRefusal: a site does not agree, or its budget does not cover it.
        RoundFailed: too few sites were left; asking again costs no site anything more.
        IntegrityError: the folder holds another agreement than was written.
    """
    # 1. The past, if any, and who is there.
    past = read_record(folder)
    record_start(folder, utc_now())
    rules, place = terms.rules, Place(folder.id)
    conversation, enlisted = enlist(transport, roster, rules, place)

    # 2. One agreement, signed by every site before anything is counted.
    agreement = _settled(folder, terms, enlisted)
    layout = terms.layout(agreement)
    agree(conversation, agreement, folder, Shown.at_the_start(enlisted))

    # 3. One sum.
    line = Line(conversation, rules.round_timeout_seconds)
    survivors = SurvivorRecord(
        past.survivors.get(ROUND), lambda sites: record_survivors(folder, ROUND, sites)
    )
    attempt = past.attempts.get(ROUND, 0) + 1
    record_attempt(folder, ROUND, attempt)
    session = _session(roster.federation, agreement, layout, terms.kind, attempt)
    try:
        prepared = prepare(line, session, survivors.bound or agreement.sites)
        done = sum_securely(line, prepared, terms.model, survivors, following=None)
    except FailedRound as failure:
        _close(conversation, agreement, b"")
        if failure.is_by_rules:
            raise PrivacyRefusal(str(failure)) from failure
        raise
    return SingleSum(
        agreement,
        layout.decode(done.total),
        done.survivors,
        dict(done.dropped),
        attempt,
        _close(conversation, agreement, b""),
        conversation,
    )


def finish_again(
    transport: Transport, folder: RunFolder, roster: Roster, agreement: EvaluationAgreement
) -> bool:
    """As `SingleSum.finish`, of a sum that was written before a crash; whether all were reached.

    What is not reached keeps its vector, masked by nothing but its own disk: it is asked next time.
    """
    rules, place = agreement.federation, Place(folder.id)
    try:
        conversation, _ = enlist(transport, roster, rules, place)
    except RoundFailed:
        return False
    return set(_close(conversation, agreement, COMPLETED)) == set(agreement.sites)


def _settled(folder: RunFolder, terms: Terms[A], enlisted: Mapping[str, Enlistment]) -> A:
    """The agreement of the folder's first start.

    Raises:
        PrivacyRefusal: the sites hold different run rules.
    """
    rules_digest = common_rules(enlisted)
    if folder.agreement.exists():
        try:
            return terms.read(folder.agreement.read_bytes())
        except UsageError as error:
            raise IntegrityError(f"{folder.agreement} is not what was written: {error}") from error
    agreement = terms.propose(enlisted, rules_digest)
    write_atomically(folder.agreement, agreement.to_bytes())
    return agreement


def _session(
    federation: str, agreement: A, layout: VectorLayout, kind: RoundKind, attempt: int
) -> Session:
    rules = agreement.federation
    terms = SessionTerms(
        federation=federation,
        run=agreement.run,
        round=ROUND,
        attempt=attempt,
        config_digest=agreement.digest(),
        layout_digest=layout.digest(),
        sites=agreement.sites,
        threshold=rules.threshold,
        quorum=rules.quorum,
        degree=rules.degree_among(agreement.sites),
        stretches=layout.stretches,
        groups=agreement.groups,
        minimum_contributors=agreement.minimum_contributors,
    )
    invitation = Invitation(
        kind=kind,
        agreement_digest=terms.config_digest.hex(),
        layout_digest=terms.layout_digest.hex(),
    )
    return Session(terms, invitation)


def _close(conversation: Conversation, agreement: A, body: bytes) -> dict[str, Statement]:
    timeout = agreement.federation.round_timeout_seconds
    return closing_statements(conversation, agreement.run, agreement.sites, body, timeout)
