"""More sites than there are rows for: rows handed out again, never both to train and to hold out.

The pool is split once, and every site draws its train rows from the train part and its held-out
rows from the others; so no model is judged on a row that any site trained on. Within a site no row
stands twice.
"""

import numpy as np

from federation.errors import ConfigError
from federation.partition_choice import (
    TABLE,
    DirichletPartition,
    IidPartition,
    QuantityPartition,
)
from federation.task import Codes, Floats
from simulations.partition.concentrated_law import draw_without_replacement
from simulations.partition.partition import Partition
from simulations.partition.row_owners import label_tilts
from simulations.partition.row_pool import RowPool
from simulations.partition.site_sizes import held_out_sizes, skewed_sizes
from simulations.partition.stratified_split import SPLITS, stratified_split


def resampled(
    choice: IidPartition | DirichletPartition | QuantityPartition,
    pool: RowPool,
    sites: tuple[str, ...],
    generator: np.random.Generator,
) -> Partition:
    """Rows for sites that each draw from all rows of a split, as if nobody else did.

    With label skew this is Hsu et al.'s own scheme, in which sites do not compete for rows.

    Raises:
        ConfigError: a site needs more rows of a split than there are.
    """
    whole = np.zeros(len(pool), np.int64)
    apart = held_out_sizes(np.array([len(pool)]), choice.held_out_share)
    split = stratified_split(whole, pool.strata, apart, generator)
    wanted = _wanted(choice, len(sites), generator)
    _require_enough(wanted, np.bincount(split, minlength=SPLITS), choice)
    if isinstance(choice, DirichletPartition):
        kinds = pool.labels
        tilts = label_tilts(kinds, len(sites), choice.alpha, generator)
    else:
        kinds, tilts = whole, np.zeros((len(sites), 1))
    decks = [
        [np.flatnonzero((split == part) & (kinds == kind)) for kind in range(tilts.shape[1])]
        for part in range(SPLITS)
    ]
    rows = [
        _dealt(decks[part], int(wanted[site, part]), tilts[site], generator)
        for site in range(len(sites))
        for part in range(SPLITS)
    ]
    return Partition(sites, np.concatenate(rows), wanted)


def _wanted(
    choice: IidPartition | DirichletPartition | QuantityPartition,
    sites: int,
    generator: np.random.Generator,
) -> Codes:
    """Rows of each site by split, shape (sites, 3)."""
    assert choice.rows_per_site is not None
    if isinstance(choice, QuantityPartition):
        sizes = skewed_sizes(sites * choice.rows_per_site, sites, choice, generator)
    else:
        sizes = np.full(sites, choice.rows_per_site, np.int64)
    held_out = held_out_sizes(sizes, choice.held_out_share)
    return np.stack([sizes - held_out, held_out // 2, held_out - held_out // 2], axis=1)


def _require_enough(
    wanted: Codes,
    there: Codes,
    choice: IidPartition | DirichletPartition | QuantityPartition,
) -> None:
    if (wanted.max(axis=0) <= there).all():
        return
    raise ConfigError(
        f"{TABLE}.rows_per_site",
        choice.rows_per_site,
        f"fewer: the largest site would have {int(wanted.sum(axis=1).max())} of {there.sum()} rows",
        "within a site no row stands twice, and train rows are kept apart from held-out rows",
    )


def _dealt(
    deck: list[Codes], wanted: int, log_tilt: Floats, generator: np.random.Generator
) -> Codes:
    """Distinct rows of one site and split, in rising order."""
    available = np.array([len(rows) for rows in deck])
    counts = draw_without_replacement(wanted, log_tilt, available, generator)
    drawn = [
        generator.choice(rows, count, replace=False, shuffle=False)
        for rows, count in zip(deck, counts, strict=True)
        if count
    ]
    return np.sort(np.concatenate(drawn))
