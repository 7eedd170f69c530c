"""A page of the console: what it says, and the HTML around that, which follows it while it lives.

The body is whole without a script. With it, the parts that have an id and differ from what is shown
are exchanged every two seconds; nothing else is done in the browser.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from jinja2 import Environment
from markupsafe import Markup

from federation.report_page.budget_bar import budget_bar
from federation.report_page.environment import environment

TEMPLATES = Path(__file__).parent / "templates"

Grade = Literal["OK", "Watch", "Act", "Off"]
_ORDER: dict[str, int] = {"Act": 0, "Watch": 1}


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that calls for somebody.

    Attributes:
        level: how urgent.
        topic: what it is about.
        text: what was seen, and what to do about it.
    """

    level: Literal["Watch", "Act"]
    topic: str
    text: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One verdict; `sentence` says why."""

    topic: str
    grade: Grade
    headline: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page as it is now.

    Attributes:
        title: of the browser's tab.
        body: HTML, escaped.
        documents: files that may be read through the page, by the names they are asked for.
    """

    title: str
    body: Markup
    documents: Mapping[str, Path] = field(default_factory=dict)


Source = Callable[[str], Page]
"""Makes the page about a subject: a run's id, or nothing for the overview.

Raises LookupError where there is no such subject."""


def shown_place(path: Path) -> str:
    """Where a folder lies, as its owner would say it."""
    whole, own = path.resolve(), Path("~").expanduser().resolve()
    return (
        f"~/{whole.relative_to(own)}"
        if own != Path("/") and whole.is_relative_to(own)
        else str(whole)
    )


def gravest_first(notices: Iterable[Notice]) -> tuple[Notice, ...]:
    """In order of urgency; equals stay in order."""
    return tuple(sorted(notices, key=lambda one: _ORDER[one.level]))


def body(template: str, view: object, **more: object) -> Markup:
    """A template of this folder filled with a view; every text is escaped.

    Args:
        template: its file name.
        view: dataclasses all the way down.
        more: what else the template asks for.
    """
    return Markup(_environment().get_template(template).render(view=view, **more))  # noqa: S704 - by a template that escapes


def document(page: Page) -> str:
    """The whole HTML document."""
    return _environment().get_template("console.html").render(page=page)


def style() -> str:
    """The style sheet: that of the reports, and the console's own."""
    return _environment().get_template("style.css").render() + (
        _environment().get_template("console.css").render()
    )


def script() -> str:
    """The script that follows a page."""
    return (TEMPLATES / "console.js").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    made = environment(TEMPLATES)
    made.globals.update(budget_bar=budget_bar)
    return made
