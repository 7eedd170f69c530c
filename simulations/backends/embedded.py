"""A Flower Grid on this machine: the same ClientApp in worker processes, no server and no Ray.

Every node belongs to one worker for the whole run, so a site's agent is opened once and keeps its
session. What many nodes are sent is written once, to memory that all workers see. A worker that
dies takes its open messages with it (its sites count as lost, by name) and is replaced. How this
is built, and why: docs/simulation-embedded.md.
"""

import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import current_process
from multiprocessing.connection import Connection, wait
from typing import Self

from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp

from simulations.backends.fork_server import fork_server
from simulations.backends.local_grid import LocalGrid
from simulations.backends.message_content import Blocks, encode
from simulations.backends.placement import longest_first
from simulations.backends.worker_loop import FIRST_NODE, Stage
from simulations.backends.worker_process import UNGUARDED, Item, Pushed, Worker

GRACE_SECONDS = 5.0
"""That workers have for finishing what they are doing, when the grid is closed."""
LOOK_SECONDS = 0.05
"""That `pull_messages` waits for a first reply."""


class EmbeddedGrid(LocalGrid):
    """Nodes in worker processes; use as a context manager, so that no process is left behind."""

    takes_pieces = True
    """What `server.transport` asks: pieces that many requests share are written once."""

    def __init__(
        self,
        load_client_app: Callable[[], ClientApp],
        nodes: int,
        run_config: dict[str, str],
        workers: int,
        placement: Sequence[int] | None = None,
    ) -> None:
        """Start `workers` processes that play `nodes` nodes.

        Args:
            load_client_app: a module-level function; each worker calls it once.
            nodes: node k has partition id k.
            run_config: what every node's Context holds.
            workers: at most one per node is started.
            placement: per node the number of its worker, from `longest_first`; without it all
                nodes count as equal.

        Raises:
            ValueError: the placement has another number of nodes, or a worker that is not there.
        """
        if getattr(current_process(), "_inheriting", False):
            # In a worker that is importing the script: see `script_left_alone`.
            os._exit(UNGUARDED)
        count = min(workers, nodes)
        self._placement = longest_first([1.0] * nodes, count) if placement is None else placement
        if len(self._placement) != nodes or not set(self._placement) <= set(range(workers)):
            raise ValueError(f"placement: expected one of {workers} workers for each of {nodes}")
        super().__init__(secrets.randbits(62), range(FIRST_NODE, FIRST_NODE + nodes))
        self._pushes = itertools.count(1)
        self._done: dict[str, Message] = {}
        self._unwanted: set[str] = set()
        processes = fork_server(load_client_app.__module__)
        stage = Stage(self._run.run_id, nodes, dict(run_config))
        self._workers: list[Worker] = []
        try:
            for number in range(1, count + 1):
                name = f"{number} of {count}"
                self._workers.append(Worker(name, processes, load_client_app, stage))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers; those that are still at work after five seconds are killed."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.pipe.close()
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in workers:
            worker.end(max(0.0, deadline - time.monotonic()))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand each message to its node's worker; returns the ids that replies will name.

        Contents are read before this returns; what several messages share is read once.
        """
        self._drop_expired()
        pushed, blocks = Pushed(next(self._pushes)), Blocks()
        numbers: dict[int, tuple[int, RecordDict]] = {}
        queues: dict[int, list[Item]] = {}
        names = []
        for message in messages:
            name = self.identify(message)
            content = message.content
            if id(content) not in numbers:
                # With the content itself, so that no other one can have its identity meanwhile.
                numbers[id(content)] = len(pushed.contents), content
                pushed.contents.append(encode(content, blocks))
            item = Item(message.metadata, pushed, numbers[id(content)][0])
            worker = self._placement[message.metadata.dst_node_id - FIRST_NODE]
            queues.setdefault(worker, []).append(item)
            names.append(name)
        pushed.memory = blocks.sealed()
        for number, items in queues.items():
            self._workers[number].enqueue(items)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies that are there; waits up to 50 ms for the first one."""
        wanted = list(message_ids)
        there = [name for name in wanted if name in self._done]
        if not there:
            self._receive(LOOK_SECONDS)
            there = [name for name in wanted if name in self._done]
        return [self._done.pop(name) for name in there]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push, then collect until all replies are there or `timeout` seconds have passed.

        A list, as Flower's own grids return it, and so as large as all replies together;
        `StreamingFedAvg` takes them one by one. What has not come in time is not waited for, and
        nodes whose turn had not come are not bothered with it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        waiting = set(self.push_messages(messages))
        replies: list[Message] = []
        while waiting and (deadline is None or time.monotonic() < deadline):
            arrived = list(self.pull_messages(waiting))
            waiting -= {reply.metadata.reply_to_message_id for reply in arrived}
            replies += arrived
        self._withdraw(waiting)
        return replies

    def _receive(self, timeout: float) -> None:
        """Take what workers have written; waits so many seconds for the first of them."""
        awaited = {worker.pipe: worker for worker in self._workers if worker.is_awaited}
        for pipe in wait(list(awaited), timeout=timeout) if awaited else []:
            assert isinstance(pipe, Connection)
            for reply in awaited[pipe].receive():
                name = reply.metadata.reply_to_message_id
                if name in self._unwanted:
                    self._unwanted.remove(name)
                else:
                    self._done[name] = reply

    def _withdraw(self, message_ids: set[str]) -> None:
        if message_ids:
            self._unwanted |= {
                name for worker in self._workers for name in worker.withdraw(message_ids)
            }

    def _drop_expired(self) -> None:
        """Forget replies that nobody has fetched for as long as they were good for."""
        now = time.time()
        self._done = {
            name: reply
            for name, reply in self._done.items()
            if reply.metadata.created_at + max(reply.metadata.ttl, 0.0) >= now
        }
