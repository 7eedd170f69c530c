"""Randomised Hadamard rotation: spreads a vector evenly, at no change of its L2 norm.

With random signs D and the Walsh-Hadamard matrix H of order B, H D / sqrt(B) is orthogonal, and no
coordinate of the result is long: each is sub-Gaussian with variance proxy |x|^2 / B (Kairouz, Liu
and Steinke 2021, arXiv:2102.06387, Algorithms 1 and 2; Hoeffding). So few bits hold a sum of
rotated vectors, and rounding errors look alike everywhere.

The paper pads to the next power of two. That up to doubles what is sent, and the sensitivity that
rounding adds grows with it. Here nothing is padded: with B the largest power of two up to the
length, the first B coordinates are rotated, and then, with further signs, the last B. Both steps
are orthogonal, every coordinate comes out of at least one of them, and B > length / 2, so each is
sub-Gaussian with proxy |x|^2 / B < 2 |x|^2 / length. For a power of two one step is enough. Blocks
side by side would be as short of padding but not as flat: a vector could sit in one of them.

Only additions, subtractions and one scaling, in a fixed order: the same bits for any number of
threads, on any machine with IEEE 754 arithmetic. Each butterfly and the scaling move each value by
at most 2**-53 of itself, so a norm by at most (log2(B) + 3) 2**-53 of itself in each step. Privacy
does not rest on that: `conditional_rounding` measures the integers it made.
"""

import math

import numpy as np
import numpy.typing as npt

from privacy.mechanisms.keystream import Keystream, Words64

Floats = npt.NDArray[np.float64]

_SLAB = 128
"""Columns at a time: a slab of the largest matrix in use stays in a core's cache."""


def rotate(vector: Floats, seed: bytes) -> Floats:
    """`vector` rotated, shape (length,), float64.

    Args:
        vector: shape (length,), float64, length >= 1.
        seed: 32 bytes, the same at all sites; public.

    Raises:
        ValueError: a bound above is broken.
    """
    rotated = _copy(vector)
    for begin, end, signs in _steps(len(vector), seed):
        _flip(rotated[begin:end], signs)
        rotated[begin:end] = _hadamard(rotated[begin:end])
    return rotated


def unrotate(rotated: Floats, seed: bytes) -> Floats:
    """Undo `rotate` with the same seed, up to rounding.

    Raises:
        ValueError: as for `rotate`.
    """
    vector = _copy(rotated)
    for begin, end, signs in reversed(_steps(len(vector), seed)):
        vector[begin:end] = _hadamard(vector[begin:end])
        _flip(vector[begin:end], signs)
    return vector


def block_length(length: int) -> int:
    """B, the largest power of two up to `length`.

    >>> block_length(1023), block_length(1024)
    (512, 1024)
    """
    return 1 << (length.bit_length() - 1)


def coordinate_bound(length: int, norm: float, failure: float) -> float:
    """What no coordinate of a rotated vector exceeds, but for a probability of `failure`.

    Over the signs: Hoeffding's inequality for each coordinate, and the union of all.

    Args:
        length: >= 1.
        norm: L2 norm of the vector, > 0.
        failure: in (0, 1).
    """
    return norm * min(1.0, math.sqrt(2 * math.log(2 * length / failure) / block_length(length)))


def _steps(length: int, seed: bytes) -> list[tuple[int, int, Words64]]:
    """Where each step begins and ends, and its random bits."""
    block = block_length(length)
    keystream = Keystream(seed)
    starts = [0] if block == length else [0, length - block]
    return [(start, start + block, keystream.words(-(-block // 64))) for start in starts]


def _copy(vector: Floats) -> Floats:
    if vector.ndim != 1 or len(vector) < 1 or vector.dtype != np.float64:
        raise ValueError(f"expected (length >= 1,) float64, got {vector.shape} {vector.dtype}")
    return vector.copy()


def _flip(block: Floats, signs: Words64) -> None:
    """Negate, in place, where a bit of `signs` is set: in the sign bit of each float."""
    bits = np.unpackbits(signs.view(np.uint8), count=len(block), bitorder="little")
    words = block.view(np.uint64)
    words ^= bits.astype(np.uint64) << np.uint64(63)


def _hadamard(block: Floats) -> Floats:
    """H / sqrt(B) times `block`, a power of two long: the Kronecker product of two smaller H."""
    order = len(block).bit_length() - 1
    rows = 1 << (order // 2)
    matrix = block.reshape(rows, -1).copy()
    _butterflies(matrix)
    turned = np.ascontiguousarray(matrix.T)
    _butterflies(turned)
    flat = np.ascontiguousarray(turned.T).reshape(-1)
    flat *= 1 / math.sqrt(len(block))
    return flat


def _butterflies(matrix: Floats) -> None:
    """H times each column, in place; the number of rows is a power of two."""
    rows, columns = matrix.shape
    for at in range(0, columns, _SLAB):
        # A copy: rows a power of two apart would share a few lines of the cache.
        slab = matrix[:, at : at + _SLAB].copy()
        half = 1
        while half < rows:
            pairs = slab.reshape(rows // (2 * half), 2, half, -1)
            upper, lower = pairs[:, 0], pairs[:, 1]
            difference = upper - lower
            upper += lower
            lower[:] = difference
            half *= 2
        matrix[:, at : at + _SLAB] = slab
