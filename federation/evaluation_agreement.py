"""What coordinator and sites bind themselves to when a model is judged on a window of rows."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from federation.agreement import ReadApart
from federation.canonical import Digest
from federation.cluster_terms import ClusterTerms
from federation.config import Mitigation, TaskChoice
from federation.errors import ConfigError
from federation.section import Name, PublicRows, Section

MOST_PARAMETERS = 1 << 28
WINDOW_PATTERN = r"^[^\x00-\x1f/\\]{1,64}$"
"""A window's name: it is part of file names and of lines of text."""

WindowName = Annotated[str, Field(pattern=WINDOW_PATTERN)]


class Stage(StrEnum):
    """What is counted under one agreement, each in one secure sum.

    `survey`: features on many equal bins, to find edges. `refine`: features again, where a bin of
    the survey held too much. `reference`: everything, on the window that later ones are compared
    with. `window`: everything on another window, with each site's own verdicts against the
    reference. `labels`: labels against predictions, by thresholds that an earlier sum gave.
    `training_rows`: rows trained on, by group and label. `cohort_starts`, `cohort_moves`,
    `cohort_counts`: what clusters of sites are found by (`federation.cluster_terms`).
    """

    SURVEY = "survey"
    REFINE = "refine"
    REFERENCE = "reference"
    WINDOW = "window"
    LABELS = "labels"
    TRAINING_ROWS = "training_rows"
    COHORT_STARTS = "cohort_starts"
    COHORT_MOVES = "cohort_moves"
    COHORT_COUNTS = "cohort_counts"


SCORES = "scores"
"""Among the reference's histograms, that of predictions: per label and score bin."""

JUDGING = frozenset({Stage.REFERENCE, Stage.WINDOW, Stage.LABELS})
"""The stages that need a model's predictions."""

CLUSTERING = frozenset({Stage.COHORT_STARTS, Stage.COHORT_MOVES, Stage.COHORT_COUNTS})
"""The stages that clusters of sites are found by."""


class GridTerms(Section):
    """The bins of one feature.

    Attributes:
        feature: its name.
        edges: of the inner bins of a number, rising; none for levels.
        quantile_bins: places in the histogram that are compared as one bin.
    """

    feature: str
    edges: tuple[float, ...] = ()
    quantile_bins: tuple[tuple[int, ...], ...] = ()


class ModelTerms(Section):
    """Which model is judged.

    Attributes:
        run: that trained it.
        seed: of its frozen parts.
        mitigation: it was trained with, if any: it may have parts of its own.
        parameters: how many numbers travel: any multipliers behind the parameters, too.
        sha256: of them as they travel, little-endian float32.
    """

    run: str
    seed: int
    mitigation: Mitigation | None = None
    parameters: Annotated[int, Field(ge=1, le=MOST_PARAMETERS)]
    sha256: Digest


class CountNoiseTerms(Section):
    """Noise on counts, in shares that sites add within the sum, with everything solved.

    Attributes:
        mechanism: whose law the sum of all shares follows.
        parameter: scale of discrete Laplace noise, or noise multiplier of discrete Gaussian.
        honest: fewest shares that hide a record.
        epsilon: of all releases together.
        delta: at which that is.
        releases: that epsilon is for.
        tables: in each of which a record is counted once.
        cells: of all tables.
    """

    mechanism: Literal["discrete_laplace", "discrete_gaussian"]
    parameter: Annotated[float, Field(gt=0)]
    honest: Annotated[int, Field(ge=1)]
    epsilon: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    releases: Annotated[int, Field(ge=1)]
    tables: Annotated[int, Field(ge=1)]
    cells: Annotated[int, Field(ge=1)]


class ReferenceTerms(Section):
    """What a site tests its own window against.

    Attributes:
        sha256: of the frozen reference that all this is part of.
        window: which one it was counted on.
        sites: whose rows it holds.
        histograms: per feature, rows per bin of its grid; and `scores`, per label and score bin.
        outcomes: TN, FP, FN, TP of all rows.
    """

    sha256: Digest
    window: WindowName
    sites: Annotated[int, Field(ge=1)]
    histograms: dict[str, tuple[int, ...]]
    outcomes: tuple[int, int, int, int]


class EvaluationAgreement(ReadApart):
    """One secure sum of counts, as every party signs it.

    Attributes:
        kind: tells it from other agreements.
        run: the id of this evaluation.
        rules_digest: of the consortium's run rules.
        task: whose rows they are.
        public_rows: per site, the training rows it declares in public.
        stage: what is counted.
        window: on which rows.
        model: whose predictions are counted; None for a stage without.
        spec_digest: SHA-256 of groups, levels, ranges and bins, as each side resolves them.
        grids: of every feature that has bins of its own; empty for a survey.
        reference: of a window's stage.
        thresholds: per class, of the `labels` stage.
        attribute: of the stage `training_rows`: whose groups.
        named: sites that agreed to be named with what they find in their own rows.
        noise: None means that counts are exact.
        clusters: of the stages that clusters of sites are found by.
    """

    kind: Literal["evaluation"] = "evaluation"
    run: str
    rules_digest: Digest
    task: TaskChoice
    public_rows: dict[Name, PublicRows]
    stage: Stage
    window: WindowName
    model: ModelTerms | None = None
    spec_digest: Digest
    grids: tuple[GridTerms, ...] = ()
    reference: ReferenceTerms | None = None
    thresholds: tuple[float, ...] = ()
    attribute: str = ""
    named: tuple[Name, ...] = ()
    noise: CountNoiseTerms | None = None
    clusters: ClusterTerms | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_agreed(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without clusters it is, byte for byte, what it was before there were any."""
        fields: dict[str, Any] = dump(self)
        return {name: v for name, v in fields.items() if (name, v) != ("clusters", None)}

    @model_validator(mode="after")
    def _possible_together(self) -> Self:
        if (self.stage in JUDGING) != (self.model is not None):
            raise ConfigError("model", self.model, f"one if, and only if, {self.stage} needs it")
        if (self.stage is Stage.WINDOW) != (self.reference is not None):
            raise ConfigError("reference", None, "one if, and only if, a window is compared")
        if (self.stage is Stage.LABELS) != bool(self.thresholds):
            raise ConfigError("thresholds", self.thresholds, "some for the stage labels alone")
        if (self.evaluation.epsilon is None) != (self.noise is None):
            raise ConfigError(
                "noise", self.noise, "some if, and only if, evaluation.epsilon is set"
            )
        if set(self.public_rows) != set(self.federation.sites):
            raise ConfigError("public_rows", sorted(self.public_rows), "the rows of every site")
        if (self.stage in CLUSTERING) != (self.clusters is not None):
            raise ConfigError("clusters", None, f"some if, and only if, {self.stage} needs them")
        if self.clusters is not None:
            self._require_clusters_of_enough(self.clusters)
        return self

    def _require_clusters_of_enough(self, clusters: ClusterTerms) -> None:
        """Return if no difference of sums could be of fewer sites than a cluster has.

        Raises:
            ConfigError: sites may be missing, sums of other sets are read beside, there are too few
                sites for so many clusters, or the terms are not of this stage.
        """
        if self.federation.quorum != len(self.sites):
            # The window's sum over all of them is known: what lacks in the clusters would be, too.
            raise ConfigError(
                "federation.quorum", self.federation.quorum, f"all {len(self.sites)} sites"
            )
        if self.cohorts:
            raise ConfigError("cohorts", sorted(self.cohorts), "none where clusters are found")
        if self.noise is not None:
            raise ConfigError("noise", self.noise.mechanism, "none where clusters are found")
        if clusters.count * self.minimum_contributors > len(self.sites):
            most = len(self.sites) // self.minimum_contributors
            raise ConfigError("clusters.count", clusters.count, f"at most {most} of these sites")
        wanted = {
            Stage.COHORT_STARTS: (True, False, False),
            Stage.COHORT_MOVES: (False, True, False),
            Stage.COHORT_COUNTS: (False, True, True),
        }[self.stage]
        if (bool(clusters.seeds), bool(clusters.centres), bool(clusters.admitted)) != wanted:
            raise ConfigError(
                "clusters", clusters.step, f"seeds, centres and admitted moves as {self.stage} has"
            )

    @property
    def rounds(self) -> int:
        """A site gives one vector."""
        return 1
