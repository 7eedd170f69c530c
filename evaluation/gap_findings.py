"""Gaps and comparisons of all attributes of a scope, with p-values adjusted for all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from evaluation.cell_noise import CellNoise
from evaluation.estimates import NamedGroups, disparity, no_disparity
from evaluation.group_metrics import Counts, Floats, Gap, Metric, Rate
from evaluation.holm import holm
from evaluation.multiple_comparisons import FAMILY_WISE, against_the_rest, homogeneity
from evaluation.noisy_rates import noisy_intervals
from evaluation.resampling import ComparedGroups, generator, resample, values_of
from evaluation.uncertainty import Interval, difference_interval, wilson_intervals
from federation.summary import Disparity, GroupComparison


@dataclass(frozen=True, slots=True)
class Comparison:
    """What of an attribute may be compared.

    Attributes:
        attribute: whose groups they are.
        names: of the groups.
        compared: their counts.
        gaps: to be measured.
        rates: in which each group is compared with the rest.
        too_few: why there is no gap between fewer than two groups.
    """

    attribute: str
    names: Sequence[str]
    compared: ComparedGroups
    gaps: tuple[Gap, ...]
    rates: tuple[Rate, ...]
    too_few: str

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Every metric that a gap compares, once."""
        return tuple({m.name: m for gap in self.gaps for m in gap.metrics}.values())


class Test(NamedTuple):
    """One group's rate less that of the rest, with a 95 % interval and a p-value."""

    attribute: str
    group: str
    rate: Rate
    difference: float
    low: float
    high: float
    p_value: float


def compare(
    comparisons: Sequence[Comparison],
) -> tuple[tuple[Disparity, ...], tuple[GroupComparison, ...]]:
    """Every gap, and every group against the rest, of one scope.

    Two families of hypotheses, each with a chance of 5 % of one false finding or more: that the
    groups of an attribute are all alike in a metric, and that a group is like the rest in a rate.
    """
    tests = [one for comparison in comparisons for one in _tests(comparison)]
    return tuple(_disparities(comparisons)), tuple(_against_the_rest(tests))


def _disparities(comparisons: Sequence[Comparison]) -> Iterator[Disparity]:
    groups = {place: _named(one) for place, one in enumerate(comparisons) if len(one.names) > 1}
    alike = {
        (place, metric.name): _p_of_alike(metric, named)
        for place, named in groups.items()
        for metric in comparisons[place].metrics
    }
    adjusted = dict(zip(alike, _adjusted(list(alike.values())), strict=True))
    for place, one in enumerate(comparisons):
        for gap in one.gaps:
            if place in groups:
                # Groups unlike in one of the metrics are unlike: no further adjustment is needed.
                p_value = min(adjusted[place, metric.name] for metric in gap.metrics)
                yield disparity(gap, groups[place], p_value)
            else:
                yield no_disparity(gap, one.attribute, one.too_few)


def _named(one: Comparison) -> NamedGroups:
    draws = generator(np.vstack([one.compared.confusion, one.compared.outside]))
    samples = resample(one.compared, one.metrics, draws)
    return NamedGroups(one.attribute, one.names, one.compared, samples)


def _p_of_alike(metric: Metric, groups: NamedGroups) -> float:
    """p-value of all groups being alike in a metric.

    The draws tell no p-value below one in their number. For a metric of one part, the least p-value
    of a group against the rest, times the groups, tells more of it where one group stands out; of
    the two the smaller one, doubled, is valid. Two groups need no draws.
    """
    by_group = groups.samples.counted[metric.name].by_group
    spread = homogeneity(by_group, groups.samples.alike[metric.name].by_group)
    known = ~np.isnan(by_group)
    if len(metric.parts) > 1 or np.count_nonzero(known) < 2:
        return spread
    confusion = groups.compared.confusion[known]
    p_values = against_the_rest(metric.parts[0], confusion, groups.compared.noise)
    if len(p_values) == 2:
        return float(p_values.max())
    return min(1.0, 2 * min(spread, len(p_values) * float(p_values.min())))


def _tests(one: Comparison) -> Iterator[Test]:
    for rate in one.rates:
        places = np.flatnonzero(~np.isnan(one.compared.supports(rate)))
        if len(places) < 2:
            continue
        known = one.compared.confusion[places]
        p_values = against_the_rest(rate, known, one.compared.noise)
        difference, (low, high) = _differences(rate, known, one.compared.noise)
        # Of two groups, one against the other is one hypothesis, whichever is named first.
        for at in range(1 if len(places) == 2 else len(places)):
            yield Test(
                one.attribute,
                one.names[places[at]],
                rate,
                float(difference[at]),
                float(low[at]),
                float(high[at]),
                float(p_values[at]),
            )


def _against_the_rest(tests: Sequence[Test]) -> Iterator[GroupComparison]:
    adjusted = _adjusted([test.p_value for test in tests])
    for test, p_adjusted in zip(tests, adjusted, strict=True):
        yield GroupComparison(
            attribute=test.attribute,
            group=test.group,
            metric=test.rate.name,
            difference=test.difference,
            low=test.low,
            high=test.high,
            p_value=test.p_value,
            p_adjusted=p_adjusted,
            significant=p_adjusted <= FAMILY_WISE,
        )


def _differences(rate: Rate, confusion: Counts, noise: CellNoise) -> tuple[Floats, Interval]:
    """Each group's rate less that of the rest, with 95 % intervals, shape (groups,)."""
    rest = confusion.sum(axis=0) - confusion
    here, there = (values_of(rate, table, noise) for table in (confusion, rest))
    if not noise:
        ends = [wilson_intervals(*rate.counts(table)) for table in (confusion, rest)]
        return here - there, difference_interval(here, ends[0], there, ends[1])
    groups, tables = len(confusion), np.vstack([confusion, rest])
    of_rest = CellNoise(noise.variance * (groups - 1), "gaussian")
    laws = [noise] * groups + [of_rest] * groups
    low, high = noisy_intervals([rate], tables, laws, generator(tables))[rate.name]
    of_here, of_there = Interval(low[:groups], high[:groups]), Interval(low[groups:], high[groups:])
    return here - there, difference_interval(here, of_here, there, of_there)


def _adjusted(p_values: list[float]) -> list[float]:
    return holm(np.array(p_values), FAMILY_WISE).adjusted.tolist() if p_values else []
