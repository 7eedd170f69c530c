"""How one configuration did over its seeds, and which configurations no other one beats."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from simulations.sweep.outcome import Outcome


class Spread(BaseModel):
    """Mean, least and largest over seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    least: float
    largest: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread | None":
        """Of all; None if there are none, or one is not known."""
        listed = list(values)
        known = [one for one in listed if one is not None]
        if not known or len(known) < len(listed):
            return None
        # A mean may be rounded past equal values.
        mean = min(max(fmean(known), min(known)), max(known))
        return cls(mean=mean, least=min(known), largest=max(known))


class Standing(BaseModel):
    """One trial over its seeds.

    Attributes:
        runs: that completed, in the order of its seeds.
        seeds: planned.
        epsilon: the largest over sites and seeds; None if one is unknown or unbounded.
        site_level_epsilon: of whole updates, likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: int
    words: str
    seeds: int
    runs: tuple[Outcome, ...]
    epsilon: float | None
    site_level_epsilon: float | None = None
    accuracy: Spread | None
    balanced_accuracy: Spread | None
    auc: Spread | None
    worst_group_gap: Spread | None

    @property
    def is_whole(self) -> bool:
        """Whether it completed with every seed."""
        return len(self.runs) == self.seeds

    def value(self, measure: str) -> float | None:
        """What a limit is held against: the largest epsilon, the mean of anything else."""
        if measure in {"epsilon", "site_level_epsilon"}:
            largest: float | None = getattr(self, measure)
            return largest
        spread = self.spread(measure)
        return None if spread is None else spread.mean

    def spread(self, measure: str) -> Spread | None:
        """Of `accuracy`, `balanced_accuracy`, `auc` or `worst_group_gap`."""
        found: Spread | None = getattr(self, measure)
        return found

    def by_seed(self, measure: str) -> dict[int, float]:
        """Of the runs that know it."""
        values = {one.seed: one.measured(measure) for one in self.runs}
        return {seed: value for seed, value in values.items() if value is not None}


def standing(trial: int, words: str, seeds: int, outcomes: Sequence[Outcome]) -> Standing:
    """A trial by the outcomes of its runs, in the order of its seeds."""
    runs = tuple(one for one in outcomes if one.status == "completed")
    return Standing(
        trial=trial,
        words=words,
        seeds=seeds,
        runs=runs,
        epsilon=_largest([one.epsilon for one in runs]),
        site_level_epsilon=_largest([one.site_level_epsilon for one in runs]),
        accuracy=Spread.of(one.accuracy for one in runs),
        balanced_accuracy=Spread.of(one.balanced_accuracy for one in runs),
        auc=Spread.of(one.auc for one in runs),
        worst_group_gap=Spread.of(one.measured("worst_group_gap") for one in runs),
    )


def _largest(epsilons: Sequence[float | None]) -> float | None:
    known = [one for one in epsilons if one is not None]
    return max(known, default=None) if len(known) == len(epsilons) else None


def undominated(costs: Sequence[tuple[float, ...]]) -> list[int]:
    """Places of the vectors that no other one is at most as large as everywhere and less somewhere.

    Equal vectors stand or fall together. All vectors have one length.

    >>> undominated([(1.0, 5.0), (2.0, 3.0), (2.0, 4.0)])
    [0, 1]
    """
    return [
        place
        for place, one in enumerate(costs)
        if not any(
            other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in costs
        )
    ]


def as_shown(epsilon: float) -> float:
    """An epsilon rounded up to 3 significant digits, as it is shown.

    Noise is solved for a target to some digits: two runs that meet the same one are alike in it.

    >>> as_shown(0.24991), as_shown(0.25), as_shown(12.31)
    (0.25, 0.25, 12.4)
    """
    if epsilon <= 0 or not math.isfinite(epsilon):
        return epsilon
    unit = 10.0 ** (math.floor(math.log10(epsilon)) - 2)
    return float(f"{math.ceil(epsilon / unit * (1 - 1e-12)) * unit:.3g}")


def frontier(standings: Sequence[Standing], smaller: str = "", larger: str = "") -> list[Standing]:
    """Of those with an epsilon and a value, what no other one is at least as good as in both.

    Args:
        standings: of trials.
        smaller: a measure of which less is better, or empty.
        larger: a measure of which more is better, or empty; one of the two at least.

    Returns:
        In the order of epsilon.
    """
    known = []
    for one in standings:
        values = (
            one.epsilon,
            one.value(smaller) if smaller else 0.0,
            one.value(larger) if larger else 0.0,
        )
        if None not in values and one.is_whole:
            epsilon, less, more = (float(value or 0.0) for value in values)
            known.append((one, (as_shown(epsilon), less, -more)))
    kept = [known[place][0] for place in undominated([costs for _, costs in known])]
    return sorted(kept, key=lambda one: (one.epsilon or 0.0, one.trial))
