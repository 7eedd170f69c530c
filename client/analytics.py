"""A site's side of analytics: may these queries be answered, what do they cost, and the answer.

Every site adds its own whole noise before its numbers leave, so what protects its records rests on
no other site and not on the secure sum either.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from client.consent import Refusal, check_cohort, check_common_rules, check_graph, check_task
from evaluation.analytics.counting import count, encode
from evaluation.analytics.fixed_point import Integers
from evaluation.analytics.plan import AnalyticsPlan, Part, agreed_plan, columns_of
from federation.analytics_agreement import AnalyticsAgreement
from federation.entropy import Entropy
from federation.errors import ConfigError
from federation.layout import VectorLayout
from federation.ring_vector import RingVector
from federation.round_layout import RoundKind
from federation.run_rules import SignedRunRules
from federation.site_policy import SitePolicy
from federation.task import SiteData, Task
from privacy.account import Charge
from privacy.event import Composed, DiscreteLaplace, NonPrivate, PrivacyEvent, SingleEvent
from privacy.mechanisms.discrete_laplace import discrete_laplace


@dataclass(frozen=True)
class AnalyticsBench:
    """What a site works with while it answers one agreement's queries.

    Attributes:
        site: the site's name.
        agreement: of the run.
        task: for its schema.
        data: the site's rows; queries are about all of them, trained on or held out.
        entropy: of noise; the operating system's in a deployment.

    Raises:
        Refusal: a query that the task's schema has no answer for.
    """

    site: str
    agreement: AnalyticsAgreement
    task: Task
    data: SiteData
    entropy: Entropy

    def __post_init__(self) -> None:
        try:
            _ = self.plan.layout(len(self.agreement.sites))
        except ConfigError as error:
            raise Refusal("query_impossible", str(error)) from error

    @property
    def kinds(self) -> tuple[RoundKind, ...]:
        """The rounds that the agreement provides for."""
        return (RoundKind.ANALYZE,)

    @cached_property
    def plan(self) -> AnalyticsPlan:
        """What is counted."""
        return agreed_plan(self.task.schema, self.agreement)

    def layout(self, _: RoundKind) -> VectorLayout:
        """Of the one vector."""
        return self.plan.layout(len(self.agreement.sites))

    @property
    def parameters(self) -> int:
        """No model travels."""
        return 0

    def broadcast(self, _: RoundKind) -> int:
        """Nor anything else."""
        return 0

    def is_charged(self, _: RoundKind) -> bool:
        """Every answer is."""
        return True

    def charge(self) -> Charge:
        """What the answer costs each record; nothing hides the site as a whole."""
        return Charge(analytics_event(self.plan))


def analytics_event(plan: AnalyticsPlan) -> PrivacyEvent:
    """What one answer to all queries costs a record of the site: every part is a release."""
    return Composed(tuple(_part_event(part) for part in plan.parts))


def analytics_contribution(bench: AnalyticsBench, round_: int, charge: int) -> RingVector:
    """The noised numbers of this site, in the layout's rings, not yet masked.

    Args:
        bench: of the site.
        round_: number of the round.
        charge: which release of the round this is; noise is drawn for it alone.

    Raises:
        DataError: the rows are not what the schema promises.
    """
    data = (bench.data.train, bench.data.reference, bench.data.current)
    schema = bench.task.schema
    features = {
        f.name: np.concatenate([rows.features[f.name] for rows in data]) for f in schema.features
    }
    groups = {
        a.name: np.concatenate([rows.groups[a.name] for rows in data]) for a in schema.attributes
    }
    entropy = bench.entropy.child("analytics", bench.site, round_, charge)
    counted = count(bench.plan, features, groups)
    noised = {part: _noised(part, whole, entropy) for part, whole in counted.items()}
    return bench.layout(RoundKind.ANALYZE).encode(encode(noised))


def check_analytics(
    policy: SitePolicy,
    signed: SignedRunRules,
    roster_sites: frozenset[str],
    agreement: AnalyticsAgreement,
) -> None:
    """Return if the site answers these queries.

    Args:
        policy: the site's own rules.
        signed: the consortium's rules, as installed at the site.
        roster_sites: whom the site knows.
        agreement: what the coordinator proposes.

    Raises:
        Refusal: the first of these rules that the agreement breaks.
    """
    check_task(policy, agreement.task)
    check_cohort(policy, roster_sites, agreement)
    _check_queries(policy, agreement)
    check_graph(policy, agreement)
    check_common_rules(signed, agreement)
    # Without noise is without privacy, whether rows are trained on or counted.
    if agreement.exact_queries and not signed.rules.allow_without_privacy:
        raise Refusal(
            "privacy_required",
            "the consortium does not allow answers without privacy; no epsilon: "
            f"{', '.join(agreement.exact_queries)}",
        )


def _check_queries(policy: SitePolicy, agreement: AnalyticsAgreement) -> None:
    if policy.site_level_epsilon_budget is not None:
        raise Refusal(
            "site_level_required",
            "this site gives nothing without site-level noise, and answers have none",
        )
    if agreement.public_rows.get(policy.site) != policy.public_rows:
        raise Refusal(
            "public_rows_differ", f"this site declares {policy.public_rows} rows in public"
        )
    asked = frozenset[str]().union(*(columns_of(query) for query in agreement.queries))
    private = sorted(asked - set(policy.analytics_columns))
    if private:
        raise Refusal(
            "column_not_allowed",
            f"this site answers nothing about {', '.join(private)} (not in its analytics_columns)",
        )
    if agreement.exact_queries and not policy.allow_exact_analytics:
        raise Refusal(
            "exact_not_allowed",
            f"this site answers with noise only; no epsilon: {', '.join(agreement.exact_queries)}",
        )
    cost = sum(query.epsilon or 0.0 for query in agreement.queries)
    if policy.analytics_epsilon is not None and cost > policy.analytics_epsilon:
        raise Refusal(
            "epsilon_too_large",
            f"the queries cost {cost:g} together, above this site's {policy.analytics_epsilon:g}",
        )


def _part_event(part: Part) -> SingleEvent:
    scale = part.scale
    return NonPrivate() if scale is None else DiscreteLaplace(part.sensitivity, scale, 1)


def _noised(part: Part, whole: Integers, entropy: Entropy) -> Integers:
    """Cut at the part's bound: of numbers that noise protects already, by a public rule."""
    if part.scale is None:
        return whole
    noise = discrete_laplace(part.length, part.scale, entropy.child(part.query, part.role))
    noised: Integers = np.clip(whole + noise, -part.bound, part.bound)
    return noised
