"""Worker processes that play chunks of sites; one that dies is named, and its chunk is done again.

What a chunk adds up to is a function of the seed, so it does not matter which worker plays it, nor
how often: the sum is the same bits for any number of workers, and after any crash. Only a chunk
that kills two workers counts as lost.
"""

import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Self

import numpy as np
import torch

from federation.agreement import Agreement
from federation.errors import ConfigError, HedgerowError, UsageError
from federation.run_folder import RunFolder
from simulations.backends.fork_server import fork_server
from simulations.chunk_player import ChunkPlayer, ChunkSum, ChunkWork
from simulations.sites import read_config

MOST_DEATHS = 2
"""Workers that may die of one chunk before its sites are given up."""

Take = Callable[[int, ChunkSum], None]


@dataclass
class _Worker:
    """One process and the number of the chunk that it plays; None while it is idle."""

    process: ForkServerProcess
    pipe: Connection
    chunk: int | None = None
    model: int = 0


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a worker cannot go on: an error of a user's, or the trace of a bug."""

    kind: type[HedgerowError] | None
    text: str

    def as_error(self) -> Exception:
        """To be raised in the process that the run belongs to."""
        if self.kind is None:
            return RuntimeError(f"a worker failed:\n{self.text}")
        return self.kind(self.text)


@dataclass
class _Round:
    """The chunks of one round while they are played.

    Attributes:
        works: all of them.
        waiting: per worker, those that are its own, longest first.
        deaths: per chunk, the workers that died of it.
        lost: per chunk that was given up, why.
    """

    works: Sequence[ChunkWork]
    waiting: list[deque[int]]
    deaths: dict[int, int] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)

    def next_for(self, worker: int) -> int | None:
        """A chunk of the worker's own, else the shortest of whoever has most left to do."""
        if self.waiting[worker]:
            return self.waiting[worker].popleft()
        busiest = max(self.waiting, key=len)
        return busiest.pop() if busiest else None


class ChunkWorkers:
    """Processes that play a run's sites; use as a context manager, so that none is left behind."""

    def __init__(self, path: Path, workers: int) -> None:
        """Start them.

        Args:
            path: of the run folder, whose agreement stands.
            workers: how many.
        """
        self._path, self._processes = path, fork_server(__name__)
        self._models = 0
        self._model = b""
        self._workers = [self._start() for _ in range(workers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def play(self, works: Sequence[ChunkWork], model: bytes, take: Take) -> Mapping[int, str]:
        """Play chunks, longest first.

        Args:
            works: the chunks.
            model: the global model as it travels.
            take: given the number of each chunk and its sum, in whatever order they come.

        Returns:
            per chunk that was given up, why.

        Raises:
            HedgerowError: as `ChunkPlayer.play`.
        """
        self._models, self._model = self._models + 1, model
        order = sorted(range(len(works)), key=lambda number: -len(works[number].sites))
        # The same ones to the same worker in every round, which has their rows already.
        count = len(self._workers)
        round_ = _Round(works, [deque(order[first::count]) for first in range(count)])
        while any(round_.waiting) or any(worker.chunk is not None for worker in self._workers):
            for index, worker in enumerate(self._workers):
                if worker.chunk is None:
                    self._hand_over(index, round_)
            for number, done in self._arrived(round_):
                take(number, done)
        return round_.lost

    def _start(self) -> _Worker:
        ours, theirs = self._processes.Pipe()
        process = self._processes.Process(target=_serve, args=(theirs, self._path), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _hand_over(self, index: int, round_: _Round) -> None:
        worker = self._workers[index]
        number = round_.next_for(index)
        if number is None:
            return
        worker.chunk = number
        try:
            if worker.model != self._models:
                worker.pipe.send_bytes(self._model)
                worker.model = self._models
            else:
                worker.pipe.send_bytes(b"")
            worker.pipe.send(round_.works[number])
        except OSError:
            self._bury(index, round_)

    def _arrived(self, round_: _Round) -> Iterator[tuple[int, ChunkSum]]:
        busy = {w.pipe: i for i, w in enumerate(self._workers) if w.chunk is not None}
        for pipe in wait(list(busy)) if busy else []:
            assert isinstance(pipe, Connection)
            worker = self._workers[busy[pipe]]
            try:
                answer: ChunkSum | _Failure = pipe.recv()
            except (EOFError, OSError):
                self._bury(busy[pipe], round_)
                continue
            if isinstance(answer, _Failure):
                raise answer.as_error()
            assert worker.chunk is not None
            number, worker.chunk = worker.chunk, None
            yield number, answer

    def _bury(self, index: int, round_: _Round) -> None:
        """Replace a dead worker; its chunk is tried once more, for it may have died of it."""
        worker = self._workers[index]
        worker.pipe.close()
        worker.process.join(timeout=5)
        number = worker.chunk
        assert number is not None
        round_.deaths[number] = round_.deaths.get(number, 0) + 1
        if round_.deaths[number] < MOST_DEATHS:
            round_.waiting[index].appendleft(number)
        else:
            round_.lost[number] = (
                f"train: worker process {worker.process.pid} died over its chunk, the second time "
                f"(exit code {worker.process.exitcode})"
            )
        self._workers[index] = self._start()


def _serve(pipe: Connection, path: Path) -> None:
    """A worker's life: chunks in, their sums out, until the other end closes."""
    # Ctrl-C is the parent's to handle; it then closes the pipes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One thread per worker: more would fight over the cores and could change the order of sums.
    torch.set_num_threads(1)
    player: ChunkPlayer | None = None
    parameters = np.zeros(0)
    while True:
        try:
            model = pipe.recv_bytes()
            work: ChunkWork = pipe.recv()
        except (EOFError, OSError):
            return
        if model:
            parameters = np.frombuffer(model, "<f4").astype(np.float64)
        answer: ChunkSum | _Failure
        try:
            player = player or open_player(path)
            answer = player.play(work, parameters)
        except HedgerowError as error:
            # An error that names a setting is built of its parts, which do not travel.
            kind = UsageError if isinstance(error, ConfigError) else type(error)
            answer = _Failure(kind, str(error))
        except Exception:  # noqa: BLE001 - a bug: told where the whole run can end
            answer = _Failure(None, traceback.format_exc())
        try:
            pipe.send(answer)
        except OSError:
            return


def open_player(path: Path) -> ChunkPlayer:
    """The sites of the run in a folder."""
    folder = RunFolder.open(path)
    agreement = Agreement.from_bytes(folder.agreement.read_bytes())
    return ChunkPlayer(folder, read_config(path), agreement)
