"""Random 64-bit words from one key, in the order in which they are asked for.

AES-256-CTR keystreams (NIST SP 800-38A) under a fresh 32-byte key and a zero initial counter, read
as little-endian words: the same key gives the same words on every machine.
"""

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Words64 = npt.NDArray[np.uint64]

KEY_BYTES = 32

_CHUNK_WORDS = 1 << 15
_ZEROS = memoryview(bytes(8 * _CHUNK_WORDS))


class Keystream:
    """The words of one key; a second object of the same key begins anew.

    Raises:
        ValueError: the key is not 32 bytes.

    >>> hex(Keystream(bytes(32)).words(1)[0])
    '0x898940a278c095dc'
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"key of {len(key)} bytes: expected {KEY_BYTES}")
        self._encryptor = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    def words(self, count: int) -> Words64:
        """The next `count` words, shape (count,), uint64."""
        # update_into asks for room for up to a block less one byte more than it writes.
        buffer = np.empty(count + 2, "<u8")
        for at in range(0, count, _CHUNK_WORDS):
            zeros = _ZEROS[: 8 * min(_CHUNK_WORDS, count - at)]
            self._encryptor.update_into(zeros, buffer[at:].view(np.uint8).data)
        return buffer[:count]
