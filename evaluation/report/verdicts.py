"""Four verdicts a reader meets first: utility, fairness, drift, privacy.

A verdict is the worst finding of its topic by the rules of `verdict_rules`; among equals the first
one named there.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from evaluation.gap_grades import JUDGED_GAPS
from evaluation.report import comparison
from evaluation.report.verdict_rules import (
    GAP_ACT,
    GAP_WATCH,
    RATIO_WATCH,
    WEAK_EPSILON,
    WORSENED,
    Grade,
)
from federation.report_page.number_text import epsilon, estimate, listing, rate, setting
from federation.summary import SEEDED, Disparity, Drift, Fairness, SiteAccount, Summary, Utility

_SEVERITY: dict[Grade, int] = {"Off": 0, "OK": 1, "Watch": 2, "Act": 3}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One tile.

    Attributes:
        topic: what is judged.
        grade: OK, Watch, Act, or Off when there is nothing to judge.
        headline: the number that matters most, with its name.
        sentence: why.
    """

    topic: str
    grade: Grade
    headline: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A grade and the sentence that gives its reason."""

    grade: Grade
    sentence: str


def verdicts(summary: Summary) -> tuple[Verdict, ...]:
    """Utility, fairness, drift and privacy, in this order."""
    return (
        utility(summary),
        fairness(summary.fairness),
        drift(summary.drift),
        privacy(summary),
    )


def utility(summary: Summary) -> Verdict:
    """Whether the model is of use, and whether joining was."""
    final = comparison.final_utility(summary)
    if final is None or final.accuracy.value is None:
        return Verdict("Utility", "Off", "not measured", "No round was evaluated.")
    metric = comparison.metric_for((final,))
    headline = f"{metric} {estimate(comparison.score(final, metric))}"
    rounds = summary.run.rounds_completed
    ok = f"The model beats guessing on {final.rows:,} held-out rows after {rounds} rounds."
    return _worst("Utility", headline, ok, _utility_findings(summary, final))


def fairness(scopes: Sequence[Fairness]) -> Verdict:
    """Whether the model treats groups alike."""
    if not any(scope.groups for scope in scopes):
        sentence = "No sensitive attribute was counted, so nothing is known about groups."
        return Verdict("Fairness", "Off", "not measured", sentence)
    known = [
        (_gap_grade(gap, value), value, scope.scope, gap)
        for scope in scopes
        for gap in scope.disparities
        if gap.metric in JUDGED_GAPS and (value := gap.estimate.value) is not None
    ]
    if not known:
        sentence = "No gap between groups can be estimated from these rows."
        return Verdict("Fairness", "Watch", "no gap known", sentence)
    grade, _, scope, gap = max(
        known, key=lambda one: (_SEVERITY[one[0]], not is_ratio(one[3]), one[1])
    )
    headline = f"{'ratio' if is_ratio(gap) else 'gap of'} {estimate(gap.estimate)}"
    sentence = _gap_sentence(grade, scope, gap)
    judged = {one.attribute for _, _, _, one in known}
    unjudged = [
        name
        for name in dict.fromkeys(group.attribute for s in scopes for group in s.groups)
        if name not in judged
    ]
    if unjudged:
        sentence += f" Not judged, for want of groups with enough rows: {listing(tuple(unjudged))}."
    return Verdict("Fairness", grade, headline, sentence)


def drift(compared: Sequence[Drift]) -> Verdict:
    """Whether rows have changed since the reference window."""
    if not compared:
        return Verdict("Drift", "Off", "not measured", "No windows were compared.")
    told = [one for one in compared if one.verdict != "window too small"]
    if not told:
        sentence = "Every window is too small to tell drift from chance."
        return Verdict("Drift", "Watch", "cannot tell", sentence)
    headline = f"PSI up to {rate(max(one.psi or 0.0 for one in told))}"
    ok = f"None of {len(told)} comparisons shows drift beyond chance"
    untold = len(compared) - len(told)
    ok += f"; {untold} more have too few rows to tell." if untold else "."
    return _worst("Drift", headline, ok, _drift_findings(told))


def privacy(summary: Summary) -> Verdict:
    """Whether the guarantee holds, and how much of it is left."""
    terms = summary.privacy
    if terms.mode == "off":
        sentence = "Trained without differential privacy: the model may reveal single records."
        return Verdict("Privacy", "Off", "no guarantee", sentence)
    worst = largest_epsilon(summary)
    headline = "ε unknown" if worst is None else f"ε ≤ {epsilon(worst)}"
    ok = f"Per {terms.unit}, at delta {setting(largest_delta(summary))}; the largest of all sites"
    budgeted = all(account.epsilon_budget is not None for account in terms.sites.values())
    ok += ", each within its budget." if budgeted else "; not every site has set a budget."
    return _worst("Privacy", headline, ok, _privacy_findings(summary))


def largest_delta(summary: Summary) -> float | None:
    """The largest delta that a site's epsilon is stated at; the run's own if none is."""
    deltas = [account.delta for account in summary.privacy.sites.values()]
    return max(deltas, default=summary.privacy.delta)


def largest_epsilon(summary: Summary) -> float | None:
    """The largest epsilon spent at a site; None if any site's is not known."""
    if _unknown_spending(summary) or not summary.privacy.sites:
        return None
    return max(account.epsilon_spent or 0.0 for account in summary.privacy.sites.values())


def is_ratio(gap: Disparity) -> bool:
    """Whether 1, not 0, means equal."""
    return gap.metric.endswith("_ratio")


def _worst(topic: str, headline: str, ok: str, findings: Iterable[Finding]) -> Verdict:
    worst = Finding("OK", ok)
    for finding in findings:
        if _SEVERITY[finding.grade] > _SEVERITY[worst.grade]:
            worst = finding
    return Verdict(topic, worst.grade, headline, worst.sentence)


def _utility_findings(summary: Summary, final: Utility) -> Iterator[Finding]:
    run = summary.run
    if run.status != "completed":
        done = f"{run.rounds_completed} of {run.rounds_planned} rounds"
        yield Finding("Watch", f"The run was {run.status} after {done}.")
    majority = comparison.named(summary, comparison.MAJORITY)
    if majority is None:
        yield Finding("Watch", "Guessing was not measured, so nothing says the model beats it.")
    elif not _beats(final, majority):
        text = f"The model does not beat guessing ({rate(majority.accuracy.value)} accuracy)."
        yield Finding("Act", text)
    if majority is not None and _exceeds(final.log_loss, majority.log_loss):
        yield Finding("Watch", "Its probabilities are worse than quoting the base rate (log loss).")
    losses = [point.overall.log_loss for point in summary.utility]
    best = min((loss for loss in losses if loss is not None), default=None)
    if best is not None and _exceeds(final.log_loss, WORSENED * best):
        yield Finding("Watch", "An earlier round's model had a clearly lower log loss.")
    level = tuple(one.site for one in comparison.site_gains(summary) if one.is_level_or_worse)
    if level:
        yield Finding("Watch", f"On their own rows, {listing(level)} score as well training alone.")


def _beats(final: Utility, majority: Utility) -> bool:
    ranks = final.auc.low if final.auc.low is not None else final.auc.value
    return _exceeds(final.accuracy.value, majority.accuracy.value) or _exceeds(ranks, 0.5)


def _exceeds(value: float | None, other: float | None) -> bool:
    return value is not None and other is not None and value > other


def _gap_grade(gap: Disparity, value: float) -> Grade:
    low, high = gap.estimate.low, gap.estimate.high
    if is_ratio(gap):
        chance = 1.0 if gap.null_expectation is None else gap.null_expectation
        beyond = high is not None and high < chance
        return "Watch" if value < RATIO_WATCH and beyond else "OK"
    beyond = low is not None and low > (gap.null_expectation or 0.0)
    if value >= GAP_ACT:
        return "Act" if beyond else "Watch"
    return "Watch" if value >= GAP_WATCH and beyond else "OK"


def _gap_sentence(grade: Grade, scope: str, gap: Disparity) -> str:
    where = "" if scope == "overall" else f" in cohort {scope}"
    between = f" ({listing(gap.between)})" if gap.between else ""
    phrase = f"{gap.metric.replace('_', ' ')} by {gap.attribute}{between}{where}"
    if grade == "OK":
        if gap.estimate.value == 0 and not is_ratio(gap):
            return "All groups have the same rates."
        return f"No gap is both large and beyond chance; the widest is {phrase}."
    beyond = is_ratio(gap) or (gap.estimate.low or 0.0) > (gap.null_expectation or 0.0)
    reason = "is beyond chance" if beyond else "is large, but the groups are too small to be sure"
    return f"{phrase[0].upper()}{phrase[1:]} {reason}."


def _drift_findings(told: list[Drift]) -> Iterator[Finding]:
    grades: tuple[tuple[Grade, str], ...] = (("Act", "act"), ("Watch", "watch"))
    for grade, verdict in grades:
        drifted = sorted(
            (one for one in told if one.verdict == verdict), key=lambda one: -(one.psi or 0.0)
        )
        if drifted:
            names = tuple(dict.fromkeys(one.feature for one in drifted))
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            shown = ", ".join(names[:3]) if more else listing(names)
            yield Finding(grade, f"Shifted beyond chance since the reference: {shown}{more}.")


def _privacy_findings(summary: Summary) -> Iterator[Finding]:
    terms = summary.privacy
    unknown = _unknown_spending(summary)
    if unknown:
        yield Finding("Act", f"What {listing(unknown)} has spent is not known.")
    for name, account in terms.sites.items():
        if _exceeds(account.epsilon_spent, account.epsilon_budget):
            yield Finding("Act", f"{name} has spent more than its budget.")
    if terms.noise_source == SEEDED:
        yield Finding("Watch", "The noise is drawn from a seed: a simulation, protecting nobody.")
    if terms.noise_source == "unknown":
        yield Finding("Act", "Not every site said where its noise came from.")
    worst = largest_epsilon(summary)
    if _exceeds(worst, WEAK_EPSILON):
        yield Finding("Watch", f"An epsilon above {WEAK_EPSILON:g} is a weak guarantee.")
    for name, account in terms.sites.items():
        if terms.mode == "record" and account.delta * account.public_rows >= 1:
            yield Finding("Watch", f"Delta is not below 1 / rows of {name}.")
        yield from _account_findings(name, account)


def _unknown_spending(summary: Summary) -> tuple[str, ...]:
    """Sites without an account, or whose account names no epsilon."""
    accounts = summary.privacy.sites
    listed = () if summary.privacy.unlisted else summary.run.sites
    names = tuple(dict.fromkeys((*listed, *accounts)))
    return tuple(
        name for name in names if name not in accounts or accounts[name].epsilon_spent is None
    )


def _account_findings(name: str, account: SiteAccount) -> Iterator[Finding]:
    if account.refused:
        yield Finding("Watch", f"{name} refused work that its budget or policy did not allow.")
    if account.reserved > account.committed + account.voided:
        yield Finding("Watch", f"{name} holds an open reservation, counted as spent.")
