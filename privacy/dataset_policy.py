"""What `site.toml` says of a dataset's budget, and whether the dataset's ledger holds the same."""

import math

from federation.errors import IntegrityError
from federation.site_policy import SitePolicy
from privacy.account import Account
from privacy.budget import Budget, DatasetPolicy
from privacy.neighbours import Neighbours, relation_named


def dataset_policy(policy: SitePolicy) -> DatasetPolicy:
    """The ledger's rules, as the site states them."""
    site = None
    if policy.site_level_epsilon_budget is not None and policy.site_level_delta is not None:
        site = Budget(policy.site_level_epsilon_budget, policy.site_level_delta)
    epsilon = math.inf if policy.epsilon_budget is None else policy.epsilon_budget
    return DatasetPolicy(
        record=Budget(epsilon, policy.delta),
        site=site,
        mechanisms=policy.budget_mechanisms,
        minimum_cohort=policy.minimum_quorum,
        expires=policy.budget_expires,
        neighbours=Neighbours(
            relation_named(policy.neighbouring_relation), policy.records_per_person
        ),
        whole_plans=policy.allow_whole_plans,
    )


def require_same(policy: SitePolicy, account: Account, path: str) -> None:
    """Return if a ledger is of the site's dataset and holds the budget that the site states.

    Raises:
        IntegrityError: it is not; the ledger would go on enforcing another budget.
    """
    stated, held = dataset_policy(policy), account.in_force()
    pairs = (
        ("site", policy.site, account.holder[0]),
        ("dataset", policy.dataset, account.holder[1]),
        ("epsilon_budget", stated.record.epsilon, held.record.epsilon),
        ("delta", stated.record.delta, held.record.delta),
        ("site_level_epsilon_budget", stated.site, held.site),
        ("budget_mechanisms", stated.mechanisms, held.mechanisms),
        ("minimum_quorum", stated.minimum_cohort, held.minimum_cohort),
        ("budget_expires", stated.expires, held.expires),
        ("records_per_person", stated.neighbours.records, held.neighbours.records),
        ("allow_whole_plans", stated.whole_plans, held.whole_plans),
        ("neighbouring_relation", stated.neighbours.relation, held.neighbours.relation),
    )
    for name, ours, theirs in pairs:
        if ours != theirs:
            raise IntegrityError(
                f"{name} is {ours} in site.toml and {theirs} in the ledger {path}: set it back, or "
                "have the ledger amended with a reason: hedgerow privacy amend"
            )
