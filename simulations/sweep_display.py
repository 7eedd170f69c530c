"""How a sweep looks on a terminal: bars while it goes on, the trials and the choice at its end."""

import json
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from federation.report_page.number_text import epsilon, rate

if TYPE_CHECKING:
    from rich.progress import TaskID

    from simulations.sweep.folder import SweepFolder
    from simulations.sweep.results import SweepResults
    from simulations.sweep.standing import Spread, Standing
    from simulations.sweep.workforce import Ended, Order, Step


class SweepProgress:
    """One bar for all runs, and a line for each that is under way; a context manager."""

    def __init__(self, console: Console, what: str, total: int) -> None:
        """Bars on `console`; `what` is counted up to `total`."""
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=console.quiet,
        )
        self._whole = self._bars.add_task(what, total=total)
        self._under_way: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in self._under_way.values():
            self._bars.remove_task(bar)
        self._bars.stop()

    def show(self, told: "Order | Step | Ended") -> None:
        """What a workforce tells."""
        from simulations.sweep.workforce import Ended, Step  # noqa: PLC0415 - not for --help

        if isinstance(told, Step):
            self._bars.update(self._under_way[told.order.run], completed=told.round, total=told.of)
        elif isinstance(told, Ended):
            self._bars.remove_task(self._under_way.pop(told.order.run))
            self._bars.advance(self._whole)
            if told.error is not None:
                self._bars.console.print(
                    f"{told.order.run}: {told.error}", style="red", markup=False
                )
        else:
            name = f"  trial {told.trial}, seed {told.seed}"
            self._under_way[told.run] = self._bars.add_task(name, total=None)


def print_results(
    found: "SweepResults", folder: "SweepFolder", *, quiet: bool, as_json: bool
) -> None:
    """The frontier and the choice, or the document, or the page's path alone."""
    if as_json:
        typer.echo(json.dumps(json.loads(found.model_dump_json())))
        return
    if not quiet:
        from simulations.sweep.plain_words import choice_words  # noqa: PLC0415 - as above

        console = Console()
        console.print(_table(found))
        for words in choice_words(found):
            console.print(Text(words))
    typer.echo(f"page: {folder.path / 'sweep.html'}")


def _table(found: "SweepResults") -> Table:
    table = Table(
        title=f"{_counted(len(found.standings), 'trial')} of {_counted(found.seeds, 'seed')}; "
        "* no other one is better in "
        f"both epsilon and {found.aim.replace('_', ' ')}",
        title_justify="left", header_style="bold", box=box.SIMPLE,
    )  # fmt: skip
    for name in ("trial", "settings", "epsilon", found.aim.replace("_", " "), "worst-group gap"):
        words = name in {"trial", "settings"}
        table.add_column(name, justify="left" if words else "right", overflow="fold")
    shown = [*([found.reference] if found.reference else []), *found.standings]
    for one in shown:
        mark = "*" if one.trial in found.frontier else " "
        table.add_row(
            f"{one.trial:>3} {mark}",
            one.words + _missing(one),
            epsilon(one.epsilon) if one.epsilon is not None else "none",
            _spread(one.spread(found.aim)),
            _spread(one.worst_group_gap),
        )
    return table


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _missing(one: "Standing") -> str:
    return "" if one.is_whole else f" ({one.seeds - len(one.runs)} of {one.seeds} runs failed)"


def _spread(spread: "Spread | None") -> str:
    if spread is None:
        return "–"
    if spread.least == spread.largest:
        return rate(spread.mean)
    return f"{rate(spread.mean)} ({rate(spread.least)} to {rate(spread.largest)})"
