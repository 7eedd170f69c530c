"""The report as one HTML file without network or script, from the document alone."""

from functools import cache
from pathlib import Path

from jinja2 import Environment

from federation.report_page.budget_bar import budget_bar
from federation.report_page.environment import environment
from privacy.report import wording
from privacy.report.document import SCHEMA, PrivacyReport
from privacy.report.figures import LEGEND, cumulative_figure, curve_figures
from privacy.report.terms import TERMS

TEMPLATES = Path(__file__).parent / "templates"

_FILTERS = (
    wording.bound,
    wording.in_words,
    wording.left,
    wording.percent_up,
)


def render(report: PrivacyReport) -> str:
    """One HTML document; every text of the report is escaped."""
    return (
        _environment()
        .get_template("budget.html")
        .render(
            report=report,
            schema=SCHEMA,
            many=len(report.ledgers) > 1,
            title=_title(report),
            terms=TERMS,
        )
    )


def _title(report: PrivacyReport) -> str:
    if len(report.ledgers) > 1:
        return f"{len(report.ledgers):,} ledgers"
    return f"{report.ledgers[0].site}: {report.ledgers[0].dataset}"


@cache
def _environment() -> Environment:
    made = environment(TEMPLATES, _FILTERS)
    made.globals.update(
        budget_bar=budget_bar,
        cumulative_figure=cumulative_figure,
        curve_figures=curve_figures,
        legend=LEGEND,
    )
    return made
