"""One secure sum that answers a set of queries; starting again resends what the sites have."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal, cast, get_args

from evaluation.analytics.answers import answers
from evaluation.analytics.counting import decode
from evaluation.analytics.plan import agreed_plan
from federation.analysis import Analysis, SiteAccount
from federation.analytics_agreement import AnalyticsAgreement
from federation.analytics_config import AnalyticsConfig
from federation.consortium_files import ConsortiumFiles
from federation.durable_file import write_atomically
from federation.round_layout import RoundKind
from federation.round_messages import Enlistment, Statement
from federation.run_folder import RunFolder
from federation.summary import NoiseSource
from federation.task import Task
from server.single_sum import Terms, sum_once
from server.transport import Transport


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
    roster = ConsortiumFiles(folder.path).read_roster(int(time.time()))
    asked = Terms(
        rules=config.federation,
        kind=RoundKind.ANALYZE,
        propose=partial(_proposed, folder, config),
        read=AnalyticsAgreement.from_bytes,
        layout=lambda agreement: agreed_plan(task.schema, agreement).layout(len(agreement.sites)),
    )
    done = sum_once(transport, folder, roster, asked)
    agreement, plan = done.agreement, agreed_plan(task.schema, done.agreement)
    told = answers(
        plan, decode(plan, done.sums), len(done.survivors), agreement.minimum_contributors
    )
    analysis = Analysis(
        run=folder.id,
        task=agreement.task.name,
        agreement_sha256=agreement.digest().hex(),
        survivors=done.survivors,
        dropped=dict(done.dropped),
        attempts=done.attempt,
        privacy=_privacy(agreement),
        answers=told,
        accounts={site: _account(statement) for site, statement in done.statements.items()},
    )
    text = analysis.model_dump_json(indent=1).encode() + b"\n"
    write_atomically(analysis_path(folder), text)
    # Only now: until the answers are written, sites keep what they would have to send again.
    done.finish(folder)
    return analysis


def _proposed(
    folder: RunFolder,
    config: AnalyticsConfig,
    enlisted: Mapping[str, Enlistment],
    rules_digest: str,
) -> AnalyticsAgreement:
    return AnalyticsAgreement(
        run=folder.id,
        rules_digest=rules_digest,
        task=config.task,
        federation=config.federation,
        public_rows={site: enlisted[site].public_rows for site in config.federation.sites},
        minimum_contributors=config.minimum_contributors,
        queries=config.queries,
    )


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
