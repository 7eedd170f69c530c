"""The page of a sweep: one HTML file without network or script, from `results.json` alone."""

from functools import cache
from pathlib import Path

from jinja2 import Environment

from federation.report_page.environment import environment
from federation.report_page.number_text import rate
from simulations.sweep import plain_words
from simulations.sweep.cost_words import cost_lines, cost_notes
from simulations.sweep.frontier_charts import figures, legend
from simulations.sweep.results import SweepResults
from simulations.sweep.standing import Spread
from simulations.sweep.variation import shown

TEMPLATES = Path(__file__).parent / "templates"


def render(found: SweepResults) -> str:
    """The page as one HTML document; every text is escaped."""
    standings = ([found.reference] if found.reference else []) + list(found.standings)
    failed = [one for one in found.outcomes if one.status != "completed"]
    page: str = (
        _environment()
        .get_template("sweep.html")
        .render(
            found=found,
            aim=plain_words.aim_name(found),
            frontier=plain_words.frontier_words(found),
            steps=plain_words.step_words(found),
            choice=plain_words.choice_words(found),
            figures=figures(found),
            legend=legend(found),
            costs=cost_lines(found),
            cost_notes=cost_notes(found),
            standings=standings,
            site_level=any(one.site_level_epsilon is not None for one in standings),
            settings={trial.number: dict(trial.settings) for trial in found.trials},
            failed=failed,
            seconds=sum(one.seconds or 0.0 for one in found.outcomes),
        )
    )
    return page


def spread(value: Spread | None) -> str:
    """The mean over seeds."""
    return "–" if value is None else rate(value.mean)


def extremes(value: Spread | None) -> str:
    """The least and the largest over seeds; nothing where they are one."""
    if value is None or value.least == value.largest:
        return ""
    return f"{rate(value.least)} to {rate(value.largest)}"


def setting_text(value: object) -> str:
    """The value of a varied key."""
    if value is None:
        return "–"
    return shown(tuple(value)) if isinstance(value, list) else shown(value)  # type: ignore[arg-type] # a Value, as the plan holds it


@cache
def _environment() -> Environment:
    return environment(TEMPLATES, (spread, extremes, setting_text))
