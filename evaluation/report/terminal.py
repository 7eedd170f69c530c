"""The summary as rows of text for a terminal; drawing them is the command's business."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from evaluation.report import comparison
from evaluation.report.plain_words import stamps
from evaluation.report.verdicts import verdicts
from federation.report_page.number_text import epsilon, estimate, interval, rate
from federation.summary import Summary


@dataclass(frozen=True, slots=True)
class TerminalTable:
    """A table of plain text; every row is as long as `columns`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


SHOWN_OF_MANY = 10
"""Accounts on the terminal where there are too many to list."""


def summary_tables(summary: Summary) -> tuple[TerminalTable, ...]:
    """Verdicts, utility and yardsticks, and epsilon per site; a table without rows is left out."""
    shouted = "".join(f" | {stamp.upper()}" for stamp in stamps(summary))
    verdict_rows = tuple((v.topic, v.grade, v.headline, v.sentence) for v in verdicts(summary))
    return tuple(
        table
        for table in (
            TerminalTable(f"verdicts{shouted}", ("topic", "grade", "number", "why"), verdict_rows),
            TerminalTable(
                "held-out rows",
                ("model", "rows", "accuracy", "AUC", "95 % of accuracy", "log loss"),
                tuple(_utility_rows(summary)),
            ),
            TerminalTable(
                f"privacy: {summary.privacy.mode}{shouted}",
                ("site", "epsilon spent", "budget"),
                tuple(_privacy_rows(summary)),
            ),
        )
        if table.rows
    )


def _utility_rows(summary: Summary) -> Iterator[tuple[str, ...]]:
    for one in comparison.yardsticks(summary):
        utility = one.utility
        yield (
            one.name,
            f"{utility.rows:,}",
            estimate(utility.accuracy),
            estimate(utility.auc),
            interval(utility.accuracy),
            rate(utility.log_loss),
        )


def _privacy_rows(summary: Summary) -> Iterator[tuple[str, ...]]:
    is_off, unlisted = summary.privacy.mode == "off", summary.privacy.unlisted
    accounts = list(summary.privacy.sites.items())
    if unlisted:
        accounts.sort(key=lambda one: one[1].epsilon_spent or math.inf, reverse=True)
    shown = accounts[:SHOWN_OF_MANY] if unlisted else accounts
    for name, account in shown:
        # A ledger that was never asked says 0, which would read as the best of guarantees.
        spent = "no bound" if is_off else epsilon(account.epsilon_spent)
        records = account.records_per_person
        whose = f" (a person of up to {records} records)" if records > 1 else ""
        yield f"{name}{whose}", spent, epsilon(account.epsilon_budget)
    if unlisted:
        yield f"and {len(accounts) - len(shown) + unlisted:,} others, none above", "", ""
