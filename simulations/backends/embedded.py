"""A Flower Grid on this machine: the same ClientApp in worker processes, no server and no Ray.

Every node belongs to one worker for the whole run, so a site's agent is opened once and keeps its
session. A worker that dies takes its open messages with it (its sites count as lost, by name) and
is replaced before the next message.
"""

import itertools
import secrets
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Self

import torch
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from simulations.backends.flower_internals import (
    SERVER_NODE,
    assume_identity,
    empty_run,
    received_message,
    set_message_id,
)
from simulations.backends.fork_server import fork_server

FIRST_NODE = 10
CLIENT_APP_RAISED, WORKER_DIED = 2, 8
"""Flower's error codes for a ClientApp that raised, and for one that crashed (flwr's ErrorCode)."""


@dataclass
class _Worker:
    """One process, the message it still owes an answer to, and those that wait for their turn."""

    process: ForkServerProcess
    pipe: Connection
    owes: dict[str, Message] = field(default_factory=dict)
    queue: deque[Message] = field(default_factory=deque)


class EmbeddedGrid(Grid):
    """Nodes in worker processes; use as a context manager, so that no process is left behind."""

    def __init__(
        self,
        load_client_app: Callable[[], ClientApp],
        nodes: int,
        run_config: dict[str, str],
        workers: int,
    ) -> None:
        """Start `workers` processes that play `nodes` nodes.

        Args:
            load_client_app: a module-level function; each worker calls it once.
            nodes: node k has partition id k.
            run_config: what every node's Context holds.
            workers: at most one per node is started.
        """
        self._load_client_app, self._run_config = load_client_app, run_config
        self._run = empty_run(secrets.randbits(62))
        assume_identity(self._run.run_id, SERVER_NODE)
        self._ids = itertools.count(1)
        self._nodes = list(range(FIRST_NODE, FIRST_NODE + nodes))
        self._processes = fork_server()
        self._workers = [self._start() for _ in range(min(workers, nodes))]
        self._done: dict[str, Message] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def set_run(self, run: Run) -> None:
        """Serve another run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run this grid serves."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes; they are there from the start."""
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand each message to its node's worker; returns the ids that replies will name."""
        pushed = []
        for message in messages:
            set_message_id(message, f"instruction-{next(self._ids)}")
            self._send(message)
            pushed.append(message.metadata.message_id)
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies that are there; waits up to 50 ms for the first one."""
        self._receive(timeout=0.05)
        return [self._done.pop(name) for name in list(message_ids) if name in self._done]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push, then pull until all replies are there or `timeout` seconds have passed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        waiting = set(self.push_messages(messages))
        replies: list[Message] = []
        while waiting and (deadline is None or time.monotonic() < deadline):
            arrived = list(self.pull_messages(waiting))
            waiting -= {reply.metadata.reply_to_message_id for reply in arrived}
            replies += arrived
        return replies

    def _start(self) -> _Worker:
        ours, theirs = self._processes.Pipe()
        process = self._processes.Process(
            target=_serve,
            args=(
                theirs,
                self._load_client_app,
                self._run.run_id,
                len(self._nodes),
                self._run_config,
            ),
            daemon=True,
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _send(self, message: Message) -> None:
        index = (message.metadata.dst_node_id - FIRST_NODE) % len(self._workers)
        if not self._workers[index].process.is_alive():
            self._bury(self._workers[index])
            self._workers[index] = self._start()
        worker = self._workers[index]
        worker.queue.append(message)
        if not worker.owes:
            self._hand_over(worker)

    def _hand_over(self, worker: _Worker) -> None:
        """Give an idle worker its next message: a busy one might itself wait to be read from."""
        if not worker.queue:
            return
        message = worker.queue.popleft()
        worker.owes[message.metadata.message_id] = message
        try:
            worker.pipe.send((message.content, message.metadata))
        except OSError:
            self._bury(worker)

    def _receive(self, timeout: float) -> None:
        owing = {worker.pipe: worker for worker in self._workers if worker.owes}
        for pipe in wait(list(owing), timeout=timeout) if owing else []:
            assert isinstance(pipe, Connection)
            worker = owing[pipe]
            try:
                name, content, reason = pipe.recv()
            except (EOFError, OSError):
                self._bury(worker)
                continue
            instruction = worker.owes.pop(name)
            self._hand_over(worker)
            self._done[name] = (
                _error(instruction, CLIENT_APP_RAISED, reason)
                if content is None
                else Message(content, reply_to=instruction)
            )

    def _bury(self, worker: _Worker) -> None:
        worker.process.join(timeout=1)
        for instruction in (*worker.owes.values(), *worker.queue):
            reason = f"the worker process died (exit code {worker.process.exitcode})"
            self._done[instruction.metadata.message_id] = _error(instruction, WORKER_DIED, reason)
        worker.owes = {}
        worker.queue.clear()


def _error(instruction: Message, code: int, reason: str) -> Message:
    return Message(Error(code=code, reason=reason), reply_to=instruction)


def _serve(
    pipe: Connection,
    load_client_app: Callable[[], ClientApp],
    run_id: int,
    nodes: int,
    run_config: dict[str, str],
) -> None:
    """A worker's life: messages in, replies out, until the other end closes."""
    # Ctrl-C is the parent's to handle; it then closes the pipes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One thread per worker: more would fight over the cores and could change the order of sums.
    torch.set_num_threads(1)
    assume_identity(run_id, SERVER_NODE)
    client_app = load_client_app()
    contexts: dict[int, Context] = {}
    answer: tuple[str, RecordDict | None, str]
    while True:
        try:
            content, metadata = pipe.recv()
        except (EOFError, OSError):
            return
        node = metadata.dst_node_id
        if node not in contexts:
            place = {"partition-id": node - FIRST_NODE, "num-partitions": nodes}
            contexts[node] = Context(run_id, node, place, RecordDict(), dict(run_config))
        try:
            reply = client_app(received_message(content, metadata), contexts[node])
            answer = (metadata.message_id, reply.content, "")
        except Exception as error:  # noqa: BLE001 - whatever a ClientApp raises is one lost site
            answer = (metadata.message_id, None, f"{type(error).__name__}: {error}")
        try:
            pipe.send(answer)
        except OSError:
            return
