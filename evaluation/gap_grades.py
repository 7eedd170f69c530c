"""What a gap between groups calls for, by its size and by whether chance accounts for it."""

from dataclasses import dataclass
from typing import Literal

from federation.summary import Disparity

JUDGED_GAPS = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equal_opportunity_difference",
    "accuracy_difference",
)
"""Metrics that verdicts rest on and rounds keep. Precision and F1 differ between groups of other
base rates however fair the model is; other ratios say of the same rates what differences say."""

GapGrade = Literal["ok", "watch", "act", "too few rows"]


@dataclass(frozen=True, slots=True)
class GapThresholds:
    """From which size on a gap matters.

    Attributes:
        watch: a difference to watch.
        act: a difference to act on.
        ratio_watch: a ratio to watch.
        ratio_act: a ratio to act on; .8 is the four-fifths rule (29 CFR 1607.4(D)).

    Raises:
        ValueError: not 0 < watch <= act, or not 1 > ratio_watch >= ratio_act > 0.
    """

    watch: float = 0.05
    act: float = 0.1
    ratio_watch: float = 0.9
    ratio_act: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.watch <= self.act <= 1:
            raise ValueError(f"need 0 < watch <= act <= 1, got {self.watch} and {self.act}")
        if not 1 > self.ratio_watch >= self.ratio_act >= 0:
            raise ValueError(
                f"need 1 > ratio_watch >= ratio_act >= 0, got {self.ratio_watch} and "
                f"{self.ratio_act}"
            )


def grade(gap: Disparity, thresholds: GapThresholds) -> GapGrade:
    """`act` or `watch` for a gap that is both large and significant.

    `too few rows` if it is not known; or if it is large and could be chance; or if it is small, but
    groups alike would show a gap to act on in one of twenty tables, so that a real one would go
    unseen. Else `ok`.
    """
    value = gap.estimate.value
    if value is None or gap.significant is None or gap.null_95 is None:
        return "too few rows"
    size = _size(gap.metric, value, thresholds)
    if gap.significant:
        return size
    unseen = _size(gap.metric, gap.null_95, thresholds) == "act"
    return "ok" if size == "ok" and not unseen else "too few rows"


def _size(metric: str, value: float, thresholds: GapThresholds) -> Literal["ok", "watch", "act"]:
    """What the size alone calls for."""
    if metric.endswith("_ratio"):
        return (
            "act" if value < thresholds.ratio_act
            else "watch" if value < thresholds.ratio_watch
            else "ok"
        )  # fmt: skip
    return "act" if value >= thresholds.act else "watch" if value >= thresholds.watch else "ok"
