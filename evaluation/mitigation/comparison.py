"""Two runs side by side: what a mitigation changed, in accuracy and in every gap between groups.

Made from two summaries alone. Parity and odds stand together whatever the mitigation was after,
for what closes one often opens the other.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from federation.mitigation_summary import MetricChange, MitigationComparison
from federation.summary import Disparity, Estimate, Fairness, Summary, TrainedMitigation, Utility

OVERALL = "overall"
HIGHER_IS_BETTER = frozenset({"accuracy", "balanced accuracy", "AUC"})
NO_EVALUATION = "the final model was not evaluated"


def compare(before: Summary, after: Summary) -> MitigationComparison:
    """The second run against the first, on all sites' held-out rows.

    An interval is that of each run by itself. On the same rows the two are alike in what chance
    did to them, so the change is surer than the intervals look.

    Args:
        before: usually the run without mitigation.
        after: a run of the same task and the same sites.
    """
    first, second = _final(before), _final(after)
    changes = [
        *_utility_changes(first, second),
        *_gap_changes(_gaps(before.fairness), _gaps(after.fairness)),
    ]
    return MitigationComparison(
        before=before.run.id,
        after=after.run.id,
        before_method=described(before.mitigation),
        after_method=described(after.mitigation),
        task=after.run.task,
        sites=after.run.sites,
        rows=second.rows if second else 0,
        changes=tuple(changes),
        cautions=tuple(_cautions(before, after)),
    )


def described(mitigation: TrainedMitigation | None) -> str:
    """How a run was mitigated, in words."""
    if mitigation is None:
        return "no mitigation"
    criterion = mitigation.criterion.replace("_", " ")
    return f"{mitigation.method} for {criterion} by {mitigation.attribute}"


def text_table(comparison: MitigationComparison) -> str:
    """The comparison as plain text, one line per metric; ends with a newline."""
    rows = [("metric", "before", "after", "change", "")]
    for one in comparison.changes:
        name = f"{one.metric.replace('_', ' ')}{f', {one.attribute}' if one.attribute else ''}"
        change = "-" if one.change is None else f"{one.change:+.3f}"
        verdict = {"same": "", "not known": "not known"}.get(one.better, one.better)
        sure = ", intervals apart" if one.apart else ""
        rows.append((name, _told(one.before), _told(one.after), change, f"{verdict}{sure}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        f"before: {comparison.before}, {comparison.before_method}",
        f"after:  {comparison.after}, {comparison.after_method}",
        f"on {comparison.rows} held-out rows of {len(comparison.sites)} sites, task "
        f"{comparison.task}; intervals are 95 % of each run by itself",
        "",
        *("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
          for row in rows),
        *(f"caution: {caution}" for caution in comparison.cautions),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _told(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _final(summary: Summary) -> Utility | None:
    """Utility of the model that the run's findings are about."""
    return summary.utility[-1].overall if summary.utility and summary.fairness else None


def _utility_changes(before: Utility | None, after: Utility | None) -> Iterator[MetricChange]:
    for name, first, second in (
        ("accuracy", before and before.accuracy, after and after.accuracy),
        (
            "balanced accuracy",
            before and Estimate(value=before.balanced_accuracy),
            after and Estimate(value=after.balanced_accuracy),
        ),
        ("AUC", before and before.auc, after and after.auc),
    ):
        missing = Estimate(value=None, reason=NO_EVALUATION)
        yield _change(name, "", first or missing, second or missing)


def _gaps(fairness: Iterable[Fairness]) -> dict[tuple[str, str], Disparity]:
    return {
        (gap.attribute, gap.metric): gap
        for one in fairness
        if one.scope == OVERALL
        for gap in one.disparities
    }


def _gap_changes(
    before: dict[tuple[str, str], Disparity], after: dict[tuple[str, str], Disparity]
) -> Iterator[MetricChange]:
    missing = Estimate(value=None, reason="not among the findings of this run")
    for attribute, metric in dict.fromkeys([*before, *after]):
        first, second = before.get((attribute, metric)), after.get((attribute, metric))
        yield _change(
            metric,
            attribute,
            first.estimate if first else missing,
            second.estimate if second else missing,
        )


def _change(metric: str, attribute: str, before: Estimate, after: Estimate) -> MetricChange:
    change = None
    better: Literal["better", "worse", "same", "not known"] = "not known"
    if before.value is not None and after.value is not None:
        change = after.value - before.value
        rises = metric in HIGHER_IS_BETTER or metric.endswith("_ratio")
        better = "same" if change == 0 else "better" if (change > 0) == rises else "worse"
    return MetricChange(
        metric=metric,
        attribute=attribute,
        before=before,
        after=after,
        change=change,
        better=better,
        apart=_are_apart(before, after),
    )


def _are_apart(first: Estimate, second: Estimate) -> bool:
    if None in (first.low, first.high, second.low, second.high):
        return False
    assert first.low is not None and first.high is not None  # noqa: PT018 - narrowing for mypy
    assert second.low is not None and second.high is not None  # noqa: PT018 - narrowing for mypy
    return first.high < second.low or second.high < first.low


def _cautions(before: Summary, after: Summary) -> Iterator[str]:
    if before.run.task != after.run.task:
        yield f"the tasks differ: {before.run.task} and {after.run.task}"
    if before.run.sites != after.run.sites:
        others = sorted(set(before.run.sites) ^ set(after.run.sites))
        yield f"the sites differ by {', '.join(others)}"
    if _held_out(before) != _held_out(after):
        yield "the held-out rows differ: their numbers by group are not the same"
    for summary in (before, after):
        if _final(summary) is None:
            yield f"{summary.run.id}: {NO_EVALUATION}"
        elif summary.run.status != "completed":
            yield f"{summary.run.id} did not run to its end"
    if (before.privacy.target_epsilon, before.privacy.noise_multiplier) != (
        after.privacy.target_epsilon,
        after.privacy.noise_multiplier,
    ):
        yield "privacy differs, which changes accuracy and gaps by itself"
    if before.run.rounds_completed != after.run.rounds_completed:
        yield "the number of training rounds differs"


def _held_out(summary: Summary) -> tuple[int, frozenset[tuple[str, str, int, int | None]]]:
    """Rows of all groups whose numbers do not depend on the model."""
    final = _final(summary)
    groups = frozenset(
        (group.attribute, group.group, group.rows, group.positives)
        for one in summary.fairness
        if one.scope == OVERALL
        for group in one.groups
    )
    return final.rows if final else 0, groups
