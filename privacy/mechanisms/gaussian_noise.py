"""Gaussian noise from cryptographic bytes, hardened against floating-point leakage.

Box and Muller 1958 on 53-bit uniforms; each value is the scaled sum of four independent draws, so
that no single output of a 64-bit generator determines it (Holohan and Braghin 2021,
arXiv:2107.10138; Opacus' secure mode rests on the same argument).
"""

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy, keystream

Floats = npt.NDArray[np.float64]

DRAWS = 4


def gaussian_noise(size: int, standard_deviation: float, entropy: Entropy) -> Floats:
    """Independent normal values with mean 0, shape (size,), float64.

    Args:
        size: >= 0.
        standard_deviation: > 0, in the unit of the result.
        entropy: of one 32-byte key; the values are a function of it.

    Raises:
        ValueError: a bound above is broken.
    """
    if size < 0 or not (standard_deviation > 0 and np.isfinite(standard_deviation)):
        raise ValueError(f"need size >= 0, a finite deviation > 0: {size=}, {standard_deviation=}")
    count = size * DRAWS
    pairs = -(-count // 2)
    uniform = _uniforms(2 * pairs, entropy)
    radius = np.sqrt(-2 * np.log(uniform[:pairs]))
    angle = 2 * np.pi * uniform[pairs:]
    draws = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    total: Floats = draws.reshape(DRAWS, size).sum(axis=0)
    total *= standard_deviation / np.sqrt(DRAWS)
    return total


def _uniforms(count: int, entropy: Entropy) -> Floats:
    """Values in (0, 1], multiples of 2**-53, from an AES-256-CTR keystream."""
    words = np.frombuffer(keystream(entropy, 8 * count), "<u8")
    uniforms: Floats = ((words >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53
    return uniforms
