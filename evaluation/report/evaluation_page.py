"""The evaluation page: one HTML file without network or script, from the summary alone.

The same summary gives the same bytes; nothing else goes in, no clock and no file.
"""

from functools import cache
from pathlib import Path

from jinja2 import Environment

from evaluation.report import (
    cell_charts,
    detector_charts,
    drift_kinds,
    drift_strip,
    group_tables,
    impact_figures,
    mitigation_rows,
    scope_tables,
    score_panels,
    small_charts,
    trust_facts,
    window_figures,
)
from evaluation.report.evaluation_glossary import EVALUATION_TERMS
from federation.drift_summary import WindowDrift
from federation.evaluation_summary import EvaluationSummary
from federation.report_page.environment import environment

TEMPLATES = Path(__file__).parent / "templates"

SECTIONS = (
    ("trust", "Can I trust these numbers?"),
    ("performance", "Performance"),
    ("groups", "Groups"),
    ("sites", "Site by site"),
    ("course", "Gaps over time"),
    ("calibration", "Calibration"),
    ("thresholds", "Thresholds"),
    ("mitigation", "Mitigation"),
    ("drift", "Drift"),
    ("errors", "Errors over time"),
    ("flags", "Sites’ own tests"),
    ("audit", "Data audit"),
    ("impact", "Privacy’s cost"),
    ("definitions", "Definitions"),
    ("limits", "Limits"),
    ("reproduce", "Reproduce"),
)
"""In order: id, file name and name in the contents."""

_FILTERS = (
    group_tables.in_words,
    group_tables.metric_name,
    group_tables.p_value,
    drift_kinds.size_of,
)


def render(summary: EvaluationSummary) -> str:
    """The page as one HTML document.

    Every text of the summary is escaped. With 40 groups, 50 features and 52 windows it stays under
    1 MB: tables of cohorts then show what is to be watched or acted on, and say how many lines they
    leave out.
    """
    rows = detector_charts.watch_rows(summary.concept)
    return (
        _environment()
        .get_template("evaluation/page.html")
        .render(
            summary=summary,
            sections=SECTIONS,
            latest=summary.windows[-1],
            answers=trust_facts.answers(summary),
            counted=trust_facts.group_counts(trust_facts.overall_fairness(summary)),
            not_tested=trust_facts.not_tested(summary),
            performance=window_figures.performance_figures(summary),
            performance_legend=window_figures.performance_legend(summary),
            scopes=scope_tables.scope_tables(summary.fairness, summary.marks),
            gap_figures=[
                (scope, window_figures.gap_figures(summary, scope)) for scope in _scopes(summary)
            ],
            gap_legend=window_figures.gap_legend(summary),
            score_panels=[
                (scope, score_panels.panel_rows(scores)) for scope, scores in summary.scores.items()
            ],
            mitigation=mitigation_rows.mitigation_tables(
                summary.mitigation, summary.marks.criterion
            ),
            strips=_strips(summary),
            kinds=_kinds(summary),
            watch_rows=rows,
            large_watches=detector_charts.large_watches(rows),
            impact=_impact(summary),
            terms=EVALUATION_TERMS,
        )
    )


def _scopes(summary: EvaluationSummary) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.scope for one in summary.gaps))


def _strips(summary: EvaluationSummary) -> list[drift_strip.Strip]:
    windows = [window.name for window in summary.windows]
    found = (
        drift_strip.drift_strip(summary.drift, windows, scope, calm=scope == trust_facts.OVERALL)
        for scope in dict.fromkeys(one.scope for one in summary.drift)
    )
    return [strip for strip in found if strip is not None]


def _kinds(
    summary: EvaluationSummary,
) -> list[tuple[WindowDrift, tuple[drift_kinds.KindTable, ...]]]:
    """Of the latest window, per scope."""
    latest = [one for one in summary.drift if one.window == summary.windows[-1].name]
    return [
        (one, drift_kinds.kind_tables(one, calm=one.scope == trust_facts.OVERALL)) for one in latest
    ]


def _impact(summary: EvaluationSummary) -> dict[str, object] | None:
    found = summary.privacy_impact
    if found is None or not found.points:
        return None
    rows = impact_figures.impact_rows(found)
    return {
        "names": impact_figures.epsilon_names(found),
        "rows": rows,
        "figures": impact_figures.impact_figures(found),
        "hardest": found.hardest_hit(),
    }


@cache
def _environment() -> Environment:
    made = environment(TEMPLATES, _FILTERS)
    made.globals.update(
        whisker_scale=cell_charts.whisker_scale,
        paired_histogram=cell_charts.paired_histogram,
        base_rate=scope_tables.base_rate,
        rate_whisker=small_charts.rate_whisker,
        gap_whisker=small_charts.gap_whisker,
        shift=small_charts.shift,
        columns=small_charts.columns,
        level_bar=small_charts.level_bar,
        squares=score_panels.squares,
        strip_legend=drift_strip.legend,
        grades=drift_kinds.GRADES,
    )
    return made
