"""Work for a ServerApp, from the coordinator's command line: submit, watch, submit again, stop.

The work is done in a process that the SuperExec starts, on a folder; this looks at the folder. A
ServerApp that was killed is started anew, where it goes on from what is recorded; one that ended
with an error of ours is not, because it would end so again.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from federation.errors import HedgerowError, Interrupted, UsageError
from federation.run_folder import RunFolder
from server.flower_control import FlowerControl, FlowerRun, SuperLinkUnavailable
from server.run_failure import read_failure

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
        restarts: of the ServerApp in a row without progress in between.
    """

    look_seconds: float = 0.5
    superlink_seconds: float = 300.0
    unclaimed_seconds: float = 120.0
    abandoned_seconds: float = 5.0
    restarts: int = 5


class Work(Protocol):
    """What a ServerApp is to do in a folder, and how far it has come."""

    @property
    def folder(self) -> RunFolder:
        """Whose lock the ServerApp holds while it works."""
        ...

    @property
    def failure(self) -> Path:
        """Where it says why it ended; see `server.run_failure`."""
        ...

    @property
    def settings(self) -> Mapping[str, str]:
        """Of the app bundle's `[tool.flwr.app.config]`; the same for the same work."""
        ...

    def is_done(self) -> bool:
        """Whether the folder holds all that was asked for."""
        ...

    def tell_news(self) -> bool:
        """Tell of what was recorded since the last time; whether there was anything."""
        ...


@dataclass
class DeployedWork:
    """Work, and the SuperLink it is done over.

    Attributes:
        control: of the SuperLink.
        work: what is to be done.
        bundle: the app bundle that is shipped; every site has to have approved it.
        tell: gets a line of text on what happens apart from progress.
    """

    control: FlowerControl
    work: Work
    bundle: bytes
    tell: Tell
    patience: Patience = field(default_factory=Patience)

    def to_the_end(self) -> None:
        """Return when it is done; at once if it was done before.

        Raises:
            Interrupted: Ctrl-C, or somebody stopped it; it can be gone on with.
            HedgerowError: the ServerApp's own error, with its own exit code.
        """
        if self.work.is_done():
            return
        number = self._running() or self._submit()
        deaths = 0
        try:
            while True:
                ended, came = self._watch(number)
                if ended is not None and ended.is_completed:
                    return
                self._require_may_go_on(ended)
                deaths = 1 if came else deaths + 1
                if deaths > self.patience.restarts:
                    raise HedgerowError(
                        f"the ServerApp died {deaths} times in a row without progress in between; "
                        f"its last words:\n{self._last_words(number)}"
                    )
                self.tell(f"the ServerApp is gone ({_why(ended)}); starting it again")
                self._stop(number)
                number = self._submit()
        except KeyboardInterrupt:
            self._stop(number)
            raise Interrupted("interrupted") from None

    @property
    def folder(self) -> RunFolder:
        """The one that the work is done in."""
        return self.work.folder

    def _running(self) -> int | None:
        """Flower's number of a run that does just this, as after a killed command."""
        for run in self.control.runs(limit=100):
            if not run.is_finished and run.settings == self.work.settings:
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
        self.work.failure.unlink(missing_ok=True)
        return self._asked(lambda: self.control.start_run(self.bundle, self.work.settings))

    def _watch(self, number: int) -> tuple[FlowerRun | None, bool]:
        """Follow a ServerApp to its end; None for its end if it is taken for dead before.

        Returns the end, and whether anything was recorded on the way.
        """
        came = was_held = False
        at_work = time.monotonic()
        while True:
            run = self._asked(lambda: self.control.run(number))
            # After the question: what was recorded before the end is seen, too.
            came |= self.work.tell_news()
            if run.is_finished:
                return run, came
            now = time.monotonic()
            if self.folder.is_in_use:
                at_work, was_held = now, True
            elif run.status == "pending" or self.work.failure.exists():
                at_work = now
            # Flower takes a minute to miss the heartbeat of a killed process; its lock is gone now.
            has_died = was_held and not self.work.is_done()
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
        failure = read_failure(self.work.failure)
        if failure is not None:
            raise failure
        if ended is not None and ended.sub_status == "stopped":
            raise Interrupted("it was stopped at the SuperLink")

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


def _why(ended: FlowerRun | None) -> str:
    return "nobody is at work in its folder" if ended is None else ended.details or "no reason"
