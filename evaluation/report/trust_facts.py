"""How far numbers can be trusted: who is missing, how exact they are, what was not tested."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from federation.evaluation_summary import EvaluationSummary, Window
from federation.report_page.number_text import count, epsilon, rate, significant
from federation.summary import Estimate, Fairness

OVERALL = "overall"

NO_SCORES = "No group has positives and negatives enough for a curve."


@dataclass(frozen=True, slots=True)
class Answer:
    """A question that a reviewer asks, and the answer in a phrase and in full."""

    question: str
    phrase: str
    text: str


@dataclass(frozen=True, slots=True)
class GroupCount:
    """How much of an attribute is to be seen.

    Attributes:
        shown: groups with numbers.
        suppressed: without any.
        partly: shown with rows and selection rate alone.
        smallest: rows of the smallest group shown; None if none is.
        reasons: why others are not, with how many groups each concerns.
    """

    attribute: str
    shown: int
    suppressed: int
    partly: int
    smallest: int | None
    largest: int | None
    reasons: tuple[tuple[str, int], ...]


def answers(summary: EvaluationSummary) -> tuple[Answer, ...]:
    """In the order in which they matter."""
    latest = summary.windows[-1]
    return (
        _rows(summary, latest),
        _exactness(latest),
        _curves(summary),
        _comparisons(summary),
        _hidden(summary),
        _beforehand(summary),
    )


def group_counts(fairness: Fairness | None) -> tuple[GroupCount, ...]:
    """One per attribute of one scope."""
    if fairness is None:
        return ()
    attributes = dict.fromkeys(group.attribute for group in fairness.groups)
    return tuple(_group_count(fairness, name) for name in attributes)


def not_tested(summary: EvaluationSummary) -> tuple[str, ...]:
    """What the page does not speak to: what this evaluation left out, then what none can tell."""
    return (*_left_out(summary), *BEYOND)


BEYOND = (
    "Rows without a label, and persons whose outcome was never recorded: rates are of labelled, "
    "held-out rows alone. If the label itself is unfair, the page does not show it.",
    "Single persons: equal rates of groups do not mean that two alike persons are treated alike.",
    "Attributes and levels that the task does not declare, and intersections that were not chosen.",
    "Why groups differ: the numbers are associations, not causes.",
    "Sites outside this federation, and windows after the latest one.",
    "Attacks on the model, and faults of the systems around it.",
)


def overall_fairness(summary: EvaluationSummary) -> Fairness | None:
    """Of all sites together."""
    return next((one for one in summary.fairness if one.scope == OVERALL), None)


def _rows(summary: EvaluationSummary, latest: Window) -> Answer:
    rows = latest.utility[OVERALL].rows if OVERALL in latest.utility else None
    lost = f" {latest.lost} invited site{_s(latest.lost)} did not take part." if latest.lost else ""
    least = summary.marks.minimum_contributors
    return Answer(
        "Whose rows are these?",
        f"{count(rows)} rows of {latest.sites} of {summary.subject.sites} sites",
        f"Held-out rows of window {latest.name}, that the model was not trained on.{lost} Sites "
        f"contribute to sums alone: a sum is read if it is of at least {least} sites, and no rate "
        "here is one site’s.",
    )


def _exactness(latest: Window) -> Answer:
    question = "Are the counts exact?"
    if not latest.noise_variance:
        return Answer(
            question,
            "yes",
            "No noise was added. Intervals are about the chance of drawing such rows, not about "
            "the counting.",
        )
    deviation = latest.noise_variance**0.5
    spent = f" Counting the window cost each record ε = {epsilon(latest.epsilon)}." * (
        latest.epsilon is not None
    )
    return Answer(
        question,
        f"noised by ± {significant(1.96 * deviation)} rows",
        f"Each count of all sites carries noise of standard deviation {significant(deviation)} "
        f"(variance {significant(latest.noise_variance)}), which hides each record; 95 of 100 "
        f"counts are off by no more than {significant(1.96 * deviation)}.{spent} Intervals and "
        "p-values allow for it.",
    )


def _curves(summary: EvaluationSummary) -> Answer:
    question = "How exact are AUC, KS and curves?"
    bins = summary.marks.score_bins
    groups = [one for of_scope in summary.scores.values() for one in of_scope if not one.suppressed]
    halves = {
        "AUC": _half_width(one.auc for one in groups),
        "KS": _half_width(one.ks for one in groups),
    }
    told = [
        f"{name} within ± {rate(half)}" if half else f"{name} exact"
        for name, half in halves.items()
        if half is not None
    ]
    if not told:
        why = "They would be of the noise." if summary.windows[-1].noise_variance else NO_SCORES
        return Answer(question, "not given", why)
    return Answer(
        question,
        ", ".join(told),
        f"Scores were counted in {bins} bins, not one by one. The bounds hold for certain for "
        "these rows, and are the widest of all groups shown. Points of curves are left out where "
        f"they would show fewer than {summary.marks.minimum_cell} rows.",
    )


def _comparisons(summary: EvaluationSummary) -> Answer:
    groups = sum(len(one.comparisons) for one in summary.fairness)
    latest = [one for one in summary.drift if one.window == summary.windows[-1].name]
    drift = sum(one.comparisons for one in latest)
    chance = max((one.false_alarms for one in latest), default=0.0)
    of_drift = (
        f" Drift: in each scope the chance that any comparison of a window is called significant "
        f"when nothing has changed is at most {rate(chance)} (Holm’s adjustment of all of them)."
        if latest
        else ""
    )
    of_groups = (
        " Groups: in each scope the chance of one false finding or more is at most 0.05, for gaps "
        "and for groups against the rest each (Holm’s adjustment)."
        if groups
        else ""
    )
    return Answer(
        "How many comparisons, and how many are false?",
        f"{count(groups)} of groups, {count(drift)} of windows",
        f"Of many comparisons some look striking by chance.{of_groups}{of_drift}",
    )


def _hidden(summary: EvaluationSummary) -> Answer:
    least = summary.marks.minimum_cell
    hidden = sum(group.suppressed for one in summary.fairness for group in one.groups)
    return Answer(
        "Who is not shown?",
        f"{count(hidden)} group{_s(hidden)} in all scopes" if hidden else "nobody",
        f"Groups with fewer than {least} rows, and further groups from which these would follow by "
        "subtraction. They are hidden after the sum, not at sites, so they count in all rows. A "
        f"rate whose denominator is below {least} is not estimable and no part of a gap.",
    )


def _beforehand(summary: EvaluationSummary) -> Answer:
    marks = summary.marks
    return Answer(
        "What was agreed beforehand?",
        f"criterion: {marks.criterion.replace('_', ' ')}",
        f"A gap matters from {marks.gap_watch:g} (watch) and {marks.gap_act:g} (act) on, a PSI "
        f"from {marks.psi_watch:g} and {marks.psi_act:g} on, and only if it is beyond chance, too. "
        f"At most one false alarm in {marks.windows_per_false_alarm} windows. The accuracy gap is "
        "judged beside the criterion. The agreement is signed by every site; its digest is below.",
    )


def _left_out(summary: EvaluationSummary) -> Iterator[str]:
    if not any(one.groups for one in summary.fairness):
        yield "Fairness: the task names no sensitive attribute, so nothing is known about groups."
    if not summary.subject.positive_class:
        yield (
            "Selection rate, true and false positive rates, thresholds: with more than two classes "
            "accuracy is all there is of a group."
        )
    if not any(summary.scores.values()):
        yield "Calibration and curves: they were not counted, or would be of the noise."
    if not summary.site_flags:
        yield "Drift at a single site: sites did not test their own rows."
    if len(summary.windows) == 1:
        yield "A trend: there is one window beside the reference."
    if summary.audit is None:
        yield "Data quality beyond drift: duplicates, leaks and label errors were not audited."
    if summary.privacy_impact is None:
        yield "What privacy in training cost each group: that was not simulated."


def _group_count(fairness: Fairness, attribute: str) -> GroupCount:
    groups = [group for group in fairness.groups if group.attribute == attribute]
    shown = [group for group in groups if not group.suppressed]
    reasons = Counter(group.reason for group in groups if group.suppressed)
    estimates = (
        estimate.reason
        for group in shown
        if isinstance(estimate := group.accuracy, Estimate) and estimate.value is None
    )
    reasons.update(estimates)
    sizes = [group.rows for group in shown]
    return GroupCount(
        attribute,
        len(shown),
        len(groups) - len(shown),
        sum(group.accuracy is not None and group.accuracy.value is None for group in shown),
        min(sizes, default=None),
        max(sizes, default=None),
        tuple(reasons.items()),
    )


def _half_width(estimates: Iterable[Estimate | None]) -> float | None:
    halves = [
        (one.high - one.low) / 2
        for one in estimates
        if one is not None and one.low is not None and one.high is not None
    ]
    return max(halves, default=None)


def _s(number: int) -> str:
    return "" if number == 1 else "s"
