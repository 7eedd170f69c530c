"""Masks: AES-CTR keystreams added to words modulo 2**32, fused in chunks that stay in the cache.

NIST SP 800-38A, CTR mode with a 256-bit key of full entropy and a zero initial counter: one key
masks one vector once, so the counter never repeats under a key.
"""

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from federation.layout import Words

CHUNK_BYTES = 256 * 1024
_CHUNK_WORDS = CHUNK_BYTES // 4
_ZEROS = bytes(CHUNK_BYTES)


def add_masks(total: Words, plus: Sequence[bytes], minus: Sequence[bytes]) -> None:
    """Add and subtract the masks of 32-byte keys, in place.

    Args:
        total: shape (length,), uint32, contiguous; the accumulator.
        plus: keys whose masks are added.
        minus: keys whose masks are subtracted.
    """
    added, subtracted = [_keystream(key) for key in plus], [_keystream(key) for key in minus]
    # update_into asks for room for up to a block more than it writes.
    buffer = np.empty(CHUNK_BYTES + 15, np.uint8)
    for start in range(0, len(total), _CHUNK_WORDS):
        part = total[start : start + _CHUNK_WORDS]
        zeros, mask = _ZEROS[: 4 * len(part)], buffer[: 4 * len(part)].view("<u4")
        for stream in added:
            stream.update_into(zeros, buffer)
            part += mask
        for stream in subtracted:
            stream.update_into(zeros, buffer)
            part -= mask


def _keystream(key: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN202 - cryptography's private type
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
