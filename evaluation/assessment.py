"""From the sums of a reference and of windows to all that is said of a model: pure, and repeatable.

No number is looked up anywhere else: the same sums give the same summary, to the digit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evaluation import findings
from evaluation.assessment_verdicts import alerts_of, fairness_verdict, tiles
from evaluation.audit.summary_findings import audit_findings
from evaluation.audit.summary_spec import AuditSpec
from evaluation.cell_noise import CellNoise
from evaluation.group_findings import fairness, fairness_by_scope
from evaluation.measurement import feature_grids, named_segment
from evaluation.monitoring.feature_grid import grids_digest
from evaluation.monitoring.recommendation import recommendation
from evaluation.monitoring.site_flags import LEVELS, flag_findings
from evaluation.run_layout import evaluation_spec
from evaluation.score_findings import score_findings_by_scope
from evaluation.site_disparities import site_disparities_by_scope
from evaluation.tally_spec import OVERALL, TallySpec
from evaluation.threshold_findings import explorers, threshold_effects
from evaluation.window_course import Course, concept_watches, drifts, gaps_over_windows
from evaluation.window_sums import ScopeSums, sums_by_scope
from federation.audit_summary import AuditSummary
from federation.config import EvaluationRules
from federation.evaluation_record import FrozenReference, StageRecord
from federation.evaluation_summary import EvaluationSummary, Hashes, Marks, Subject, Window
from federation.privacy_impact import PrivacyImpact
from federation.schema import TaskSchema
from federation.score_summary import GroupScores, SiteDisparities
from federation.summary import Fairness


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of the model beside the sums.

    Attributes:
        subject: which model.
        schema: of its task.
        rules: agreed beforehand.
        cohorts: sites per cohort.
        config_sha256: of the run's configuration.
        hedgerow: version.
        impact: of privacy on groups, if it was simulated.
    """

    subject: Subject
    schema: TaskSchema
    rules: EvaluationRules
    cohorts: Mapping[str, tuple[str, ...]]
    config_sha256: str
    hedgerow: str
    impact: PrivacyImpact | None = None


Scopes = Mapping[str, ScopeSums]


def assess(
    judged: Judged, reference: FrozenReference, windows: Sequence[StageRecord]
) -> EvaluationSummary:
    """All findings.

    Args:
        judged: the model.
        reference: frozen.
        windows: one at least, in order of time.

    Raises:
        DataError: the sums contradict each other.
    """
    spec, rules = evaluation_spec(judged.schema, judged.rules), judged.rules
    grids = feature_grids(judged.schema, reference.grids)
    records = (reference.record, *windows)
    readable = [_readable(judged, spec, record) for record in records]
    course = Course(spec, grids, rules, tuple(one.window for one in records), tuple(readable))
    before, latest, record = readable[0], readable[-1], windows[-1]
    drift, concept = drifts(course), concept_watches(course)
    told = _fairness(spec, latest, rules.minimum_cell, record)
    scores = _scores(spec, latest, rules.minimum_cell)
    of_latest = [one for one in drift if one.window == record.window]
    summary = EvaluationSummary(
        subject=judged.subject,
        marks=_marks(rules),
        reference=_window(spec, judged, reference.record, before),
        windows=tuple(
            _window(spec, judged, one, scopes)
            for one, scopes in zip(windows, readable[1:], strict=True)
        ),
        verdicts=(),
        recommendation=recommendation(of_latest, concept, fairness_verdict(rules, told)),
        alerts=(),
        fairness=told,
        reference_fairness=_fairness(spec, before, rules.minimum_cell, reference.record),
        scores=scores,
        site_disparities=_site_disparities(spec, latest, rules.minimum_contributors),
        gaps=gaps_over_windows(course),
        drift=drift,
        concept=concept,
        site_flags=flag_findings(latest[OVERALL].sums, rules.minimum_contributors),
        named_sites=_named(latest[OVERALL], record),
        explorer=explorers(spec, latest[OVERALL], scores.get(OVERALL, ())),
        mitigation=threshold_effects(spec, latest[OVERALL], scores.get(OVERALL, ())),
        audit=_audit(judged, latest[OVERALL], record),
        privacy_impact=judged.impact,
        hashes=Hashes(
            spec_sha256=spec.digest(),
            reference_sha256=reference.sha256(),
            edges_sha256=grids_digest(grids),
            config_sha256=judged.config_sha256,
            hedgerow=judged.hedgerow,
        ),
        notes=tuple(_notes(judged, records, readable)),
    )
    summary = summary.model_copy(update={"alerts": alerts_of(summary)})
    return summary.model_copy(update={"verdicts": tiles(summary)})


def _readable(judged: Judged, spec: TallySpec, record: StageRecord) -> dict[str, ScopeSums]:
    """All sites together, and the cohorts if each part has rows of enough sites, or none.

    One thin part would follow from the others and all together, so then none is read apart.
    """
    scopes, least = sums_by_scope(spec, record, judged.cohorts), judged.rules.minimum_contributors
    cohorts = {name: one.sites for name, one in scopes.items() if name != OVERALL}
    outside = scopes[OVERALL].sites - sum(cohorts.values())
    if any(0 < sites < least for sites in (*cohorts.values(), outside)):
        return {OVERALL: scopes[OVERALL]}
    return {name: one for name, one in scopes.items() if name == OVERALL or one.sites}


def _fairness(
    spec: TallySpec, scopes: Scopes, minimum_cell: int, record: StageRecord
) -> tuple[Fairness, ...]:
    if not record.noise_variance:
        sums = {name: one.sums for name, one in scopes.items()}
        return fairness_by_scope(spec, sums, minimum_cell)
    return tuple(
        fairness(spec, one.sums, name, minimum_cell, noise_of(record, one))
        for name, one in scopes.items()
    )


def noise_of(record: StageRecord, scope: ScopeSums) -> CellNoise:
    """The noise on each count of a scope."""
    return CellNoise(scope.noise_variance, record.noise_family)


def _scores(
    spec: TallySpec, scopes: Scopes, minimum_cell: int
) -> dict[str, tuple[GroupScores, ...]]:
    """None where counts carry noise: curves of many small cells would be of the noise."""
    if any(one.noise_variance for one in scopes.values()):
        return {}
    sums = {name: one.sums for name, one in scopes.items()}
    return score_findings_by_scope(spec, sums, minimum_cell)


def _site_disparities(
    spec: TallySpec, scopes: Scopes, minimum_contributors: int
) -> dict[str, tuple[SiteDisparities, ...]]:
    """None where counts carry noise: a record could move a site from one bucket to another."""
    if any(one.noise_variance for one in scopes.values()):
        return {}
    sums = {name: one.sums for name, one in scopes.items()}
    return site_disparities_by_scope(spec, sums, minimum_contributors)


def _named(scope: ScopeSums, record: StageRecord) -> dict[str, dict[str, str]]:
    """What sites that agreed to be named found; nothing of those that were lost."""
    subjects = [name.removeprefix("flags/") for name in scope.sums if name.startswith("flags/")]
    return {
        site: dict(zip(subjects, (LEVELS[int(level)] for level in levels), strict=True))
        for site in record.survivors
        if (levels := scope.sums.get(named_segment(site))) is not None
    }


def _audit(judged: Judged, scope: ScopeSums, record: StageRecord) -> AuditSummary | None:
    """None where counts carry noise: what is rare would drown in it."""
    if record.noise_variance:
        return None
    spec = AuditSpec(judged.schema, overlap_flags=False)
    minimum, contributors = judged.rules.minimum_cell, judged.rules.minimum_contributors
    return audit_findings(spec, scope.sums, len(record.survivors), minimum, contributors)


def _window(spec: TallySpec, judged: Judged, record: StageRecord, scopes: Scopes) -> Window:
    return Window(
        name=record.window,
        at=record.at,
        sites=scopes[OVERALL].sites,
        lost=judged.subject.sites - len(record.survivors),
        noise_variance=scopes[OVERALL].noise_variance,
        epsilon=record.epsilon,
        utility={
            name: findings.utility(spec, one.sums, noise_of(record, one))
            for name, one in scopes.items()
        },
        majority_accuracy=findings.majority_share(spec, scopes[OVERALL].sums),
        agreement_sha256=record.agreement_sha256,
    )


def _marks(rules: EvaluationRules) -> Marks:
    return Marks(
        criterion=rules.criterion,
        gap_watch=rules.gap_watch,
        gap_act=rules.gap_act,
        psi_watch=rules.psi_watch,
        psi_act=rules.psi_act,
        windows_per_false_alarm=rules.windows_per_false_alarm,
        minimum_cell=rules.minimum_cell,
        minimum_contributors=rules.minimum_contributors,
        score_bins=rules.score_bins,
    )


def _notes(
    judged: Judged, records: Sequence[StageRecord], readable: Sequence[Scopes]
) -> Iterator[str]:
    if len({record.survivors for record in records}) > 1:
        yield (
            "the set of sites changed between windows: a change may be one of who took part, not "
            "of their rows"
        )
    for record, scopes in zip(records, readable, strict=True):
        thin = sorted(set(judged.cohorts) - set(scopes))
        if thin:
            yield (
                f"window {record.window}: {', '.join(thin)} not shown apart; it takes "
                f"{judged.rules.minimum_contributors} sites with rows in every part"
            )
    if any(record.noise_variance for record in records):
        yield (
            "counts carry noise, which hides each record: curves, gaps at single sites and sites' "
            "own flags are left out, and losses; calibration is by the middles of score bins"
        )
