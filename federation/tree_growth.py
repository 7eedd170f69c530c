"""The coordinator's step where the model is boosted trees: the next level, from summed histograms.

Chen and Guestrin 2016, arXiv:1603.02754, equations (5) and (7): of sums G and H of first and second
derivatives a leaf has the value -G / (H + lambda), times the learning rate, and a split gains
G_L^2 / (H_L + lambda) + G_R^2 / (H_R + lambda) - G^2 / (H + lambda). All arithmetic is float64 in
one order; of equal gains the first feature and place win.
"""

from dataclasses import dataclass

import numpy as np

from federation.boosted_trees import BIN, COLUMNS, FEATURE, LEAF, SUMS, TreeShape
from federation.task import Floats


@dataclass(frozen=True, slots=True)
class _Split:
    """Of one node: on which feature, where, and the sums (G, H) on both sides, shape (2,) each."""

    feature: int
    place: int
    left: Floats
    right: Floats


def grown(
    shape: TreeShape, parameters: Floats, update: Floats, rows: float, learning_rate: float
) -> Floats:
    """The model after a round: with one more level, or the leaves of one more random tree.

    A tree that cannot be split further is complete, and the next round begins another.

    Args:
        shape: of the trees.
        parameters: of the model before, shape (d,), float64.
        update: mean of the sites' updates by their rows, shape (d,), float64: minus the learning
            rate times the histogram per row of a batch.
        rows: that the batches of all these sites are expected to have.
        learning_rate: of the sites' step, which the values of leaves are multiplied by.
    """
    step, grown_so_far = _parts(shape, parameters)[1:]
    if step >= shape.settings.most_rounds:
        return parameters.copy()
    per_row = -_parts(shape, update)[0] / learning_rate
    sums = per_row * np.sqrt(shape.cells_per_row) * rows
    tree, level = divmod(step, shape.settings.rounds_per_tree)
    own = grown_so_far[tree]
    if not shape.chooses_splits:
        own[:] = _leaf_values(shape, sums, learning_rate)
        following = step + 1
    elif _add_level(shape, own.reshape(-1, COLUMNS), sums, level, learning_rate):
        following = step + 1
    else:
        following = (tree + 1) * shape.settings.rounds_per_tree
    counted = np.zeros(shape.numbers_per_tree)
    counted[0] = following
    return np.concatenate([np.zeros(per_row.size), counted, grown_so_far.ravel()])


def _parts(shape: TreeShape, flat: Floats) -> tuple[Floats, int, Floats]:
    """Of numbers in the order of the model's parameters: histogram, steps so far, what is grown.

    Of shapes (2, nodes at once, cells per node) and (trees, numbers per tree); copies.
    """
    cells, columns = SUMS * shape.nodes_at_once * shape.cells_per_node, shape.numbers_per_tree
    histogram, counted, grown_so_far = np.split(flat, [cells, cells + columns])
    return (
        histogram.reshape(SUMS, shape.nodes_at_once, shape.cells_per_node).copy(),
        round(float(counted[0])),
        grown_so_far.reshape(-1, columns).copy(),
    )


def _leaf_values(shape: TreeShape, sums: Floats, learning_rate: float) -> Floats:
    """Of the leaves of a random tree, shape (leaves,)."""
    gradients, hessians = sums[:, :, 0]
    heavy = np.maximum(hessians, shape.settings.tree_minimum_hessian)
    values: Floats = -learning_rate * gradients / (heavy + shape.settings.tree_l2)
    return values


def _add_level(
    shape: TreeShape, own: Floats, sums: Floats, level: int, learning_rate: float
) -> bool:
    """Split the nodes of a level where that gains; returns whether any was.

    Args:
        shape: of the trees.
        own: nodes of the tree, shape (nodes, 3), changed in place.
        sums: per node of the level and cell, shape (2, nodes at once, cells per node).
        level: 0 for the root's.
        learning_rate: see `grown`.
    """
    first, is_split = 2**level - 1, False
    for place in range(2**level):
        node = first + place
        split = _best_split(shape, sums[:, place])
        if split is None:
            continue
        is_split = True
        own[node, FEATURE], own[node, BIN] = split.feature, split.place
        for child, of_child in ((2 * node + 1, split.left), (2 * node + 2, split.right)):
            own[child] = LEAF, 0, _value(shape, of_child, learning_rate)
    return is_split


def _best_split(shape: TreeShape, sums: Floats) -> _Split | None:
    """The split of a node that gains most; None where none gains, or a side would be too light.

    Args:
        shape: of the trees.
        sums: of the node, per cell of every feature, shape (2, cells per node).
    """
    least, l2 = shape.settings.tree_minimum_hessian, shape.settings.tree_l2
    best, most = None, 0.0
    for number, cells in enumerate(shape.cells):
        own = sums[:, cells.start : cells.start + cells.count]
        left = np.cumsum(own, axis=1) if cells.ordered else own
        whole = own.sum(axis=1)
        right = whole[:, None] - left
        heavy = (left[1] >= least) & (right[1] >= least)
        if not heavy.any():
            continue
        gains = np.full(cells.count, -np.inf)
        parent = whole[0] ** 2 / (whole[1] + l2)
        gains[heavy] = (
            left[0, heavy] ** 2 / (left[1, heavy] + l2)
            + right[0, heavy] ** 2 / (right[1, heavy] + l2)
            - parent
        )
        place = int(np.argmax(gains))
        if gains[place] > most:
            most = float(gains[place])
            best = _Split(number, place, left[:, place].copy(), right[:, place].copy())
    return best


def _value(shape: TreeShape, sums: Floats, learning_rate: float) -> float:
    """Of a leaf with these sums (G, H)."""
    return float(-learning_rate * sums[0] / (sums[1] + shape.settings.tree_l2))
