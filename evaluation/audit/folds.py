"""Dealing rows into folds, so that no row is predicted by a model that saw a row like it."""

import numpy as np

from federation.task import Codes


def fold_of(identities: Codes, targets: Codes, folds: int, seed: int) -> Codes:
    """The fold of each row, shape (N,), int64, in [0, folds).

    Rows that are alike share a fold. The rest is stratified: sets of rows that are alike are
    shuffled and dealt out in turn, class by class of their first row.

    Args:
        identities: of `row_identities`, shape (N,).
        targets: class index, shape (N,).
        folds: at least 2.
        seed: of the shuffle.
    """
    distinct, first, inverse = np.unique(identities, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(distinct))
    by_class = shuffled[np.argsort(targets[first[shuffled]], kind="stable")]
    fold = np.empty(len(distinct), dtype=np.int64)
    fold[by_class] = np.arange(len(distinct)) % folds
    return fold[inverse]
