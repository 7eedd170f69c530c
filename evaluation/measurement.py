"""What a site counts under one agreement on an evaluation, as both sides derive it alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from evaluation.monitoring.feature_grid import FeatureGrid, survey_grid
from evaluation.score_tallies import count_scores
from evaluation.site_disparities import count_site_gaps
from evaluation.tallies import count_outcomes
from evaluation.tally_spec import OVERALL, TallySpec
from federation.errors import ConfigError
from federation.evaluation_agreement import EvaluationAgreement, GridTerms, Stage
from federation.layout import Segment, VectorLayout, count_segment
from federation.round_layout import scoped
from federation.schema import TaskSchema
from federation.task import Codes, Floats

FEATURE = "feature"
SITES = "sites"
"""Names a segment: how many sites have rows at all."""


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
    """

    spec: TallySpec
    stage: Stage
    grids: tuple[FeatureGrid, ...]

    def segments(self, summands: int) -> tuple[Segment, ...]:
        """What is counted of one scope."""
        most = self.spec.schema.maximum_rows
        features = tuple(
            count_segment(f"{FEATURE}/{grid.feature.name}", len(grid.labels), most, summands)
            for grid in self.grids
        )
        sites = count_segment(SITES, 1, 1, summands)
        if self.stage in (Stage.SURVEY, Stage.REFINE):
            return (sites, *features)
        outcomes = (*self.spec.segments(summands), *self.spec.report_segments(summands))
        return (sites, *outcomes, *features)

    def scopes(self, agreement: EvaluationAgreement) -> tuple[str, ...]:
        """Whose sums are read: edges are the same for all."""
        whole = self.stage in (Stage.SURVEY, Stage.REFINE)
        return (OVERALL,) if whole else agreement.all_scopes

    def layout(self, agreement: EvaluationAgreement) -> VectorLayout:
        """The one vector.

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
        ConfigError: its digest of groups, ranges and bins is not that of this schema, or its bins
            are none of this schema's features.
    """
    rules = agreement.evaluation
    spec = TallySpec(schema, rules.intersections, rules.score_bins, rules.feature_bins)
    if spec.digest() != agreement.spec_digest:
        raise ConfigError(
            "spec_digest",
            agreement.spec_digest,
            f"{spec.digest()}, by this task's schema",
            "the sites must hold the same version of the task",
        )
    if agreement.stage is Stage.SURVEY:
        return Measurement(spec, agreement.stage, tuple(survey_grid(f) for f in schema.features))
    return Measurement(spec, agreement.stage, feature_grids(schema, agreement.grids))


def feature_grids(schema: TaskSchema, terms: tuple[GridTerms, ...]) -> tuple[FeatureGrid, ...]:
    """The bins that an agreement names.

    Raises:
        ConfigError: of no feature of the schema, twice of one, or not possible for it.
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
    """What a site counts, per name of `measurement.segments`, of one scope.

    Args:
        measurement: what to count.
        rows: of the window; there may be none.
        probabilities: of the classes, shape (N, classes); None in a stage without a model.

    Raises:
        DataError: rows or probabilities are not what the schema promises.
    """
    counted = {SITES: np.array([float(len(rows.targets) > 0)])}
    for grid in measurement.grids:
        name = grid.feature.name
        counted[f"{FEATURE}/{name}"] = grid.count(rows.features[name]).astype(np.float64)
    if probabilities is not None:
        spec, judged = measurement.spec, (probabilities, rows.targets, rows.groups)
        outcomes = count_outcomes(spec, *judged)
        counted |= outcomes | count_scores(spec, *judged) | count_site_gaps(spec, outcomes)
    return counted
