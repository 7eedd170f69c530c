"""Which rows of each site are trained on, and which are held out as reference and as current.

Systematic sampling along rows in order of their strata: of any stretch of m neighbours, and so of
each stratum, it takes m times the share, rounded up or down (Cochran 1977, Sampling Techniques,
chapter 8). All sites are split at once, in whole numbers.
"""

from collections.abc import Sequence

import numpy as np

from federation.task import Codes

TRAIN, REFERENCE, CURRENT = 0, 1, 2
SPLITS = 3


def stratified_split(
    owners: Codes, strata: Sequence[Codes], held_out: Codes, generator: np.random.Generator
) -> Codes:
    """The split of each row: TRAIN, REFERENCE or CURRENT, shape (N,).

    Within each site, the held-out rows of every value of the first of the strata are within one row
    of the share of all held-out rows; likewise of every pair of values of the first two, and so on.

    Args:
        owners: site of each row, shape (N,).
        strata: what shall be alike in all splits, the most important first; each of shape (N,).
        held_out: rows to hold out at each site, two at least and fewer than it has.
        generator: the source of all randomness.
    """
    order = np.lexsort((generator.random(len(owners)), *reversed(strata), owners))
    is_held_out = _every_so_many(owners[order], held_out, generator)
    split = np.full(len(owners), TRAIN, np.int64)
    split[order[is_held_out]] = _alternating(owners[order[is_held_out]], generator)
    return split


def split_by_time(
    owners: Codes,
    order: Codes,
    strata: Sequence[Codes],
    held_out: Codes,
    generator: np.random.Generator,
) -> Codes:
    """As `stratified_split`, but each site's latest rows are CURRENT.

    Args:
        owners: site of each row, shape (N,).
        order: indices of rows, the earliest first, shape (N,).
        strata: of train and reference.
        held_out: rows to hold out at each site, of which half, rounded up, are current.
        generator: the source of all randomness.
    """
    latest = (held_out + 1) // 2
    in_order = order[np.argsort(owners[order], kind="stable")]
    sizes = np.bincount(owners, minlength=len(held_out))
    is_latest = _place_at_site(sizes) >= np.repeat(sizes - latest, sizes)
    split = np.full(len(owners), TRAIN, np.int64)
    split[in_order[is_latest]] = CURRENT
    earlier = np.sort(in_order[~is_latest])
    by_strata = np.lexsort(
        (
            generator.random(len(earlier)),
            *(stratum[earlier] for stratum in reversed(strata)),
            owners[earlier],
        )
    )
    earlier = earlier[by_strata]
    split[earlier[_every_so_many(owners[earlier], held_out - latest, generator)]] = REFERENCE
    return split


def _every_so_many(
    owners: Codes, wanted: Codes, generator: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Exactly `wanted` rows of each site, evenly spaced along `owners`, which is sorted."""
    sizes = np.bincount(owners, minlength=len(wanted))
    start = generator.integers(0, np.maximum(sizes, 1))
    place = _place_at_site(sizes)
    n, h, begin = (np.repeat(one, sizes) for one in (sizes, wanted, start))
    chosen: np.ndarray[tuple[int], np.dtype[np.bool_]] = (place * h + begin) // n < (
        (place + 1) * h + begin
    ) // n
    return chosen


def _alternating(owners: Codes, generator: np.random.Generator) -> Codes:
    """REFERENCE and CURRENT in turn at each site, beginning with either; `owners` is sorted."""
    sizes = np.bincount(owners)
    first = np.repeat(generator.integers(0, 2, len(sizes)), sizes)
    return np.where((_place_at_site(sizes) + first) % 2 == 0, REFERENCE, CURRENT)


def _place_at_site(sizes: Codes) -> Codes:
    """0, 1, ... for the rows of each site, one site after the other."""
    starts = np.cumsum(sizes) - sizes
    return np.arange(int(sizes.sum())) - np.repeat(starts, sizes)
