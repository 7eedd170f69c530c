"""A worker's life: batches of messages in, replies out, until the process that asked is gone."""

import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import parent_process, reduction
from multiprocessing.connection import Connection, wait

import torch
from flwr.app import Context, Error, Message, Metadata, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode

from simulations.backends.flower_internals import (
    SERVER_NODE,
    MetadataFields,
    assume_identity,
    received_message,
)
from simulations.backends.message_content import Blocks, Record, SharedBlocks, decode, encode
from simulations.backends.sealed_memory import SealedMemory

FIRST_NODE = 10
HELD_BACK_SECONDS = 0.001
"""Replies go out together as long as each takes less: a write for each would cost more."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a worker knows of the run from its start.

    Attributes:
        run_id: Flower's.
        nodes: how many there are in the whole run.
        run_config: what every node's Context holds.
    """

    run_id: int
    nodes: int
    run_config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Shipment:
    """What the messages of one push share, for one worker.

    Attributes:
        number: of the push.
        lengths: of its large blocks, whose memory follows; empty if it has none.
    """

    number: int
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some messages for one worker, which it answers before it is given others.

    Attributes:
        shipments: that the worker has not seen; the descriptors of their memory follow.
        contents: that the worker has not seen, by shipment and number.
        messages: metadata, and the shipment and number of the content.
        over: shipments of which the worker will be given no more.
    """

    shipments: tuple[Shipment, ...]
    contents: dict[tuple[int, int], bytes]
    messages: list[tuple[MetadataFields, tuple[int, int]]]
    over: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one node replied.

    Attributes:
        instruction: id of the message that it answers.
        created_at, ttl: of the reply.
        content: encoded, or code and reason of an error.
        lengths: of its large blocks, whose memory follows; empty if it has none.
    """

    instruction: str
    created_at: float
    ttl: float
    content: bytes | tuple[int, str | None]
    lengths: tuple[int, ...] = ()


def serve(pipe: Connection, load_client_app: Callable[[], ClientApp], stage: Stage) -> None:
    """Answer batches until the pipe closes; what is sent first is None, or why there is no app."""
    # Ctrl-C is the parent's to handle; it then closes the pipes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # One thread per worker: more would fight over the cores and could change the order of sums.
    torch.set_num_threads(1)
    assume_identity(stage.run_id, SERVER_NODE)
    try:
        client_app = load_client_app()
    except Exception as error:  # noqa: BLE001 - told to whoever started this worker
        told = "".join(traceback.format_exception_only(error)).strip()
        pipe.send(f"{told}\n{traceback.format_exc()}")
        return
    with suppress(BrokenPipeError):  # a run that ended while this worker was starting
        pipe.send(None)
    _Worker(pipe, client_app, stage).answer_all()


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however that came."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(0)


@dataclass
class _Worker:
    """The nodes of one process."""

    pipe: Connection
    client_app: ClientApp
    stage: Stage
    contexts: dict[int, Context] = field(default_factory=dict)
    shared: dict[int, SharedBlocks | None] = field(default_factory=dict)
    contents: dict[tuple[int, int], list[Record]] = field(default_factory=dict)

    def answer_all(self) -> None:
        """Batch after batch."""
        while True:
            try:
                batch = self._next()
                self._answer(batch)
            except (EOFError, OSError):
                return
            if not batch.over:
                continue
            for number in batch.over:
                del self.shared[number]
            self.contents = {at: one for at, one in self.contents.items() if at[0] in self.shared}

    def _next(self) -> Batch:
        batch: Batch = pickle.loads(self.pipe.recv_bytes())  # noqa: S301 - from this run's own process
        for shipment in batch.shipments:
            memory = received_memory(self.pipe, shipment.lengths)
            blocks = SharedBlocks(memory, shipment.lengths) if memory else None
            self.shared[shipment.number] = blocks
        for at, content in batch.contents.items():
            self.contents[at] = pickle.loads(content)  # noqa: S301 - from this run's own process
        return batch

    def _answer(self, batch: Batch) -> None:
        waiting: list[tuple[Answer, SealedMemory | None]] = []
        began = time.monotonic()
        for fields, at in batch.messages:
            waiting.append(self._reply(Metadata(*fields), at))
            now = time.monotonic()
            if now - began > HELD_BACK_SECONDS:
                send_answers(self.pipe, waiting)
                waiting = []
            began = now
        if waiting:
            send_answers(self.pipe, waiting)

    def _reply(self, metadata: Metadata, at: tuple[int, int]) -> tuple[Answer, SealedMemory | None]:
        if metadata.created_at + metadata.ttl < time.time():
            error = (ErrorCode.MESSAGE_UNAVAILABLE, "the message expired before its turn came")
            return Answer(metadata.message_id, time.time(), 0.0, error), None
        message = received_message(decode(self.contents[at], self.shared[at[0]]), metadata)
        try:
            reply = self.client_app(message, self._context(metadata.dst_node_id))
            return _answer(metadata.message_id, reply)
        except Exception as error:  # noqa: BLE001 - whatever a ClientApp raises is one lost site
            said = (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"{type(error).__name__}: {error}")
            return Answer(metadata.message_id, time.time(), metadata.ttl, said), None

    def _context(self, node: int) -> Context:
        if node not in self.contexts:
            place: UserConfig = {
                "partition-id": node - FIRST_NODE,
                "num-partitions": self.stage.nodes,
            }
            self.contexts[node] = Context(
                self.stage.run_id, node, place, RecordDict(), {**self.stage.run_config}
            )
        return self.contexts[node]


def _answer(instruction: str, reply: Message) -> tuple[Answer, SealedMemory | None]:
    when = reply.metadata.created_at, reply.metadata.ttl
    if reply.has_error():
        return Answer(instruction, *when, (reply.error.code, reply.error.reason)), None
    blocks = Blocks()
    content = encode(reply.content, blocks)
    memory, lengths = blocks.sealed() or (None, ())
    return Answer(instruction, *when, content, lengths), memory


def send_answers(pipe: Connection, answers: list[tuple[Answer, SealedMemory | None]]) -> None:
    """Write some replies, and then the descriptors of their large blocks.

    Raises:
        OSError: nobody reads any more.
    """
    pipe.send_bytes(pickle.dumps([answer for answer, _ in answers], protocol=5))
    for _, memory in answers:
        if memory is not None:
            reduction.send_handle(pipe, memory.descriptor, None)


def received_memory(pipe: Connection, lengths: tuple[int, ...]) -> SealedMemory | None:
    """The memory of large blocks, whose descriptor comes next; None if there are none.

    Raises:
        EOFError, OSError: the other end is gone.
    """
    return SealedMemory.received(reduction.recv_handle(pipe)) if lengths else None


def error_of(content: tuple[int, str | None]) -> Error:
    """The error that an answer holds."""
    return Error(*content)
