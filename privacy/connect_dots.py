"""Connect the dots: a privacy loss distribution on a grid, never better than the mechanism's.

Doroshenko, Ghazi, Kamath, Kumar and Manurangsi 2022, arXiv:2207.04380, Algorithm 1, for losses that
are all multiples of one width, in the form of dp-accounting's
`create_pmf_pessimistic_connect_dots_fixed_gap`: the same masses to the last bit. That one goes
through a dict with an entry for each loss, which takes longer than all the rest.
"""

import math

import numpy as np
import numpy.typing as npt
from dp_accounting.pld import pld_pmf


def connect_dots(
    discretisation: float, lowest: int, deltas: npt.NDArray[np.float64]
) -> pld_pmf.PLDPmf:
    """Masses at the losses lowest, lowest + 1 ... in widths of a bin, and at infinity.

    Args:
        discretisation: width of a bin.
        lowest: the first loss over the width.
        deltas: in [0, 1], two at least; the hockey-stick divergence at each of the losses. It falls
            with the loss: where rounding lets it rise, what is before is raised, outwards.
    """
    falling = np.maximum.accumulate(deltas[::-1])[::-1]
    steps = np.diff(falling)
    masses = np.empty_like(falling)
    masses[0] = 1 - falling[0] + steps[0] / math.expm1(discretisation)
    masses[1:-1] = (steps[1:] - steps[:-1] * math.exp(discretisation)) / math.expm1(discretisation)
    masses[-1] = steps[-1] / math.expm1(-discretisation)
    return pld_pmf.DensePLDPmf(
        discretisation,
        lowest,
        np.maximum(0.0, masses),
        infinity_mass=float(falling[-1]),
        pessimistic_estimate=True,
    )
