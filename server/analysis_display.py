"""Answers to queries, as tables for a terminal."""

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.analysis import Analysis, Answer, Released

NOTHING = "–"
MOST_CELLS = 24
"""Of a histogram on the terminal; all of them are in analytics.json."""

PRIVACY = {
    "record": "every answer is noised at every site",
    "partly": "EXACT ANSWERS AMONG THEM: NO PRIVACY GUARANTEE",
    "none": "EXACT: NO PRIVACY GUARANTEE",
}


def print_analysis(analysis: Analysis) -> None:
    """Answers and ledgers."""
    console = Console()
    told = f"{len(analysis.survivors)} sites; {PRIVACY[analysis.privacy]}"
    table = _table("query", "about", "answer", "noise ±", "rounding ±", "epsilon", title=told)
    for answer in analysis.answers:
        for row in _rows(answer):
            table.add_row(*map(Text, row))
    console.print(table)
    accounts = _table("site", "epsilon spent", "budget", "noise from", title="ledgers")
    for site, account in sorted(analysis.accounts.items()):
        spent, budget = _epsilon(account.epsilon_spent), _epsilon(account.epsilon_budget)
        accounts.add_row(*map(Text, (site, spent, budget, account.noise_source)))
    console.print(accounts)


def _table(*columns: str, title: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE)
    for column in columns:
        words = column in ("query", "about", "site", "noise from")
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    return table


def _rows(answer: Answer) -> Iterator[tuple[str, ...]]:
    spent = "exact" if answer.epsilon is None else f"{answer.epsilon:g}"
    about = " | ".join(
        part for part in (answer.column or "rows", answer.where) if part != "overall"
    )
    if answer.withheld:
        yield answer.name, about, f"withheld: {answer.withheld}", NOTHING, NOTHING, spent
        return
    if answer.released is not None:
        yield answer.name, f"{answer.kind} of {about}", *_released(answer.released), spent
    for quantile in answer.quantiles:
        value, _, rounding = _released(quantile.released)
        noise = f"{quantile.rank_standard_error:.3g} ranks"
        what = f"{quantile.probability:g} quantile of {about}"
        yield answer.name, what, value, noise, rounding, spent
    for cell in answer.cells[:MOST_CELLS]:
        noise = f"{answer.cell_standard_error:.3g}"
        yield answer.name, f"{about}: {cell.label}", str(cell.rows), noise, "0", spent
    if len(answer.cells) > MOST_CELLS:
        more = f"{len(answer.cells) - MOST_CELLS} more in analytics.json"
        yield answer.name, more, NOTHING, NOTHING, NOTHING, spent
    if answer.kind != "count":
        for what, beside in (("rows", answer.rows), ("clipped", answer.clipped)):
            if beside is not None:
                yield "", what, *_released(beside), ""


def _released(released: Released) -> tuple[str, str, str]:
    value, error = released.value, released.standard_error
    return (
        NOTHING if value is None else f"{value:.7g}",
        NOTHING if error is None else f"{error:.3g}",
        f"{released.resolution:.2g}",
    )


def _epsilon(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.4f}"
