"""Templates of a report's own, beside those that all reports share; every text is escaped."""

from collections.abc import Callable, Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from federation.report_page import number_text

SHARED = Path(__file__).parent / "templates"

_NUMBERS: tuple[Callable[..., str], ...] = (
    number_text.count,
    number_text.difference,
    number_text.duration,
    number_text.epsilon,
    number_text.estimate,
    number_text.interval,
    number_text.listing,
    number_text.moment,
    number_text.percent,
    number_text.rate,
    number_text.setting,
    number_text.significant,
    number_text.size,
    number_text.span,
)


def environment(templates: Path, filters: Iterable[Callable[..., str]] = ()) -> Environment:
    """Templates of a report, with `style.css` and `page_macros.html` of `SHARED` among them.

    Args:
        templates: folder of the report's own.
        filters: functions to be used in templates by their names, beside those of `number_text`.
    """
    made = Environment(
        loader=FileSystemLoader([templates, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({one.__name__: one for one in (*_NUMBERS, *filters)})
    return made
