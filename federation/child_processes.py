"""Child processes that are started, watched, restarted with back-off, and ended with their parent.

Each child runs under a keeper of its own (child_keeper.py), so that neither a kill -9 of this
process nor one of the child leaves anything of it running. Linux only: it rests on pidfd_open(2)
and on subreapers.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self

from federation import child_keeper
from federation.errors import UsageError

LOG_LIMIT = 10_000_000
TAIL_BYTES = 2_000
KEEPER_PATIENCE = 5.0
"""Seconds beyond the grace that a keeper has to end everything, before it is ended itself."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a restart.

    Attributes:
        first: seconds before the first one; each further one waits twice as long.
        longest: seconds, at most.
        forgets_after: seconds that a child has to be ready for its failures to be forgotten.
    """

    first: float = 0.5
    longest: float = 30.0
    forgets_after: float = 60.0

    def seconds(self, failures: int) -> float:
        """Before the next start.

        >>> [Backoff().seconds(failures) for failures in (0, 1, 2, 3, 9)]
        [0.0, 0.5, 1.0, 2.0, 30.0]
        """
        if failures == 0:
            return 0.0
        return float(min(self.longest, self.first * 2.0 ** min(failures - 1, 32)))


@dataclass(frozen=True, slots=True)
class Child:
    """What to run.

    Attributes:
        name: for people, logs and metrics.
        command: program and arguments; no shell sees it.
        log_path: gets its output, readable by the owner alone, of bounded size.
        env: the whole environment; None means this process's own.
        cwd: where it runs.
        after: names of the children that have to be ready before this one starts.
        is_ready: asked until it says yes, then the child counts as ready; must answer within a
            second or two.
        ready_within: seconds until a start counts as failed.
        is_healthy: asked every `health_every` seconds of a ready child; `patience` times no in a
            row, and the child is restarted. None asks nothing: a process that runs is healthy.
        grace: seconds between the request to end and the kill.
    """

    name: str
    command: tuple[str, ...]
    log_path: Path
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    after: tuple[str, ...] = ()
    is_ready: Callable[[], bool] = lambda: True
    ready_within: float = 60.0
    is_healthy: Callable[[], bool] | None = None
    health_every: float = 10.0
    patience: int = 3
    grace: float = 10.0


class Phase(StrEnum):
    """Where a child is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ChildState:
    """What can be told of a child now.

    Attributes:
        pid: None while none runs.
        restarts: since the supervisor was made.
        last_exit: status of the latest end, 128 + n for signal n; None before the first one.
        reason: why it was ended or could not be started; empty if nothing was wrong.
    """

    name: str
    phase: Phase
    pid: int | None
    restarts: int
    last_exit: int | None
    reason: str


Report = Callable[[str, str, Mapping[str, object]], None]
"""Gets the child's name, what happened (started, ready, ended, unhealthy, ...), and details."""


class Supervisor:
    """Starts children in order, and keeps them running until it is stopped.

    Not for several threads at once. As a context manager it ends all of them, whatever happens.
    """

    def __init__(
        self,
        children: Iterable[Child],
        report: Report = lambda *_: None,
        backoff: Backoff | None = None,
    ) -> None:
        if sys.platform != "linux":
            raise UsageError("supervised processes need Linux (pidfd, subreaper)")
        self._kept = [_Kept(child, report, backoff or Backoff()) for child in children]
        self._stopping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def states(self) -> dict[str, ChildState]:
        """Of all children, by name."""
        return {kept.child.name: kept.state() for kept in self._kept}

    def is_ready(self) -> bool:
        """All of them are."""
        return all(kept.phase is Phase.READY for kept in self._kept)

    def poll(self) -> None:
        """Look at every child once: start, restart, ask for readiness. Call it again and again."""
        if self._stopping:
            return
        for kept in self._kept:
            ready = {other.child.name for other in self._kept if other.phase is Phase.READY}
            kept.poll(may_start=ready.issuperset(kept.child.after))

    def run(self, until: Callable[[], bool], every: float = 0.2) -> None:
        """Keep all running until told otherwise; on the way out they are ended.

        Args:
            until: asked after each look.
            every: seconds between two looks.
        """
        try:
            self.poll()
            while not until():
                time.sleep(every)
                self.poll()
        finally:
            self.stop()

    def wait_until_ready(self, seconds: float, every: float = 0.05) -> bool:
        """Whether all got ready in that time."""
        deadline = time.monotonic() + seconds
        self.poll()
        while not self.is_ready() and time.monotonic() < deadline:
            time.sleep(every)
            self.poll()
        return self.is_ready()

    def restart(self, name: str, reason: str) -> None:
        """End one child; it is started anew at the next look, without back-off.

        Raises:
            KeyError: no child has that name.
        """
        {kept.child.name: kept for kept in self._kept}[name].end(reason)

    def stop(self) -> None:
        """End all, the last started first, and wait until nothing of them runs."""
        self._stopping = True
        for kept in reversed(self._kept):
            kept.stop()


@dataclass(slots=True)
class _Kept:
    """One child and its keeper."""

    child: Child
    report: Report
    backoff: Backoff
    phase: Phase = Phase.WAITING
    keeper: "subprocess.Popen[bytes] | None" = None
    pid: int | None = None
    starts: int = 0
    failures: int = 0
    last_exit: int | None = None
    reason: str = ""
    due: float = 0.0
    since: float = 0.0
    asked: float = 0.0
    unhealthy: int = field(default=0)

    def state(self) -> ChildState:
        restarts = max(0, self.starts - 1)
        return ChildState(
            self.child.name, self.phase, self.pid, restarts, self.last_exit, self.reason
        )

    def poll(self, *, may_start: bool) -> None:
        now = time.monotonic()
        if self.keeper is not None and self.keeper.poll() is not None:
            self._ended(now, self.reason)
        if self.phase is Phase.WAITING and may_start and now >= self.due:
            self._start(now)
        elif self.phase is Phase.STARTING:
            self._look_for_readiness(now)
        elif self.phase is Phase.READY:
            self._look_for_health(now)

    def _start(self, now: float) -> None:
        child = self.child
        child.log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        keeper = [sys.executable, "-I", "-S", child_keeper.__file__, str(child.grace)]
        self.keeper = subprocess.Popen(  # noqa: S603 - the command is the caller's, no shell
            [*keeper, str(child.log_path.absolute()), str(LOG_LIMIT), *child.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=None if child.env is None else dict(child.env),
            cwd=child.cwd,
            # The terminal's Ctrl-C is for the supervisor, which ends its children in order.
            start_new_session=True,
            umask=0o077,
        )
        assert self.keeper.stdout is not None
        answer = self.keeper.stdout.readline().decode(errors="replace").strip()
        self.keeper.stdout.close()
        self.starts += 1
        self.unhealthy = 0
        if not answer.isdigit():
            self._ended(now, answer or "its keeper could not be started")
            return
        self.pid, self.phase, self.since, self.reason = int(answer), Phase.STARTING, now, ""
        self.report(child.name, "started", {"pid": self.pid, "restarts": self.starts - 1})

    def _look_for_readiness(self, now: float) -> None:
        if self.child.is_ready():
            self.phase, self.since, self.asked = Phase.READY, now, now
            self.report(self.child.name, "ready", {"pid": self.pid})
        elif now - self.since > self.child.ready_within:
            self.end(f"not ready within {self.child.ready_within:g} s")

    def _look_for_health(self, now: float) -> None:
        if now - self.since > self.backoff.forgets_after:
            self.failures = 0
        if self.child.is_healthy is None or now - self.asked < self.child.health_every:
            return
        self.asked = now
        self.unhealthy = 0 if self.child.is_healthy() else self.unhealthy + 1
        if self.unhealthy:
            self.report(self.child.name, "unhealthy", {"times": self.unhealthy})
        if self.unhealthy >= self.child.patience:
            self.end(f"no sign of health {self.unhealthy} times in a row")

    def end(self, reason: str) -> None:
        """End it, for that reason; it will be started again."""
        if self.keeper is not None:
            self._let_go()
            self._ended(time.monotonic(), reason)

    def stop(self) -> None:
        """End it for good."""
        if self.keeper is not None:
            self._let_go()
            self._ended(time.monotonic(), "stopped")
        self.phase = Phase.STOPPED

    def _let_go(self) -> None:
        """Close the keeper's pipe, which is the order to end, and wait until it is done."""
        assert self.keeper is not None
        assert self.keeper.stdin is not None
        with suppress(BrokenPipeError):
            self.keeper.stdin.close()
        try:
            self.keeper.wait(self.child.grace + KEEPER_PATIENCE)
        except subprocess.TimeoutExpired:
            self.keeper.kill()
            self.keeper.wait()

    def _ended(self, now: float, reason: str) -> None:
        assert self.keeper is not None
        assert self.keeper.stdin is not None
        with suppress(BrokenPipeError):
            self.keeper.stdin.close()
        status = self.keeper.wait()
        self.last_exit = status if status >= 0 else 128 - status
        self.keeper, self.pid, self.phase = None, None, Phase.WAITING
        self.reason = reason or f"ended with status {self.last_exit}"
        self.failures += 1
        wait = self.backoff.seconds(self.failures)
        self.due = now + wait
        details = {"status": self.last_exit, "reason": self.reason, "again_in_seconds": wait}
        self.report(self.child.name, "ended", details)


def log_tail(path: Path, lines: int = 10) -> str:
    """The last lines of a log, for a person to read; empty if there is none."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    return ""
