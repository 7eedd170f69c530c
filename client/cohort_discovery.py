"""A site's side of the discovery of cohorts: it tells sums where it goes, and nobody else.

The coordinator keeps the minimum of contributors: it alone sees how many moves are made together.
What a site can see, it holds to: one discovery of its window, over the same sites, bins and number
of clusters throughout, one set of centres and of admitted moves in each step, none left out and
none asked again in another way.
"""

from collections.abc import Callable, Mapping

import numpy as np

from client.consent import Refusal
from client.discovery_journal import DiscoveryJournal
from client.journal import Journal
from evaluation.measurement import FEATURE, SITES, Measurement
from evaluation.monitoring.cohort_discovery import (
    Member,
    Settlement,
    coarse_counts,
    distances,
    start_contribution,
)
from federation import canonical
from federation.cluster_terms import ClusterTerms
from federation.cohort_record import OwnCohort
from federation.evaluation_agreement import EvaluationAgreement, Stage
from federation.site_policy import SitePolicy
from federation.task import Floats

KeepCohort = Callable[[OwnCohort], None]


def check_discovery(policy: SitePolicy, agreement: EvaluationAgreement, journal: Journal) -> None:
    """Return if the site takes part in this discovery of cohorts.

    Raises:
        Refusal: its policy does not allow it, or its rows of the window were part of another one.
    """
    if not policy.allow_cohort_discovery:
        raise Refusal(
            "discovery_not_allowed",
            "this site takes part in no discovery of cohorts: allow_cohort_discovery is not set",
        )
    if not policy.exact_evaluations_per_window:
        raise Refusal("exact_not_allowed", "this site's held-out rows are counted with noise only")
    # One, whatever exact_evaluations_per_window says: between the clusters of two discoveries
    # there is no minimum of sites that differ.
    question = canonical.digest(["cohort discovery", agreement.task.name, agreement.window])
    if not journal.admit_evaluation(question, discovery_key(agreement), most=1):
        raise Refusal(
            "discovered_before",
            f"this site's rows of the window {agreement.window} were part of another discovery of "
            "cohorts (of another run, number of clusters, bins or set of sites); one is allowed",
        )


def discovery_key(agreement: EvaluationAgreement) -> str:
    """Names a discovery with all that is the same in each of its questions, as SHA-256."""
    assert agreement.clusters is not None
    grids = [grid.model_dump(mode="json") for grid in agreement.grids]
    whole = (agreement.window, agreement.task.model_dump(mode="json"), agreement.spec_digest)
    named = agreement.clusters.discovery, agreement.clusters.count
    return canonical.digest([*named, *whole, grids, list(agreement.sites)])


def cluster_values(
    agreement: EvaluationAgreement,
    measurement: Measurement,
    counted: Mapping[str, Floats],
    journal: DiscoveryJournal,
    keep: KeepCohort,
) -> dict[str, Floats]:
    """What the site adds to one sum of a discovery; durable before it is returned.

    A site without rows in the window adds zeros: it would make up for one that has some.

    Args:
        agreement: of a stage that clusters are found by.
        measurement: agreed.
        counted: by `evaluation.measurement.count`.
        journal: knows where the site stands.
        keep: tells the site itself.

    Raises:
        ProtocolViolation: the step was answered on other terms before, or is out of order.
    """
    terms, key = agreement.clusters, discovery_key(agreement)
    assert terms is not None
    own = _own_counts(measurement, counted, journal, key)
    sites = {SITES: counted[SITES]}
    has_rows = any(each.any() for each in own.values())
    if terms.step == 0:
        values = start_contribution(measurement.starts, own)
        return sites | (values if has_rows else _zeros(values))
    centres, told = measurement.centres, canonical.digest(terms.model_dump(mode="json")["centres"])
    member = Member(own, journal.standing(key, terms.step))
    if agreement.stage is Stage.COHORT_MOVES:
        journal.bind_centres(key, terms.step, told)
        values = member.wish(centres)
        return sites | (values if has_rows else _zeros(values))
    if has_rows:
        member = member.settle(Settlement(np.array(terms.admitted)), centres)
    admitted = canonical.digest([list(row) for row in terms.admitted])
    journal.settle(key, terms.step, told, admitted, member.cluster)
    far = tuple(distances(centres, own).tolist()) if has_rows else ()
    keep(_own_cohort(agreement.window, terms, member.cluster, far))
    return sites | member.contribute(centres)


def _own_counts(
    measurement: Measurement, counted: Mapping[str, Floats], journal: DiscoveryJournal, key: str
) -> dict[str, np.ndarray]:
    """The site's rows as they were when the discovery began."""
    fine = {
        grid.feature.name: counted[f"{FEATURE}/{grid.feature.name}"].astype(np.int64)
        for grid in measurement.grids
    }
    coarse = coarse_counts(measurement.grids, fine)
    kept = journal.bind_counts(key, {name: tuple(c.tolist()) for name, c in coarse.items()})
    return {name: np.array(counts, np.int64) for name, counts in kept.items()}


def _own_cohort(
    window: str, terms: ClusterTerms, cluster: int | None, far: tuple[float, ...]
) -> OwnCohort:
    name = None if cluster is None else f"cohort {cluster + 1}"
    return OwnCohort(
        window=window, discovery=terms.discovery, step=terms.step, cohort=name, distances=far
    )


def _zeros(values: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name: np.zeros_like(each) for name, each in values.items()}
