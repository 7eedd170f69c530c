"""A site's side of an evaluation: may these rows be counted for this model, and the counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod

import numpy as np

from client.cohort_discovery import KeepCohort, check_discovery, cluster_values
from client.consent import Refusal, check_cohort, check_common_rules, check_graph, check_task
from client.discovery_journal import DiscoveryJournal
from client.journal import Journal
from client.observation import probabilities
from evaluation.measurement import (
    Measurement,
    WindowRows,
    agreed_measurement,
    count,
    own_flags,
    site_window,
    told_flags,
)
from evaluation.monitoring.window_drift import drift_findings
from federation import canonical
from federation.agreement import Agreement
from federation.agreement_kinds import parse_agreement
from federation.drift_summary import WindowDrift
from federation.entropy import Entropy
from federation.errors import ConfigError, DataError, PrivacyRefusal, ProtocolViolation
from federation.evaluation_agreement import CountNoiseTerms, EvaluationAgreement, Stage
from federation.initial_model import initial_model, parameter_count
from federation.layout import VectorLayout
from federation.mitigated_task import mitigated, multiplier_count
from federation.ring_vector import RingVector
from federation.round_layout import RoundKind, scoped
from federation.run_rules import SignedRunRules
from federation.site_policy import SitePolicy
from federation.task import Floats, Rows, SiteRequest, Task, held_out_rows
from privacy.account import Charge
from privacy.count_noise import CountNoisePlan
from privacy.evaluation_noise import add_noise, agreed_noise, with_noise
from privacy.event import NonPrivate
from privacy.flat_parameters import load_flat_parameters

Judge = Callable[[Rows], Floats]
"""Class probabilities of rows, by the model that is judged."""


@dataclass(frozen=True)
class EvaluationBench:
    """What a site works with while it counts under one agreement.

    Attributes:
        site: the site's name.
        agreement: of the evaluation.
        task: model and schema.
        rows: of the agreed window; rows trained on in the stage `training_rows`.
        entropy: of noise; the operating system's in a deployment.
        before: of the reference window, where what has changed is flagged.
        keep_local: keeps the site's own report on the window, which never leaves.
        discoveries: where the site stands while cohorts are discovered; needed in these stages.
        keep_cohort: keeps in which cohort the site is, which never leaves.

    Raises:
        Refusal: something is to be counted that the task's schema has no place for.
    """

    site: str
    agreement: EvaluationAgreement
    task: Task
    rows: Rows
    entropy: Entropy
    before: Rows | None = None
    keep_local: Callable[[WindowDrift], None] = lambda _: None
    discoveries: DiscoveryJournal | None = None
    keep_cohort: KeepCohort = lambda _: None

    def __post_init__(self) -> None:
        try:
            _ = self.judged, self.layout(RoundKind.MEASURE)
        except (ConfigError, DataError, PrivacyRefusal) as error:
            raise Refusal("evaluation_impossible", str(error)) from error
        terms = self.agreement.model
        if terms and terms.parameters != self.parameters + multiplier_count(self.judged):
            raise Refusal("evaluation_impossible", "the task's model has another size")

    @property
    def kinds(self) -> tuple[RoundKind, ...]:
        """The rounds that the agreement provides for."""
        return (RoundKind.MEASURE,)

    @cached_property
    def measurement(self) -> Measurement:
        """What is counted."""
        return agreed_measurement(self.task.schema, self.agreement)

    @cached_property
    def noise(self) -> CountNoisePlan | None:
        """Of the one release; None where counts are exact."""
        exact = self.measurement.layout(self.agreement)
        return agreed_noise(self.agreement, self.measurement.tables, exact.length)

    def layout(self, _: RoundKind) -> VectorLayout:
        """Of the one vector, wide enough for the noise of all sites."""
        return with_noise(self.measurement.layout(self.agreement), self.noise)

    @cached_property
    def judged(self) -> Task:
        """The task as the model was trained for it: a mitigation may have parts of its own."""
        terms = self.agreement.model
        return mitigated(self.task, terms.mitigation if terms else None)

    @cached_property
    def parameters(self) -> int:
        """How many the model has; none without a model."""
        terms = self.agreement.model
        return parameter_count(self.judged, terms.seed) if terms else 0

    def broadcast(self, _: RoundKind) -> int:
        """How many numbers travel."""
        return self.agreement.model.parameters if self.agreement.model else 0

    def is_charged(self, _: RoundKind) -> bool:
        """Whether the ledger pays: for counts with noise, which alone have a finite cost."""
        return self.noise is not None

    def charge(self) -> Charge:
        """What the counts cost each record."""
        return Charge(NonPrivate() if self.noise is None else self.noise.event())


def evaluated_rows(
    task: Task, request: SiteRequest, agreement: EvaluationAgreement
) -> tuple[Rows, Rows | None]:
    """The rows that an agreement is about, and those of the reference window, if it has one.

    Raises:
        Refusal: the task has no such window.
        DataError: the rows are not what the schema promises.
    """
    if agreement.stage is Stage.TRAINING_ROWS:
        return task.load(request).train, None
    try:
        rows = held_out_rows(task, request, agreement.window)
        if agreement.reference is None:
            return rows, None
        return rows, held_out_rows(task, request, agreement.reference.window)
    except ConfigError as error:
        raise Refusal("unknown_window", str(error)) from error


def evaluation_vector(
    bench: EvaluationBench, parameters: Floats, digest: bytes, charge: int
) -> RingVector:
    """The counts of this site, in the layout's rings, not yet masked.

    Args:
        bench: of the site.
        parameters: of the model as it travelled, and any multipliers, shape (bench.broadcast,).
        digest: SHA-256 of them, 32 bytes.
        charge: which release of the round this is, with noise of its own; 0 without noise.

    Raises:
        ProtocolViolation: it is another model than the one agreed on.
        DataError: the rows are not what the schema promises.
    """
    terms, judge = bench.agreement.model, None
    if terms is not None:
        if digest.hex() != terms.sha256:
            raise ProtocolViolation("model: not the one that this evaluation was agreed for")
        model = initial_model(bench.judged, terms.seed)
        load_flat_parameters(model, parameters[: bench.parameters])
        judge = partial(probabilities, bench.judged, model)
    counted = _counted(bench, bench.rows, judge)
    if bench.measurement.flags and bench.before is not None:
        counted |= _flagged(bench, _counted(bench, bench.before, judge), counted)
    if bench.agreement.clusters is not None:
        assert bench.discoveries is not None
        counted = cluster_values(
            bench.agreement, bench.measurement, counted, bench.discoveries, bench.keep_cohort
        )
    mine = bench.measurement.scopes_of(bench.site, bench.agreement)
    values = {
        scoped(scope, name): value if scope in mine else np.zeros_like(value)
        for scope in bench.measurement.scopes(bench.agreement)
        for name, value in counted.items()
    }
    layout = bench.layout(RoundKind.MEASURE)
    vector = layout.encode(values)
    if bench.noise is not None:
        place = (bench.agreement.stage, bench.agreement.window, charge)
        add_noise(layout, vector, bench.noise, bench.entropy.child("counts", bench.site, *place))
    return vector


def _counted(bench: EvaluationBench, rows: Rows, judge: Judge | None) -> dict[str, Floats]:
    # Not -1: a site may have no rows in the window.
    inputs = rows.inputs.reshape(len(rows), prod(rows.inputs.shape[1:])).numpy()
    plain = WindowRows(rows.features, rows.targets.numpy(), rows.groups, inputs)
    return count(bench.measurement, plain, judge(rows) if judge else None)


def _flagged(
    bench: EvaluationBench, before: Mapping[str, Floats], now: Mapping[str, Floats]
) -> dict[str, Floats]:
    """What the site tells of its own drift; the whole report is kept for itself."""
    measurement, reference = bench.measurement, bench.agreement.reference
    assert reference is not None
    earlier = site_window(measurement, reference.window, before)
    current = site_window(measurement, bench.agreement.window, now)
    if earlier.rows:
        # For the site alone: its own small groups are no secret from it.
        rules = replace(measurement.rules, families=measurement.spec.families, minimum_cell=1)
        bench.keep_local(
            drift_findings(measurement.grids, earlier, current, None, rules, bench.site)
        )
    return told_flags(measurement, bench.site, own_flags(measurement, earlier, current))


def check_evaluation(
    policy: SitePolicy,
    signed: SignedRunRules,
    roster_sites: frozenset[str],
    agreement: EvaluationAgreement,
    journal: Journal,
) -> None:
    """Return if the site counts its rows so.

    Args:
        policy: the site's own rules.
        signed: the consortium's rules, as installed at the site.
        roster_sites: whom the site knows.
        agreement: what the coordinator proposes.
        journal: knows which models were trained here, and what was counted before.

    Raises:
        Refusal: the first of these rules that the agreement breaks.
    """
    check_task(policy, agreement.task)
    check_cohort(policy, roster_sites, agreement)
    check_graph(policy, agreement)
    check_common_rules(signed, agreement)
    if policy.site in agreement.named and not policy.name_with_flags:
        raise Refusal("naming_not_allowed", "this site is not named with what it finds")
    if agreement.public_rows.get(policy.site) != policy.public_rows:
        raise Refusal(
            "public_rows_differ", f"this site declares {policy.public_rows} rows in public"
        )
    exact = agreement.noise is None
    if exact and agreement.stage is Stage.TRAINING_ROWS and not policy.allow_without_privacy:
        raise Refusal("privacy_required", "this site's training rows are not counted without noise")
    _check_model(agreement, journal)
    if agreement.noise is not None:
        _check_noise(policy, agreement.noise)
        return
    if agreement.clusters is not None:
        check_discovery(policy, agreement, journal)
        return
    most = policy.exact_evaluations_per_window
    if not journal.admit_evaluation(_question(agreement), agreement.run, most):
        raise Refusal(
            "counted_before",
            f"this site's rows of the window {agreement.window} were counted without noise "
            f"{most} times for this model and stage ({agreement.stage}); "
            "exact_evaluations_per_window allows no more",
        )


def _check_model(agreement: EvaluationAgreement, journal: Journal) -> None:
    """A model that nobody trained could be made to single out a row."""
    terms = agreement.model
    if terms is None:
        return
    body = journal.agreement(terms.run)
    trained = body is not None and isinstance(parse_agreement(body), Agreement)
    if not trained or not journal.was_about(terms.run, bytes.fromhex(terms.sha256)):
        raise Refusal(
            "unknown_model",
            f"this site judges models of runs it was part of, and saw no such model in {terms.run}",
        )


def _check_noise(policy: SitePolicy, terms: CountNoiseTerms) -> None:
    """Each site adds a share of the noise only, and it must cost no more than the site allows."""
    if terms.honest > 1 and not policy.allow_shared_noise:
        raise Refusal(
            "shared_noise",
            "this site relies on no other site's noise: allow_shared_noise is not set",
        )
    if terms.delta > policy.delta:
        raise Refusal("delta_too_large", f"delta {terms.delta:g} is above {policy.delta:g}")
    each = terms.epsilon / terms.releases
    if policy.evaluation_epsilon is not None and each > policy.evaluation_epsilon:
        raise Refusal(
            "epsilon_too_large",
            f"{each:g} for each of {terms.releases} evaluations is above this site's "
            f"{policy.evaluation_epsilon:g}",
        )


def _question(agreement: EvaluationAgreement) -> str:
    model = agreement.model.sha256 if agreement.model else ""
    return canonical.digest([agreement.stage, agreement.window, model])
