"""Findings of the latest window by what may have changed, the gravest first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evaluation.report.drift_strip import SEVERITY
from federation.drift_summary import DriftFinding, Kind, Verdict, WindowDrift
from federation.report_page.number_text import difference, rate

MOST_CALM, MOST_SMALL = 8, 20
"""Lines of a kind of many rates that are shown although they are OK, or of too few rows to tell."""

GRADES: dict[Verdict, str] = {
    "act": "Act",
    "watch": "Watch",
    "ok": "OK",
    "window too small": "Too small",
}

TITLES: dict[Kind, tuple[str, str]] = {
    "covariate": ("Features", "Do rows look different? Each feature's distribution over its bins."),
    "prediction": ("Predictions", "Does the model say something else? Scores and positive rate."),
    "label": ("Labels", "Do outcomes occur more or less often?"),
    "concept": ("Errors and calibration", "Does the model err more, or over- or understate risk?"),
    "data quality": ("Data quality", "Shares of rows missing, undeclared or out of range."),
    "fairness": ("Groups", "Rates of each group, and the gaps between groups."),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One subject and statistic against the reference and against the window before."""

    subject: str
    statistic: str
    reference: DriftFinding | None
    previous: DriftFinding | None

    @property
    def main(self) -> DriftFinding:
        """Against the reference, if it was compared with."""
        found = self.reference or self.previous
        assert found is not None
        return found

    @property
    def gravity(self) -> tuple[int, float]:
        """The gravest first, then the least likely by chance."""
        both = [one for one in (self.reference, self.previous) if one is not None]
        p_values = [1.0 if one.p_value is None else one.p_value for one in both]
        severities = [SEVERITY[one.verdict] for one in both if one.verdict in {"act", "watch"}]
        return min([SEVERITY[self.main.verdict], *severities]), min(p_values)


@dataclass(frozen=True, slots=True)
class KindTable:
    """One kind of drift in the latest window of one scope.

    Attributes:
        left_out: lines that are OK and not shown.
        too_small: lines of too few rows to tell that are not shown.
        empty: lines of no rows at all, which are not shown.
    """

    kind: Kind
    title: str
    question: str
    lines: tuple[Line, ...]
    left_out: int
    too_small: int
    empty: int


def kind_tables(drift: WindowDrift, *, calm: bool) -> tuple[KindTable, ...]:
    """One per kind that was compared, in a fixed order.

    Args:
        drift: of a window.
        calm: whether lines that are OK, or of too few rows to tell, are shown, too: all features,
            and some of the many rates.
    """
    return tuple(_tables(drift, calm=calm))


def _tables(drift: WindowDrift, *, calm: bool) -> Iterator[KindTable]:
    for kind, (title, question) in TITLES.items():
        every = _lines([one for one in drift.findings if one.kind == kind])
        if not every:
            continue
        lines = [one for one in every if one.main.rows_before or one.main.rows_now]
        grave, small, others = (
            [one for one in lines if one.gravity[0] in severities]
            for severities in ((0, 1), (SEVERITY["window too small"],), (SEVERITY["ok"],))
        )
        many = kind in {"data quality", "fairness"}
        small_kept = small[: MOST_SMALL if many else None] if calm else []
        kept = others[: MOST_CALM if many else None] if calm else []
        yield KindTable(
            kind=kind,
            title=title,
            question=question,
            lines=(*grave, *small_kept, *kept),
            left_out=len(others) - len(kept),
            too_small=len(small) - len(small_kept),
            empty=len(every) - len(lines),
        )


def _lines(findings: Sequence[DriftFinding]) -> list[Line]:
    keys = dict.fromkeys((one.subject, one.statistic) for one in findings)
    by_key = {(one.subject, one.statistic, one.against): one for one in findings}
    found = [
        Line(*key, by_key.get((*key, "reference")), by_key.get((*key, "previous window")))
        for key in keys
    ]
    return sorted(found, key=lambda line: line.gravity)


def size_of(finding: DriftFinding) -> str:
    """A PSI as it is, a change with its sign."""
    if finding.value is None:
        return "–"
    return rate(finding.value) if finding.statistic == "psi" else difference(finding.value)
