"""L2 clipping of one vector: the bound that everything after it relies on."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def clip_l2(vector: Floats, bound: float) -> tuple[Floats, float]:
    """`vector` scaled down to L2 norm `bound` if it is longer, and its norm before.

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
    norm = float(np.linalg.norm(vector))
    if norm <= bound:
        return vector.copy(), norm
    # One unit in the last place below, so that rounding cannot leave the result above the bound.
    return vector * (np.nextafter(bound, 0) / norm) * (1 - 2**-52), norm
