"""Laws drawn from a Dirichlet distribution whose concentration may be as small as one likes."""

import numpy as np

from federation.task import Codes, Floats


def log_weights(concentrations: Floats, generator: np.random.Generator) -> Floats:
    """Logarithms of gamma variables; normalised, they are one draw from Dirichlet(concentrations).

    In logarithms, for a gamma variable of shape 1e-3 is below the least float most of the time:
    if G has shape a + 1 and U is uniform, G * U ** (1 / a) has shape a (Marsaglia and Tsang 2000,
    section 6).

    Args:
        concentrations: >= 0, any shape; a weight of concentration 0 is 0.
        generator: the source of all randomness.

    Returns:
        of the same shape; -inf where the weight is 0.
    """
    positive = concentrations > 0
    shape = np.where(positive, concentrations, 1.0)
    gamma = np.log(generator.standard_gamma(shape + 1.0))
    uniform = np.log(1.0 - generator.random(shape.shape)) / shape  # in (0, 1]: log(0) is no number
    return np.where(positive, gamma + uniform, -np.inf)


def draw_without_replacement(
    wanted: int, log_law: Floats, available: Codes, generator: np.random.Generator
) -> Codes:
    """How many things of each kind one gets who draws by a law from what is there.

    Kinds of which all are taken are left out of the law, which is then scaled up again (Hsu et al.
    2019, section 3). With nothing left of the law, what is there decides.

    Args:
        wanted: at most what is available.
        log_law: logarithms of weights, shape (kinds,).
        available: of each kind, shape (kinds,).
        generator: the source of all randomness.
    """
    taken = np.zeros_like(available)
    while (missing := wanted - int(taken.sum())) > 0:
        left = available - taken
        law = np.where(left > 0, log_law, -np.inf)
        if not np.isfinite(law.max()):
            law = np.where(left > 0, np.log(np.maximum(left, 1)), -np.inf)
        weights = np.exp(law - law.max())
        drawn = generator.multinomial(missing, weights / weights.sum())
        taken += np.minimum(drawn, left)
    return taken
