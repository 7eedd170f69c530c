"""What an account says of itself at the end of a run."""

import math

from federation.agreement import SiteLevelPrivacy
from federation.round_messages import Spending
from privacy.account import Account


def spending(
    account: Account, ledger_head: str, noise_source: str, site_level: SiteLevelPrivacy | None
) -> Spending:
    """What was charged, what it cost, and what is left.

    Args:
        account: of the dataset.
        ledger_head: number and hash of the ledger's last entry; empty where there is no ledger.
        noise_source: where batches and noise came from.
        site_level: the run's site-level noise, if it has any.
    """
    policy, kinds = account.in_force(), account.counts
    cost = account.spent("record", policy.record.delta)
    return Spending(
        delta=policy.record.delta,
        epsilon_spent=_finite(cost.epsilon),
        epsilon_pld=_finite(cost.epsilon_pld),
        epsilon_rdp=_finite(cost.epsilon_rdp),
        epsilon_budget=_finite(policy.record.epsilon),
        reserved=kinds["reserve"],
        committed=kinds["commit"],
        voided=kinds["void"],
        refused=kinds["refuse"],
        ledger_head=ledger_head,
        noise_source=noise_source,
        records_per_person=policy.neighbours.records,
        neighbouring_relation=policy.neighbours.relation,
        **_of_sites(account, site_level),
    )


def _of_sites(account: Account, terms: SiteLevelPrivacy | None) -> dict[str, float | None]:
    """Of a run with site-level noise: what the site's updates as a whole have cost."""
    if terms is None:
        return {}
    budget = account.in_force().site
    delta = budget.delta if budget else terms.delta
    return {
        "site_level_delta": delta,
        "site_level_epsilon_spent": _finite(account.spent("site", delta).epsilon),
        "site_level_epsilon_budget": budget.epsilon if budget else None,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
