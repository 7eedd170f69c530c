"""Drift at a glance: one line per feature or rate, one letter per window."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from federation.drift_summary import DriftFinding, Kind, Verdict, WindowDrift

MOST_WINDOWS = 60
"""Columns of a strip: the latest windows."""

LETTERS: dict[Verdict, str] = {"act": "A", "watch": "W", "ok": "o", "window too small": "?"}
CLASSES: dict[Verdict, str] = {"act": "a", "watch": "w", "ok": "", "window too small": "q"}
"""Of the style sheet; most cells are OK and need none."""

SEVERITY: dict[Verdict, int] = {"act": 0, "watch": 1, "window too small": 2, "ok": 3}

FEATURES = "Features (distribution)"
MODEL = "Predictions, labels and errors"
REST = "Data quality and fairness: the worst of each"

OUTCOMES: dict[tuple[str, str], str] = {
    ("prediction", "psi"): "scores (distribution)",
    ("prediction", "change in positive rate"): "positive rate",
    ("label", "change in base rate"): "base rate of the label",
    ("concept", "change in error rate"): "error rate",
    ("concept", "change in calibration in the large"): "calibration in the large",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A verdict: its letter, the class of its colour, and itself as a word."""

    letter: str
    class_: str
    word: str


NOT_COMPARED = Cell("", "n", "not compared")


@dataclass(frozen=True, slots=True)
class StripRow:
    """One line; one cell per window."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """Lines of one kind, and how many more are left out because they were OK throughout."""

    title: str
    rows: tuple[StripRow, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Strip:
    """One scope over its windows; `earlier` windows have no column."""

    scope: str
    windows: tuple[str, ...]
    earlier: int
    bands: tuple[Band, ...]


def drift_strip(
    drift: Sequence[WindowDrift], windows: Sequence[str], scope: str, *, calm: bool
) -> Strip | None:
    """Verdicts against the frozen reference; None if the scope was never compared.

    Args:
        drift: of all windows and scopes.
        windows: in order.
        scope: whose.
        calm: whether lines without anything but OK are shown, too.
    """
    of_scope = {one.window: one for one in drift if one.scope == scope}
    if not of_scope:
        return None
    shown = tuple(windows[-MOST_WINDOWS:])
    verdicts = [_by_line(of_scope[name].findings if name in of_scope else ()) for name in shown]
    lines = dict.fromkeys(key for each in verdicts for key in each)
    bands = []
    for title in (FEATURES, MODEL, REST):
        rows = [
            StripRow(name, tuple(_cell(each.get((title, name))) for each in verdicts))
            for band, name in lines
            if band == title
        ]
        kept = [
            row for row in rows if calm or any(cell.word in {"act", "watch"} for cell in row.cells)
        ]
        if title == FEATURES:
            kept.sort(key=_gravity)
        bands.append(Band(title, tuple(kept), len(rows) - len(kept)))
    held = tuple(band for band in bands if band.rows or band.left_out)
    return Strip(scope, shown, len(windows) - len(shown), held)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest; `window too small` only of nothing else."""
    found = list(verdicts)
    told = [one for one in found if one != "window too small"]
    return min(told or found, key=SEVERITY.__getitem__)


def _by_line(findings: Sequence[DriftFinding]) -> dict[tuple[str, str], Verdict]:
    """Verdict per band and line."""
    of_reference = [one for one in findings if one.against == "reference"]
    found: dict[tuple[str, str], Verdict] = {
        (FEATURES, one.subject): one.verdict for one in of_reference if one.kind == "covariate"
    }
    for one in of_reference:
        name = OUTCOMES.get((one.kind, one.statistic))
        if name is not None:
            found[MODEL, name] = one.verdict
    kinds: tuple[tuple[Kind, str], ...] = (("data quality", "data quality"), ("fairness", "groups"))
    for kind, name in kinds:
        verdicts = [one.verdict for one in of_reference if one.kind == kind]
        if verdicts:
            found[REST, f"{name}, {len(verdicts)} rates"] = worst(verdicts)
    return found


def _cell(verdict: Verdict | None) -> Cell:
    if verdict is None:
        return NOT_COMPARED
    return Cell(LETTERS[verdict], CLASSES[verdict], verdict)


def _gravity(row: StripRow) -> tuple[int, ...]:
    """By the latest window, then by how many windows are grave; equals keep their order."""
    letters = [cell.letter for cell in row.cells]
    order = {"A": 0, "W": 1, "?": 2, "o": 3, "": 4}
    return order[letters[-1]], -letters.count("A"), -letters.count("W")


def legend() -> Iterator[tuple[Cell, str]]:
    """Every cell with its meaning."""
    yield _cell("act"), "act: large and beyond chance"
    yield _cell("watch"), "watch: notable and beyond chance"
    yield _cell("ok"), "ok: small, or what chance gives"
    yield _cell("window too small"), "window too small to tell"
