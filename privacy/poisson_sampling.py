"""Poisson sampling: every record joins a batch independently, so a batch may be empty.

The amplification that the accountant credits (Abadi et al. 2016) holds for this sampling only, and
only while the coins are secret.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from federation.entropy import Entropy

Indices = npt.NDArray[np.int64]


def poisson_sample(rows: int, sampling_rate: float, entropy: Entropy) -> Indices:
    """Indices of one batch, ascending, shape (batch,), int64.

    Args:
        rows: number of records, >= 0.
        sampling_rate: in (0, 1].
        entropy: of 64 bits per record.

    Raises:
        ValueError: the rate is out of range.
    """
    coins = np.frombuffer(entropy.bytes(8 * rows), "<u8") >> np.uint64(11)
    return np.flatnonzero(coins < _threshold(sampling_rate))


@dataclass(frozen=True, slots=True)
class Draws:
    """Batches of one data set, drawn one after the other.

    Attributes:
        rows: number of its records, >= 0.
        sampling_rate: in (0, 1].
        batches: how many, >= 0.
        entropy: of 64 bits per record and batch.
    """

    rows: int
    sampling_rate: float
    batches: int
    entropy: Entropy


def poisson_samples(draws: Sequence[Draws]) -> tuple[Indices, Indices]:
    """Batches of several data sets, each as `poisson_sample` would draw it in its turn.

    Args:
        draws: of each data set.

    Returns:
        the records of all batches in turn, shape (R,), int64, counted through all data sets; and
        how many are in each batch, shape (batches of all,), int64.

    Raises:
        ValueError: a rate is out of range.
    """
    thresholds = [_threshold(one.sampling_rate) for one in draws]
    words = b"".join(one.entropy.bytes(8 * one.rows * one.batches) for one in draws)
    coins = np.frombuffer(words, "<u8") >> np.uint64(11)
    rows, batches = (
        np.array(one) for one in zip(*((d.rows, d.batches) for d in draws), strict=True)
    )
    chosen = np.flatnonzero(coins < np.repeat(thresholds, rows * batches))
    lengths = np.repeat(rows, batches)
    ends = np.cumsum(lengths)
    stops = np.searchsorted(chosen, ends)
    sizes = np.diff(stops, prepend=0)
    # From a coin's place among all coins to its record's among all records.
    shifts = np.repeat(np.cumsum(rows) - rows, batches) - (ends - lengths)
    return chosen + np.repeat(shifts, sizes), sizes


def _threshold(sampling_rate: float) -> np.uint64:
    if not 0 < sampling_rate <= 1:
        raise ValueError(f"sampling_rate = {sampling_rate}: expected a number in (0, 1]")
    return np.uint64(round(sampling_rate * 2**53))
