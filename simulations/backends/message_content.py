"""A message's records as they cross between two processes: a pickle, and large arrays beside it.

Flower's records are taken apart into plain values, which pickle fast, and put together again as
new records, so that what a node does to its own touches nobody else's. The bytes of large arrays
are not pickled: they go to memory that both processes see.
"""

import pickle
from copy import copy
from dataclasses import dataclass, field
from typing import Literal, cast

from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    ConfigRecordValues,
    MetricRecord,
    MetricRecordValues,
    RecordDict,
)

from server.pieced_array import PiecedArray
from simulations.backends.flower_internals import filled
from simulations.backends.received_array import Pieces, ReceivedArray, Region
from simulations.backends.sealed_memory import IS_AVAILABLE, Buffer, Octets, SealedMemory, offsets

LARGE = 1 << 15
"""Bytes of an array from which on it is worth a place of its own: less is copied faster."""

Piece = bytes | int
"""Some bytes, or the number of the block that holds them."""
Place = Piece | tuple[Piece, ...]
"""Where an array's bytes are."""
Arrays = list[tuple[str, str, tuple[int, ...], str, Place]]
Metrics = dict[str, MetricRecordValues]
Config = dict[str, ConfigRecordValues]
Record = tuple[str, Literal["arrays", "metrics", "config"], Arrays | Metrics | Config]


@dataclass
class Blocks:
    """The large buffers of some messages, each once however many messages hold it."""

    _numbers: dict[int, int] = field(default_factory=dict)
    _held: list[Buffer] = field(default_factory=list)

    def number(self, buffer: Buffer) -> int:
        """The block that holds this buffer, which is told from others by its identity."""
        # Held, so that no other buffer can have its identity meanwhile.
        if id(buffer) not in self._numbers:
            self._numbers[id(buffer)] = len(self._held)
            self._held.append(buffer)
        return self._numbers[id(buffer)]

    def sealed(self) -> tuple[SealedMemory, tuple[int, ...]] | None:
        """All of them in shared memory, with their lengths; None if there are none."""
        if not self._held:
            return None
        return SealedMemory.holding(self._held), tuple(len(block) for block in self._held)


def encode(content: RecordDict, blocks: Blocks) -> bytes:
    """Records as plain bytes; what is large is added to `blocks`."""
    records: list[Record] = []
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            arrays = [
                (key, one.dtype, one.shape, one.stype, _place(one, blocks))
                for key, one in record.items()
            ]
            records.append((name, "arrays", arrays))
        elif isinstance(record, MetricRecord):
            records.append((name, "metrics", dict(record)))
        else:
            records.append((name, "config", dict(record)))
    return pickle.dumps(records, protocol=5)


def _place(array: Array, blocks: Blocks) -> Place:
    if isinstance(array, PiecedArray):
        return tuple(_piece(piece, blocks) for piece in array.pieces)
    return _piece(array.data, blocks)


def _piece(data: bytes, blocks: Blocks) -> Piece:
    return blocks.number(data) if IS_AVAILABLE and len(data) >= LARGE else data


class SharedBlocks:
    """The large buffers of some messages as their receiver has them."""

    def __init__(self, source: SealedMemory | Octets, lengths: tuple[int, ...]) -> None:
        """Blocks of these lengths in sealed memory, or in what this process has mapped of it."""
        self._source, self._lengths, self._offsets = source, lengths, offsets(lengths)

    def region(self, number: int) -> Region:
        """Where a block is."""
        return Region(self._source, self._offsets[number], self._lengths[number])


def decode(records: list[Record], blocks: SharedBlocks | None) -> RecordDict:
    """New Flower records from what `encode` pickled; called again, they share nothing to write to.

    Args:
        records: unpickled.
        blocks: None if the content has nothing large.
    """
    content: dict[str, object] = {}
    for name, kind, values in records:
        # The second of the three says what the third is.
        if kind == "arrays":
            content[name] = _array_record(cast("Arrays", values), blocks)
        elif kind == "metrics":
            content[name] = filled(MetricRecord(), _own(cast("Metrics", values)))
        else:
            content[name] = filled(ConfigRecord(), _own(cast("Config", values)))
    return filled(RecordDict(), content)


def _own(values: Metrics | Config) -> dict[str, object]:
    """The same values in lists of their own."""
    return {key: copy(value) if isinstance(value, list) else value for key, value in values.items()}


def _array_record(arrays: Arrays, blocks: SharedBlocks | None) -> ArrayRecord:
    held = {}
    for key, dtype, shape, stype, place in arrays:
        at = (
            Pieces(tuple(_found(piece, blocks) for piece in place))
            if isinstance(place, tuple)
            else _found(place, blocks)
        )
        held[key] = ReceivedArray(dtype, shape, stype, at)
    return filled(ArrayRecord(), held)


def _found(piece: Piece, blocks: SharedBlocks | None) -> bytes | Region:
    if isinstance(piece, bytes):
        return piece
    assert blocks is not None
    return blocks.region(piece)
