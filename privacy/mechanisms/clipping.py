"""L2 clipping of one vector: the bound that everything after it relies on."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def norm_rounding(length: int) -> float:
    """How much longer, relatively, a vector can be than a computed norm says.

    Higham 2002, Accuracy and Stability of Numerical Algorithms, equation (3.5): an inner product of
    `length` terms is off by at most length * 2**-53 in any order of summing, to first order, and
    the norm by half of that and one rounding; the rest makes up for higher orders.
    """
    return (length + 8) * 2.0**-53


def clip_l2(vector: Floats, bound: float) -> tuple[Floats, float]:
    """`vector` scaled down to L2 norm `bound` if it is longer, and its norm before.

    The norm is rounded up, so that the result is never longer than `bound`.

    Args:
        vector: shape (d,), float64.
        bound: > 0.

    Raises:
        ValueError: a coordinate is not finite, or the bound is not positive.
    """
    if not bound > 0:
        raise ValueError(f"bound = {bound}: expected a number > 0")
    if not np.all(np.isfinite(vector)):
        raise ValueError("vector: a coordinate is not finite")
    norm = float(np.linalg.norm(vector)) * (1 + norm_rounding(len(vector)))
    if norm <= bound:
        return vector.copy(), norm
    # Four roundings' worth below, for the three of this line.
    return vector * (bound / norm) * (1 - 2**-51), norm
