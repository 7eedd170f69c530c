"""Masks: AES-128 keystreams added to a vector, fused in chunks that stay in the cache.

A mask covers the vector as it lies in memory, page by page. In page p the keystream is that of
counter mode (NIST SP 800-38A, section 6.5) from the counter block p (12 bytes) and 2 (4 bytes),
both big endian; its bytes are read as little-endian words. One key of full entropy masks one vector
once, and no page reaches the counters of the next: no block repeats under a key.

These are the bytes that AES-128-GCM encrypts zeros to under the nonce p (NIST SP 800-38D, section
7.1), and where the processor has wide AES instructions OpenSSL uses them for GCM only: then it is
faster, although it computes a tag that nobody asks for. Which way this machine is quicker at is
measured once in a process; the masks do not depend on it. Encryption and addition release the
interpreter's lock, so threads scale.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from time import perf_counter

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from federation.ring_vector import ALIGNMENT, RingVector, Words

PAGE_BYTES = 2 * 1024 * 1024
"""What one thread masks at a time: a million words keep two threads busy, and to open a keystream
takes a hundredth of the time to use it up."""
CHUNK_BYTES = 256 * 1024
MOST_STREAMS = 1024
"""Keystreams open at a time; each takes more than a kilobyte."""
_BLOCK_BYTES = ALIGNMENT
_FIRST_COUNTER = 2
"""GCM keeps counter 1 for its tag."""
_ZEROS = memoryview(bytes(CHUNK_BYTES))

PageMode = Callable[[int], modes.CTR | modes.GCM]
"""Given the number of a page, the mode in which zeros are encrypted to its keystream."""


def add_masks(
    total: RingVector, plus: Sequence[bytes], minus: Sequence[bytes], threads: int = 1
) -> None:
    """Add and subtract the masks of 16-byte keys, in place.

    Args:
        total: the accumulator.
        plus: keys whose masks are added.
        minus: keys whose masks are subtracted.
        threads: >= 1; the result is the same bit for bit.

    Raises:
        ValueError: threads out of range, or a key that is not 16 bytes.
    """
    if threads < 1:
        raise ValueError(f"threads = {threads}: expected >= 1")
    add_page = partial(_add_page, total, plus, minus)
    pages = range(-(-total.buffer.nbytes // PAGE_BYTES))
    if min(threads, len(pages)) == 1:
        for page in pages:
            add_page(page)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(add_page, pages):
            pass  # an error in a page is raised here


def _add_page(total: RingVector, plus: Sequence[bytes], minus: Sequence[bytes], page: int) -> None:
    # update_into asks for room for up to a block less one byte more than it writes.
    buffer = bytearray(CHUNK_BYTES + _BLOCK_BYTES - 1)
    mode = faster_mode()(page)
    for at in range(0, max(len(plus), len(minus)), MOST_STREAMS):
        some = slice(at, at + MOST_STREAMS)
        added = [_keystream(key, mode) for key in plus[some]]
        subtracted = [_keystream(key, mode) for key in minus[some]]
        for words in _chunks(total, page):
            zeros = _ZEROS[: -(-words.nbytes // _BLOCK_BYTES) * _BLOCK_BYTES]
            mask = np.frombuffer(buffer, words.dtype, len(words))
            for stream in added:
                stream.update_into(zeros, buffer)
                np.add(words, mask, out=words)
            for stream in subtracted:
                stream.update_into(zeros, buffer)
                np.subtract(words, mask, out=words)


def _chunks(total: RingVector, page: int) -> Iterator[Words]:
    """The words of a page, chunk by chunk; each begins at the block where the last one's ends."""
    first, start = page * PAGE_BYTES, 0
    for stretch, part in zip(total.stretches, total.parts(), strict=True):
        size = part.itemsize
        begin, end = max(first - start, 0) // size, max(first + PAGE_BYTES - start, 0) // size
        own = part[begin:end]
        step = CHUNK_BYTES // size
        yield from (own[at : at + step] for at in range(0, len(own), step))
        start += stretch.room


def _keystream(key: bytes, mode: modes.CTR | modes.GCM) -> CipherContext:
    return Cipher(algorithms.AES128(key), mode).encryptor()


def counter_mode(page: int) -> modes.CTR:
    """The definition."""
    return modes.CTR(page.to_bytes(12, "big") + _FIRST_COUNTER.to_bytes(4, "big"))


def gcm(page: int) -> modes.GCM:
    """The same bytes; the tag is never asked for."""
    return modes.GCM(page.to_bytes(12, "big"))


@cache
def faster_mode() -> PageMode:
    """Of the two, whichever is quicker on this machine."""
    both: tuple[PageMode, PageMode] = (gcm, counter_mode)
    return min(both, key=_seconds)


def _seconds(mode: PageMode) -> float:
    """For an eighth of a chunk; the best of three, as only that is without interruptions."""
    zeros, buffer = _ZEROS[: CHUNK_BYTES // 8], bytearray(CHUNK_BYTES // 8 + _BLOCK_BYTES - 1)
    taken = []
    for _ in range(3):
        stream = _keystream(bytes(16), mode(0))
        began = perf_counter()
        stream.update_into(zeros, buffer)
        taken.append(perf_counter() - began)
    return min(taken)
