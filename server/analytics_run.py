"""One secure sum that answers a set of queries; starting again resends what the sites have."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast, get_args

from evaluation.analytics.answers import answers
from evaluation.analytics.counting import decode
from evaluation.analytics.plan import AnalyticsPlan, agreed_plan
from federation.analysis import Analysis, SiteAccount
from federation.analytics_agreement import AnalyticsAgreement
from federation.analytics_config import AnalyticsConfig
from federation.consortium_files import ConsortiumFiles
from federation.durable_file import write_atomically
from federation.envelope import BUDGET_EXHAUSTED, RUN_OVERSPENT
from federation.errors import IntegrityError, PrivacyRefusal, UsageError
from federation.round_layout import RoundKind
from federation.round_messages import COMPLETED, Enlistment, Invitation, Statement
from federation.run_folder import RunFolder
from federation.summary import NoiseSource
from federation.task import Task
from federation.timestamp import utc_now
from privacy.secure_sum.terms import SessionTerms
from server.closing import closing_statements
from server.conversation import Conversation, Place
from server.coordination import agree, common_rules, enlist
from server.ledger_witness import Shown, show_at_the_end
from server.run_record import (
    read_record,
    record_attempt,
    record_start,
    record_survivors,
)
from server.secure_round import (
    FailedRound,
    Line,
    Session,
    SurvivorRecord,
    prepare,
    sum_securely,
)
from server.transport import Transport

ROUND = 1
"""The only one."""


def analysis_path(folder: RunFolder) -> Path:
    """Where the answers of a run stand."""
    return folder.path / "analytics.json"


def analyze(
    transport: Transport, folder: RunFolder, config: AnalyticsConfig, task: Task
) -> Analysis:
    """Ask the queries of a prepared run folder, or ask again what was interrupted.

    Args:
        transport: to the sites.
        folder: prepared, or of a run that was interrupted or failed.
        config: with the sites named.
        task: whose schema the queries are about.

    Raises:
        ConfigError: a query that the schema has no answer for; nobody was asked.
        PrivacyRefusal: a site does not agree, or its budget does not cover the queries.
        RoundFailed: too few sites were left; asking again costs no site anything more.
        DataError: the sums contradict each other.
    """
    # 1. The past, if any, and who is there.
    past = read_record(folder)
    record_start(folder, utc_now())
    roster = ConsortiumFiles(folder.path).read_roster(int(time.time()))
    rules, place = config.federation, Place(folder.id)
    conversation, enlisted = enlist(transport, roster, rules, place)

    # 2. One agreement, signed by every site before anything is counted.
    agreement = _settled(folder, config, enlisted)
    plan = agreed_plan(task.schema, agreement)
    agree(conversation, agreement, folder, Shown.at_the_start(enlisted))

    # 3. One sum.
    line = Line(conversation, rules.round_timeout_seconds)
    survivors = SurvivorRecord(
        past.survivors.get(ROUND), lambda sites: record_survivors(folder, ROUND, sites)
    )
    attempt = past.attempts.get(ROUND, 0) + 1
    record_attempt(folder, ROUND, attempt)
    session = _session(roster.federation, agreement, plan, attempt)
    try:
        prepared = prepare(line, session, survivors.bound or agreement.sites)
        done = sum_securely(line, prepared, b"", survivors, following=None)
    except FailedRound as failure:
        _close(conversation, agreement, b"")
        if {BUDGET_EXHAUSTED, RUN_OVERSPENT} & set(failure.refusals.values()):
            raise PrivacyRefusal(str(failure)) from failure
        raise

    # 4. What it says, and what the ledgers say.
    told = answers(
        plan,
        decode(plan, plan.layout(len(agreement.sites)).decode(done.total)),
        len(done.survivors),
        agreement.minimum_contributors,
    )
    statements = _close(conversation, agreement, b"")
    analysis = Analysis(
        run=folder.id,
        task=agreement.task.name,
        agreement_sha256=agreement.digest().hex(),
        survivors=done.survivors,
        dropped=dict(done.dropped),
        attempts=attempt,
        privacy=_privacy(agreement),
        answers=told,
        accounts={site: _account(statement) for site, statement in statements.items()},
    )
    text = analysis.model_dump_json(indent=1).encode() + b"\n"
    write_atomically(analysis_path(folder), text)
    # Only now: until the answers are written, sites keep what they would have to send again.
    statements = _close(conversation, agreement, COMPLETED)
    show_at_the_end(conversation, folder, statements, rules.round_timeout_seconds)
    return analysis


def _settled(
    folder: RunFolder, config: AnalyticsConfig, enlisted: Mapping[str, Enlistment]
) -> AnalyticsAgreement:
    """The agreement of the folder's first start.

    Raises:
        PrivacyRefusal: the sites hold different run rules.
    """
    rules_digest = common_rules(enlisted)
    if folder.agreement.exists():
        try:
            return AnalyticsAgreement.from_bytes(folder.agreement.read_bytes())
        except UsageError as error:
            raise IntegrityError(f"{folder.agreement} is not what was written: {error}") from error
    agreement = AnalyticsAgreement(
        run=folder.id,
        rules_digest=rules_digest,
        task=config.task,
        federation=config.federation,
        public_rows={site: enlisted[site].public_rows for site in config.federation.sites},
        minimum_contributors=config.minimum_contributors,
        queries=config.queries,
    )
    write_atomically(folder.agreement, agreement.to_bytes())
    return agreement


def _session(
    federation: str, agreement: AnalyticsAgreement, plan: AnalyticsPlan, attempt: int
) -> Session:
    layout, rules = plan.layout(len(agreement.sites)), agreement.federation
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
        minimum_contributors=agreement.minimum_contributors,
    )
    invitation = Invitation(
        kind=RoundKind.ANALYZE,
        agreement_digest=terms.config_digest.hex(),
        layout_digest=terms.layout_digest.hex(),
    )
    return Session(terms, invitation)


def _close(
    conversation: Conversation, agreement: AnalyticsAgreement, body: bytes
) -> dict[str, Statement]:
    timeout = agreement.federation.round_timeout_seconds
    return closing_statements(conversation, agreement.run, agreement.sites, body, timeout)


def _account(statement: Statement) -> SiteAccount:
    source = statement.noise_source
    known = source if source in get_args(NoiseSource) else "unknown"
    return SiteAccount(
        epsilon_spent=statement.epsilon_spent,
        epsilon_budget=statement.epsilon_budget,
        delta=statement.delta,
        ledger_head=statement.ledger_head,
        noise_source=cast("NoiseSource", known),  # one of them, by the line above
    )


def _privacy(agreement: AnalyticsAgreement) -> Literal["record", "partly", "none"]:
    exact = len(agreement.exact_queries)
    if exact == 0:
        return "record"
    return "none" if exact == len(agreement.queries) else "partly"
