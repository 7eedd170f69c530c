"""The run report: one HTML file without network or script, from the summary alone.

The same summary gives the same bytes; nothing else goes in, no clock and no file of the run.
"""

from functools import cache
from pathlib import Path

from jinja2 import Environment

from evaluation.report import (
    cell_charts,
    comparison,
    figures,
    group_tables,
    plain_words,
)
from evaluation.report.drift_tables import drift_tables
from evaluation.report.glossary import TERMS
from evaluation.report.verdict_rules import RULES
from evaluation.report.verdicts import verdicts
from federation.report_page.budget_bar import budget_bar
from federation.report_page.environment import environment
from federation.summary import Round, Summary

TEMPLATES = Path(__file__).parent / "templates"

BASELINE_CELL = 260.0
"""Width of a whisker in the table of yardsticks, in pixels."""

_FILTERS = (
    group_tables.in_words,
    group_tables.metric_name,
    group_tables.p_value,
)


def render(summary: Summary) -> str:
    """The report as one HTML document.

    Every text of the summary is escaped. Pages of usual runs stay under 300 kB.
    """
    metric = comparison.overall_metric(summary)
    yardsticks = comparison.yardsticks(summary)
    scores = [comparison.score(one.utility, metric) for one in yardsticks]
    return (
        _environment()
        .get_template("run.html")
        .render(
            summary=summary,
            run=summary.run,
            stamps=[
                (stamp, plain_words.stamp_meaning(stamp)) for stamp in plain_words.stamps(summary)
            ],
            meaning=plain_words.meaning(summary),
            verdicts=verdicts(summary),
            rules=RULES,
            terms=TERMS,
            final=comparison.final_utility(summary),
            figures=figures.utility_figures(summary),
            legend=figures.utility_legend(summary),
            eventful=[one for one in summary.rounds if _is_eventful(one)],
            participation=figures.participation_figure(summary),
            metric=metric,
            yardsticks=list(zip(yardsticks, scores, strict=True)),
            yardstick_axis=cell_charts.shared_axis(scores, BASELINE_CELL),
            own_rows_metric=comparison.own_rows_metric(summary),
            site_gains=comparison.site_gains(summary),
            sentences=comparison.sentences(summary),
            fairness=[
                (scope.scope, group_tables.group_tables(scope)) for scope in summary.fairness
            ],
            fairness_figures=figures.fairness_figures(summary),
            fairness_legend=figures.fairness_legend(summary),
            drift=drift_tables(summary),
        )
    )


def _is_eventful(one: Round) -> bool:
    return one.status == "failed" or bool(one.lost) or one.attempts > 1


@cache
def _environment() -> Environment:
    made = environment(TEMPLATES, _FILTERS)
    made.globals.update(
        whisker=cell_charts.whisker,
        whisker_scale=cell_charts.whisker_scale,
        budget_bar=budget_bar,
        paired_histogram=cell_charts.paired_histogram,
    )
    return made
