"""What is counted in a run and where it stands in the vector, as both sides derive it alone."""

from dataclasses import dataclass, field, replace

from evaluation.tally_spec import TallySpec
from federation.agreement import Agreement
from federation.config import EvaluationRules
from federation.layout import VectorLayout
from federation.round_layout import RoundKind, evaluation_layout, training_layout
from federation.schema import TaskSchema


def evaluation_spec(schema: TaskSchema, rules: EvaluationRules) -> TallySpec:
    """Groups and bins, in a run and in evaluations after it.

    Raises:
        ConfigError: an intersection of something else than the task's attributes.
    """
    most = schema.maximum_rows
    if rules.maximum_rows is not None and rules.maximum_rows < most:
        schema = replace(schema, maximum_rows=rules.maximum_rows)
    return TallySpec(schema, rules.intersections, rules.score_bins, rules.feature_bins)


def run_tally_spec(schema: TaskSchema, agreement: Agreement) -> TallySpec:
    """What is counted at every site of a run."""
    return evaluation_spec(schema, agreement.evaluation)


def run_layout(
    spec: TallySpec, agreement: Agreement, parameters: int, kind: RoundKind
) -> VectorLayout:
    """The layout of a round.

    Args:
        spec: what is counted.
        agreement: of the run.
        parameters: number of trainable parameters.
        kind: of the round.

    Raises:
        ConfigError: a sum could overflow the ring.
    """
    summands = len(agreement.sites)
    outcomes = tuple(spec.segments(summands))
    if kind is RoundKind.TRAIN:
        return training_layout(agreement, parameters, outcomes)
    windows = (
        *spec.window_segments("reference", summands),
        *spec.window_segments("current", summands),
    )
    return evaluation_layout(agreement, outcomes + spec.report_segments(summands), windows)


@dataclass(frozen=True, slots=True)
class RunLayouts:
    """The vectors of a run's rounds.

    Attributes:
        spec: what is counted.
        agreement: of the run.
        parameters: number of trainable parameters.
    """

    spec: TallySpec
    agreement: Agreement
    parameters: int
    _made: dict[RoundKind, VectorLayout] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def of(self, kind: RoundKind) -> VectorLayout:
        """The layout of a round's vector, which is made once.

        Raises:
            ConfigError: a sum could overflow the ring.
        """
        if kind not in self._made:
            self._made[kind] = run_layout(self.spec, self.agreement, self.parameters, kind)
        return self._made[kind]
