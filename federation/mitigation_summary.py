"""What a report says of mitigation: thresholds per group, and figures before and after."""

from typing import Annotated, Literal

from pydantic import Field

from federation.summary import Estimate, Part

ParityCriterion = Literal[
    "demographic_parity", "equal_opportunity", "false_positive_rate_parity", "equalized_odds"
]
"""What post-processing can make alike: selection rates, true positive rates, false positive rates,
or the last two together."""

Probability = Annotated[float, Field(ge=0, le=1)]


class Gaps(Part):
    """Gaps between the groups of one attribute, fairlearn's; None where 0/0 leaves nothing to say.

    Parity and odds stand side by side, for what closes one often opens the other.
    """

    demographic_parity_difference: float | None
    demographic_parity_ratio: float | None
    equal_opportunity_difference: float | None
    equalized_odds_difference: float | None


class Figures(Part):
    """Accuracy and gaps of one way to decide, on the same rows as the other way's."""

    accuracy: float
    balanced_accuracy: float | None
    gaps: Gaps


class ThresholdRule(Part):
    """How one group's scores are decided, at random where the probabilities are not 0 or 1.

    With probability `ignored` the score is not looked at and the row is selected with probability
    `selected_if_ignored`. Else it is selected from `cuts[0]` on with probability `first`, and from
    `cuts[1]` on otherwise. A cut is the number of a score bin: rows of that bin and above are
    selected; as many as there are bins selects nobody.

    Attributes:
        thresholds: the cuts as scores, for people to read.
    """

    group: str
    cuts: tuple[int, int]
    thresholds: tuple[float, float]
    first: Probability
    ignored: Probability = 0.0
    selected_if_ignored: Probability = 0.0


class MitigationOutcome(Part):
    """What a mitigation by one criterion would do.

    Attributes:
        criterion: what it makes alike.
        method: `thresholds`.
        attribute: whose groups.
        rows: held-out rows that the figures are of: those of the groups with a rule.
        after: on the very rows that the rules were fitted on, and so a little too good.
        cross_fitted: of rules fitted on four fifths of the rows at a time and measured on the rest;
            None if there are too few rows.
    """

    criterion: ParityCriterion
    method: Literal["thresholds"] = "thresholds"
    attribute: str
    rows: int
    before: Figures
    after: Figures
    cross_fitted: Figures | None
    rules: tuple[ThresholdRule, ...]


class GroupRatesAt(Part):
    """One group's rates at one threshold; None for 0/0."""

    group: str
    selection_rate: float | None
    true_positive_rate: float | None
    false_positive_rate: float | None


class ThresholdRow(Part):
    """What one threshold for all groups would do.

    Attributes:
        threshold: rows with a score of this or more are selected; an edge of the score bins.
    """

    threshold: float
    figures: Figures
    selection_rate: float
    groups: tuple[GroupRatesAt, ...]


class MetricChange(Part):
    """One metric before and after.

    Attributes:
        attribute: of a gap, whose groups; else empty.
        better: whether the change is for the better, for the worse, or none.
        apart: whether the two intervals do not overlap: a change that chance hardly explains, even
            if the rows were not the same.
    """

    metric: str
    attribute: str = ""
    before: Estimate
    after: Estimate
    change: float | None
    better: Literal["better", "worse", "same", "not known"]
    apart: bool


class MitigationComparison(Part):
    """Two runs side by side.

    Attributes:
        before: id of the run, likewise `after`.
        before_method: how it was mitigated, in words; likewise `after_method`.
        rows: held-out rows of each.
        cautions: why the two may not be comparable; empty if nothing speaks against it.
    """

    before: str
    after: str
    before_method: str
    after_method: str
    task: str
    sites: tuple[str, ...]
    rows: int
    changes: tuple[MetricChange, ...]
    cautions: tuple[str, ...]
