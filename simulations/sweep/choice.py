"""Which configuration is best under stated limits, and how sure that is."""

import operator
import re
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from federation.errors import ConfigError
from simulations.sweep.standing import Standing, as_shown

Aim = Literal["accuracy", "balanced_accuracy", "auc"]
AIMS: tuple[Aim, ...] = ("accuracy", "balanced_accuracy", "auc")

Measure = Literal[
    "epsilon", "site_level_epsilon", "worst_group_gap", "accuracy", "balanced_accuracy", "auc"
]
MEASURES: tuple[Measure, ...] = ("epsilon", "site_level_epsilon", "worst_group_gap", *AIMS)

MEASURE_NAMES: dict[Measure, str] = {
    "epsilon": "ε",
    "site_level_epsilon": "ε of a site’s update",
    "worst_group_gap": "worst-group gap",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
}
"""For people."""

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


class Limit(BaseModel):
    """What a configuration must keep to: a largest epsilon, or the mean over its seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Measure
    comparison: Literal["<=", ">="]
    bound: float

    def __str__(self) -> str:
        """For people."""
        sign = "≤" if self.comparison == "<=" else "≥"
        return f"{MEASURE_NAMES[self.measure]} {sign} {self.bound:g}"

    def holds(self, standing: Standing) -> bool:
        """Whether it does; what is not known does not."""
        value = standing.value(self.measure)
        return value is not None and _COMPARISONS[self.comparison](value, self.bound)


class Choice(BaseModel):
    """The best configuration and the next one.

    Attributes:
        best: number of the trial.
        runner_up: of the next; None if no other keeps to the limits.
        differences: per seed that both ran with, what the best is ahead by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    best: int
    runner_up: int | None = None
    differences: tuple[float, ...] = ()

    @property
    def ahead(self) -> int:
        """On how many seeds the best is ahead."""
        return sum(one > 0 for one in self.differences)

    @property
    def is_ahead_on_every_seed(self) -> bool:
        """Whether every seed tells the same."""
        return bool(self.differences) and self.ahead == len(self.differences)

    @property
    def by_chance(self) -> float:
        """Chance that one of two configurations alike is ahead on every seed: 2 ** (1 - seeds)."""
        return 2.0 ** (1 - len(self.differences)) if self.differences else 1.0


def parse_limit(text: str) -> Limit:
    """What `--limit` says: `epsilon<=2`.

    Raises:
        ConfigError: it says something else.
    """
    found = re.fullmatch(r"\s*([a-z_]+)\s*(<=|>=)\s*(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+)\s*", text)
    measure = next((one for one in MEASURES if found and one == found[1]), None)
    if found is None or measure is None:
        raise ConfigError(
            "--limit", text, f"MEASURE<=NUMBER or MEASURE>=NUMBER, of {', '.join(MEASURES)}",
            "for instance epsilon<=2",
        )  # fmt: skip
    comparison: Literal["<=", ">="] = "<=" if found[2] == "<=" else ">="
    return Limit(measure=measure, comparison=comparison, bound=float(found[3]))


def choose(standings: Sequence[Standing], aim: Aim, limits: Sequence[Limit]) -> Choice | None:
    """The best of what completed on all its seeds and keeps to all limits; None if nothing does.

    Of equals, the one of less epsilon, then of less site-level epsilon, then of the smaller gap,
    then the earlier one.
    """
    fit = [
        one
        for one in standings
        if one.is_whole and one.value(aim) is not None and all(limit.holds(one) for limit in limits)
    ]
    ranked = sorted(fit, key=lambda one: _rank(one, aim))
    if not ranked:
        return None
    best = ranked[0]
    if len(ranked) == 1:
        return Choice(best=best.trial)
    second = ranked[1]
    ours, theirs = best.by_seed(aim), second.by_seed(aim)
    differences = tuple(ours[seed] - theirs[seed] for seed in ours if seed in theirs)
    return Choice(best=best.trial, runner_up=second.trial, differences=differences)


def _rank(one: Standing, aim: Aim) -> tuple[float, float, float, float, int]:
    value, gap = one.value(aim), one.value("worst_group_gap")
    epsilon, of_site = one.epsilon, one.site_level_epsilon
    far = float("inf")
    return (
        -(value if value is not None else -far),
        far if epsilon is None else as_shown(epsilon),
        far if of_site is None else as_shown(of_site),
        far if gap is None else gap,
        one.trial,
    )
