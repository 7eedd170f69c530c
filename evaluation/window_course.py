"""A model over its windows: drift, errors followed in time, and gaps between groups."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from evaluation.cell_noise import CellNoise
from evaluation.gap_grades import JUDGED_GAPS
from evaluation.group_metrics import (
    Counts,
    Floats,
    Gap,
    accuracy_difference,
    demographic_parity_difference,
    demographic_parity_ratio,
    equal_opportunity_difference,
    equalized_odds_difference,
)
from evaluation.measurement import FEATURE, drift_rules
from evaluation.monitoring.change_detection import (
    Detector,
    ErrorReference,
    FalseAlarmContract,
    start,
    step,
)
from evaluation.monitoring.comparison import worst
from evaluation.monitoring.feature_grid import FeatureGrid
from evaluation.monitoring.window_counts import DriftRules, WindowCounts
from evaluation.monitoring.window_drift import drift_findings
from evaluation.shown_levels import Shown, shown_despite_noise, shown_levels
from evaluation.tally_spec import OVERALL, Group, TallySpec
from evaluation.tally_sums import TallySums
from evaluation.window_sums import ScopeSums
from federation.config import EvaluationRules
from federation.drift_summary import ConceptWatch, WatchPoint, WindowDrift
from federation.evaluation_summary import GapsInWindow
from federation.summary import Disparity, Estimate

GAPS: Mapping[str, Gap] = {
    gap.name: gap
    for gap in (
        demographic_parity_difference,
        demographic_parity_ratio,
        equalized_odds_difference,
        equal_opportunity_difference,
        accuracy_difference,
    )
    if gap.name in JUDGED_GAPS
}

ALARMING = frozenset({"watch", "act"})


@dataclass(frozen=True)
class Course:
    """The reference and all windows after it.

    Attributes:
        spec: groups and score bins.
        grids: of the features.
        rules: agreed beforehand.
        names: of the windows, the reference first.
        scopes: per window, the sums of each scope.
    """

    spec: TallySpec
    grids: tuple[FeatureGrid, ...]
    rules: EvaluationRules
    names: tuple[str, ...]
    scopes: tuple[Mapping[str, ScopeSums], ...]

    @cached_property
    def levels(self) -> list[dict[str, dict[Group, int]]]:
        """Per window and scope, how much may be told of each group; every finding asks for it."""
        return [_levels(self.spec, scopes, self.rules.minimum_cell) for scopes in self.scopes]


def drifts(course: Course) -> tuple[WindowDrift, ...]:
    """Every window of every scope, against the reference and the window before it."""
    return tuple(_drifts(course))


def _drifts(course: Course) -> Iterator[WindowDrift]:
    counted: list[dict[str, WindowCounts]] = []
    for name, scopes in zip(course.names, course.scopes, strict=True):
        counted.append({scope: counts_of(course, name, sums) for scope, sums in scopes.items()})
    for place in range(1, len(counted)):
        for scope, now in counted[place].items():
            if scope not in counted[0]:
                continue
            before = counted[place - 1].get(scope) if place > 1 else None
            compared = {0, place} | ({place - 1} if before is not None else set())
            hidden = _hidden([course.levels[at].get(scope, {}) for at in compared])
            families = course.spec.families if course.spec.schema.is_binary else ()
            windows = (counted[0][scope], replace(now, hidden=hidden), before)
            rules = replace(drift_rules(course.rules), families=families)
            yield _found(course, windows, rules, scope, latest=place == len(counted) - 1)


def _found(
    course: Course,
    windows: tuple[WindowCounts, WindowCounts, WindowCounts | None],
    rules: DriftRules,
    scope: str,
    *,
    latest: bool,
) -> WindowDrift:
    """Charts of the latest window, and of what called for attention in earlier ones."""
    found = drift_findings(course.grids, *windows, replace(rules, detailed=latest), scope)
    if not latest and found.verdict in ALARMING:
        found = _without_charts(drift_findings(course.grids, *windows, rules, scope))
    return found if course.spec.schema.is_binary else _without_rates(found)


def _without_rates(found: WindowDrift) -> WindowDrift:
    """With more than two classes there is no positive one, and so neither of its rates."""
    findings = tuple(one for one in found.findings if one.kind not in ("label", "prediction"))
    verdict = worst([finding.verdict for finding in findings])
    return found.model_copy(update={"findings": findings, "verdict": verdict})


def _without_charts(found: WindowDrift) -> WindowDrift:
    findings = tuple(
        one
        if one.verdict in ALARMING
        else one.model_copy(update={"chart": None, "distances": None})
        for one in found.findings
    )
    return found.model_copy(update={"findings": findings})


def counts_of(course: Course, name: str, scope: ScopeSums) -> WindowCounts:
    """A scope's sums as drift is found in them.

    With more than two classes, right and wrong of all rows are what is compared.
    """
    spec, sums = course.spec, scope.sums
    tallies = TallySums(spec, sums, noised=scope.noise_variance > 0)
    binary = spec.schema.is_binary
    groups = spec.groups if binary else (Group(),)
    outcomes = tallies.outcomes(groups)
    labels = [group.label for group in groups]
    return WindowCounts(
        name=name,
        rows=tallies.rows(),
        features={
            grid.feature.name: _whole(sums[f"{FEATURE}/{grid.feature.name}"])
            for grid in course.grids
        },
        scores=tallies.scores(OVERALL) if binary else None,
        confusions=dict(zip(labels, outcomes, strict=True)),
        score_sums=_score_sums(sums) if binary else None,
        noise_variance=scope.noise_variance,
        sites=scope.sites,
    )


def concept_watches(course: Course) -> tuple[ConceptWatch, ...]:
    """Errors of every scope, and overall of every group that is shown throughout.

    All of them share the one contract.
    """
    subjects = list(_subjects(course))
    contract = FalseAlarmContract(course.rules.windows_per_false_alarm, max(1, len(subjects)))
    return tuple(_watch(course, scope, group, contract) for scope, group in subjects)


def _subjects(course: Course) -> Iterator[tuple[str, Group]]:
    levels = course.levels
    for scope in course.scopes[0]:
        if all(scope in scopes for scopes in course.scopes):
            yield scope, Group()
    for group in course.spec.groups:
        told = [one[OVERALL][group] == Shown.LABELS for one in levels]
        if group.levels and not group.is_unknown and all(told):
            yield OVERALL, group


def _watch(course: Course, scope: str, group: Group, contract: FalseAlarmContract) -> ConceptWatch:
    (rows, errors), *later = (_errors(course, scopes[scope], group) for scopes in course.scopes)
    # Errors are two cells of the four.
    noise = [2 * scopes[scope].noise_variance for scopes in course.scopes]
    rows, errors = max(rows, 1), min(max(errors, 0), max(rows, 1))
    detector: Detector = start(ErrorReference(rows, errors, noise[0]), contract)
    points = []
    for name, (n, wrong), variance in zip(course.names[1:], later, noise[1:], strict=True):
        detector, reading = step(detector, max(n, 0), wrong, variance)
        points.append(
            WatchPoint(
                window=name,
                rows=max(n, 0),
                errors=max(wrong, 0),
                cusum=reading.cusum,
                cusum_limit=_finite(reading.cusum_limit),
                page_hinkley=reading.page_hinkley,
                page_hinkley_limit=_finite(reading.page_hinkley_limit),
                alarm=reading.alarm,
            )
        )
    return ConceptWatch(
        scope=scope,
        subject=group.label,
        reference_rows=rows,
        reference_errors=errors,
        windows_per_false_alarm=contract.windows,
        points=tuple(points),
    )


def gaps_over_windows(course: Course) -> tuple[GapsInWindow, ...]:
    """The gaps that verdicts rest on, in each window and scope, between groups that are shown."""
    levels = course.levels
    return tuple(
        GapsInWindow(
            window=name,
            scope=scope,
            disparities=tuple(_gaps(course.spec, sums, told[scope])),
        )
        for name, scopes, told in zip(course.names, course.scopes, levels, strict=True)
        for scope, sums in scopes.items()
    )


def _gaps(spec: TallySpec, scope: ScopeSums, levels: Mapping[Group, int]) -> Iterator[Disparity]:
    tallies = TallySums(spec, scope.sums, noised=scope.noise_variance > 0)
    for family in spec.families:
        for gap in GAPS.values() if spec.schema.is_binary else (accuracy_difference,):
            least = Shown.ROWS if gap.metrics[0].name == "selection_rate" else Shown.LABELS
            if not spec.schema.is_binary:
                least = Shown.ROWS
            shown = [group for group in family if levels[group] >= least]
            table = np.maximum(tallies.outcomes(shown), 0)
            value = float(gap(table)) if len(shown) > 1 else float("nan")
            estimate = (
                Estimate(value=None, reason="fewer than two groups to compare")
                if np.isnan(value)
                else Estimate(value=value)
            )
            yield Disparity(attribute=family[0].attribute, metric=gap.name, estimate=estimate)


def _levels(
    spec: TallySpec, scopes: Mapping[str, ScopeSums], minimum_cell: int
) -> dict[str, dict[Group, int]]:
    noised = any(one.noise_variance for one in scopes.values())
    tallies = {name: TallySums(spec, one.sums, noised=noised) for name, one in scopes.items()}
    if noised:
        found = [
            shown_despite_noise(
                tallies[name], minimum_cell, CellNoise(one.noise_variance, "gaussian")
            )
            for name, one in scopes.items()
        ]
    else:
        found = shown_levels(list(tallies.values()), minimum_cell)
    return {
        name: dict(zip(spec.groups, levels.tolist(), strict=True))
        for name, levels in zip(scopes, found, strict=False)
    }


def _hidden(levels: Sequence[Mapping[Group, int]]) -> frozenset[str]:
    return frozenset(
        group.label
        for one in levels
        for group, level in one.items()
        if group.levels and level < Shown.LABELS
    )


def _errors(course: Course, scope: ScopeSums, group: Group) -> tuple[int, int]:
    tallies = TallySums(course.spec, scope.sums, noised=scope.noise_variance > 0)
    tn, fp, fn, tp = tallies.outcomes([group])[0].tolist()
    return tn + fp + fn + tp, fp + fn


def _score_sums(sums: Mapping[str, Floats]) -> Floats:
    name = f"score_sum/{OVERALL}"
    return np.asarray(sums[f"{name}/whole"] + sums[f"{name}/fraction"])


def _whole(values: Floats) -> Counts:
    whole: Counts = np.rint(values).astype(np.int64)
    return whole


def _finite(limit: float) -> float | None:
    return limit if np.isfinite(limit) else None
