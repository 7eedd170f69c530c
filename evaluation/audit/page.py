"""The site's audit as one HTML file without network or script, from the document alone."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment

from evaluation.audit.checks import SEVERITY, worst
from evaluation.audit.document import Check, SiteAudit, Verdict
from evaluation.audit.figures import auc_mark, class_bars, share_bar
from evaluation.audit.rules import RULES
from federation.report_page.environment import environment

TEMPLATES = Path(__file__).parent / "templates"

MOST_LISTED = 20
"""Rows of a ranking on the page; all of them are in uncertain.csv."""

TOPICS: dict[str, tuple[str, ...]] = {
    "Columns": ("missing", "missing_by_label", "range", "levels", "constant"),
    "Rows": ("duplicates", "conflicts", "overlap"),
    "Leakage": ("leakage",),
    "Labels": ("balance", "groups", "label_noise", "yardstick", "annotators"),
}

GRADES: dict[Verdict, str] = {"ok": "OK", "watch": "Watch", "act": "Act", "off": "Off"}


@dataclass(frozen=True, slots=True)
class Tile:
    """One topic: the grade of its worst check, and what that found."""

    topic: str
    grade: str
    headline: str
    sentence: str


def render(audit: SiteAudit) -> str:
    """One HTML document; every text of the audit is escaped."""
    return (
        _environment()
        .get_template("audit.html")
        .render(
            audit=audit,
            topics=tiles(audit),
            grades=GRADES,
            rules=RULES,
            most_listed=MOST_LISTED,
            splits=[(split, sum(split.labels)) for split in audit.splits],
            rows=sum(sum(split.labels) for split in audit.splits),
            attributes=dict.fromkeys(group.attribute for group in audit.groups),
        )
    )


def tiles(audit: SiteAudit) -> tuple[Tile, ...]:
    """One per topic."""
    by_key = {check.key: check for check in audit.checks}
    return tuple(_tile(topic, [by_key[key] for key in keys]) for topic, keys in TOPICS.items())


def _tile(topic: str, checks: list[Check]) -> Tile:
    verdict = worst(check.verdict for check in checks)
    decisive = max(checks, key=lambda check: SEVERITY[check.verdict])
    flagged = sum(check.verdict in {"watch", "act"} for check in checks)
    judged = sum(check.verdict != "off" for check in checks)
    if verdict in {"watch", "act"}:
        others = f" {flagged - 1} more to look at." if flagged > 1 else ""
        return Tile(topic, GRADES[verdict], decisive.name, decisive.finding + others)
    if verdict == "off":
        return Tile(topic, GRADES[verdict], "not judged", decisive.finding)
    headline = "nothing found"
    words = decisive.finding if judged == 1 else f"{judged} checks found nothing."
    return Tile(topic, GRADES[verdict], headline, words)


@cache
def _environment() -> Environment:
    made = environment(TEMPLATES)
    made.globals.update(share_bar=share_bar, auc_mark=auc_mark, class_bars=class_bars)
    return made
