"""What a site counts under one agreement on an evaluation, as both sides derive it alone.

Exact counts are summed per scope: all sites, and each cohort. Where noise hides a record, it is
counted in as few tables as can be: once per part (a cohort, or what is outside all of them), whose
sum over the parts is that of all sites; and in no table that follows from others
(`evaluation.noised_counts`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from evaluation.audit.confident_learning import (
    CONFIDENT,
    confidence_segments,
    confidence_sums,
    confident_counts,
    confident_segments,
)
from evaluation.audit.rows import AuditRows
from evaluation.audit.summary_counts import count_rows
from evaluation.audit.summary_spec import AuditSpec, audit_segments
from evaluation.monitoring.cohort_discovery import (
    Centres,
    discovery_segments,
    initial_centres,
    start_segments,
)
from evaluation.monitoring.feature_grid import FeatureGrid, survey_grid
from evaluation.monitoring.site_flags import (
    OK,
    TOO_SMALL,
    flag_names,
    flag_segments,
    flag_values,
    site_flags,
)
from evaluation.monitoring.window_counts import DriftRules, Marks, WindowCounts
from evaluation.noised_counts import noised_segments, noised_tables
from evaluation.run_layout import evaluation_spec
from evaluation.score_tallies import count_scores
from evaluation.site_disparities import count_site_gaps
from evaluation.tallies import count_outcomes
from evaluation.tally_spec import OVERALL, TallySpec
from federation.cluster_terms import ClusterTerms
from federation.config import EvaluationRules
from federation.config_file import require_known
from federation.errors import ConfigError
from federation.evaluation_agreement import (
    CLUSTERING,
    SCORES,
    EvaluationAgreement,
    GridTerms,
    ReferenceTerms,
    Stage,
)
from federation.layout import Segment, VectorLayout, count_segment
from federation.round_layout import scoped
from federation.schema import SensitiveAttribute, TaskSchema
from federation.task import Codes, Floats

FEATURE = "feature"
SITES = "sites"
"""Names a segment: how many sites have rows at all."""
TRAINED = "trained"
OUTSIDE = "outside cohorts"
"""The part of the sites that are in no cohort; no cohort can have a name with a space."""

SURVEYS = frozenset({Stage.SURVEY, Stage.REFINE})


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Rows of one site, without what a model sees of them.

    Attributes:
        features: as `federation.task.Rows`.
        targets: class index, shape (N,).
        groups: as `federation.task.Rows`.
        inputs: what a model sees of them, shape (N, width), float32; rows are alike only if these
            are. None: features alone.
    """

    features: Mapping[str, Floats]
    targets: Codes
    groups: Mapping[str, Codes]
    inputs: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is counted in one stage.

    Attributes:
        spec: groups and score bins.
        stage: of the agreement.
        grids: of the features that are counted.
        noised: whether noise is added: then each record is in each segment of its part once.
        attribute: whose groups are counted among the rows trained on.
        reference: what sites compare their own rows with, where they flag what has changed.
        rules: marks and the contract on false alarms.
        sites: that flag at a time, and share the contract.
        named: sites that agreed to be named with what they flag.
        thresholds: per class, from which on a row is confidently counted as of it.
        clusters: of a stage that clusters of sites are found by.
    """

    spec: TallySpec
    stage: Stage
    grids: tuple[FeatureGrid, ...]
    noised: bool = False
    attribute: SensitiveAttribute | None = None
    reference: WindowCounts | None = None
    rules: DriftRules = field(default_factory=DriftRules)
    sites: int = 1
    named: tuple[str, ...] = ()
    thresholds: Floats = field(default_factory=lambda: np.zeros(0))
    clusters: ClusterTerms | None = None

    @property
    def starts(self) -> tuple[Centres, ...]:
        """What sites compare themselves with in the stage `cohort_starts`."""
        if self.clusters is None:
            return ()
        rows = {name: np.array(each, np.int64) for name, each in self.clusters.rows.items()}
        count = self.clusters.count
        return tuple(initial_centres(self.grids, rows, count, s) for s in self.clusters.seeds)

    @property
    def centres(self) -> Centres:
        """What sites compare themselves with in the later stages of a discovery."""
        assert self.clusters is not None
        shares = self.clusters.centres
        return Centres({g.feature.name: np.array(shares[g.feature.name]) for g in self.grids})

    def segments(self, summands: int) -> tuple[Segment, ...]:
        """What is counted of one scope or part."""
        most = self.spec.schema.maximum_rows
        if self.attribute is not None:
            return (count_segment(TRAINED, 2 * len(self.attribute.groups), most, summands),)
        features = tuple(
            count_segment(f"{FEATURE}/{grid.feature.name}", grid.bins, most, summands)
            for grid in self.grids
        )
        sites = () if self.noised else (count_segment(SITES, 1, 1, summands),)
        if self.clusters is not None:
            return (*sites, *self._cluster_segments(summands))
        if self.stage in SURVEYS:
            return (*sites, *features)
        if self.stage is Stage.LABELS:
            return (*sites, *confident_segments(self.spec.schema, summands))
        if self.noised:
            return (*noised_segments(self.spec, summands), *features)
        outcomes = (*self.spec.segments(summands), *self.spec.report_segments(summands))
        flags = flag_segments(self.flags, summands)
        if flags:
            flags += tuple(
                count_segment(named_segment(site), len(self.flags), TOO_SMALL, summands)
                for site in self.named
            )
        audit = audit_segments(self.audit, summands)
        confidence = confidence_segments(self.spec.schema, summands)
        return (*sites, *outcomes, *features, *audit, *confidence, *flags)

    def _cluster_segments(self, summands: int) -> tuple[Segment, ...]:
        if self.stage is Stage.COHORT_STARTS:
            return start_segments(self.starts, summands)
        most = self.spec.schema.maximum_rows
        moves, counts = discovery_segments(self.centres, most, summands)
        return moves if self.stage is Stage.COHORT_MOVES else counts

    @property
    def audit(self) -> AuditSpec:
        """What is counted of the data's quality; nothing that depends on rows trained on."""
        return AuditSpec(self.spec.schema, overlap_flags=False)

    @property
    def flags(self) -> tuple[str, ...]:
        """What sites judge in their own rows; nothing where noise hides a record."""
        told = self.reference is not None and not self.noised and self.spec.schema.is_binary
        return flag_names(self.grids, cusum=False) if told else ()

    @property
    def tables(self) -> int:
        """In how many tables a record is counted once, where noise is added."""
        return len(self.segments(1))

    def scopes(self, agreement: EvaluationAgreement) -> tuple[str, ...]:
        """Whose sums are in the vector: bins and weights are the same for all sites."""
        for_all = self.stage in (*SURVEYS, *CLUSTERING, Stage.LABELS, Stage.TRAINING_ROWS)
        if for_all or not agreement.cohorts:
            return (OVERALL,)
        if not self.noised:
            return agreement.all_scopes
        inside = {site for sites in agreement.cohorts.values() for site in sites}
        outside = (OUTSIDE,) if set(agreement.sites) - inside else ()
        return (*sorted(agreement.cohorts), *outside)

    def scopes_of(self, site: str, agreement: EvaluationAgreement) -> tuple[str, ...]:
        """Those of them that a site's rows are in."""
        scopes, mine = self.scopes(agreement), agreement.scopes(site)
        if not self.noised or scopes == (OVERALL,):
            return tuple(scope for scope in scopes if scope in mine)
        return (mine[1] if len(mine) > 1 else OUTSIDE,)

    def layout(self, agreement: EvaluationAgreement) -> VectorLayout:
        """The one vector of exact counts.

        Raises:
            ConfigError: a sum could overflow its ring.
        """
        summands = len(agreement.sites)
        return VectorLayout(
            tuple(
                replace(segment, name=scoped(scope, segment.name))
                for scope in self.scopes(agreement)
                for segment in self.segments(summands)
            ),
            summands,
        )


def agreed_measurement(schema: TaskSchema, agreement: EvaluationAgreement) -> Measurement:
    """What is counted under an agreement.

    Raises:
        ConfigError: its digest of groups, ranges and bins is not that of this schema, it names an
            attribute or features that the schema has not, or noise goes with more than two classes.
    """
    spec = evaluation_spec(schema, agreement.evaluation)
    if spec.digest() != agreement.spec_digest:
        raise ConfigError(
            "spec_digest",
            agreement.spec_digest,
            f"{spec.digest()}, by this task's schema",
            "the sites must hold the same version of the task",
        )
    noised = agreement.evaluation.epsilon is not None
    if noised and not schema.is_binary:
        raise ConfigError(
            "evaluation.epsilon",
            agreement.evaluation.epsilon,
            "none for a task of more than two classes",
            "a record would be in a table for each class; leave it out, or predict two classes",
        )
    if agreement.stage is Stage.TRAINING_ROWS:
        attributes = {attribute.name: attribute for attribute in schema.attributes}
        require_known("mitigation.attribute", agreement.attribute, attributes)
        return Measurement(spec, agreement.stage, (), noised, attributes[agreement.attribute])
    if agreement.stage is Stage.SURVEY:
        grids = tuple(survey_grid(feature) for feature in schema.features)
    else:
        grids = feature_grids(schema, agreement.grids)
    if agreement.thresholds and len(agreement.thresholds) != len(schema.classes):
        raise ConfigError(
            "thresholds", agreement.thresholds, f"one for each of {', '.join(schema.classes)}"
        )
    thresholds = np.array(agreement.thresholds)
    clusters = agreement.clusters
    if clusters is not None:
        _require_clusters_in_bins(clusters, grids)
    measurement = Measurement(
        spec, agreement.stage, grids, noised, thresholds=thresholds, clusters=clusters
    )
    flagged = agreement.evaluation.site_flags and schema.is_binary and not noised
    if agreement.reference is None or not flagged:
        return measurement
    return replace(
        measurement,
        reference=_reference_counts(agreement.reference, grids),
        rules=drift_rules(agreement.evaluation),
        sites=len(agreement.sites),
        named=agreement.named,
    )


def _require_clusters_in_bins(clusters: ClusterTerms, grids: tuple[FeatureGrid, ...]) -> None:
    """Return if centres, or the rows that starts are made about, are in the quantile bins.

    Raises:
        ConfigError: of other features, or in other bins.
    """
    told = {name: len(rows) for name, rows in clusters.rows.items()}
    told |= {name: len(shares[0]) for name, shares in clusters.centres.items()}
    bins = {grid.feature.name: len(grid.quantile_bins) for grid in grids}
    if told != bins or not all(bins.values()):
        raise ConfigError("clusters", told, f"shares in the bins of {bins}")


def named_segment(site: str) -> str:
    """Where a site that is named puts the levels of what it flags."""
    return f"named/{site}"


def drift_rules(rules: EvaluationRules) -> DriftRules:
    """Marks, and the chance of a false alarm in a window."""
    return DriftRules(
        false_alarms=1 / rules.windows_per_false_alarm,
        minimum_cell=rules.minimum_cell,
        psi=Marks(rules.psi_watch, rules.psi_act),
        fairness=Marks(rules.gap_watch, rules.gap_act),
    )


def _reference_counts(terms: ReferenceTerms, grids: tuple[FeatureGrid, ...]) -> WindowCounts:
    """The reference as sites are shown it.

    Raises:
        ConfigError: it lacks a feature.
    """
    names = [grid.feature.name for grid in grids]
    if not set(names) <= set(terms.histograms):
        missing = sorted(set(names) - set(terms.histograms))
        raise ConfigError("reference.histograms", missing, "counts of every feature")
    scores = terms.histograms.get(SCORES)
    return WindowCounts(
        name=terms.window,
        rows=sum(terms.outcomes),
        features={name: np.array(terms.histograms[name], np.int64) for name in names},
        scores=None if scores is None else np.array(scores, np.int64).reshape(2, -1),
        confusions={OVERALL: np.array(terms.outcomes, np.int64)},
        sites=terms.sites,
    )


def own_flags(measurement: Measurement, before: WindowCounts, now: WindowCounts) -> dict[str, int]:
    """One site's verdicts on its own window: what has changed there.

    Compared with the site's own reference rows. Where these are too few to tell, with the reference
    of all sites, if the site is known not to have differed from it in the reference window: what
    was always so has not changed.

    Args:
        measurement: with a reference.
        before: the site's own reference window; it may have no rows.
        now: the site's own window.
    """
    assert measurement.reference is not None
    broadcast, rules = measurement.reference, measurement.rules
    # Up to three looks at the same rows share the contract.
    looks = 3 * measurement.sites

    def flags(one: WindowCounts, other: WindowCounts) -> dict[str, int]:
        return site_flags(measurement.grids, one, other, rules, looks)

    against_all = flags(broadcast, now)
    if not before.rows:
        return against_all
    changed, always = flags(before, now), flags(broadcast, before)
    return {
        name: against_all[name] if level == TOO_SMALL and always[name] == OK else level
        for name, level in changed.items()
    }


def site_window(measurement: Measurement, name: str, counted: Mapping[str, Floats]) -> WindowCounts:
    """What a site counted of its own rows, as drift is found in it.

    Args:
        measurement: of a task of two classes.
        name: of the window.
        counted: by `count`.
    """
    return WindowCounts(
        name=name,
        rows=int(counted["rows"][0]),
        features={
            grid.feature.name: counted[f"{FEATURE}/{grid.feature.name}"].astype(np.int64)
            for grid in measurement.grids
        },
        scores=counted[f"scores/{OVERALL}"].astype(np.int64).reshape(2, -1),
        confusions={
            group.label: counted[f"confusion/{group.label}"].astype(np.int64)
            for group in measurement.spec.groups
        },
    )


def told_flags(measurement: Measurement, site: str, flags: Mapping[str, int]) -> dict[str, Floats]:
    """What a site adds to the sum of its verdicts: one level each, and in its name if it agreed."""
    own = np.array([float(flags[name]) for name in measurement.flags])
    return flag_values(flags) | {
        named_segment(one): own if one == site else np.zeros_like(own) for one in measurement.named
    }


def feature_grids(schema: TaskSchema, terms: tuple[GridTerms, ...]) -> tuple[FeatureGrid, ...]:
    """The bins that an agreement names.

    Raises:
        ConfigError: of no feature of the schema, or twice of one.
        DataError: not possible for the feature.
    """
    features = {feature.name: feature for feature in schema.features}
    names = [one.feature for one in terms]
    if len(set(names)) != len(names) or not features.keys() >= set(names):
        raise ConfigError("grids", names, f"features of the task, once each: {', '.join(features)}")
    return tuple(FeatureGrid(features[one.feature], one.edges, one.quantile_bins) for one in terms)


def grid_terms(grids: tuple[FeatureGrid, ...]) -> tuple[GridTerms, ...]:
    """The other way round."""
    return tuple(
        GridTerms(feature=grid.feature.name, edges=grid.edges, quantile_bins=grid.quantile_bins)
        for grid in grids
    )


def count(
    measurement: Measurement, rows: WindowRows, probabilities: Floats | None
) -> dict[str, Floats]:
    """What a site counts, per name of `measurement.segments`: exactly, before any noise.

    Flags are not among it: they need two windows (`own_flags`, `told_flags`). Nor is what finds
    clusters: it needs to know where the site stood before; these stages count features.

    Args:
        measurement: what to count.
        rows: of the window; there may be none.
        probabilities: of the classes, shape (N, classes); None in a stage without a model.

    Raises:
        DataError: rows or probabilities are not what the schema promises.
    """
    if measurement.attribute is not None:
        groups, labels = rows.groups[measurement.attribute.name], rows.targets
        table = np.bincount(2 * groups + labels, minlength=2 * len(measurement.attribute.groups))
        return {TRAINED: table.astype(np.float64)}
    counted = {
        f"{FEATURE}/{grid.feature.name}": grid.count(rows.features[grid.feature.name]).astype(
            np.float64
        )
        for grid in measurement.grids
    }
    if not measurement.noised:
        counted[SITES] = np.array([float(len(rows.targets) > 0)])
    if probabilities is None:
        return counted
    if measurement.stage is Stage.LABELS:
        confident = confident_counts(probabilities, rows.targets, measurement.thresholds)
        return {SITES: counted[SITES], CONFIDENT: confident.ravel().astype(np.float64)}
    spec, judged = measurement.spec, (probabilities, rows.targets, rows.groups)
    outcomes = count_outcomes(spec, *judged)
    if measurement.noised:
        return counted | noised_tables(spec, outcomes)
    audited = AuditRows(rows.features, rows.targets, rows.groups, rows.inputs)
    counted |= count_rows(measurement.audit, audited)
    counted |= confidence_sums(probabilities, rows.targets)
    return counted | outcomes | count_scores(spec, *judged) | count_site_gaps(spec, outcomes)
