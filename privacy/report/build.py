"""The whole report, from checked ledgers and summaries: the same bytes for the same input."""

from collections.abc import Sequence
from importlib.metadata import version

from federation.errors import UsageError
from federation.summary import Summary
from privacy.account import Account
from privacy.report.document import PrivacyReport, Version
from privacy.report.federation_view import History, federation_view
from privacy.report.ledger_report import ledger_report
from privacy.report.run_facts import run_facts
from privacy.report.source import CheckedLedger

PACKAGES = ("hedgerow", "dp-accounting", "opacus", "numpy", "scipy")


def privacy_report(
    ledgers: Sequence[CheckedLedger], summaries: Sequence[Summary] = ()
) -> PrivacyReport:
    """Of one ledger or several, in the order of their sites and datasets.

    Raises:
        UsageError: no ledger, or two of the same site and dataset.
    """
    reports = sorted(map(ledger_report, ledgers), key=lambda one: (one.site, one.dataset))
    holders = [(one.site, one.dataset) for one in reports]
    twice = sorted({each for each in holders if holders.count(each) > 1})
    if twice:
        raise UsageError(
            f"two ledgers of {twice[0][0]}: {twice[0][1]}: expected each ledger once; a copy would "
            "be counted as another site's"
        )
    if not reports:
        raise UsageError("expected one ledger at least")
    return PrivacyReport(
        as_of=max(one.integrity.last_at for one in reports),
        ledgers=tuple(reports),
        federation=federation_view(reports, [_history(one) for one in ledgers])
        if len(reports) > 1
        else None,
        runs=tuple(run_facts(one) for one in sorted(summaries, key=lambda one: one.run.id)),
        versions=tuple(Version(name=name, version=version(name)) for name in PACKAGES),
    )


def _history(ledger: CheckedLedger) -> History:
    account = Account()
    for entry in ledger.entries:
        account.apply(entry)
    return History.of(account)
