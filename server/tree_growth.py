"""The coordinator's step where the model is boosted trees: the next level, from summed histograms.

Chen and Guestrin 2016, arXiv:1603.02754, equations (5) and (7): of sums G and H of first and second
derivatives a leaf has the value -G / (H + lambda), times the learning rate, and a split gains
G_L^2 / (H_L + lambda) + G_R^2 / (H_R + lambda) - G^2 / (H + lambda). All arithmetic is float64 in
one order; of equal gains the first feature and place win.
"""

from dataclasses import dataclass

import numpy as np

from federation.boosted_trees import BIN, FEATURE, LEAF, SUMS, VALUE, TreeShape
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
    histogram, nodes = _parts(shape, parameters)
    if int(nodes[0, 0]) >= shape.settings.most_rounds:
        return parameters.copy()
    per_row = -_parts(shape, update)[0] / learning_rate
    sums = per_row * np.sqrt(shape.cells_per_row) * rows
    sums = sums.reshape(SUMS, shape.nodes_at_once, shape.cells_per_node)
    tree, level = shape.level(int(nodes[0, 0]))
    own = nodes[1:].reshape(-1, shape.settings.nodes, 3)[tree]
    if shape.chooses_splits:
        is_split = _add_level(shape, own, sums, level, learning_rate)
        steps = 1 if is_split else shape.settings.tree_depth - level
    else:
        of_leaves = sums[:, :, 0].T.copy()
        least = shape.settings.tree_minimum_hessian
        of_leaves[:, 1] = np.maximum(of_leaves[:, 1], least)
        own[len(own) // 2 :, VALUE] = [_value(shape, leaf, learning_rate) for leaf in of_leaves]
        steps = 1
    nodes[0, 0] += steps
    return np.concatenate([np.zeros(histogram.size), nodes.ravel()])


def _parts(shape: TreeShape, flat: Floats) -> tuple[Floats, Floats]:
    """Of numbers in the order of the model's parameters: histogram (2, cells), nodes (n, 3)."""
    cells = SUMS * shape.nodes_at_once * shape.cells_per_node
    return flat[:cells].reshape(SUMS, -1), flat[cells:].reshape(-1, 3).copy()


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
