"""A console's page in Chromium within a frame of any width: its own window is never so narrow."""

import html
import re
import shutil
import subprocess
from pathlib import Path

from federation.console_page.page import Page, document, style

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


MEASURE = """
onload = () => {
  const d = document.getElementById('f').contentDocument.documentElement;
  const scrolls = '.scroll, svg, details:not([open]), .unseen, .defs';
  const past = [...d.querySelectorAll('body *')].filter(
    e => !e.closest(scrolls) && e.getBoundingClientRect().right > d.clientWidth + 1);
  document.getElementById('seen').textContent =
    `width ${d.clientWidth} content ${d.scrollWidth} past ${past.length}`;
}
"""
"""What lies within a box that scrolls by itself may reach beyond the page."""


def framed(page: Page, width: int, height: int = 900) -> str:
    """A document whose frame of that width holds the page; it notes how wide that came to be."""
    whole = document(page)
    alone = re.sub(r"<script.*?</script>|<link[^>]*>", "", whole, flags=re.DOTALL)
    alone = alone.replace("</head>", f"<style>{style()}</style></head>")
    return (
        '<!DOCTYPE html><body style="margin:0">'
        f'<iframe id="f" width="{width}" height="{height}" style="border:0" '
        f'srcdoc="{html.escape(alone)}"></iframe><p id="seen"></p><script>'
        f"{MEASURE}</script>"
    )


def chromium(*words: str) -> str:
    """What a headless Chromium prints."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", *words],
        capture_output=True,
        check=True,
        timeout=120,
    )
    return done.stdout.decode()


def measured(page: Page, width: int, folder: Path) -> tuple[int, int, int]:
    """Width of the frame, of what is in it, and how many elements reach beyond it."""
    file = folder / f"framed-{width}.html"
    file.write_text(framed(page, width), encoding="utf-8")
    dom = chromium("--window-size=1400,1000", "--dump-dom", file.as_uri())
    seen = re.search(r"width (\d+) content (\d+) past (\d+)", dom.rpartition('id="seen"')[2])
    assert seen is not None, dom[-400:]
    width_, content, past = map(int, seen.groups())
    return width_, content, past
