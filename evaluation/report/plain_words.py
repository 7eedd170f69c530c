"""What the numbers mean for a person in the data, and what must be stamped over the whole page."""

import math

from evaluation.report.verdicts import largest_delta, largest_epsilon
from federation.report_page.number_text import epsilon, percent
from federation.summary import SEEDED, Summary

ACCUSED_WRONGLY = 0.01
"""The false positive rate at which the sentence about membership is made."""


def stamps(summary: Summary) -> tuple[str, ...]:
    """Warnings that outrank everything on the page; usually none."""
    found = []
    if summary.privacy.mode == "off":
        found.append("Privacy off")
    if summary.privacy.noise_source == SEEDED:
        found.append("Seeded noise: simulation only")
    if summary.run.partition is not None and summary.run.partition.resampled:
        found.append("Resampled rows")
    return tuple(found)


def stamp_meaning(stamp: str) -> str:
    """What a stamp means for the reader."""
    return {
        "Privacy off": "This model was trained without differential privacy. It may reveal "
        "single records; do not release it as if it were protected.",
        "Seeded noise: simulation only": "The privacy noise was drawn from the run's seed, so "
        "that the run can be repeated. Whoever knows the seed can take the noise away: the "
        "numbers below show what a deployed run would spend, and protect nobody here.",
        "Resampled rows": "Rows were handed out to several sites, to make more sites than there "
        "are rows for. An epsilon below is that of a row at one site; a row at several sites is "
        "protected less. Scores look surer than so few rows can make them.",
    }[stamp]


def largest_hit_rate(epsilon: float, delta: float, false_positive_rate: float) -> float:
    """Largest share of members that any test can find under (epsilon, delta)-DP.

    Kairouz, Oh and Viswanath 2015, arXiv:1311.0776, Theorem 2.1.

    Args:
        epsilon: >= 0.
        delta: in [0, 1].
        false_positive_rate: share of non-members whom the test accuses, in [0, 1].

    >>> round(largest_hit_rate(0.0, 0.0, 0.01), 4), round(largest_hit_rate(2.0, 1e-3, 0.01), 4)
    (0.01, 0.0749)
    """
    if epsilon > -math.log(max(false_positive_rate, 1e-300)):
        return 1.0  # before its exponential overflows
    direct = math.exp(epsilon) * false_positive_rate + delta
    mirrored = 1 - math.exp(-epsilon) * (1 - delta - false_positive_rate)
    return min(1.0, direct, mirrored)


def meaning(summary: Summary) -> str:
    """The guarantee as one sentence about an attacker; empty when there is none to state."""
    worst, delta = largest_epsilon(summary), largest_delta(summary)
    if summary.privacy.mode == "off" or worst is None or delta is None:
        return ""
    found = largest_hit_rate(worst, delta, ACCUSED_WRONGLY)
    subject = "had the noise been secret, " if stamps(summary) else ""
    return (
        f"At ε = {epsilon(worst)}: {subject}whoever sees everything that was released, and "
        f"wrongly accuses 1 in {1 / ACCUSED_WRONGLY:.0f} outsiders, can recognise at most "
        f"{percent(found)} of the {summary.privacy.unit}s that were in the training data."
    )
