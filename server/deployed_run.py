"""One run on real sites, from the coordinator's command line: submit, watch, submit again, stop.

The rounds are the ServerApp's, a process that the SuperExec starts. This reads what it records. A
ServerApp that was killed is started anew on the same folder, where it goes on from the last
recorded round; one that ended with an error of ours is not, because it would end so again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from federation.agreement import Agreement
from federation.errors import HedgerowError, Interrupted, UsageError
from federation.run_folder import RunFolder
from federation.summary import Summary
from server.flower_control import FlowerControl, FlowerRun, SuperLinkUnavailable
from server.rounds import Observer, Progress
from server.run_failure import read_failure
from server.run_record import finished_rounds

Tell = Callable[[str], None]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what.

    Attributes:
        look_seconds: between two looks at the run.
        superlink_seconds: for a SuperLink that does not answer; `coordinator up` restarts it.
        unclaimed_seconds: for the ServerApp to take the run folder's lock, and for one that is
            given up to let go of it.
        abandoned_seconds: after it let go of the lock, until it is taken for dead.
        restarts: of the ServerApp in a row without a round in between.
    """

    look_seconds: float = 0.5
    superlink_seconds: float = 300.0
    unclaimed_seconds: float = 120.0
    abandoned_seconds: float = 5.0
    restarts: int = 5


@dataclass
class DeployedRun:
    """A prepared or interrupted run folder, and the SuperLink it runs on.

    Attributes:
        control: of the SuperLink.
        folder: of the run.
        bundle: the app bundle that is shipped; every site has to have approved it.
        tell: gets a line of text on what happens apart from rounds.
    """

    control: FlowerControl
    folder: RunFolder
    bundle: bytes
    tell: Tell
    patience: Patience = field(default_factory=Patience)

    def play(self, observe: Observer) -> Summary:
        """Run it to its end; returns the summary that stands in the folder then.

        Args:
            observe: told of every round that is recorded from now on.

        Raises:
            Interrupted: Ctrl-C, or somebody stopped it; it can be resumed.
            HedgerowError: the run's own error, with its own exit code.
        """
        if self.folder.summary.is_file():
            return self.folder.read_summary()
        rounds = _NewRounds(self.folder, observe)
        number = self._running() or self._submit()
        deaths = 0
        try:
            while True:
                ended, came = self._watch(number, rounds)
                if ended is not None and ended.is_completed:
                    return self.folder.read_summary()
                self._require_may_go_on(ended)
                deaths = 1 if came else deaths + 1
                if deaths > self.patience.restarts:
                    raise HedgerowError(
                        f"the ServerApp died {deaths} times in a row without a round in between; "
                        f"its last words:\n{self._last_words(number)}"
                    )
                self.tell(f"the ServerApp is gone ({_why(ended)}); starting it again")
                self._stop(number)
                number = self._submit()
        except KeyboardInterrupt:
            self._stop(number)
            raise Interrupted("interrupted") from None

    def _running(self) -> int | None:
        """Flower's number of a run on this folder that goes on, as after a killed command."""
        for run in self.control.runs(limit=100):
            if not run.is_finished and run.settings.get("run") == str(self.folder.path.absolute()):
                self.tell(f"going along with Flower's run {run.id}, which is on its way")
                return run.id
        return None

    def _submit(self) -> int:
        """Start a ServerApp on the folder, once nobody else is at work in it.

        Raises:
            UsageError: somebody stays at work in it.
        """
        deadline = time.monotonic() + self.patience.unclaimed_seconds
        while self.folder.is_in_use:
            if time.monotonic() > deadline:
                raise UsageError(f"{self.folder.path} is in use by another process")
            time.sleep(self.patience.look_seconds)
        # What an earlier process ended with must not be taken for the word of this one.
        self.folder.failure.unlink(missing_ok=True)
        settings = {"run": str(self.folder.path.absolute())}
        return self._asked(lambda: self.control.start_run(self.bundle, settings))

    def _watch(self, number: int, rounds: "_NewRounds") -> tuple[FlowerRun | None, bool]:
        """Follow a ServerApp to its end; None for its end if it is taken for dead before.

        Returns the end, and whether a round was recorded on the way.
        """
        came = was_held = False
        at_work = time.monotonic()
        while True:
            run = self._asked(lambda: self.control.run(number))
            # After the question: what was recorded before the end is seen, too.
            came |= rounds.tell()
            if run.is_finished:
                return run, came
            now = time.monotonic()
            if self.folder.is_in_use:
                at_work, was_held = now, True
            elif run.status == "pending" or self.folder.failure.exists():
                at_work = now
            # Flower takes a minute to miss the heartbeat of a killed process; its lock is gone now.
            has_died = was_held and not self.folder.summary.exists()
            patience = self.patience
            limit = patience.abandoned_seconds if has_died else patience.unclaimed_seconds
            if now - at_work > limit:
                return None, came
            time.sleep(self.patience.look_seconds)

    def _require_may_go_on(self, ended: FlowerRun | None) -> None:
        """Return if another try can come out otherwise.

        Raises:
            HedgerowError: the run's own error.
            Interrupted: somebody stopped it.
        """
        failure = read_failure(self.folder.failure)
        if failure is not None:
            raise failure
        if ended is not None and ended.sub_status == "stopped":
            raise Interrupted("the run was stopped at the SuperLink")

    def _stop(self, number: int) -> None:
        """Stop the run, and wait until its process let go of the folder."""
        try:
            self.control.stop_run(number)
        except HedgerowError as error:
            self.tell(f"could not stop Flower's run {number}: {error}")
            return
        deadline = time.monotonic() + self.patience.unclaimed_seconds
        while self.folder.is_in_use and time.monotonic() < deadline:
            time.sleep(self.patience.look_seconds)

    def _asked(self, question: Callable[[], Answer]) -> Answer:
        """The SuperLink's answer, asked again while it is being restarted.

        Raises:
            SuperLinkUnavailable: it stays away.
        """
        deadline = time.monotonic() + self.patience.superlink_seconds
        told = False
        while True:
            try:
                return question()
            except SuperLinkUnavailable:
                if time.monotonic() > deadline:
                    raise
                if not told:
                    self.tell("the SuperLink does not answer; waiting for it")
                    told = True
                time.sleep(self.patience.look_seconds)

    def _last_words(self, number: int) -> str:
        try:
            return "\n".join(self.control.log(number).splitlines()[-20:])
        except HedgerowError as error:
            return str(error)


class _NewRounds:
    """Tells of rounds as they are recorded, each once."""

    def __init__(self, folder: RunFolder, observe: Observer) -> None:
        self._folder, self._observe = folder, observe
        self._seen = len(finished_rounds(folder))
        self._size = -1

    def tell(self) -> bool:
        """Tell of those that are new; whether there were any."""
        size = self._folder.rounds.stat().st_size if self._folder.rounds.exists() else 0
        if size == self._size:
            return False
        self._size = size
        records = finished_rounds(self._folder)
        new = records[self._seen :]
        if not new:
            return False
        agreement = Agreement.from_bytes(self._folder.agreement.read_bytes())
        done = len(records) - len(new)
        for number, record in enumerate(new, start=done + 1):
            completed = sum(one.round.status == "completed" for one in records[:number])
            self._observe(Progress(agreement, record, completed))
        self._seen = len(records)
        return True


def _why(ended: FlowerRun | None) -> str:
    return "nobody is at work in its folder" if ended is None else ended.details or "no reason"
