"""Runs one command so that nothing of it outlives the process that asked: a script of its own.

`child_processes` starts it as `python -I -S child_keeper.py GRACE LOG LIMIT COMMAND...` with a pipe
as standard input. The pipe's end is the order to stop, and the kernel closes it even when the
process that holds the other end is killed. As a subreaper (prctl(2)) the keeper inherits whatever
its command leaves behind, so that grandchildren which made a session of their own end, too. It
imports nothing but the standard library, and of that little: one keeper stands beside each child.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
FIRST_LOOK_SECONDS = 0.02

libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Keep the command; returns its exit status, 128 + n if signal n ended it."""
    grace, log_path, limit = float(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log = RotatingLog(log_path, limit)
    try:
        child = subprocess.Popen(  # noqa: S603 - the command is the caller's, no shell
            sys.argv[4:],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has one thread
        )
    except OSError as error:
        print(f"cannot start {sys.argv[4]}: {error.strerror}", flush=True)  # noqa: T201 - the answer
        return 127
    print(child.pid, flush=True)  # noqa: T201 - the answer
    try:
        watch(child, log, grace)
    finally:
        end_all_descendants()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def die_with_parent() -> None:
    """Let the kernel kill the command when its keeper is killed."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def watch(child: "subprocess.Popen[bytes]", log: "RotatingLog", grace: float) -> None:
    """Carry the command's output to its log until it ends, by itself or because it is told to."""
    assert child.stdout is not None
    output, orders, ended = child.stdout.fileno(), sys.stdin.fileno(), os.pidfd_open(child.pid)
    stop_asked, stop_read = os.pipe()[::-1]
    signal.signal(signal.SIGTERM, lambda *_: os.write(stop_asked, b"."))
    poll = select.poll()
    for descriptor in (output, orders, ended, stop_read):
        poll.register(descriptor, select.POLLIN)
    kill_at: float | None = None
    while True:
        wait = None if kill_at is None else max(0.0, kill_at - time.monotonic()) * 1000
        ready = dict(poll.poll(wait))
        if output in ready and not log.write(os.read(output, 65536)):
            poll.unregister(output)
        if ended in ready:
            child.wait()
            log.drain(output)
            return
        if kill_at is not None and time.monotonic() >= kill_at:
            child.kill()
            kill_at = None
        for order in (orders, stop_read):
            if order in ready:
                poll.unregister(order)
                if kill_at is None:
                    child.terminate()
                    kill_at = time.monotonic() + grace


def end_all_descendants() -> None:
    """Kill what the command left behind, children of children included, until nothing is left."""
    pause = FIRST_LOOK_SECONDS
    while True:
        left = children_of(os.getpid())
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left:
            return
        time.sleep(pause)
        pause = min(1.0, pause * 2)


def children_of(pid: int) -> list[int]:
    """Process ids of the direct children of a single-threaded process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class RotatingLog:
    """A log of bounded size: at the limit it becomes `<name>.1`, and what stood there goes.

    A full disk loses lines, never the process that writes them.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self._limit = path, limit

    def write(self, data: bytes) -> bool:
        """Append; False at the end of the output."""
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, data)
                is_full = os.fstat(descriptor).st_size > self._limit
            finally:
                os.close(descriptor)
            if is_full:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
        return bool(data)

    def drain(self, output: int) -> None:
        """Append what is still in the pipe; a grandchild that holds it open is not waited for."""
        os.set_blocking(output, False)
        with suppress(BlockingIOError):
            while self.write(os.read(output, 65536)):
                pass


if __name__ == "__main__":
    sys.exit(main())
