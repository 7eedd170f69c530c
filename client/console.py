"""A site's page of the console: from what is seen to HTML."""

from collections.abc import Callable
from pathlib import Path

from client.console_state import SiteNow, site_now
from federation.console_page.page import Page, Source, body


def site_source(path: Path, clock: Callable[[], float]) -> Source:
    """The page of a site's home; there is one alone.

    Args:
        path: of the home.
        clock: seconds since the epoch.
    """

    def page(chosen: str) -> Page:
        if chosen:
            raise LookupError(chosen)
        return site_page(site_now(path, clock))

    return page


def site_page(view: SiteNow) -> Page:
    """What is seen, as a page."""
    act = sum(one.level == "Act" for one in view.notices)
    mark = f"({act}) " if act else ""
    return Page(title=f"{mark}{view.site} – hedgerow console", body=body("site.html", view))
