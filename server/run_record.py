"""What a run has recorded so far, read from `rounds.jsonl`: the past that a resumed run has."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, BinaryIO, Literal

from pydantic import Field, TypeAdapter, ValidationError

from federation.errors import IntegrityError
from federation.run_folder import RunFolder
from federation.summary import Drift, Fairness, Part, Round, Utility, UtilityPoint


class RoundRecord(Part):
    """One line of `rounds.jsonl`: a finished round and what its sum said.

    Attributes:
        round: as the summary shows it.
        utility: of the model the round started from; None if the round failed.
        fairness: of that same model, one per scope.
        multipliers: of constrained training, as they went out with that model, by their labels.
        checkpoint_sha256: of the checkpoint that the round ended with; empty if it has none.
    """

    round: Round
    utility: UtilityPoint | None = None
    training_loss: float | None = None
    checkpoint_sha256: str = ""
    fairness: tuple[Fairness, ...] = ()
    drift: tuple[Drift, ...] = ()
    majority: Utility | None = None
    multipliers: dict[str, float] = Field(default={})


class _Started(Part):
    event: Literal["start"] = "start"
    at: str


class _Attempted(Part):
    event: Literal["attempt"] = "attempt"
    round: int
    attempt: int
    ahead: bool = False


class _Survived(Part):
    event: Literal["survivors"] = "survivors"
    round: int
    sites: tuple[str, ...]


class _Ended(Part):
    event: Literal["round"] = "round"
    record: RoundRecord


_Event = _Started | _Attempted | _Survived | _Ended
_EVENT: TypeAdapter[_Event] = TypeAdapter(Annotated[_Event, Field(discriminator="event")])


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The recorded past.

    Attributes:
        started: UTC, ISO 8601; of the first start.
        starts: how often the run was started or resumed.
        rounds: finished rounds in order.
        attempts: per round number, the last attempt's, which no other attempt may have again.
        tried: per round number, how many of them came to be tried; keys may have been exchanged
            ahead for one that did not.
        survivors: per round number, the set that the sites were asked to sign.
    """

    started: str
    starts: int
    rounds: tuple[RoundRecord, ...]
    attempts: Mapping[int, int]
    tried: Mapping[int, int]
    survivors: Mapping[int, tuple[str, ...]]

    @property
    def last_training(self) -> RoundRecord | None:
        """The last completed training round."""
        done = [r for r in self.rounds if (r.round.kind, r.round.status) == ("train", "completed")]
        return done[-1] if done else None

    @property
    def last_trained(self) -> int:
        """Number of the last completed training round; 0 if none."""
        return self.last_training.round.round if self.last_training else 0

    def next_round(self, on_failed_round: Literal["stop", "continue"]) -> int:
        """Number of the training round to go on with.

        A failed round that stopped the run is tried again: its sites resend what they have, which
        costs nothing. Where a run goes on after a failed round, it went on.
        """
        trained = [r.round for r in self.rounds if r.round.kind == "train"]
        if not trained:
            return 1
        again = trained[-1].status == "failed" and on_failed_round == "stop"
        return trained[-1].round + (0 if again else 1)

    @property
    def under_way(self) -> frozenset[int]:
        """Numbers of rounds that were tried and have not ended."""
        tried = {number for number, times in self.tried.items() if times}
        return frozenset(tried - {one.round.round for one in self.rounds})

    @property
    def completed_rounds(self) -> int:
        """How many training rounds changed the model."""
        return sum(r.round.kind == "train" and r.round.status == "completed" for r in self.rounds)

    @property
    def final_evaluation(self) -> RoundRecord | None:
        """The completed evaluation round of the model as it is now."""
        for record in reversed(self.rounds):
            done = record.round.kind == "evaluate" and record.round.status == "completed"
            if done and record.utility and record.utility.after_round == self.last_trained:
                return record
        return None


def read_record(folder: RunFolder) -> RunRecord:
    """The past of a run; a torn last line is dropped from the file, too.

    Raises:
        IntegrityError: a whole line is not what was written.
    """
    lines = folder.read_rounds()
    folder.rewrite_rounds(lines)
    record = _parsed(folder, lines)
    # A crash between a checkpoint and its record leaves one checkpoint more, of a round begun.
    unfinished = record.under_way | {0, record.last_trained}
    latest = folder.latest_checkpoint()
    if latest > max(unfinished):
        raise IntegrityError(
            f"{folder.rounds} ends after round {record.last_trained}, and there are checkpoints up "
            f"to round {latest}: lines were lost; restore the file"
        )
    return record


class RecordFollower:
    """Reads the record of a run that may be under way in another process; nothing is written.

    The record only grows, so what was read once is not read again; a file that was replaced, or
    changed without having grown, is.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._stamp = (0, 0)
        self._read, self._last = 0, b""
        self._events: list[_Event] = []

    def look(self) -> RunRecord:
        """What is recorded by now; a last line that is still being written is left out.

        Raises:
            IntegrityError: a whole line is not what was written.
        """
        try:
            with self._folder.rounds.open("rb") as file:
                self._take(file)
        except FileNotFoundError:
            self._forget()
        except OSError as error:
            raise IntegrityError(f"cannot read {self._folder.rounds}: {error.strerror}") from error
        return _recorded(self._events)

    def _take(self, file: BinaryIO) -> None:
        known = os.fstat(file.fileno())
        if not self._is_continued(file, known):
            self._forget()
        file.seek(self._read)
        whole, newline, _ = file.read(max(0, known.st_size - self._read)).rpartition(b"\n")
        for line in whole.split(b"\n") if newline else ():
            number = len(self._events) + 1
            try:
                self._events.append(_EVENT.validate_python(json.loads(line)))
            except ValueError as error:
                self._forget()
                raise IntegrityError(
                    f"{self._folder.rounds}, line {number}: not what was written"
                ) from error
            self._read, self._last = self._read + len(line) + 1, line + b"\n"
        self._stamp = (known.st_ino, known.st_mtime_ns)

    def _is_continued(self, file: BinaryIO, known: os.stat_result) -> bool:
        """Whether the file is the one that was read, and at most longer."""
        if known.st_ino != self._stamp[0] or known.st_size < self._read:
            return False
        if known.st_size == self._read:
            return known.st_mtime_ns == self._stamp[1]
        file.seek(self._read - len(self._last))
        return file.read(len(self._last)) == self._last

    def _forget(self) -> None:
        self._stamp, self._read, self._last, self._events = (0, 0), 0, b"", []


def _parsed(folder: RunFolder, lines: list[dict[str, object]]) -> RunRecord:
    events: list[_Event] = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(_EVENT.validate_python(line))
        except ValidationError as error:
            raise IntegrityError(f"{folder.rounds}, line {number}: not what was written") from error
    return _recorded(events)


def _recorded(events: Iterable[_Event]) -> RunRecord:
    starts: list[str] = []
    rounds: list[RoundRecord] = []
    attempts: dict[int, int] = {}
    tried: dict[int, int] = {}
    survivors: dict[int, tuple[str, ...]] = {}
    for event in events:
        match event:
            case _Started():
                starts.append(event.at)
            case _Attempted():
                attempts[event.round] = event.attempt
                tried[event.round] = tried.get(event.round, 0) + (not event.ahead)
            case _Survived():
                survivors[event.round] = event.sites
            case _Ended():
                rounds.append(event.record)
    started = starts[0] if starts else ""
    return RunRecord(started, len(starts), tuple(rounds), attempts, tried, survivors)


def finished_rounds(folder: RunFolder) -> tuple[RoundRecord, ...]:
    """Rounds that are recorded by now, for an onlooker in another process: nothing is written.

    Raises:
        IntegrityError: a whole line is not what was written.
    """
    lines = [line for line in folder.read_rounds() if line.get("event") == "round"]
    try:
        return tuple(_Ended.model_validate(line).record for line in lines)
    except ValidationError as error:
        raise IntegrityError(f"{folder.rounds}: not what was written") from error


def record_start(folder: RunFolder, at: str) -> None:
    """Note that the run starts or goes on, at a UTC time."""
    _append(folder, _Started(at=at))


def record_attempt(folder: RunFolder, round_: int, attempt: int, *, ahead: bool = False) -> None:
    """Note that an attempt begins; the number is never used again, whatever happens to it.

    With `ahead` its keys are exchanged during the round before.
    """
    _append(folder, _Attempted(round=round_, attempt=attempt, ahead=ahead))


def record_survivors(folder: RunFolder, round_: int, sites: tuple[str, ...]) -> None:
    """Note the survivor set that the sites are about to sign; it is the round's only one."""
    _append(folder, _Survived(round=round_, sites=sites))


def record_round(folder: RunFolder, record: RoundRecord) -> None:
    """Note how a round ended."""
    _append(folder, _Ended(record=record))


def _append(folder: RunFolder, event: _Event) -> None:
    folder.append_round(event.model_dump(mode="json"))
