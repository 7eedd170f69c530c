"""Bytes that one process writes once and others map: anonymous, sealed, freed by the kernel.

A memfd (memfd_create(2)) has no name anywhere. It lives as long as a process holds its descriptor
or a mapping of it, and descriptors go from process to process over a socket (SCM_RIGHTS): whatever
dies, and however, nothing is left behind. Seals make the kernel refuse every later write to it, so
that a mapping can be trusted to stay what it is.
"""

import fcntl
import os
import sys
import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Buffer = bytes | memoryview
Octets = NDArray[np.uint8]

PAGE = 4096
"""Blocks start at multiples of it, so that arrays in them are aligned."""
IS_AVAILABLE = sys.platform == "linux"


class SealedMemory:
    """Some blocks of bytes in memory that nothing can change any more."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Take over a sealed memfd of `size` bytes; it is closed with this object."""
        self.descriptor, self.size = descriptor, size
        self._close = weakref.finalize(self, os.close, descriptor)

    @classmethod
    def holding(cls, blocks: Sequence[Buffer]) -> "SealedMemory":
        """New memory with these blocks, each at the offset that `offsets` says."""
        descriptor = os.memfd_create("hedgerow", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        size = 0
        memory = cls(descriptor, 0)
        for block, offset in zip(blocks, offsets([len(block) for block in blocks]), strict=True):
            _write(descriptor, block, offset)
            size = offset + len(block)
        os.ftruncate(descriptor, size)  # the last block may be empty, and past what was written
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        memory.size = size
        return memory

    @classmethod
    def received(cls, descriptor: int) -> "SealedMemory":
        """The memory behind a descriptor that another process sent, which is taken over."""
        return cls(descriptor, os.fstat(descriptor).st_size)

    def read(self, offset: int, length: int) -> bytes:
        """A copy of some of the bytes."""
        # One call reads at most 2 GiB.
        parts = []
        while length:
            parts.append(os.pread(self.descriptor, length, offset))
            offset, length = offset + len(parts[-1]), length - len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def copy_on_write(self) -> Octets:
        """All bytes, mapped privately, shape (size,): who writes to them changes them for nobody.

        Nothing is read before it is used. The mapping outlives this object and holds no descriptor,
        as one of Python's `mmap` would: a model's arrays would use up a process's share of them.
        """
        import torch  # noqa: PLC0415 - seconds, and what is small never comes here

        path = f"/proc/self/fd/{self.descriptor}"
        mapped = torch.from_file(path, shared=False, size=self.size, dtype=torch.uint8)
        octets: Octets = mapped.numpy()
        return octets


def offsets(lengths: Sequence[int]) -> list[int]:
    """Where blocks of these lengths start."""
    starts, at = [], 0
    for length in lengths:
        starts.append(at)
        at += -(-length // PAGE) * PAGE
    return starts


def _write(descriptor: int, block: Buffer, offset: int) -> None:
    rest = memoryview(block)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written
