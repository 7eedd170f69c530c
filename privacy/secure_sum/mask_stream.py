"""Masks: AES-CTR keystreams added to a vector, fused in chunks that stay in the cache.

NIST SP 800-38A, CTR mode with a 128-bit key of full entropy and a zero initial counter: one key
masks one vector once, so the counter never repeats under a key. The keystream covers the vector's
buffer from its first byte; its bytes are read as little-endian words. Encryption and addition
release the interpreter's lock, so threads scale.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from federation.ring_vector import ALIGNMENT, RingVector, Words

CHUNK_BYTES = 256 * 1024
MOST_STREAMS = 4096
"""Keystreams open at a time; each takes half a kilobyte."""
_BLOCK_BYTES = ALIGNMENT
_ZEROS = bytes(CHUNK_BYTES)


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
    for at in range(0, max(len(plus), len(minus)), MOST_STREAMS):
        some = slice(at, at + MOST_STREAMS)
        for part, start in _parts(total):
            _add_part(part, start, plus[some], minus[some], threads)


def _parts(total: RingVector) -> Iterator[tuple[Words, int]]:
    """The words of each stretch, and at which byte of the buffer they begin: a whole block."""
    start = 0
    for stretch, part in zip(total.stretches, total.parts(), strict=True):
        yield part, start
        start += stretch.room


def _add_part(
    part: Words, start: int, plus: Sequence[bytes], minus: Sequence[bytes], threads: int
) -> None:
    chunks = -(-part.nbytes // CHUNK_BYTES)
    share = -(-chunks // threads) * CHUNK_BYTES // part.itemsize
    firsts = range(0, len(part), share)
    if len(firsts) == 1:
        _add_share(part, start, plus, minus)
        return
    with ThreadPoolExecutor(len(firsts)) as pool:
        running = [
            pool.submit(_add_share, part[at : at + share], start + at * part.itemsize, plus, minus)
            for at in firsts
        ]
        for one in running:
            one.result()


def _add_share(words: Words, start: int, plus: Sequence[bytes], minus: Sequence[bytes]) -> None:
    """`words` begin at byte `start` of the vector's buffer, a whole cipher block."""
    added = [_keystream(key, start) for key in plus]
    subtracted = [_keystream(key, start) for key in minus]
    # update_into asks for room for up to a block less one byte more than it writes.
    buffer = bytearray(CHUNK_BYTES + _BLOCK_BYTES - 1)
    step = CHUNK_BYTES // words.itemsize
    for at in range(0, len(words), step):
        chunk = words[at : at + step]
        zeros = _ZEROS if chunk.nbytes == CHUNK_BYTES else _ZEROS[: chunk.nbytes]
        mask = np.frombuffer(buffer, chunk.dtype, len(chunk))
        for stream in added:
            stream.update_into(zeros, buffer)
            np.add(chunk, mask, out=chunk)
        for stream in subtracted:
            stream.update_into(zeros, buffer)
            np.subtract(chunk, mask, out=chunk)


def _keystream(key: bytes, start: int) -> CipherContext:
    counter = (start // _BLOCK_BYTES).to_bytes(_BLOCK_BYTES, "big")
    return Cipher(algorithms.AES128(key), modes.CTR(counter)).encryptor()
