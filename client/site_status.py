"""A deployed site in a nutshell: what it allows, spent and approved, and whether it is up."""

import math
from collections.abc import Mapping
from pathlib import Path

from client.agent_socket import LineError, ask_status
from client.site_home import SiteHome
from client.site_processes import read_node_state
from federation.approvals import Approvals
from federation.audit_log import AuditLog
from federation.site_policy import SitePolicy
from privacy.account import Account
from privacy.ledger import verify
from privacy.ledger_entry import Entry

Told = Mapping[str, object]


def read_status(home: SiteHome, ledger: Path) -> dict[str, object]:
    """What `hedgerow site status` prints: texts, numbers, lists and tables of them.

    Raises:
        HedgerowError: a file is missing or not what was written.
    """
    policy = SitePolicy.read(home.policy)
    entries = verify(ledger, home.read_identity().public_key())
    number, digest = AuditLog(home.audit).verify()
    return {
        "site": policy.site,
        "policy": policy_in_short(policy),
        "budget": budget_in_short(entries),
        "last_run": last_run(entries),
        "approvals": _approvals(home),
        "agent": _agent(home),
        "node": dict(read_node_state(home)) or "never ran",
        "audit_log": {"entries": number, "hash": digest[:16]},
    }


def policy_in_short(policy: SitePolicy) -> Told:
    """What a reader asks for first; the rest is in site.toml."""
    return {
        "dataset": policy.dataset,
        "tasks": list(policy.tasks),
        "public_rows": policy.public_rows,
        "without_privacy": policy.allow_without_privacy,
        "quorum": policy.minimum_quorum,
        "threshold": policy.minimum_threshold,
        "hours": list(policy.hours) or "always",
        "noise_factor": policy.noise_factor,
        "limits": policy.limits.model_dump(exclude_none=True),
    }


def account_of(entries: tuple[Entry, ...]) -> Account:
    """What verified entries come to."""
    account = Account()
    for entry in entries:
        account.apply(entry)
    return account


def budget_in_short(entries: tuple[Entry, ...]) -> Told:
    """Spent and left of the budget per record; `share_used` is of what the filter allows."""
    account = account_of(entries)
    budget = account.in_force().record
    spent = account.spent("record", budget.delta).epsilon
    bounded = math.isfinite(budget.epsilon)
    left = max(0.0, budget.epsilon - spent)
    return {
        "epsilon_spent": round(spent, 4) if math.isfinite(spent) else "unbounded",
        "epsilon_budget": budget.epsilon if bounded else "none",
        "epsilon_left": round(left, 4) if bounded else "none",
        "delta": budget.delta,
        "share_used": round(account.share_used(), 4),
        "refused": account.counts["refuse"],
    }


def last_run(entries: tuple[Entry, ...]) -> Told | str:
    """The run that was charged last."""
    charges = [entry for entry in entries if entry.kind == "reserve"]
    if not charges:
        return "none was charged yet"
    last = charges[-1].body
    rounds = sum(entry.body["run"] == last["run"] for entry in charges)
    return {"run": last["run"], "charged_rounds": rounds, "at": last["at"]}


def _approvals(home: SiteHome) -> Told:
    approvals = Approvals.read(home.approvals)
    return {
        "bundles": len(approvals.bundles),
        "latest": approvals.latest_bundle or "none",
        "tasks": sorted(approvals.tasks),
    }


def _agent(home: SiteHome) -> Told | str:
    try:
        return dict(ask_status(home.socket))
    except LineError as error:
        return f"down: {error}"
