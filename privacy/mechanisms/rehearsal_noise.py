"""Gaussian noise for rehearsals only: the same law in single precision, at a twentieth of the time.

`gaussian_noise` adds four draws in double precision, so that what is released betrays no draw of a
64-bit generator; no more is worth its price where a seed that everybody knows repeats all noise
anyway. So a simulation may ask for this one by name. It is Box and Muller 1958 on 32-bit uniforms:
no value is further out than 6.7 deviations, and neighbouring values are as far apart as float32
has them, which is what an attack on the floating point of a release would use (Mironov 2012,
https://doi.org/10.1145/2382196.2382264). **Nothing that leaves a machine may carry it.**
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy

Floats = npt.NDArray[np.float64]
ShortFloats = npt.NDArray[np.float32]

NoiseSampler = Callable[[int, float, Entropy], Floats]
"""Of a size, a standard deviation and entropy; independent normal values, shape (size,)."""

MOST_DEVIATIONS = float(np.sqrt(-2 * np.log(2.0**-33)))
SMALLEST_DEVIATION, LARGEST_DEVIATION = 1e-30, 1e30
"""Well within float32, so that no value is lost to zero or infinity."""


def rehearsal_noise(size: int, standard_deviation: float, entropy: Entropy) -> Floats:
    """Independent normal values with mean 0, shape (size,), float64 of float32 precision.

    Args:
        size: >= 0.
        standard_deviation: in [SMALLEST_DEVIATION, LARGEST_DEVIATION], in the unit of the result.
        entropy: of four bytes per value, rounded up to pairs; the values are a function of them.

    Raises:
        ValueError: a bound above is broken.
    """
    rows = rehearsal_noises(size, [standard_deviation], [entropy])
    return rows.reshape(size).astype(np.float64)


def noise_rows(
    noise_of: NoiseSampler,
    size: int,
    standard_deviations: Sequence[float],
    entropies: Sequence[Entropy],
) -> ShortFloats:
    """What a sampler gives for each deviation and entropy, shape (rows, size), in float32.

    Args:
        noise_of: the sampler, which is called row by row if there is no faster way.
        size: of a row, >= 0.
        standard_deviations: of each row.
        entropies: of each row.

    Raises:
        ValueError: as the sampler does.
    """
    if noise_of is rehearsal_noise:
        return rehearsal_noises(size, standard_deviations, entropies)
    rows = np.empty((len(entropies), size), np.float32)
    for row, deviation, entropy in zip(rows, standard_deviations, entropies, strict=True):
        row[:] = noise_of(size, deviation, entropy)
    return rows


def rehearsal_noises(
    size: int, standard_deviations: Sequence[float], entropies: Sequence[Entropy]
) -> ShortFloats:
    """`rehearsal_noise` of each deviation and entropy, shape (rows, size), float32, faster.

    Raises:
        ValueError: a bound of it is broken.
    """
    for one in standard_deviations:
        if size < 0 or not SMALLEST_DEVIATION <= one <= LARGEST_DEVIATION:
            raise ValueError(
                f"need size >= 0, a deviation from {SMALLEST_DEVIATION} to {LARGEST_DEVIATION}: "
                f"{size=}, deviation={one}"
            )
    pairs = -(-size // 2)
    uniform = np.empty((len(entropies), 2 * pairs), np.float32)
    for row, entropy in zip(uniform, entropies, strict=True):
        row[:] = np.frombuffer(entropy.bytes(8 * pairs), "<u4")
    radius, angle = uniform[:, :pairs], uniform[:, pairs:]
    radius += np.float32(0.5)
    radius *= np.float32(2.0**-32)
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    radius *= np.array(standard_deviations, np.float32)[:, None]
    angle *= np.float32(2 * np.pi * 2.0**-32)
    cosine = np.cos(angle)
    np.sin(angle, out=angle)
    angle *= radius
    radius *= cosine
    return uniform[:, :size]
