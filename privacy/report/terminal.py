"""The report as rows for a terminal; drawing them is the command's business."""

from collections import Counter

from federation.report_page.number_text import listing, percent, setting
from privacy.report.document import LedgerReport, PrivacyReport
from privacy.report.wording import bound

COLUMNS = ("ledger", "epsilon spent", "budget", "at delta", "of it", "more charges")


def rows(report: PrivacyReport) -> tuple[tuple[str, ...], ...]:
    """One per ledger, as long as `COLUMNS`."""
    return tuple(
        (name, *_row(one)) for name, one in zip(names(report), report.ledgers, strict=True)
    )


def warnings(report: PrivacyReport) -> tuple[str, ...]:
    """Each sentence once, with the ledgers that it is about."""
    about: dict[str, list[str]] = {}
    for name, one in zip(names(report), report.ledgers, strict=True):
        for sentence in one.warnings:
            about.setdefault(sentence, []).append(name)
    everybody = len(report.ledgers)
    return tuple(
        f"{'all ledgers' if len(of) == everybody > 1 else listing(tuple(of))}: {sentence}"
        for sentence, of in about.items()
    )


def names(report: PrivacyReport) -> tuple[str, ...]:
    """Of the ledgers: the site, and its dataset where the site has several."""
    sites = Counter(one.site for one in report.ledgers)
    return tuple(
        one.site if sites[one.site] == 1 else f"{one.site}: {one.dataset}" for one in report.ledgers
    )


def _row(one: LedgerReport) -> tuple[str, ...]:
    spent = one.record
    share = "–"
    if spent.epsilon is not None and spent.budget:
        share = percent(spent.epsilon / spent.budget)
    return (
        bound(spent.epsilon),
        "none set" if spent.budget is None else setting(spent.budget),
        setting(spent.delta),
        share,
        "–" if one.more_of_last is None else f"{one.more_of_last:,}",
    )
