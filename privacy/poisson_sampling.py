"""Poisson sampling: every record joins a batch independently, so a batch may be empty.

The amplification that the accountant credits (Abadi et al. 2016) holds for this sampling only, and
only while the coins are secret.
"""

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy


def poisson_sample(rows: int, sampling_rate: float, entropy: Entropy) -> npt.NDArray[np.int64]:
    """Indices of one batch, ascending, shape (batch,), int64.

    Args:
        rows: number of records, >= 0.
        sampling_rate: in (0, 1].
        entropy: of 64 bits per record.

    Raises:
        ValueError: the rate is out of range.
    """
    if not 0 < sampling_rate <= 1:
        raise ValueError(f"sampling_rate = {sampling_rate}: expected a number in (0, 1]")
    coins = np.frombuffer(entropy.bytes(8 * rows), "<u8") >> np.uint64(11)
    return np.flatnonzero(coins < np.uint64(round(sampling_rate * 2**53)))
