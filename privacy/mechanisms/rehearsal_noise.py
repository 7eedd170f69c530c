"""Gaussian noise for rehearsals only: the same law in single precision, at a twentieth of the time.

`gaussian_noise` adds four draws in double precision, so that what is released betrays no draw of a
64-bit generator; no more is worth its price where a seed that everybody knows repeats all noise
anyway. So a simulation may ask for this one by name. It is Box and Muller 1958 on 32-bit uniforms:
no value is further out than 6.7 deviations, and neighbouring values are as far apart as float32
has them, which is what an attack on the floating point of a release would use (Mironov 2012,
https://doi.org/10.1145/2382196.2382264). **Nothing that leaves a machine may carry it.**
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy

Floats = npt.NDArray[np.float64]

NoiseSampler = Callable[[int, float, Entropy], Floats]
"""Of a size, a standard deviation and entropy; independent normal values, shape (size,)."""

MOST_DEVIATIONS = float(np.sqrt(-2 * np.log(2.0**-33)))


def rehearsal_noise(size: int, standard_deviation: float, entropy: Entropy) -> Floats:
    """Independent normal values with mean 0, shape (size,), float64 of float32 precision.

    Args:
        size: >= 0.
        standard_deviation: > 0, in the unit of the result.
        entropy: of four bytes per value, rounded up to pairs; the values are a function of them.

    Raises:
        ValueError: a bound above is broken.
    """
    if size < 0 or not (standard_deviation > 0 and np.isfinite(standard_deviation)):
        raise ValueError(f"need size >= 0, a finite deviation > 0: {size=}, {standard_deviation=}")
    pairs = -(-size // 2)
    uniform = np.frombuffer(entropy.bytes(8 * pairs), "<u4").astype(np.float32)
    radius, angle = uniform[:pairs], uniform[pairs:]
    radius += np.float32(0.5)
    radius *= np.float32(2.0**-32)
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    angle *= np.float32(2 * np.pi * 2.0**-32)
    values = np.empty(2 * pairs)
    values[:pairs] = np.cos(angle) * radius
    values[pairs:] = np.sin(angle) * radius
    values *= standard_deviation
    return values[:size]
