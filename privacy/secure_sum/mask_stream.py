"""Masks: AES-CTR keystreams added to words modulo 2**32, fused in chunks that stay in the cache.

NIST SP 800-38A, CTR mode with a 256-bit key of full entropy and a zero initial counter: one key
masks one vector once, so the counter never repeats under a key. Keystream bytes are read as
little-endian words. Encryption and addition release the interpreter's lock, so threads scale.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from federation.layout import Words

CHUNK_BYTES = 256 * 1024
CHUNK_WORDS = CHUNK_BYTES // 4
_BLOCK_BYTES = 16
_ZEROS = bytes(CHUNK_BYTES)


def add_masks(
    total: Words, plus: Sequence[bytes], minus: Sequence[bytes], threads: int = 1
) -> None:
    """Add and subtract the masks of 32-byte keys, in place.

    Args:
        total: shape (length,), uint32, C-contiguous; the accumulator.
        plus: keys whose masks are added.
        minus: keys whose masks are subtracted.
        threads: >= 1; the result is the same bit for bit.

    Raises:
        ValueError: a bound above is broken.
    """
    if total.ndim != 1 or total.dtype != np.uint32 or not total.flags.c_contiguous:
        raise ValueError(f"expected contiguous (length,) uint32, got {total.shape} {total.dtype}")
    if threads < 1:
        raise ValueError(f"threads = {threads}: expected >= 1")
    chunks = -(-len(total) // CHUNK_WORDS)
    stretch = max(1, -(-chunks // threads)) * CHUNK_WORDS
    starts = range(0, len(total), stretch)
    if len(starts) <= 1:
        _add_stretch(total, plus, minus, 0)
        return
    with ThreadPoolExecutor(len(starts)) as pool:
        parts = [
            pool.submit(_add_stretch, total[start : start + stretch], plus, minus, start)
            for start in starts
        ]
        for part in parts:
            part.result()


def _add_stretch(total: Words, plus: Sequence[bytes], minus: Sequence[bytes], start: int) -> None:
    """`total` is the stretch that begins `start` words into the vector, a whole cipher block."""
    added = [_keystream(key, start) for key in plus]
    subtracted = [_keystream(key, start) for key in minus]
    # update_into asks for room for up to a block less one byte more than it writes.
    buffer = bytearray(CHUNK_BYTES + _BLOCK_BYTES - 1)
    for at in range(0, len(total), CHUNK_WORDS):
        part = total[at : at + CHUNK_WORDS]
        zeros, mask = _ZEROS[: 4 * len(part)], np.frombuffer(buffer, "<u4", len(part))
        for stream in added:
            stream.update_into(zeros, buffer)
            part += mask
        for stream in subtracted:
            stream.update_into(zeros, buffer)
            part -= mask


def _keystream(key: bytes, start: int) -> CipherContext:
    counter = (4 * start // _BLOCK_BYTES).to_bytes(_BLOCK_BYTES, "big")
    return Cipher(algorithms.AES256(key), modes.CTR(counter)).encryptor()
