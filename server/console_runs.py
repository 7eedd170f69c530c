"""One run as the console shows it, out of its folder: while it is under way and when it has ended.

Nothing is written, and nothing is asked of anybody. What was read is kept until the file changes.
"""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from federation.console_page.page import Notice, Tile
from federation.errors import HedgerowError
from federation.run_folder import RunFolder
from federation.summary import SiteAccount, Utility
from server.run_contents import State, ended_summary, read_contents
from server.run_gaps import GapNow, ShiftNow, gap_course, gaps, latest_fairness, measured, shifts
from server.run_notices import notices
from server.run_record import RoundRecord, RunRecord
from server.run_tiles import judged, tiles, tiles_in_use

_DOCUMENTS = (
    ("report.html", "Report of the run"),
    ("evaluation/evaluation.html", "Evaluation page"),
    ("summary.json", "summary.json"),
    ("evaluation/evaluation.json", "evaluation.json"),
)
"""What a reader may open, by its path in the run folder; all of it holds sums and public facts."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file to open; `name` is unique among a run's."""

    name: str
    words: str
    path: Path


@dataclass(frozen=True, slots=True)
class RoundNow:
    """One finished round.

    Attributes:
        lost: per lost site, the phase and the reason.
        training_loss: mean over the records of the batches, nats; None where not told.
        utility: of the model that the round started from, on held-out rows.
        after_round: after how many rounds that model was.
    """

    number: int
    kind: str
    status: str
    reason: str
    attempts: int
    in_the_sum: int
    lost: dict[str, str]
    seconds: float
    training_loss: float | None
    utility: Utility | None
    after_round: int | None


@dataclass(frozen=True, slots=True)
class UnderWay:
    """The round being played; `since` is when the run's record last grew, seconds ago."""

    number: int
    attempt: int
    since: float


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of training rounds; `left` is for those to come, at the median."""

    latest: float
    median: float
    left: float


@dataclass(frozen=True, slots=True)
class RunNow:
    """One run.

    Attributes:
        id: name of its folder.
        done: training rounds that changed the model.
        sites: invited.
        rounds: finished ones, in order.
        tiles: verdicts on the model as it is now.
        in_use: verdicts of its latest evaluation; empty before the first.
        gap_course: per attribute, the demographic parity difference after k rounds.
        measured: what `gaps` and `shifts` are about.
        accounts: what each site said of its ledger at the end.
        notices: what calls for somebody, the gravest first.
    """

    id: str
    name: str
    task: str
    state: State
    started: str
    done: int
    planned: int
    sites: tuple[str, ...]
    quorum: int
    rounds: tuple[RoundNow, ...] = ()
    under_way: UnderWay | None = None
    pace: Pace | None = None
    tiles: tuple[Tile, ...] = ()
    in_use: tuple[Tile, ...] = ()
    measured: str = ""
    gaps: tuple[GapNow, ...] = ()
    gap_course: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    shifts: tuple[ShiftNow, ...] = ()
    accounts: tuple[tuple[str, SiteAccount], ...] = ()
    notices: tuple[Notice, ...] = ()
    documents: tuple[Document, ...] = ()


def run_now(folder: RunFolder, now: float) -> RunNow:
    """The run as its folder shows it.

    Args:
        folder: of the run.
        now: seconds since the epoch.

    Raises:
        HedgerowError: its configuration cannot be read.
    """
    read = read_contents(folder)
    run = read.config.run
    verdicts = tiles(read)
    return RunNow(
        id=folder.id,
        name=run.name,
        task=read.config.task.name,
        state=read.state,
        started=read.record.started,
        done=read.record.completed_rounds,
        planned=run.rounds,
        sites=read.sites,
        quorum=read.config.federation.quorum,
        rounds=tuple(_round(one) for one in read.record.rounds),
        under_way=_under_way(folder, read.record, now) if read.state == "under way" else None,
        pace=_pace(read.record, run.rounds),
        tiles=verdicts,
        in_use=tiles_in_use(read),
        measured=measured(read),
        gaps=gaps(latest_fairness(read)),
        gap_course=gap_course(read),
        shifts=shifts(read),
        accounts=tuple(read.summary.privacy.sites.items()) if read.summary else (),
        notices=notices(read, verdicts),
        documents=tuple(_documents(folder)),
    )


def run_line(folder: RunFolder, now: float) -> RunNow:
    """As `run_now` as far as a list of runs shows it; of an ended run its summary is enough.

    Raises:
        HedgerowError: as `run_now`, or the summary is not what was written.
    """
    summary = ended_summary(folder)
    if summary is None:
        return run_now(folder, now)
    run = summary.run
    return RunNow(
        id=folder.id,
        name=run.name,
        task=run.task,
        state=run.status,
        started=run.started,
        done=run.rounds_completed,
        planned=run.rounds_planned,
        sites=run.sites,
        quorum=summary.secure_sum.quorum,
        tiles=judged(summary),
    )


def unreadable(folder: RunFolder, error: HedgerowError) -> RunNow:
    """A run of which nothing can be shown but that something is wrong."""
    return RunNow(
        id=folder.id,
        name=folder.id,
        task="",
        state="interrupted",
        started="",
        done=0,
        planned=0,
        sites=(),
        quorum=0,
        notices=(Notice("Act", "damage", str(error)),),
    )


def _under_way(folder: RunFolder, record: RunRecord, now: float) -> UnderWay:
    latest = record.rounds[-1].round.round if record.rounds else 0
    number = min((one for one in record.under_way if one > latest), default=latest + 1)
    try:
        since = max(0.0, now - folder.rounds.stat().st_mtime)
    except FileNotFoundError:
        since = 0.0
    return UnderWay(number, record.tried.get(number, 0) or 1, since)


def _round(one: RoundRecord) -> RoundNow:
    told = one.round
    return RoundNow(
        number=told.round,
        kind=told.kind,
        status=told.status,
        reason=told.reason,
        attempts=told.attempts,
        in_the_sum=told.in_the_sum,
        lost=dict(told.dropped),
        seconds=told.seconds,
        training_loss=one.training_loss,
        utility=one.utility.overall if one.utility else None,
        after_round=one.utility.after_round if one.utility else None,
    )


def _pace(record: RunRecord, planned: int) -> Pace | None:
    seconds = [one.round.seconds for one in record.rounds if one.round.kind == "train"]
    if not seconds:
        return None
    median = statistics.median(seconds)
    return Pace(seconds[-1], median, median * max(0, planned - record.completed_rounds))


def _documents(folder: RunFolder) -> Iterator[Document]:
    for name, words in _DOCUMENTS:
        path = folder.path / name
        if path.is_file() and path.resolve().is_relative_to(folder.path.resolve()):
            yield Document(name, words, path)
