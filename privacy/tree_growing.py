"""Boosted trees grown in a model where nobody is asked for sums: all rows are in one place."""

from collections.abc import Callable

import numpy as np
from torch import nn

from federation.boosted_trees import BoostedTrees
from federation.task import Floats
from federation.tree_growth import grown
from privacy.flat_parameters import flat_parameters, load_flat_parameters


def grow(
    model: nn.Module,
    trees: BoostedTrees,
    update: Callable[[int], Floats],
    rounds: int,
    rows: float,
    learning_rate: float,
) -> None:
    """Grow the trees of a model by one level a round.

    Args:
        model: as it is trained; changed in place.
        trees: the part of it that grows.
        update: of a round, from 0: what a step on the model as it is then changes, shape (d,).
        rounds: to make.
        rows: that a batch is expected to have.
        learning_rate: of the steps.
    """
    parameters = flat_parameters(model).astype(np.float64)
    for number in range(rounds):
        parameters = grown(trees.shape, parameters, update(number), rows, learning_rate)
        load_flat_parameters(model, parameters)
