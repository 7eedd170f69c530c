"""Which site owns each row: one pure function per kind of partition.

All of them give every row to exactly one site: an array of site indices, one per row of the pool.
Sites are equally large, but for `shared_out`, which is given their sizes.
"""

import numpy as np

from federation.task import Codes, Floats
from simulations.partition.concentrated_law import draw_without_replacement, log_weights
from simulations.partition.site_sizes import equal_sizes


def shared_out(sizes: Codes, generator: np.random.Generator) -> Codes:
    """Rows at random to sites of these sizes: the owner of each row, shape (sizes.sum(),)."""
    return generator.permutation(np.repeat(np.arange(len(sizes)), sizes))


def skewed_by_label(
    labels: Codes, sites: int, alpha: float, generator: np.random.Generator
) -> Codes:
    """Label skew of Hsu, Qi and Brown 2019, arXiv:1909.06335, over sites of equal size.

    Every site draws a law q ~ Dirichlet(alpha * p), p being the labels' shares of all rows, and
    then its rows from those that are left, a row of label c with weight q[c] / p[c]: by q itself,
    but for what others took before. Sites draw one after the other in random order. As all rows
    are given away the last ones take what is left, which is why the weight is on rows: towards
    infinite alpha each site has rows at random.

    Args:
        labels: class of each row, >= 0, shape (N,).
        sites: how many.
        alpha: > 0.
        generator: the source of all randomness.

    Returns:
        the owner of each row, shape (N,).
    """
    left = np.bincount(labels)
    tilts = label_tilts(labels, sites, alpha, generator)
    sizes = equal_sizes(len(labels), sites)
    counts = np.zeros((sites, len(left)), np.int64)
    for site in generator.permutation(sites):
        counts[site] = draw_without_replacement(int(sizes[site]), tilts[site], left, generator)
        left = left - counts[site]
    owners = np.empty(len(labels), np.int64)
    for label in range(counts.shape[1]):
        members = generator.permutation(np.flatnonzero(labels == label))
        owners[members] = np.repeat(np.arange(sites), counts[:, label])
    return owners


def label_tilts(labels: Codes, sites: int, alpha: float, generator: np.random.Generator) -> Floats:
    """Per site and label c, log(q[c] / p[c]) up to a constant per site, shape (sites, classes).

    0 for labels that no row has.
    """
    shares = np.bincount(labels) / len(labels)
    there = shares > 0
    tilts = np.zeros((sites, len(shares)))
    laws = log_weights(np.tile(alpha * shares[there], (sites, 1)), generator)
    tilts[:, there] = laws - np.log(shares[there])
    return tilts


def skewed_by_feature(
    values: Floats, sites: int, mixing: float, generator: np.random.Generator
) -> Codes:
    """Rows in order of a value, cut into stretches of equal length.

    Args:
        values: of each row; NaN comes last; equal values are in random order; shape (N,).
        sites: how many; the first has the smallest values.
        mixing: chance of each row to stand anywhere instead.
        generator: the source of all randomness.

    Returns:
        the owner of each row, shape (N,).
    """
    rows = len(values)
    place = np.empty(rows)
    place[np.lexsort((generator.random(rows), values))] = (np.arange(rows) + 0.5) / rows
    anywhere = generator.random(rows) < mixing
    place = np.where(anywhere, generator.random(rows), place)
    return stretches(np.argsort(place, kind="stable"), sites)


def stretches(order: Codes, sites: int) -> Codes:
    """The owner of each row where rows in this order are cut into stretches of equal length."""
    owners = np.empty(len(order), np.int64)
    owners[order] = np.repeat(np.arange(sites), equal_sizes(len(order), sites))
    return owners
