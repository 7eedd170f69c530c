"""A law on the integers as a table of its cumulative distribution, looked up by random words.

Thresholds are C_i = floor(2^192 F(i)). A draw is the number of thresholds at most U, for U uniform
in [0, 2^192). The first 64 bits of U decide, unless they equal those of a threshold; only then are
the other 128 drawn. So no draw rests on 64 bits alone, and no float is in between. Rounding down
costs at most 2^-192 a threshold in total variation.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from privacy.mechanisms.keystream import Keystream, Words64

Integers = npt.NDArray[np.int64]

THRESHOLD_BITS, FURTHER_BITS = 192, 128

_GUIDE_BITS = 16
_UNDECIDED = np.iinfo(np.int32).min
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class CumulativeTable:
    """The cumulative distribution of an integer from `least` on, for look-up by random words.

    Attributes:
        least: smallest value.
        thresholds: ascending integers of 192 bits; a draw is `least` plus how many are <= U.
        heads: their first 64 bits, shape (len(thresholds),), uint64.
        guide: the draw for each choice of the first 16 bits, where these decide; int32.
    """

    least: int
    thresholds: tuple[int, ...]
    heads: Words64
    guide: npt.NDArray[np.int32]

    def look_up(self, words: Words64, further: Callable[[], int]) -> Integers:
        """One draw per word, shape of `words`.

        Args:
            words: the first 64 bits of each U.
            further: the next 128 bits of a U whose first 64 do not decide.
        """
        values: Integers = self.guide[words >> np.uint64(64 - _GUIDE_BITS)].astype(np.int64)
        (open_at,) = np.nonzero(values == _UNDECIDED)
        undecided = words[open_at]
        below = np.searchsorted(self.heads, undecided, side="left")
        values[open_at] = self.least + below
        for tie in np.nonzero(below < np.searchsorted(self.heads, undecided, side="right"))[0]:
            uniform = (int(undecided[tie]) << FURTHER_BITS) | further()
            values[open_at[tie]] = self.least + bisect_right(self.thresholds, uniform)
        return values

    def draw(self, size: int, stream: Keystream, ties: Keystream) -> Integers:
        """Independent values, shape (size,); `ties` gives the further bits that are needed."""
        values = np.empty(size, np.int64)
        for at in range(0, size, _CHUNK):
            part = values[at : at + _CHUNK]
            part[:] = self.look_up(stream.words(len(part)), lambda: further_bits(ties))
        return values


def table_of_weights(least: int, weights: Sequence[int]) -> CumulativeTable:
    """The law that takes `least` + i with a probability proportional to weights[i].

    Args:
        least: smallest value.
        weights: >= 0, not all zero; a law of more values than 2^31 is no table's.
    """
    sums = list(accumulate(weights))
    total = sums.pop()
    # The last threshold would be 2^192: no draw lies beyond it.
    thresholds = [(below << THRESHOLD_BITS) // total for below in sums]
    heads = np.array([threshold >> FURTHER_BITS for threshold in thresholds], np.uint64)
    return CumulativeTable(least, tuple(thresholds), heads, _guide(least, heads))


def further_bits(stream: Keystream) -> int:
    """The next 128 bits as one number."""
    high, low = stream.words(2).tolist()
    return (int(high) << 64) | int(low)


def _guide(least: int, heads: Words64) -> npt.NDArray[np.int32]:
    starts = np.arange(1 << _GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - _GUIDE_BITS)
    before = np.searchsorted(heads, starts, side="left")
    after = np.append(before[1:], len(heads))
    return np.where(before == after, least + before, _UNDECIDED).astype(np.int32)
