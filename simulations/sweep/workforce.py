"""The workers of a sweep: as many runs at a time as there are cores for, and none left behind."""

import json
import os
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Literal, Self

from federation.errors import (
    DataError,
    HedgerowError,
    IntegrityError,
    PrivacyRefusal,
    RoundFailed,
    UsageError,
)
from simulations.sweep.folder import SweepFolder, run_name

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Set to 1 for workers: as many runs as cores, with a thread each."""

GRACE_SECONDS = 20.0
"""For a worker to end its run after it was told to; what is recorded is whole in any case."""

LOG_BYTES = 2000
"""Of the end of a worker's log, for the last line of a traceback."""

_ERRORS: dict[int, type[HedgerowError]] = {
    one.exit_code: one
    for one in (UsageError, DataError, PrivacyRefusal, RoundFailed, IntegrityError)
}


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to do: prepare a run, to see whether it can be, or play it."""

    do: Literal["prepare", "play"]
    trial: int
    seed: int

    @property
    def run(self) -> str:
        """Name of the run."""
        return run_name(self.trial, self.seed)


@dataclass(frozen=True, slots=True)
class Ended:
    """How an order ended: `error` is None where all went well.

    Attributes:
        crashed: the worker died over it.
    """

    order: Order
    error: HedgerowError | None = None
    crashed: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A round of a run has ended."""

    order: Order
    round: int
    of: int


Watch = Callable[[Order | Step | Ended], None]
"""Told when an order is given, after each round, and when it has ended."""


@dataclass
class _Worker:
    slot: int
    process: "subprocess.Popen[str]"
    order: Order | None = None
    half_line: bytes = b""

    @property
    def orders(self) -> IO[str]:
        """Where it is told what to do."""
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def told(self) -> IO[str]:
        """Where it tells."""
        assert self.process.stdout is not None
        return self.process.stdout


class Workforce:
    """Workers that are started when there is something to do; use as a context manager."""

    def __init__(self, folder: SweepFolder, jobs: int, lock: int) -> None:
        """At most `jobs` workers on the sweep of `folder`, which hold its `lock` while they live.

        The lock of a sweep that was killed is thus free when its last worker has ended.
        """
        self._folder, self._jobs, self._lock = folder, jobs, lock
        self._workers: list[_Worker] = []
        self._ready = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, and wait until they have ended."""
        for worker in self._workers:
            with suppress(OSError):
                worker.orders.close()
        for worker in self._workers:
            try:
                worker.process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.told.close()
        self._workers = []
        self._ready.close()

    def carry_out(self, orders: Iterable[Order], watch: Watch) -> None:
        """All orders, as many at a time as there are workers, in their order.

        A worker that dies takes its order with it (`Ended.crashed`) and is replaced.
        """
        waiting = deque(orders)
        for _ in range(min(self._jobs, len(waiting)) - len(self._workers)):
            self._start(len(self._workers))
        for worker in self._workers:
            self._give(worker, waiting, watch)
        while any(worker.order for worker in self._workers):
            for key, _ in self._ready.select():
                self._hear(key.data, waiting, watch)

    def _start(self, slot: int) -> None:
        with self._folder.log(slot).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-m", "simulations.sweep.worker", str(self._folder.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
                env=os.environ | dict.fromkeys(THREADS, "1"),
                pass_fds=(self._lock,),
            )
        worker = _Worker(slot, process)
        self._workers.append(worker)
        self._ready.register(worker.told, selectors.EVENT_READ, worker)

    def _give(self, worker: _Worker, waiting: "deque[Order]", watch: Watch) -> None:
        if not waiting:
            return
        worker.order = waiting.popleft()
        watch(worker.order)
        said = {"do": worker.order.do, "trial": worker.order.trial, "seed": worker.order.seed}
        with suppress(OSError):  # it has died, which its end of the other pipe tells
            worker.orders.write(json.dumps(said) + "\n")
            worker.orders.flush()

    def _hear(self, worker: _Worker, waiting: "deque[Order]", watch: Watch) -> None:
        heard = os.read(worker.told.fileno(), 65536)
        if not heard:
            self._replace(worker, waiting, watch)
            return
        *lines, worker.half_line = (worker.half_line + heard).split(b"\n")
        for line in lines:
            self._take(worker, json.loads(line), waiting, watch)

    def _replace(self, worker: _Worker, waiting: "deque[Order]", watch: Watch) -> None:
        self._bury(worker)
        if worker.order is not None:
            watch(Ended(worker.order, HedgerowError(self._last_words(worker)), crashed=True))
        if waiting:
            self._start(worker.slot)
            self._give(self._workers[-1], waiting, watch)

    def _take(
        self, worker: _Worker, said: dict[str, Any], waiting: "deque[Order]", watch: Watch
    ) -> None:
        order = worker.order
        assert order is not None
        if "round" in said:
            watch(Step(order, said["round"], said["of"]))
            return
        worker.order = None
        error = None
        if "refused" in said:
            error = _ERRORS.get(said["exit_code"], HedgerowError)(said["reason"])
        watch(Ended(order, error))
        self._give(worker, waiting, watch)

    def _bury(self, worker: _Worker) -> None:
        self._ready.unregister(worker.told)
        self._workers.remove(worker)
        worker.process.wait()
        worker.told.close()
        with suppress(OSError):
            worker.orders.close()

    def _last_words(self, worker: _Worker) -> str:
        code = worker.process.returncode
        how = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        lines = self._folder.log(worker.slot).read_bytes()[-LOG_BYTES:].decode(errors="replace")
        last = lines.strip().rpartition("\n")[2].strip() if code > 0 else ""
        return f"its process was {how}" if code < 0 else f"its process {how}: {last}"
