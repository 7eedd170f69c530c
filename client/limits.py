"""What the agent may take of a site's machine: processors, memory, and time for one answer."""

import math
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from client.consent import Refusal
from federation.errors import ConfigError, UsageError
from federation.site_policy import Limits

MIB = 2**20
AGAIN_SECONDS = 1.0
"""How long code that swallowed the first alarm may go on before the next."""
_NO_MEMORY = "can't allocate memory"
"""What torch says, in a RuntimeError."""


def apply_limits(limits: Limits) -> None:
    """Bound this process from now on; call it once, in the agent's main thread, after the imports.

    Memory is bounded by RLIMIT_DATA, which counts what a process has of its own and may write to;
    the address space (RLIMIT_AS) is more than twice that where torch is loaded, and says nothing.
    A task that would go past it gets a MemoryError, and the agent goes on.

    Raises:
        ConfigError: the process takes more memory already.
    """
    if limits.threads is not None:
        _bound_threads(limits.threads)
    if limits.memory_mb is not None:
        _bound_memory(limits.memory_mb)


@contextmanager
def answer_limit(seconds: float | None) -> Iterator[None]:
    """Bound the work on rows within; None bounds nothing.

    Only for what keeps its state to itself: the work is cut off between any two steps of Python.
    A ledger or journal must not be written within, or an account in memory could be left half
    caught up. Code that computes within one call of C for long is cut off after it.

    Raises:
        Refusal: `too_slow`; or `out_of_memory`, where the limit on memory was met.
        UsageError: this is not the main thread, so no alarm would be heard.
    """
    try:
        if seconds is None:
            yield
        else:
            with _alarm(seconds):
                yield
    except MemoryError as error:
        raise _out_of_memory() from error
    except RuntimeError as error:
        if _NO_MEMORY in str(error):
            raise _out_of_memory() from error
        raise


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("limits.seconds_per_answer: rows are worked on in the main thread only")

    def cut_off(_: int, __: FrameType | None) -> None:
        raise Refusal("too_slow", "this site gives an answer less time than it would have taken")

    before = signal.signal(signal.SIGALRM, cut_off)
    try:
        # Again and again: code of a task may swallow the first.
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _out_of_memory() -> Refusal:
    return Refusal(
        "out_of_memory", "this site gives an answer less memory than it would have taken"
    )


def _bound_threads(threads: int) -> None:
    import torch  # noqa: PLC0415 - takes seconds, and not every command computes
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - as above

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # of libraries that are loaded later
    torch.set_num_threads(threads)
    threadpool_limits(threads)  # type: ignore[no-untyped-call]  # it has no types
    allowed = sorted(os.sched_getaffinity(0))
    if threads < len(allowed):
        # Libraries with threads of their own keep to this, too.
        os.sched_setaffinity(0, allowed[-threads:])


def _bound_memory(memory_mb: int) -> None:
    taken = math.ceil(memory_taken() / MIB)
    if taken >= memory_mb:
        raise ConfigError(
            "limits.memory_mb",
            memory_mb,
            f"more than the {taken} MiB that the agent takes before it holds any row",
            f"such as {2 * taken}",
        )
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    bound = memory_mb * MIB
    if hard != resource.RLIM_INFINITY and hard < bound:
        bound = hard  # an administrator's own, which is stricter
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def memory_taken() -> int:
    """Bytes that this process has of its own and may write to: what RLIMIT_DATA counts."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise UsageError("limits.memory_mb: this system does not say how much memory a process has")
