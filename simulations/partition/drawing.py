"""Drawing a partition: the kind that is chosen, on the rows of a pool, from the run's seed."""

import hashlib

import numpy as np

from federation.errors import ConfigError
from federation.partition_choice import (
    TABLE,
    DirichletPartition,
    DrawnPartition,
    FeaturePartition,
    IidPartition,
    QuantityPartition,
    TimePartition,
)
from federation.task import Codes, Floats
from simulations.partition.partition import Partition
from simulations.partition.resampling import resampled
from simulations.partition.row_owners import (
    shared_out,
    skewed_by_feature,
    skewed_by_label,
    stretches,
)
from simulations.partition.row_pool import RowPool
from simulations.partition.site_sizes import (
    equal_sizes,
    held_out_sizes,
    require_enough_rows,
    skewed_sizes,
)
from simulations.partition.stratified_split import SPLITS, split_by_time, stratified_split


def draw(choice: DrawnPartition, pool: RowPool, sites: tuple[str, ...], seed: int) -> Partition:
    """The rows of a pool shared out over sites; the same for the same arguments.

    Args:
        choice: the kind and its parameters.
        pool: of the task's rows.
        sites: names; the draw depends on how many there are, not on the names.
        seed: of the run.

    Raises:
        ConfigError: there are too few rows, or no such feature.
    """
    if isinstance(choice, IidPartition | DirichletPartition | QuantityPartition):
        if choice.resample:
            return resampled(choice, pool, sites, _generator(seed, "resample"))
        require_enough_rows(len(pool), len(sites), choice.minimum_rows, can_resample=True)
    else:
        require_enough_rows(len(pool), len(sites), choice.minimum_rows, can_resample=False)
    owners = row_owners(choice, pool, len(sites), _generator(seed, "owners"))
    held_out = held_out_sizes(np.bincount(owners, minlength=len(sites)), choice.held_out_share)
    generator = _generator(seed, "split")
    if isinstance(choice, TimePartition):
        split = split_by_time(owners, pool.in_time, pool.strata, held_out, generator)
    else:
        split = stratified_split(owners, pool.strata, held_out, generator)
    return _gathered(sites, owners, split)


def row_owners(
    choice: DrawnPartition, pool: RowPool, sites: int, generator: np.random.Generator
) -> Codes:
    """The site of each row of a pool, each row at one site, shape (N,).

    Raises:
        ConfigError: there is no such feature.
    """
    match choice:
        case DirichletPartition():
            return skewed_by_label(pool.labels, sites, choice.alpha, generator)
        case QuantityPartition():
            return shared_out(skewed_sizes(len(pool), sites, choice, generator), generator)
        case FeaturePartition(feature=str(name)):
            values = _feature(pool, name)
            if choice.direction == "descending":
                values = -values
            return skewed_by_feature(values, sites, choice.mixing, generator)
        case TimePartition():
            return stretches(pool.in_time, sites)
        case _:
            return shared_out(equal_sizes(len(pool), sites), generator)


def _feature(pool: RowPool, name: str) -> Floats:
    features = pool.rows.features
    if name not in features:
        raise ConfigError(f"{TABLE}.feature", name, f"one of {', '.join(features)}")
    return features[name]


def _gathered(sites: tuple[str, ...], owners: Codes, split: Codes) -> Partition:
    cell = owners * SPLITS + split
    lengths = np.bincount(cell, minlength=SPLITS * len(sites)).reshape(len(sites), SPLITS)
    return Partition(sites, np.argsort(cell, kind="stable"), lengths)


def _generator(seed: int, purpose: str) -> np.random.Generator:
    """A generator of its own for each purpose, so that no other's draws can move it."""
    digest = hashlib.sha256(f"partition/{seed}/{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
