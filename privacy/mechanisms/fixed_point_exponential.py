"""exp(-x) of a rational number in fixed point, with a proven error: no float, no library."""

import math
from fractions import Fraction

WORKING_BITS = 256


def exp_of_minus(exponent: Fraction) -> int:
    """exp(-exponent) in units of 2^-256, right to 4 units; `exponent` >= 0.

    Taylor's series of a number up to 1/2 with 64 guard bits, then squared as often as it was
    halved: each squaring at most doubles the error, and adds a unit of the guarded precision.
    """
    halvings = max(0, math.ceil(exponent).bit_length() + 1)
    bits = WORKING_BITS + 64 + halvings
    small = (exponent.numerator << bits) // (exponent.denominator << halvings)
    term, total, order = 1 << bits, 1 << bits, 0
    while term:
        order += 1
        term = (term * small >> bits) // order
        total += -term if order % 2 else term
    for _ in range(halvings):
        total = total * total >> bits
    return total >> (bits - WORKING_BITS)
