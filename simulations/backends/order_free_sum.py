"""Sums of floating-point vectors that come out bit for bit the same in whatever order they come in.

Every term is rounded, by itself, to a multiple of 2**-44, in two parts: a multiple of 2**-10 and
the rest. Within the bounds below each part's running sum is a multiple of the same unit with fewer
than 53 bits, so no addition rounds, and exact addition does not depend on order. The rounding is
the usual one of adding and subtracting a large number; Demmel and Nguyen 2015, "Parallel
reproducible summation", IEEE Transactions on Computers 64(7), whose folds have these widths where
they are chosen beforehand.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

COARSE = 1.5 * 2.0**42
"""Adding it rounds a double to a multiple of 2**-10: from 2**42 to 2**43 there are no others."""
FINE = 1.5 * 2.0**8
"""Adding it rounds a double to a multiple of 2**-44."""
LARGEST_SUM = 2.0**41
"""That the absolute values of a coordinate's terms may add up to."""
MOST_TERMS = 2**19
BLOCK = 1 << 14
"""Coordinates that are added at a time: their intermediate values stay in the cache."""


class OrderFreeSum:
    """A weighted sum of vectors; its error is at most 2**-45 a term and coordinate."""

    def __init__(self, length: int) -> None:
        """The sum of no vectors of this length."""
        self._coarse, self._fine = np.zeros(length), np.zeros(length)
        self._bound, self._terms = 0.0, 0

    def add(self, vector: NDArray[np.generic], weight: float) -> None:
        """Add `weight` times a vector, shape (length,), each product rounded to a double.

        Raises:
            ValueError: a coordinate is not finite, or the sum could grow past what stays exact:
                2**41 in absolute values, or 2**19 terms; the sum is then what it was.
        """
        if vector.shape != self._coarse.shape:
            raise ValueError(f"shape {vector.shape}: expected {self._coarse.shape}")
        highest, lowest = np.max(vector, initial=0.0), np.min(vector, initial=0.0)
        largest = max(float(highest), -float(lowest)) * abs(weight)
        bound = self._bound + largest
        if not bound <= LARGEST_SUM:  # also of what is not a number
            raise ValueError(
                f"a sum of numbers up to {largest:g}: expected at most {LARGEST_SUM:g}"
            )
        if self._terms >= MOST_TERMS:
            raise ValueError(f"more than {MOST_TERMS} terms")
        self._bound, self._terms = bound, self._terms + 1
        term, rounded = np.empty(BLOCK), np.empty(BLOCK)
        for start in range(0, len(vector), BLOCK):
            stop = min(start + BLOCK, len(vector))
            rest, part = term[: stop - start], rounded[: stop - start]
            np.multiply(vector[start:stop], weight, out=rest, dtype=np.float64)
            for unit, total in ((COARSE, self._coarse), (FINE, self._fine)):
                np.add(rest, unit, out=part)
                np.subtract(part, unit, out=part)
                total[start:stop] += part
                np.subtract(rest, part, out=rest)

    def value(self) -> NDArray[np.float64]:
        """The sum, shape (length,)."""
        return self._coarse + self._fine


def order_free(vectors: ArrayLike) -> NDArray[np.float64]:
    """The sum over the first axis.

    >>> float(order_free([[0.1], [0.2], [0.3]])[0]) == float(order_free([[0.3], [0.2], [0.1]])[0])
    True
    """
    rows = np.asarray(vectors)
    total = OrderFreeSum(rows.shape[1])
    for row in rows:
        total.add(row, 1.0)
    return total.value()
