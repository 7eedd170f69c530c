"""One worker as the grid sees it: what it was given, what it still owes, and how it ended.

A worker is given a batch only when it owes nothing, and then it is reading: so neither side ever
waits to write while the other does. What it may be given at once follows what it answers: large
replies come one or two at a time, for they would pile up here, and small ones by the dozen.
"""

import pickle
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import reduction
from multiprocessing.context import ForkServerContext, ForkServerProcess

from flwr.app import Error, Message, Metadata, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode

from federation.errors import UsageError
from simulations.backends.flower_internals import metadata_fields, received_message
from simulations.backends.fork_server import script_left_alone
from simulations.backends.message_content import SharedBlocks, decode
from simulations.backends.sealed_memory import SealedMemory
from simulations.backends.worker_loop import (
    FIRST_NODE,
    Answer,
    Batch,
    Shipment,
    Stage,
    error_of,
    received_memory,
    serve,
)

FEWEST, MOST = 2, 64
"""Messages of a batch, where replies are large, and where they have been small for a while."""
MOST_STARTS = 3
"""In a row that may fail, by accident as far as anybody knows."""
UNGUARDED = 77
"""The exit status of a worker that found itself running the script that started it."""
LARGE_ANSWER = 1 << 18
"""Bytes that are not shared, from which on a reply counts as large."""


@dataclass
class Pushed:
    """The contents of the messages of one push, encoded once for all workers.

    Attributes:
        number: of the push.
        memory: the large blocks of all contents, and their lengths; None if there are none.
        contents: encoded.
    """

    number: int
    memory: tuple[SealedMemory, tuple[int, ...]] | None = None
    contents: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Item:
    """A message that waits for its turn: metadata, its push, and the number of its content."""

    metadata: Metadata
    pushed: Pushed
    content: int


class Worker:
    """One process and the nodes that it plays; replaced when it dies."""

    def __init__(
        self,
        name: str,
        processes: ForkServerContext,
        load_client_app: Callable[[], ClientApp],
        stage: Stage,
    ) -> None:
        """Start it.

        Args:
            name: for messages to people, such as "1 of 4".
            processes: where it is forked from.
            load_client_app: called once in the process.
            stage: what it has to know of the run.
        """
        self._name, self._processes = name, processes
        self._load_client_app, self._stage = load_client_app, stage
        self._queue: deque[Item] = deque()
        self._failed_starts = 0
        self._start()

    def _start(self) -> None:
        self._owes: dict[str, Metadata] = {}
        self._seen: dict[int, set[int]] = {}
        self._is_ready, self._has_ended, self._most = False, False, FEWEST
        self.pipe, theirs = self._processes.Pipe()
        arguments = (theirs, self._load_client_app, self._stage)
        self.process: ForkServerProcess = self._processes.Process(
            target=serve, args=arguments, daemon=True, name=f"hedgerow worker {self._name}"
        )
        with script_left_alone(self._load_client_app):
            self.process.start()
        theirs.close()

    @property
    def is_awaited(self) -> bool:
        """Whether something can be expected from its pipe."""
        return bool(self._owes or self._queue)

    def enqueue(self, items: list[Item]) -> None:
        """Add messages; they are handed over when their turn comes.

        Raises:
            UsageError: it died, and cannot be started again.
        """
        if self._is_ready and not self.is_awaited and self.pipe.poll():
            # Nobody asked it anything: what its pipe has to tell is its end.
            self._bury()
        self._queue.extend(items)
        if self._is_ready and not self._owes:
            self._hand_over()

    def withdraw(self, message_ids: set[str]) -> set[str]:
        """Take messages out of the queue; returns those that it was too late for."""
        self._queue = deque(i for i in self._queue if i.metadata.message_id not in message_ids)
        return message_ids & self._owes.keys()

    def receive(self) -> list[Message]:
        """What has come through its pipe, which must be readable; then more work is handed over.

        Raises:
            UsageError: it cannot be started.
        """
        with suppress(EOFError, OSError):
            return self._receive()
        return self._bury()

    def _receive(self) -> list[Message]:
        if not self._is_ready:
            trouble = self.pipe.recv()
            if trouble is not None:
                raise UsageError(f"a worker cannot load the ClientApp: {trouble}")
            self._is_ready, self._failed_starts = True, 0
            self._hand_over()
            return []
        data = self.pipe.recv_bytes()
        answers: list[Answer] = pickle.loads(data)  # noqa: S301 - from this run's own process
        replies = [self._reply(answer) for answer in answers]
        is_large = any(a.lengths for a in answers) or len(data) > LARGE_ANSWER * len(answers)
        self._most = FEWEST if is_large else min(2 * self._most, MOST)
        if not self._owes:
            self._hand_over()
        return replies

    def _reply(self, answer: Answer) -> Message:
        memory = received_memory(self.pipe, answer.lengths)
        # Mapped at once, which needs no descriptor: whoever asked may keep a thousand replies.
        blocks = SharedBlocks(memory.copy_on_write(), answer.lengths) if memory else None
        instruction = self._owes.pop(answer.instruction)
        if not isinstance(answer.content, bytes):
            return _reply_to(instruction, error_of(answer.content), answer)
        if instruction.created_at + instruction.ttl < time.time():
            error = Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, "the reply came too late")
            return _reply_to(instruction, error)
        records = pickle.loads(answer.content)  # noqa: S301 - from this run's own process
        return _reply_to(instruction, decode(records, blocks), answer)

    def _hand_over(self) -> None:
        """Give an idle worker its next messages: a busy one might itself wait to be read from."""
        items = [self._queue.popleft() for _ in range(min(self._most, len(self._queue)))]
        if not items:
            return
        shipments: dict[int, Pushed] = {}
        contents: dict[tuple[int, int], bytes] = {}
        for item in items:
            number = item.pushed.number
            if number not in self._seen:
                self._seen[number] = set()
                shipments[number] = item.pushed
            if item.content not in self._seen[number]:
                self._seen[number].add(item.content)
                contents[number, item.content] = item.pushed.contents[item.content]
            self._owes[item.metadata.message_id] = item.metadata
        still = {item.pushed.number for item in self._queue}
        over = tuple(number for number in self._seen if number not in still)
        batch = Batch(
            tuple(Shipment(n, p.memory[1] if p.memory else ()) for n, p in shipments.items()),
            contents,
            [(metadata_fields(i.metadata), (i.pushed.number, i.content)) for i in items],
            over,
        )
        for number in over:
            del self._seen[number]
        try:
            self.pipe.send_bytes(pickle.dumps(batch, protocol=5))
            for pushed in shipments.values():
                if pushed.memory is not None:
                    reduction.send_handle(self.pipe, pushed.memory[0].descriptor, None)
        except OSError:
            # It died; its pipe tells so, too, when it is next read.
            return

    def _bury(self) -> list[Message]:
        """Errors in reply to all that the dead worker had to answer; a new one takes its place."""
        self.process.join(timeout=1)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        code = self.process.exitcode
        assert code is not None
        was_ready = self._is_ready
        lost = [*self._owes.values(), *(item.metadata for item in self._queue)]
        self.end(0)
        if not was_ready:
            self._require_another_try(code)
            self._start()
            return []
        nodes = ", ".join(str(node - FIRST_NODE) for node in sorted({m.dst_node_id for m in lost}))
        reason = f"worker process {self._name} {how_it_ended(code)}; with it partitions {nodes}"
        self._queue.clear()
        self._start()
        return [_reply_to(m, Error(ErrorCode.CLIENT_APP_CRASHED, reason)) for m in lost]

    def _require_another_try(self, code: int) -> None:
        """Return if starting again may help.

        Raises:
            UsageError: it cannot, or has not often enough.
        """
        if code == UNGUARDED:
            raise UsageError(
                "the ClientApp is defined in the script that starts the simulation, and workers "
                "that import it would run the script again: put what it does under "
                "`if __name__ == '__main__':`, or the ClientApp into a module of its own"
            )
        self._failed_starts += 1
        if self._failed_starts >= MOST_STARTS:
            raise UsageError(
                f"worker process {self._name} {how_it_ended(code)} before it was ready, "
                f"{self._failed_starts} times in a row; what it wrote stands above"
            )

    def end(self, seconds: float) -> None:
        """Have it end, kill it after so many seconds, and give back all it takes up here."""
        if self._has_ended:
            return
        self._has_ended = True
        self.pipe.close()
        self.process.join(timeout=seconds)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


def how_it_ended(exitcode: int) -> str:
    """What an exit code of `multiprocessing` says.

    >>> how_it_ended(-9), how_it_ended(3)
    ('was killed by SIGKILL', 'ended with exit code 3')
    """
    if exitcode >= 0:
        return f"ended with exit code {exitcode}"
    try:
        return f"was killed by {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"was killed by signal {-exitcode}"


def _reply_to(
    instruction: Metadata, content: RecordDict | Error, answer: Answer | None = None
) -> Message:
    now = time.time()
    metadata = Metadata(
        run_id=instruction.run_id,
        message_id=f"reply-to-{instruction.message_id}",
        src_node_id=instruction.dst_node_id,
        dst_node_id=instruction.src_node_id,
        reply_to_message_id=instruction.message_id,
        group_id=instruction.group_id,
        created_at=answer.created_at if answer else now,
        ttl=answer.ttl if answer else max(0.0, instruction.created_at + instruction.ttl - now),
        message_type=instruction.message_type,
        src_task_id=instruction.dst_task_id,
        dst_task_id=instruction.src_task_id,
    )
    return received_message(content, metadata)
