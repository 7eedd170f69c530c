"""Templates of a report's own, beside those that all reports share; every text is escaped."""

from collections.abc import Callable, Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

SHARED = Path(__file__).parent / "templates"


def environment(templates: Path, filters: Iterable[Callable[..., str]]) -> Environment:
    """Templates of a report, with `style.css` and `page_macros.html` of `SHARED` among them.

    Args:
        templates: folder of the report's own.
        filters: functions to be used in templates, by their names.
    """
    made = Environment(
        loader=FileSystemLoader([templates, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({function.__name__: function for function in filters})
    return made
