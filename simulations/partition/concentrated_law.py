"""Laws drawn from a Dirichlet distribution of any concentration, and drawing by such a law."""

import numpy as np

from federation.task import Codes, Floats


def log_weights(concentrations: Floats, generator: np.random.Generator) -> Floats:
    """Logarithms of gamma variables; normalised, they are one draw from Dirichlet(concentrations).

    In logarithms, for a gamma variable of shape 1e-3 is below the least float most of the time:
    if G has shape a + 1 and U is uniform, G * U ** (1 / a) has shape a (Marsaglia and Tsang 2000,
    section 6).

    Args:
        concentrations: > 0, any shape.
        generator: the source of all randomness.

    Returns:
        finite, of the same shape.
    """
    gamma = np.log(generator.standard_gamma(concentrations + 1.0))
    uniform = 1.0 - generator.random(concentrations.shape)  # in (0, 1]: log(0) is no number
    logs: Floats = gamma + np.log(uniform) / concentrations
    return logs


def draw_without_replacement(
    wanted: int, log_tilt: Floats, left: Codes, generator: np.random.Generator
) -> Codes:
    """How many things of each kind are drawn from an urn where some kinds are likelier.

    Each draw takes a thing of kind c with probability in proportion to exp(log_tilt[c]) times how
    many of c are left (Wallenius' urn). As many things as are wanted are drawn at a time, and what
    a kind had not is drawn again from the others.

    Args:
        wanted: at most what is left.
        log_tilt: finite, shape (kinds,).
        left: things of each kind, shape (kinds,).
        generator: the source of all randomness.
    """
    taken = np.zeros_like(left)
    while (missing := wanted - int(taken.sum())) > 0:
        still = left - taken
        tilt = np.where(still > 0, log_tilt, -np.inf)
        weights = still * np.exp(tilt - tilt.max())
        taken += np.minimum(generator.multinomial(missing, weights / weights.sum()), still)
    return taken
