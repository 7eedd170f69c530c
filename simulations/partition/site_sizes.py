"""How many rows each site gets, and how many of them are held out."""

import numpy as np

from federation.errors import ConfigError
from federation.partition_choice import QuantityPartition
from federation.task import Codes, Floats
from simulations.partition.concentrated_law import log_weights


def equal_sizes(rows: int, sites: int) -> Codes:
    """Sizes that add up to `rows` and differ by one at most, the larger first, shape (sites,)."""
    each, over = divmod(rows, sites)
    return np.full(sites, each, np.int64) + (np.arange(sites) < over)


def skewed_sizes(
    rows: int, sites: int, choice: QuantityPartition, generator: np.random.Generator
) -> Codes:
    """Sizes that add up to `rows`, each at least the minimum, shape (sites,).

    What is left when every site has its minimum is shared out in proportion to weights drawn from
    the law: exp(sigma * z) with z standard normal, or Dirichlet(beta, ..., beta) (Li et al. 2022).
    """
    if choice.law == "lognormal":
        logs = choice.sigma * generator.standard_normal(sites)
    else:
        logs = log_weights(np.full(sites, choice.beta), generator)
    weights = np.exp(logs - logs.max())
    return choice.minimum_rows + largest_remainders(rows - sites * choice.minimum_rows, weights)


def largest_remainders(total: int, weights: Floats) -> Codes:
    """Whole numbers in proportion to `weights` that add up to `total` (Hamilton's method).

    Args:
        total: >= 0.
        weights: >= 0, not all 0, shape (n,).

    >>> largest_remainders(10, np.array([1.0, 1.0, 4.0])).tolist()
    [2, 2, 6]
    """
    shares = total * (weights / weights.sum())
    sizes: Codes = np.floor(shares).astype(np.int64)
    left = total - int(sizes.sum())
    sizes[np.argsort(sizes - shares, kind="stable")[:left]] += 1
    return sizes


def held_out_sizes(sizes: Codes, share: float) -> Codes:
    """How many rows of each site are held out: its share, two at least, all but one at most."""
    wanted = np.rint(share * sizes).astype(np.int64)
    held_out: Codes = np.minimum(np.maximum(wanted, 2), sizes - 1)
    return held_out


def require_enough_rows(rows: int, sites: int, minimum: int, *, can_resample: bool) -> None:
    """Return if every site can have the minimum.

    Raises:
        ConfigError: it cannot.
    """
    if sites * minimum <= rows:
        return
    remedy = "ask for fewer sites, or lower simulation.partition.minimum_rows"
    if can_resample:
        remedy += "; or hand rows out repeatedly: rows_per_site = 20 and resample = true"
    raise ConfigError(
        "federation.sites",
        sites,
        f"at most {rows // minimum} for {rows} rows with {minimum} or more at each site",
        remedy,
    )
