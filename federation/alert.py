"""What an evaluation calls somebody for, and in which words."""

from typing import Literal

from federation.summary import Part

Level = Literal["watch", "act"]
Topic = Literal["performance", "fairness", "drift", "data"]


class Alert(Part):
    """One finding that crossed its mark and is beyond chance.

    Attributes:
        level: how urgent.
        topic: what it is about.
        window: in which it was found.
        scope: `overall`, a cohort's name, or `sites` for what sites found by themselves.
        subject: a feature, an attribute, or what else is measured.
        metric: what crossed its mark.
        value: of the metric.
        mark: what it crossed.
        sentence: all that in words.
    """

    level: Level
    topic: Topic
    window: str
    scope: str
    subject: str
    metric: str
    value: float
    mark: float
    sentence: str


def exit_code(alerts: tuple[Alert, ...]) -> int:
    """0: nothing; 1: something to watch; 2: something to act on."""
    levels = {alert.level for alert in alerts}
    return 2 if "act" in levels else 1 if "watch" in levels else 0
