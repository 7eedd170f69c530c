"""Has a proportion changed between two windows: exact for small counts, noise-aware for noisy ones.

Exact: Fisher's conditional law of the one count given the total, with half the weight of what was
seen (mid-p; Lancaster 1961, Hirji 2006 section 7.7): close to its nominal level where Fisher's own
test is far below it. Noisy: the normal law with variance p(1-p)/N + s2 ((1-p)^2 + p^2)/N^2, for a
part and its complement that carry noise of variance s2 each.
"""

import numpy as np
from scipy.special import gammaln, ndtr

from evaluation.group_metrics import Counts, Floats, share

_LONGEST_TAIL = 600
_EXACT_DEVIATION = 60.0
"""With a larger deviation of the conditional law its tails are the normal law's."""


def change_p_values(part: Counts, whole: Counts, noise: Floats | float = 0.0) -> Floats:
    """Two-sided chance of a change as large in each proportion, shape (K,); 1 without rows.

    Args:
        part: rows counted in the first and in the second window, shape (2, K).
        whole: out of how many, shape (2, K).
        noise: variance of the noise in `part` and in `whole - part`, each; shape (2, K) or less.
    """
    variances = np.broadcast_to(np.asarray(noise, np.float64), part.shape)
    usable = (whole > 0).all(axis=0)
    p_values = np.ones(part.shape[1])
    with_noise = usable & variances.any(axis=0)
    exact = usable & ~with_noise
    if with_noise.any():
        value = change(part, whole)[with_noise]
        error = standard_error(part[:, with_noise], whole[:, with_noise], variances[:, with_noise])
        p_values[with_noise] = 2 * ndtr(-np.abs(value) / error)
    if exact.any():
        p_values[exact] = _conditional(part[:, exact], whole[:, exact])
    return p_values


def change(part: Counts, whole: Counts) -> Floats:
    """Second proportion minus the first, shape (K,); NaN without rows."""
    shares = share(part, whole)
    return np.asarray(shares[1] - shares[0])


def standard_error(part: Counts, whole: Counts, noise: Floats | float = 0.0) -> Floats:
    """Deviation of the change if there is none, shape (K,), > 0.

    The pooled proportion is shrunk by one row of each kind, so that it is never 0 or 1.

    Args:
        part: shape (2, K).
        whole: shape (2, K), > 0.
        noise: as in `change_p_values`.
    """
    pooled = (np.maximum(part.sum(axis=0), 0) + 1) / (np.maximum(whole.sum(axis=0), 0) + 2)
    pooled = np.minimum(pooled, 1 - 1 / (whole.sum(axis=0) + 2))
    sampling = pooled * (1 - pooled) / whole
    noisy = np.broadcast_to(np.asarray(noise), part.shape) * ((1 - pooled) ** 2 + pooled**2)
    error: Floats = np.sqrt(np.sum(sampling + noisy / np.square(whole, dtype=np.float64), axis=0))
    return error


def _conditional(part: Counts, whole: Counts) -> Floats:
    total, drawn = part.sum(axis=0), whole[1]
    rows = whole.sum(axis=0)
    mean = drawn * (total / rows)
    variance = mean * (1 - total / rows) * (whole[0] / np.maximum(rows - 1, 1))
    deviation = np.sqrt(variance)
    p_values = 2 * ndtr(-np.abs(part[1] - mean) / np.maximum(deviation, 1e-12))
    exact = deviation <= _EXACT_DEVIATION
    if exact.any():
        p_values[exact] = _mid_p(part[1][exact], total[exact], drawn[exact], rows[exact])
    capped: Floats = np.minimum(p_values, 1.0)
    return capped


def _mid_p(seen: Counts, total: Counts, drawn: Counts, rows: Counts) -> Floats:
    """Twice the smaller tail, with half the weight of `seen`: a hypergeometric count."""
    upper = seen * rows > total * drawn
    # The lower tail is the upper one of the rows that are not counted.
    value = np.where(upper, seen, drawn - seen)
    of = np.where(upper, total, rows - total)
    steps = np.arange(min(_LONGEST_TAIL, int(np.max(drawn)) + 1))[:, None]
    at = value + steps
    up = np.maximum(of - at, 0) * np.maximum(drawn - at, 0.0)
    down = (at + 1) * np.maximum(rows - of - drawn + at + 1.0, 1.0)
    ratios = np.cumprod(up / down, axis=0)
    tail = np.exp(_log_mass(value, of, drawn, rows)) * (0.5 + ratios.sum(axis=0))
    two_sided: Floats = np.minimum(2 * tail, 1.0)
    return two_sided


def _log_mass(value: Counts, of: Counts, drawn: Counts, rows: Counts) -> Floats:
    mass: Floats = (
        _log_choose(of, value) + _log_choose(rows - of, drawn - value) - _log_choose(rows, drawn)
    )
    return mass


def _log_choose(whole: Counts, part: Counts) -> Floats:
    logs: Floats = gammaln(whole + 1.0) - gammaln(part + 1.0) - gammaln(whole - part + 1.0)
    return logs
