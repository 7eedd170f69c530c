"""The one number that says how unlike groups fare: the largest gap that verdicts rest on."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from evaluation.gap_grades import JUDGED_GAPS
from federation.summary import Fairness


class WorstGap(BaseModel):
    """The largest difference between groups that verdicts rest on.

    Attributes:
        by_chance: what groups alike would show on average; None if not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attribute: str
    metric: str
    value: float
    by_chance: float | None
    significant: bool | None


def worst_gap(scopes: Sequence[Fairness]) -> WorstGap | None:
    """The largest difference that verdicts rest on, over all sites together; None if none is known.

    Cohorts are left out: how many there are is a setting, and so would be the largest.
    """
    known = [
        WorstGap(
            attribute=gap.attribute,
            metric=gap.metric,
            value=gap.estimate.value,
            by_chance=gap.null_expectation,
            significant=gap.significant,
        )
        for scope in scopes
        for gap in (scope.disparities if scope.scope == "overall" else ())
        if gap.metric in JUDGED_GAPS
        and not gap.metric.endswith("_ratio")
        and gap.estimate.value is not None
    ]
    return max(known, key=lambda gap: gap.value, default=None)
