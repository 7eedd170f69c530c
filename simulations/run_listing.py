"""What a list of runs says of each, while somebody may work on it; nothing is written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluation.report import comparison, verdicts
from evaluation.worst_gap import worst_gap
from federation.errors import HedgerowError
from federation.run_folder import RunFolder
from federation.summary import Fairness, Summary
from server.console_place import is_run, run_folders
from server.run_contents import read_contents
from server.run_gaps import latest_fairness
from simulations.sweep.folder import is_sweep, runs_of_sweep


@dataclass(frozen=True, slots=True)
class RunLine:
    """One folder.

    Attributes:
        path: of the folder.
        status: of `server.run_contents.State`; `damaged` or `no run` where nothing is known.
        task: empty where it is not known, as are the others.
        sites: invited.
        epsilon: the largest over sites, once the run has ended; None without a guarantee.
        worst_gap: the largest difference between groups that verdicts rest on.
        seconds: of a run that has ended.
        damage: what could not be read, and why the folder is no run.
    """

    path: str
    status: str
    task: str = ""
    sites: int = 0
    rounds: int = 0
    planned: int = 0
    accuracy: float | None = None
    epsilon: float | None = None
    worst_gap: float | None = None
    started: str = ""
    seconds: float | None = None
    damage: tuple[str, ...] = ()


def run_lines(folder: Path) -> list[RunLine]:
    """All runs in a folder, in sweeps within it too, the latest first; and what is none.

    Args:
        folder: of runs, of sweeps, a sweep, a coordinator's federation directory, or a run.
    """
    if is_sweep(folder):
        return [run_line(one) for one in runs_of_sweep(folder)]
    lines = [run_line(one) for one in run_folders(folder)]
    if is_run(folder):
        return lines
    runs = {line.path for line in lines}
    for one in sorted((each for each in folder.iterdir() if each.is_dir()), reverse=True):
        if is_sweep(one):
            lines += [run_line(each) for each in runs_of_sweep(one)]
        elif str(one) not in runs and lines and not one.name.startswith("."):
            lines.append(_foreign(one))
    return lines


def run_line(path: Path) -> RunLine:
    """One run folder; what cannot be read is named."""
    try:
        read = read_contents(RunFolder(path))
    except HedgerowError as error:
        return RunLine(str(path), "damaged", damage=(str(error),))
    summary, record = read.summary, read.record
    begun = RunLine(
        path=str(path),
        status=read.state,
        task=read.config.task.name,
        sites=len(read.sites),
        rounds=record.completed_rounds,
        planned=read.config.run.rounds,
        accuracy=next(
            (
                one.utility.overall.accuracy.value
                for one in reversed(record.rounds)
                if one.utility is not None
            ),
            None,
        ),
        worst_gap=_gap(latest_fairness(read)),
        started=record.started,
        damage=read.damage,
    )
    return begun if summary is None or read.state == "under way" else _ended(begun, summary)


def _ended(line: RunLine, summary: Summary) -> RunLine:
    final, is_private = comparison.final_utility(summary), summary.privacy.mode == "record"
    return replace(
        line,
        rounds=summary.run.rounds_completed,
        accuracy=final.accuracy.value if final else None,
        epsilon=verdicts.largest_epsilon(summary) if is_private else None,
        worst_gap=_gap(summary.fairness),
        started=summary.run.started,
        seconds=summary.run.seconds,
    )


def _gap(scopes: Sequence[Fairness]) -> float | None:
    worst = worst_gap(scopes)
    return worst.value if worst else None


def _foreign(path: Path) -> RunLine:
    return RunLine(str(path), "no run", damage=("it holds no config.toml",))
