"""Opening a site's home: its agent, its ledger and its rows, once every file is what was written.

Whoever only looks at the home imports `client.site_home`, which is light.
"""

import os
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.agent import SiteAgent, SiteAssets, TaskLoader
from client.code_consent import check_code
from client.connectors import open_source
from client.contribution import Trainer
from client.journal import Journal
from client.refusal_log import RefusalLog
from client.site_home import SiteHome
from federation.audit_log import AuditLog
from federation.data_source import Source
from federation.entropy import Entropy, SeededEntropy, SystemEntropy
from federation.errors import IntegrityError, UsageError
from federation.file_lock import hold
from federation.roster import Roster
from federation.run_rules import SignedRunRules
from federation.site_policy import SitePolicy
from federation.timestamp import utc_now
from privacy.arithmetic import arithmetic_on
from privacy.dataset_policy import dataset_policy, require_same
from privacy.ledger import Ledger

LEAVING_SECONDS = 30.0
"""How long an agent whose coordinator was killed may take to finish and leave."""


def create_ledger(home: SiteHome, path: Path) -> None:
    """Open an account: a new ledger with the budget that the site's policy sets."""
    policy = SitePolicy.read(home.policy)
    key = home.read_identity()
    holder = (policy.site, policy.dataset)
    terms = dataset_policy(policy)
    Ledger.create(
        path, key, holder, terms, utc_now, policy.public_rows, order=policy.filter_order
    ).close()


def open_agent(home: SiteHome, ledger: Path, load_task: TaskLoader) -> SiteAgent:
    """The agent of a site, whose batches and noise come from the operating system.

    Args:
        home: with its policy, key and what the consortium gave; the journal is made if missing.
        ledger: of the policy's dataset; its whole chain is verified.
        load_task: finds and constructs the task of an agreement.

    Raises:
        HedgerowError: a file is missing, wrong or damaged, or the site has an agent already; the
            text names it.
    """
    return _open(home, ledger, load_task, SystemEntropy(), partial(_deployed, home))


def open_simulated_agent(
    home: SiteHome,
    ledger: Path,
    load_task: TaskLoader,
    seeded: SeededEntropy,
    trainer: Trainer | None = None,
) -> SiteAgent:
    """As `open_agent`, with batches and noise that a seed repeats: every output says so.

    It asks for no approval of code: a simulation's user runs what that user wrote. A trainer takes
    the place of the site's own, where many sites are trained at once.
    """
    return _open(home, ledger, load_task, seeded, lambda assets: replace(assets, trainer=trainer))


def _deployed(home: SiteHome, assets: SiteAssets) -> SiteAssets:
    """With approvals of code asked for, and refusals noted."""
    assets = replace(assets, check_code=check_code(home.approvals))
    if not assets.policy.log.keep_refusals:
        return assets
    return replace(assets, note_refusal=RefusalLog(AuditLog(home.audit)))


def verify_home(home: SiteHome, ledger: Path) -> None:
    """Return if an agent could be opened, as far as files go.

    Raises:
        HedgerowError: as `open_agent`.
    """
    key = home.read_identity()
    policy, account = _policy_and_account(home, ledger, key)
    journal = Journal(home.journal)
    try:
        _roster_and_rules(home, policy.site, key)
        _require_whole(account, journal, ledger)
    finally:
        account.close()
        journal.close()


def _open(
    home: SiteHome,
    ledger: Path,
    load_task: TaskLoader,
    training_entropy: Entropy,
    completed: Callable[[SiteAssets], SiteAssets],
) -> SiteAgent:
    lock = _claim(home)
    try:
        key = home.read_identity()
        policy, account = _policy_and_account(home, ledger, key)
        roster, rules = _roster_and_rules(home, policy.site, key)
        journal = Journal(home.journal)
        _require_whole(account, journal, ledger)
        assets = SiteAssets(
            policy=policy,
            identity=key,
            roster=roster,
            rules=rules,
            ledger=account,
            journal=journal,
            load_task=load_task,
            training_entropy=training_entropy,
            clock=time.time,
            note_fault=home.note_fault,
            keep_local=home.keep_window_report,
            keep_cohort=home.keep_cohort,
            keep_layers=home.keep_layers,
            open_source=partial(open_rows, home, policy),
        )
        agent = SiteAgent(completed(assets))
    except BaseException:
        os.close(lock)
        raise
    weakref.finalize(agent, os.close, lock)
    return agent


def open_rows(home: SiteHome, policy: SitePolicy) -> Source | None:
    """The site's own rows; None if the task has a table of its own.

    Raises:
        HedgerowError: as `open_source`.
    """
    return None if policy.data is None else open_source(policy.data, home.path)


def _claim(home: SiteHome) -> int:
    """The lock of a home, as a file descriptor; an agent that is just leaving is waited for.

    Raises:
        UsageError: two agents would release two vectors on one charge.
    """
    try:
        return hold(home.lock, LEAVING_SECONDS)
    except BlockingIOError as error:
        raise UsageError(f"another agent is running for {home.path}; a site has one") from error


def _require_whole(account: Ledger, journal: Journal, path: Path) -> None:
    """Return if the ledger holds all that the site's journal saw written.

    Raises:
        IntegrityError: its tail was cut off; a chain of hashes cannot show that by itself.
    """
    seen = journal.ledger_head()
    if seen is None:
        return
    seq, digest = seen
    entries = account.entries()
    if len(entries) < seq or entries[seq - 1].hash != digest:
        raise IntegrityError(
            f"the ledger {path} ends at entry {len(entries)}, and this site saw entry {seq} "
            f"({digest[:16]}...) written: something was cut off; restore it before anything is "
            "charged"
        )


def _policy_and_account(
    home: SiteHome, path: Path, key: Ed25519PrivateKey
) -> tuple[SitePolicy, Ledger]:
    """The policy, and the ledger if it is of the dataset and holds the budget stated there.

    Raises:
        IntegrityError: it is not; the ledger would go on enforcing another budget.
        ConfigError: the policy names a device that is not there.
    """
    policy = SitePolicy.read(home.policy)
    arithmetic_on(policy.device)  # refused before any run, not within one
    account = Ledger.open(path, key, utc_now)
    try:
        require_same(policy, account.account(), str(path))
    except IntegrityError:
        account.close()
        raise
    return policy, account


def _roster_and_rules(
    home: SiteHome, site: str, key: Ed25519PrivateKey
) -> tuple[Roster, SignedRunRules]:
    """What the consortium gave, if it certifies the key that this site has.

    Raises:
        HedgerowError: a file is missing, altered, foreign or expired, or certifies another key.
    """
    roster = home.given.read_roster(int(time.time()))
    if roster.keys.get(site) != key.public_key().public_bytes_raw():
        raise IntegrityError(
            f"{home.given.roster} does not certify the key in {home.identity} for {site}; put the "
            "key back that it certifies, or have the consortium certify this one"
        )
    return roster, home.given.read_run_rules(roster)
