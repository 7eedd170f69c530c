"""The agent behind a Unix socket: one answer at a time, however many callers there are.

Callers are served by a thread each; the agent itself works in the thread that called `serve`, which
is the main one: ledger and journal belong to one thread, and only the main one can be given a time
limit. A look at the status waits for no answer.

A question that is put again, byte for byte, right after it was answered gets the same bytes again:
its reply may have been lost on the way. Nobody learns more by that.
"""

import hashlib
import json
import os
import queue
import socket
import stat
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from client.agent_socket import (
    LARGEST_FRAME,
    LARGEST_GREETING,
    REFUSAL,
    Greeting,
    LineError,
    receive_frame,
    send_frame,
    short_name,
)
from federation.envelope import Received, parse_reply
from federation.errors import ProtocolViolation, UsageError

MOST_CALLERS = 16
SOCKET_MODE = 0o660
"""The site's agent and, by their common group, the node beside it."""
GREETING_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 0.5
LARGEST_REMEMBERED = 2**28
"""Bytes of a reply that is kept until the next question; of a larger one memory has no second."""

Answer = Callable[[bytes], bytes]
IsApproved = Callable[[str], bool]
Refuse = Callable[[bytes, str, str], bytes]
"""Gives the signed refusal of a request, for a code and a reason."""
Told = Callable[[str, Mapping[str, str | int | float]], None]
NOT_APPROVED = "bundle_not_approved"


@dataclass
class _Course:
    """What the agent did since it started, and what it is at."""

    since: float
    answered: int = 0
    unheard: int = 0
    busy: Mapping[str, object] | None = None
    last: Mapping[str, object] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class _Job:
    request: bytes
    answer: Answer
    reply: "Future[bytes]"


class AgentService:
    """Serves one agent at one socket until it is told to stop.

    Attributes:
        path: of the socket.
        stopping: set it to end `serve`.
    """

    def __init__(
        self,
        path: Path,
        site: str,
        answer: Answer,
        is_approved: IsApproved,
        tell: Told = lambda _event, _fields: None,
        refuse: Refuse | None = None,
    ) -> None:
        """Bind the socket.

        Args:
            path: where; a socket that a dead agent left there is replaced. A symbolic link is
                followed: it may lead to a folder that the node may open, unlike the site's home.
            site: whose agent it is.
            answer: gives the signed reply to a request; called in the thread of `serve` alone.
            is_approved: whether messages of the bundle with this SHA-256 are answered.
            tell: given what happens, for the site's log; never a byte of a message.
            refuse: gives the signed refusal of a request whose bundle is not approved; called in
                the thread of `serve` alone. None: such a request gets no answer.

        Raises:
            UsageError: something else is there, or the folder is not.
        """
        self.path, self.stopping = path.resolve(), threading.Event()
        self._site, self._answer, self._is_approved, self._tell = site, answer, is_approved, tell
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._course = _Course(time.time())
        self._callers = threading.BoundedSemaphore(MOST_CALLERS)
        self._refuse = refuse
        self._last: tuple[bytes, bytes] | None = None
        self._listener = _bound(self.path)

    def serve(self) -> None:
        """Answer until `stopping` is set; what is being answered then is finished first."""
        accepting = threading.Thread(target=self._accept, name="agent-callers", daemon=True)
        accepting.start()
        try:
            while not self.stopping.is_set():
                try:
                    job = self._jobs.get(timeout=LOOK_AGAIN_SECONDS)
                except queue.Empty:
                    continue
                self._work(job)
        finally:
            self.stopping.set()
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self.path.unlink(missing_ok=True)
            while not self._jobs.empty():
                self._jobs.get().reply.cancel()

    def status(self) -> dict[str, object]:
        """What the agent is at, for the site's own people.

        Keys: site, pid, hedgerow, since (seconds since the epoch), answered (requests), unheard
        (callers that were turned away), busy (run, round, phase and since, or None), last (run,
        round, phase, at, seconds; or None).
        """
        with self._course.lock:
            return {
                "site": self._site,
                "pid": os.getpid(),
                "hedgerow": version("hedgerow"),
                "since": self._course.since,
                "answered": self._course.answered,
                "unheard": self._course.unheard,
                "busy": self._course.busy,
                "last": self._course.last,
            }

    def _work(self, job: _Job) -> None:
        if not job.reply.set_running_or_notify_cancel():
            return
        about, began, outcome = _about(job.request), time.time(), {}
        with self._course.lock:
            self._course.busy = about | {"since": began}
        try:
            reply = self._answered(job)
            outcome = _outcome(reply)
            job.reply.set_result(reply)
        except ProtocolViolation as error:
            # No request at all: there is nothing that a reply could be signed for.
            outcome = {"code": "protocol", "reason": str(error)}
            job.reply.set_exception(LineError(str(error), "request"))
        except BaseException as error:
            job.reply.set_exception(LineError(f"the agent ended: {type(error).__name__}"))
            raise
        finally:
            seconds = time.time() - began
            with self._course.lock:
                self._course.answered += 1
                self._course.busy = None
                self._course.last = about | {"at": time.time(), "seconds": round(seconds, 3)}
        event = "answered_no" if outcome else "answered"
        self._tell(event, about | outcome | {"seconds": round(seconds, 3)})

    def _answered(self, job: _Job) -> bytes:
        if job.answer is not self._answer:  # a refusal: made anew each time
            return job.answer(job.request)
        asked = hashlib.sha256(job.request).digest()
        if self._last is not None and self._last[0] == asked:
            return self._last[1]
        self._last = None
        reply = job.answer(job.request)
        if len(reply) <= LARGEST_REMEMBERED:
            self._last = asked, reply
        return reply

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            if not self._callers.acquire(blocking=False):
                line.close()
                self._note_unheard("too_many_callers")
                continue
            threading.Thread(target=self._attend, args=(line,), daemon=True).start()

    def _attend(self, line: socket.socket) -> None:
        try:
            with line, suppress(OSError, CancelledError):
                line.settimeout(GREETING_SECONDS)
                greeting = self._greeted(line)
                if greeting is None or greeting.asks == "status":
                    return
                line.settimeout(None)
                answer = self._answer if greeting.asks != REFUSAL else self._refused
                while not self.stopping.is_set():
                    self._pass_on(line, answer)
        finally:
            self._callers.release()

    def _greeted(self, line: socket.socket) -> Greeting | None:
        """The greeting of a caller that is listened to; None if it was turned away."""
        try:
            greeting = Greeting.from_bytes(receive_frame(line, LARGEST_GREETING))
        except LineError as error:
            self._turn_away(line, error.code, str(error))
            return None
        if greeting.asks == "status":
            send_frame(line, _json({"status": "ok", **self.status()}))
            return greeting
        if greeting.asks == REFUSAL:
            if self._refuse is None or self._is_approved(greeting.bundle):
                self._turn_away(line, "protocol", "there is nothing to refuse")
                return None
        elif not self._is_approved(greeting.bundle):
            shown = greeting.bundle[:16] or "none"
            self._turn_away(line, NOT_APPROVED, f"{_NOT_APPROVED} {shown}")
            return None
        send_frame(line, _json({"status": "ok", "site": self._site}))
        return greeting

    def _refused(self, request: bytes) -> bytes:
        assert self._refuse is not None
        return self._refuse(request, NOT_APPROVED, f"{_NOT_APPROVED} of this run")

    def _pass_on(self, line: socket.socket, answer: Answer) -> None:
        reply: Future[bytes] = Future()
        self._jobs.put(_Job(receive_frame(line, LARGEST_FRAME), answer, reply))
        send_frame(line, reply.result())

    def _turn_away(self, line: socket.socket, code: str, reason: str) -> None:
        self._note_unheard(code)
        send_frame(line, _json({"status": "refused", "code": code, "reason": reason}))

    def _note_unheard(self, code: str) -> None:
        with self._course.lock:
            self._course.unheard += 1
        self._tell("turned_away", {"code": code})


_NOT_APPROVED = "this site has not approved the app bundle"


def _outcome(reply: bytes) -> dict[str, str | int | float]:
    """Code and reason of a reply that is no answer, for the log; empty for an answer."""
    try:
        said = parse_reply(memoryview(reply))[0]
    except ProtocolViolation:
        return {}
    return {} if said.status == "ok" else {"code": said.code, "reason": said.reason}


def _bound(path: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UsageError(f"{path} is no socket; move it away, the agent listens there")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        with short_name(path) as name:
            listener.bind(name)
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen at {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    listener.listen(MOST_CALLERS)
    return listener


def _about(request: bytes) -> dict[str, str | int | float]:
    """Run, round and phase of a request, for the log; nothing of what it carries."""
    try:
        head = Received.from_bytes(request).head
    except ProtocolViolation:
        return {"phase": "unreadable"}
    return {"run": head.run, "round": head.round, "phase": str(head.phase)}


def _json(table: Mapping[str, object]) -> bytes:
    return json.dumps(table).encode()
