"""The coordinator's pages of the console: from what is seen to HTML."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from federation.console_page import courses
from federation.console_page.page import Page, Source, body
from federation.report_page.charts import Figure
from server.console_runs import RoundNow, RunNow
from server.console_state import CoordinatorNow, coordinator_now

LATEST_ROUNDS = 10
"""Lines of the table of rounds; all of them are in the run's report."""


@dataclass(frozen=True, slots=True)
class RunFigures:
    """Charts of a run; those that nothing is known for are left out."""

    courses: tuple[courses.Course, ...]
    participation: Figure | None


def coordinator_source(path: Path, clock: Callable[[], float]) -> Source:
    """Pages of a federation directory, a folder of runs, or one run.

    Args:
        path: of the folder.
        clock: seconds since the epoch.
    """
    return lambda chosen: coordinator_page(coordinator_now(path, chosen, clock))


def coordinator_page(view: CoordinatorNow) -> Page:
    """What is seen, as a page; the names of its documents are those of files in the run folder."""
    run = view.shown
    return Page(
        title=_title(view),
        body=body(
            "coordinator.html",
            view,
            figures=None if run is None else _figures(run),
            latest=() if run is None else run.rounds[: -LATEST_ROUNDS - 1 : -1],
        ),
        documents={} if run is None else {one.name: one.path for one in run.documents},
    )


def _title(view: CoordinatorNow) -> str:
    act = sum(one.level == "Act" for one in view.notices)
    mark = f"({act}) " if act else ""
    run = view.shown
    if run is not None and run.state == "under way":
        return f"{mark}{run.done}/{run.planned} {run.name} – hedgerow console"
    return f"{mark}{view.name} – hedgerow console"


def _figures(run: RunNow) -> RunFigures:
    counted = [(after, one.utility) for after, one in _after(run) if one.utility is not None]
    found = (
        courses.accuracy_figure([(after, one.accuracy) for after, one in counted]),
        courses.loss_figure(
            [(after, one.log_loss) for after, one in counted if one.log_loss is not None],
            [
                (one.number, one.training_loss)
                for one in run.rounds
                if one.training_loss is not None
            ],
        ),
        courses.gap_figure(run.gap_course),
    )
    trained = [(one.number, one.in_the_sum) for one in run.rounds if one.kind == "train"]
    return RunFigures(
        courses=tuple(one for one in found if one is not None),
        participation=courses.participation_figure(trained, len(run.sites), run.quorum),
    )


def _after(run: RunNow) -> list[tuple[int, RoundNow]]:
    """Per round that counted, after how many rounds its model was; of two such the later."""
    return sorted(
        ({one.after_round: one for one in run.rounds if one.after_round is not None}).items()
    )
