"""The command that follows a run: what it does as the ServerApp, the SuperLink or the disk fails.

The SuperLink stands at the border of this process and is played; the run folder, its lock, its
records and the error that a ServerApp leaves are real.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from federation.errors import HedgerowError, IntegrityError, Interrupted, StorageError, UsageError
from federation.file_lock import hold
from federation.run_folder import RunFolder
from server.deployed_run import DeployedRun, Patience
from server.flower_control import FlowerRefused, FlowerRun, SuperLinkUnavailable
from server.run_failure import failure_told

QUICK = Patience(
    look_seconds=0.01,
    superlink_seconds=5.0,
    unclaimed_seconds=0.3,
    abandoned_seconds=0.1,
    restarts=3,
)
BUNDLE = b"bundle"


@dataclass
class PlayedSuperLink:
    """Runs in memory; `at_work` is what a ServerApp does once it was started.

    Attributes:
        away: how many questions find nobody.
    """

    folder: RunFolder
    at_work: Callable[[int], None] = lambda _: None
    away: int = 0
    known: dict[int, FlowerRun] = field(default_factory=dict)
    stopped: list[int] = field(default_factory=list)
    held: int | None = None

    def start_run(self, bundle: bytes, settings: dict[str, str]) -> int:
        assert bundle == BUNDLE
        self._answer()
        number = len(self.known) + 1
        self.known[number] = FlowerRun(number, "running", "", "", settings, "")
        self.at_work(number)
        return number

    def run(self, number: int) -> FlowerRun:
        self._answer()
        return self.known[number]

    def runs(self, limit: int) -> tuple[FlowerRun, ...]:
        self._answer()
        return tuple(reversed(self.known.values()))[:limit]

    def stop_run(self, number: int) -> bool:
        self._answer()
        self.stopped.append(number)
        self.finish(number, "stopped")
        return True

    def log(self, _number: int) -> str:
        return "last words"

    def finish(self, number: int, how: str) -> None:
        self.known[number] = FlowerRun(number, "finished", how, "no heartbeat", {}, "")
        self.let_go()

    def take_hold(self) -> None:
        """As the ServerApp does when it is there."""
        self.held = hold(self.folder.path / ".lock")

    def let_go(self) -> None:
        """As the kernel does when it was killed."""
        if self.held is not None:
            os.close(self.held)
            self.held = None

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise SuperLinkUnavailable("no SuperLink answers")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "config.toml").touch()
    return RunFolder.open(tmp_path)


@pytest.fixture
def superlink(folder: RunFolder) -> Iterator[PlayedSuperLink]:
    played = PlayedSuperLink(folder)
    yield played
    played.let_go()


def play(superlink: PlayedSuperLink) -> list[str]:
    """What the command tells until it ends with an error, which is the last line."""
    told: list[str] = []
    run = DeployedRun(superlink, superlink.folder, BUNDLE, told.append, QUICK)  # type: ignore[arg-type]
    try:
        run.play(lambda _: None)
    except HedgerowError as error:
        return [*told, f"{type(error).__name__} {error.exit_code}: {error}"]
    raise AssertionError("it came to an end that no test here prepares")


def test_a_serverapp_that_dies_again_and_again_is_given_up_with_its_last_words(superlink) -> None:
    def die_at_once(_number: int) -> None:
        superlink.take_hold()
        superlink.let_go()

    superlink.at_work = die_at_once
    told = play(superlink)
    assert len(superlink.known) == 1 + QUICK.restarts
    assert told[-1].endswith("last words")
    assert "died 4 times in a row" in told[-1]
    assert superlink.stopped == [1, 2, 3]  # each before the next one is started


def test_an_error_that_would_come_again_is_not_tried_again(superlink) -> None:
    def fail(number: int) -> None:
        with suppress(IntegrityError), failure_told(superlink.folder.failure):
            raise IntegrityError("consortium.pub is not what was written")
        superlink.finish(number, "failed")

    superlink.at_work = fail
    assert play(superlink) == ["RunEnded 6: consortium.pub is not what was written"]
    assert len(superlink.known) == 1


def test_a_full_disk_is_told_as_such(superlink) -> None:
    def fail(number: int) -> None:
        with (
            suppress(OSError),
            failure_told(superlink.folder.failure),
            Path("/dev/full").open("wb", buffering=0) as full,
        ):
            full.write(b"a line of rounds.jsonl")
        superlink.finish(number, "failed")

    superlink.at_work = fail
    (told,) = play(superlink)
    assert told.startswith(f"RunEnded {StorageError.exit_code}: the disk refuses: No space left")


def test_a_superlink_that_is_being_restarted_is_waited_for(superlink) -> None:
    def fail(number: int) -> None:
        superlink.away = 20
        superlink.finish(number, "stopped")

    superlink.at_work = fail
    told = play(superlink)
    assert told[0] == "the SuperLink does not answer; waiting for it"
    assert told[-1].startswith(f"Interrupted {Interrupted.exit_code}: it was stopped")


def test_nobody_is_submitted_while_another_one_is_at_work_in_the_folder(superlink) -> None:
    superlink.take_hold()
    (told,) = play(superlink)
    assert told.startswith(f"UsageError {UsageError.exit_code}: ")
    assert told.endswith("is in use by another process")
    assert superlink.known == {}


def test_a_second_command_goes_along_with_the_run_that_is_on_its_way(superlink) -> None:
    settings = {"run": str(superlink.folder.path.absolute())}
    superlink.known[1] = FlowerRun(1, "running", "", "", settings, "")
    superlink.take_hold()
    asked = superlink.run

    def ends_when_asked(number: int) -> FlowerRun:
        superlink.finish(number, "stopped")
        return asked(number)

    superlink.run = ends_when_asked
    told = play(superlink)
    assert told[0] == "going along with Flower's run 1, which is on its way"
    assert list(superlink.known) == [1]


def test_a_refusal_to_start_is_told_and_nothing_is_left_running(superlink) -> None:
    def refuse(_bundle: bytes, _settings: object) -> int:
        raise FlowerRefused(9, "no room")

    superlink.start_run = refuse
    (told,) = play(superlink)
    assert told == "FlowerRefused 1: the SuperLink refused: no room (flwr code 9)"
