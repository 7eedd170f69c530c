"""Small pictures in the audit's tables, each beside the numbers it draws."""

from collections.abc import Sequence

from markupsafe import Markup

from evaluation.audit.leakage import RED_AUC, YELLOW_AUC
from federation.report_page.svg import element, line, ornament

WIDTH, HEIGHT = 110.0, 14.0
INSET = 2.0
BARS_HEIGHT = 26.0
LOWEST_AUC = 0.5


def share_bar(share: float) -> Markup:
    """A share in [0, 1] of a track."""
    track = element("rect", x=0, y=3, width=WIDTH, height=8, rx=2, class_="track")
    filled = element("rect", x=0, y=3, width=WIDTH * share, height=8, rx=2, class_="spent")
    return ornament(WIDTH, HEIGHT, "share", track, filled)


def auc_mark(auc: float, chance: float | None) -> Markup:
    """A dot on [0.5, 1] with the marks of watch and act; the band is what shuffled labels reach."""
    middle = HEIGHT / 2
    parts = [line(INSET, middle, WIDTH - INSET, middle, "grid")]
    if chance is not None:
        width = _auc_place(chance) - INSET
        parts.append(element("rect", x=INSET, y=middle - 3, width=width, height=6, class_="chance"))
    parts.append(line(_auc_place(YELLOW_AUC), 1, _auc_place(YELLOW_AUC), HEIGHT - 1, "threshold"))
    parts.append(line(_auc_place(RED_AUC), 0, _auc_place(RED_AUC), HEIGHT, "limit"))
    parts.append(element("circle", cx=_auc_place(auc), cy=middle, r=3.2, class_="dot"))
    return ornament(WIDTH, HEIGHT, "share", *parts)


def class_bars(labels: Sequence[int]) -> Markup:
    """Rows per class as bars from the left, in the order of the classes."""
    most, count = max(*labels, 1), len(labels)
    step = min(WIDTH / count, 22.0)
    bars = [
        element(
            "rect",
            x=place * step + 1,
            y=BARS_HEIGHT - 1 - (BARS_HEIGHT - 3) * rows / most,
            width=step - 2,
            height=(BARS_HEIGHT - 3) * rows / most,
            class_="bar",
        )
        for place, rows in enumerate(labels)
    ]
    base = line(0, BARS_HEIGHT - 0.5, step * count, BARS_HEIGHT - 0.5, "base")
    return ornament(step * count, BARS_HEIGHT, "class-bars", *bars, base)


def _auc_place(auc: float) -> float:
    # The axis ends a little beyond 1 so that a perfect leak is seen whole.
    return INSET + (WIDTH - 3 * INSET) * (auc - LOWEST_AUC) / (1 - LOWEST_AUC)
