"""How large a sample of an evaluation is, and what its groups are called."""

from dataclasses import dataclass

from evaluation.uncertainty import wilson_interval
from federation.summary import (
    Estimate,
)

BINS = 100
RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "precision", "accuracy")
SITES, MINIMUM_CELL = 10, 10
SINGLE = {
    "sex": ("female", "male"),
    "race": ("Asian", "Black", "Native", "Other", "Pacific", "White"),
    "age": ("under 30", "30 to 49", "50 to 64", "65 and over"),
}


@dataclass(frozen=True)
class Size:
    """How much there is of everything.

    Attributes:
        families: groups per attribute or intersection.
        withheld: estimates that have no value, all of them.
    """

    families: dict[str, tuple[str, ...]]
    features: int = 6
    windows: int = 3
    cohorts: int = 1
    classes: tuple[str, ...] = ("no disease", "disease")
    suppressed: bool = False
    withheld: bool = False
    noise: float = 0.0
    extras: bool = True
    seed: int = 1

    @property
    def scopes(self) -> tuple[str, ...]:
        return ("overall", *(f"region {k + 1}" for k in range(self.cohorts)))

    @property
    def is_binary(self) -> bool:
        return len(self.classes) == 2

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"2026-w{k + 1:02d}" for k in range(self.windows))

    @property
    def feature_names(self) -> tuple[str, ...]:
        known = ("age", "cholesterol", "resting_blood_pressure", "chest_pain", "oldpeak", "thal")
        return (*known, *(f"laboratory_value_{k}" for k in range(6, self.features)))[
            : self.features
        ]


def families(groups: int) -> dict[str, tuple[str, ...]]:
    """Attributes with as many groups in all; 72 are three attributes and two intersections."""
    if groups <= 2:
        return {"sex": SINGLE["sex"][:groups]} if groups else {}
    found = dict(SINGLE)
    found["sex & age"] = combined("sex", "age")
    if groups == 72:
        del found["sex & age"]
        found["sex & race"] = combined("sex", "race")
        found["sex & race & age"] = tuple(
            f"{first} & {second}" for first in combined("sex", "race") for second in SINGLE["age"]
        )
    elif groups == 40:
        found["country"] = tuple(f"country {k}" for k in range(1, 21))
    total = sum(map(len, found.values()))
    assert total == groups, f"{total} groups, not {groups}"
    return found


def combined(first: str, second: str) -> tuple[str, ...]:
    return tuple(f"{a} & {b}" for a in SINGLE[first] for b in SINGLE[second])


def share(part: float, whole: float, reason: str = "fewer than 10 rows in the denominator"):
    if whole < MINIMUM_CELL:
        return Estimate(value=None, reason=reason)
    low, high = wilson_interval(round(part), round(whole))
    return Estimate(value=part / whole, low=low, high=high)


def is_small(size: Size, group: str) -> bool:
    return size.suppressed or group.startswith("male & Pacific")
