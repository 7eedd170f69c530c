"""What a site counts under one agreement on an evaluation, as both sides derive it alone.

Exact counts are summed per scope: all sites, and each cohort. Where noise hides a record, it is
counted in as few tables as can be: once per part (a cohort, or what is outside all of them), whose
sum over the parts is that of all sites; and in no table that follows from others
(`evaluation.noised_counts`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from evaluation.monitoring.feature_grid import FeatureGrid, survey_grid
from evaluation.monitoring.site_flags import flag_names, flag_segments, flag_values, site_flags
from evaluation.monitoring.window_counts import DriftRules, Marks, WindowCounts
from evaluation.noised_counts import noised_segments, noised_tables
from evaluation.score_tallies import count_scores
from evaluation.site_disparities import count_site_gaps
from evaluation.tallies import count_outcomes
from evaluation.tally_spec import OVERALL, TallySpec
from federation.config import EvaluationRules
from federation.config_file import require_known
from federation.errors import ConfigError
from federation.evaluation_agreement import (
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
    """

    features: Mapping[str, Floats]
    targets: Codes
    groups: Mapping[str, Codes]


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
    """

    spec: TallySpec
    stage: Stage
    grids: tuple[FeatureGrid, ...]
    noised: bool = False
    attribute: SensitiveAttribute | None = None
    reference: WindowCounts | None = None
    rules: DriftRules = field(default_factory=DriftRules)
    sites: int = 1

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
        if self.stage in SURVEYS:
            return (*sites, *features)
        if self.noised:
            return (*noised_segments(self.spec, summands), *features)
        outcomes = (*self.spec.segments(summands), *self.spec.report_segments(summands))
        flags = flag_segments(self.flags, summands)
        return (*sites, *outcomes, *features, *flags)

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
        if self.stage in SURVEYS or self.attribute is not None or not agreement.cohorts:
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


def evaluation_spec(schema: TaskSchema, rules: EvaluationRules) -> TallySpec:
    """Groups and bins of evaluations.

    Raises:
        ConfigError: an intersection of something else than the task's attributes.
    """
    return TallySpec(schema, rules.intersections, rules.score_bins, rules.feature_bins)


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
    measurement = Measurement(spec, agreement.stage, grids, noised)
    if agreement.reference is None or not agreement.evaluation.site_flags:
        return measurement
    return replace(
        measurement,
        reference=_reference_counts(agreement.reference, grids),
        rules=drift_rules(agreement.evaluation),
        sites=len(agreement.sites),
    )


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


def _flags(measurement: Measurement, counted: Mapping[str, Floats]) -> dict[str, Floats]:
    """One site's own verdicts on its own window."""
    if not measurement.flags:
        return {}
    assert measurement.reference is not None
    grids = measurement.grids
    own = WindowCounts(
        name="this site",
        rows=int(counted["rows"][0]),
        features={
            grid.feature.name: counted[f"{FEATURE}/{grid.feature.name}"].astype(np.int64)
            for grid in grids
        },
        scores=counted[f"scores/{OVERALL}"].astype(np.int64).reshape(2, -1),
        confusions={OVERALL: counted[f"confusion/{OVERALL}"].astype(np.int64)},
    )
    flags = site_flags(grids, measurement.reference, own, measurement.rules, measurement.sites)
    return flag_values(flags)


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
    spec, judged = measurement.spec, (probabilities, rows.targets, rows.groups)
    outcomes = count_outcomes(spec, *judged)
    if measurement.noised:
        return counted | noised_tables(spec, outcomes)
    counted |= outcomes | count_scores(spec, *judged) | count_site_gaps(spec, outcomes)
    return counted | _flags(measurement, counted)
