"""Gradient-boosted trees as a model whose gradient is the histogram that they are grown from.

Chen and Guestrin 2016, "XGBoost", arXiv:1603.02754, grow a tree from sums of first and second
derivatives of the loss (g and h) over the rows of every node, by feature and bin. Here a row's
derivatives are its gradient with respect to a layer that multiplies the indicators of the row's
cells, and that is zero:

    cells  = indicators of (node, feature, bin) / sqrt(features)       length 1 for every row
    output = logits of the trees so far + histogram[0] . cells,   histogram[1] . cells
    loss   = cross-entropy + the last output * p (1 - p), a constant of the row
    d loss / d histogram = (g, h) x cells                 with g = p - y and h = p (1 - p)

So one step of gradient descent from zero is the histogram, and of DP-SGD the noised one: it is
clipped, weighed, encoded, summed and charged like any update. A row moves it by its (g, h), of
length below 1: g^2 + h^2 = p^2 (1 + (1 - p)^2) < 1 for y = 0, and alike for y = 1. `max_grad_norm
= 1` cuts nothing, and bounds a row also where this is wrong.

What is grown travels as the weights of a second layer, whose inputs are zero: no row has a gradient
there. The coordinator puts the next level in (`federation.tree_growth`) in place of a step.

With splits at `random` (under privacy: Maddock et al. 2022, "Federated Boosted Decision Trees with
Differential Privacy", arXiv:2210.02910) every side draws all trees from the seed, the cells of a
row are the one leaf that it falls into, and the values of leaves alone travel: a tree takes one
round.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypedDict, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from federation.errors import ConfigError
from federation.schema import Feature, Numeric
from federation.task import Floats

Splits = Literal["random", "histogram"]
CLASSES = 2
SUMS = 2
"""Per cell: of first and of second derivatives."""
COLUMNS = 3
FEATURE, BIN, VALUE = range(COLUMNS)
"""Columns of a node: the feature it splits on (-1: none), where, and its part of the logit."""
LEAF = -1


class TreeOptions(TypedDict, total=False):
    """Options of a task whose model is `boosted_trees`, as `TreeSettings` explains them."""

    trees: int
    tree_depth: int
    tree_bins: int
    tree_splits: Splits
    tree_l2: float
    tree_minimum_hessian: float


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """What is to be grown.

    Attributes:
        trees: how many there is room for, 1 to 10,000.
        tree_depth: levels of splits of each, 1 to 8.
        tree_bins: of a numeric feature, over its declared range, 2 to 256.
        tree_splits: `random`: drawn from the seed, a round per tree. `histogram`: the best by the
            summed histograms, a round per level.
        tree_l2: added to the sum of second derivatives of a leaf (XGBoost's lambda), in rows, >= 0.
        tree_minimum_hessian: of either side of a split (XGBoost's min_child_weight), in rows, > 0;
            of a leaf of a random tree: with less it counts as having so much.

    Raises:
        ConfigError: a bound above is broken.
    """

    trees: int = 20
    tree_depth: int = 4
    tree_bins: int = 16
    tree_splits: Splits = "random"
    tree_l2: float = 10.0
    tree_minimum_hessian: float = 5.0

    def __post_init__(self) -> None:
        whole = {"trees": (1, 10_000), "tree_depth": (1, 8), "tree_bins": (2, 256)}
        for name, (low, high) in whole.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ConfigError(
                    f"task.options.{name}", value, f"a whole number from {low} to {high}"
                )
        if self.tree_splits not in get_args(Splits):
            expected = f"one of {', '.join(get_args(Splits))}"
            raise ConfigError("task.options.tree_splits", self.tree_splits, expected)
        if not 0 <= self.tree_l2 < math.inf:
            raise ConfigError("task.options.tree_l2", self.tree_l2, "a finite number >= 0")
        if not 0 < self.tree_minimum_hessian < math.inf:
            raise ConfigError(
                "task.options.tree_minimum_hessian", self.tree_minimum_hessian,
                "a finite number > 0",
            )  # fmt: skip

    @property
    def rounds_per_tree(self) -> int:
        """One per level that is chosen by histograms; one for the leaves of a random tree."""
        return self.tree_depth if self.tree_splits == "histogram" else 1

    @property
    def most_rounds(self) -> int:
        """After which every tree is grown."""
        return self.trees * self.rounds_per_tree

    @property
    def nodes(self) -> int:
        """Of one tree: all levels and the leaves below; the children of node n are 2n+1, 2n+2."""
        return int(2 ** (self.tree_depth + 1)) - 1


@dataclass(frozen=True, slots=True)
class Cells:
    """Of one feature.

    Attributes:
        count: bins and one for missing values; levels, `other` and `missing`.
        start: of the first among those of all features.
        ordered: whether a split sends all bins up to one to the left, or one level alone.
    """

    count: int
    start: int
    ordered: bool


@dataclass(frozen=True)
class TreeShape:
    """The public numbers that sites and coordinator read histograms and trees by.

    Attributes:
        settings: what is to be grown.
        features: with their declared ranges and levels.
    """

    settings: TreeSettings
    features: tuple[Feature, ...]

    @cached_property
    def cells(self) -> tuple[Cells, ...]:
        """Per feature."""
        found: list[Cells] = []
        start = 0
        for feature in self.features:
            if isinstance(feature, Numeric):
                found.append(Cells(self.settings.tree_bins + 1, start, ordered=True))
            else:
                found.append(Cells(len(feature.levels) + 2, start, ordered=False))
            start += found[-1].count
        return tuple(found)

    @property
    def chooses_splits(self) -> bool:
        """Whether a histogram has all features of every node, or the leaves of a tree alone."""
        return self.settings.tree_splits == "histogram"

    @property
    def cells_per_node(self) -> int:
        """Of the histogram."""
        return sum(cells.count for cells in self.cells) if self.chooses_splits else 1

    @property
    def leaves(self) -> int:
        """Of a whole tree: its lowest level."""
        return int(2**self.settings.tree_depth)

    @property
    def nodes_at_once(self) -> int:
        """For as many there is room in the histogram: the widest level that is grown from it."""
        return self.leaves // 2 if self.chooses_splits else self.leaves

    @property
    def numbers_per_tree(self) -> int:
        """That travel: its nodes', or the values of its leaves alone."""
        return self.settings.nodes * COLUMNS if self.chooses_splits else self.leaves

    @property
    def cells_per_row(self) -> int:
        """Into so many a row counts."""
        return len(self.features) if self.chooses_splits else 1


class BoostedTrees(nn.Module):
    """From rows as `federation.table_columns.encode_inputs` gives them, (B, width), to (B, 3).

    Two logits, of which the first is 0, and the output that carries second derivatives, which is 0
    but for its gradient. In training mode the logits leave out the tree that is being grown, as its
    levels are all grown from the derivatives before it; else they are those of all that is there.
    """

    starts: Tensor
    ordered: Tensor
    numeric: Tensor
    edges: Tensor
    levels: Tensor
    no_level: Tensor
    places: Tensor
    drawn: Tensor

    def __init__(self, features: Sequence[Feature], settings: TreeSettings) -> None:
        """No tree is grown yet; random ones are drawn from torch's generator."""
        super().__init__()
        shape = self.shape = TreeShape(settings, tuple(features))
        self.histogram = nn.Linear(shape.nodes_at_once * shape.cells_per_node, SUMS, bias=False)
        # A row per tree, below one that has the number of steps so far.
        self.trees = nn.Linear(shape.numbers_per_tree, 1 + settings.trees, bias=False)
        starts = torch.tensor([cells.start for cells in shape.cells])
        ordered = torch.tensor([cells.ordered for cells in shape.cells])
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("ordered", ordered, persistent=False)
        for name, buffer in _binning(shape).items():
            self.register_buffer(name, buffer, persistent=False)
        with torch.no_grad():
            self.histogram.weight.zero_()
            self.trees.weight.zero_()
            if shape.chooses_splits:
                self.trees.weight[1:, FEATURE::COLUMNS] = LEAF
        if not shape.chooses_splits:
            drawn = torch.stack([self._drawn() for _ in range(settings.trees)])
            self.register_buffer("drawn", drawn)

    def forward(self, inputs: Tensor) -> Tensor:
        """See the class."""
        binned = self._binned(inputs)
        nodes = self._nodes()
        step = self.trees.weight.detach()[0, 0].round().long()
        trees = torch.arange(len(nodes), device=nodes.device)
        reached = self._reached(binned, nodes)
        parts = nodes[trees, reached, VALUE]
        if self.training:
            parts = parts * (trees < step // self.shape.settings.rounds_per_tree)
        logit = parts.sum(dim=1)
        zero = torch.zeros_like(logit)
        if not (self.training or torch.is_grad_enabled()):
            # What is left out is zero, and there for its gradient alone.
            return torch.stack([zero, logit, zero], dim=1)
        sums = self.histogram(self._cells(binned, reached, step))
        # Nothing times the trees: so that they are parameters like others, of which no row has a
        # gradient.
        untouched = self.trees(inputs.new_zeros(len(inputs), self.trees.in_features)).sum(dim=1)
        return torch.stack([zero, logit + sums[:, 0] + untouched, sums[:, 1]], dim=1)

    def _drawn(self) -> Tensor:
        """Of a random tree, shape (nodes, 2): any feature, and any place to split it at."""
        settings, cells = self.shape.settings, self.shape.cells
        nodes = torch.zeros(settings.nodes, VALUE)
        nodes[:, FEATURE] = LEAF
        for node in range(2**settings.tree_depth - 1):
            feature = int(torch.randint(len(cells), ()))
            # Not one that only tells missing values from the others.
            places = cells[feature].count - (2 if cells[feature].ordered else 1)
            nodes[node, FEATURE], nodes[node, BIN] = feature, int(torch.randint(places, ()))
        return nodes

    def _nodes(self) -> Tensor:
        """Of all trees, shape (trees, nodes, 3)."""
        shape, grown = self.shape, self.trees.weight.detach()[1:]
        if shape.chooses_splits:
            return grown.view(shape.settings.trees, shape.settings.nodes, COLUMNS)
        within = grown.new_zeros(shape.settings.trees, shape.settings.nodes - shape.leaves)
        return torch.cat([self.drawn, torch.cat([within, grown], dim=1)[:, :, None]], dim=2)

    def _binned(self, inputs: Tensor) -> Tensor:
        """Per row and feature which of its cells, shape (B, features), int64."""
        numbers = inputs[:, self.numeric]
        binned = (numbers[:, :, None] >= self.edges).sum(dim=2)
        missing = inputs[:, self.numeric + 1] > 0.5
        binned = torch.where(missing, self.shape.settings.tree_bins, binned)
        levels = inputs[:, self.levels].masked_fill(self.no_level, -math.inf).argmax(dim=2)
        return torch.cat([binned, levels], dim=1)[:, self.places]

    def _reached(self, binned: Tensor, nodes: Tensor) -> Tensor:
        """The node that each row ends in, of each tree, shape (B, trees), int64."""
        trees = torch.arange(len(nodes), device=binned.device)
        feature = nodes[..., FEATURE].round().long().clamp(LEAF, len(self.shape.features) - 1)
        place, used = nodes[..., BIN].round().long(), feature.clamp(min=0)
        ordered, is_split = self.ordered[used], feature > LEAF
        here = torch.zeros(len(binned), len(nodes), dtype=torch.long, device=binned.device)
        for _ in range(self.shape.settings.tree_depth):
            mine, there = binned.gather(1, used[trees, here]), place[trees, here]
            left = torch.where(ordered[trees, here], mine <= there, mine == there)
            here = torch.where(is_split[trees, here], 2 * here + 2 - left.long(), here)
        return here

    def _cells(self, binned: Tensor, reached: Tensor, step: Tensor) -> Tensor:
        """What the histogram layer multiplies, shape (B, cells), of length 1 or 0 per row."""
        shape = self.shape
        cells = torch.zeros(len(binned), self.histogram.in_features, device=binned.device)
        tree, level = step // shape.settings.rounds_per_tree, step % shape.settings.rounds_per_tree
        if not shape.chooses_splits:
            level = level + shape.settings.tree_depth
        node = reached[:, tree.clamp(0, shape.settings.trees - 1)] - 2**level + 1
        # A row in a leaf above this level has no more part in the tree.
        in_room = (tree >= 0) & (tree < shape.settings.trees)
        counts = (node >= 0) & (node < shape.nodes_at_once) & in_room
        node = node.clamp(0, shape.nodes_at_once - 1)[:, None]
        place = node * shape.cells_per_node
        if shape.chooses_splits:
            place = place + self.starts + binned
        each = counts[:, None].to(cells) / math.sqrt(shape.cells_per_row)
        return cells.scatter(1, place, each.expand_as(place))


def boosting_loss(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy per row, nats, shape (B,), whose gradient holds second derivatives, too.

    Args:
        output: of `BoostedTrees`, shape (B, 3).
        target: 0 or 1, shape (B,).
    """
    p = torch.sigmoid(output[:, 1] - output[:, 0]).detach()
    losses = cross_entropy(output[:, :CLASSES], target, reduction="none")
    return losses + output[:, CLASSES] * p * (1 - p)


def boosted_trees_of(model: nn.Module) -> BoostedTrees | None:
    """The trees that a model is, or has in it; None of any other."""
    return next((part for part in model.modules() if isinstance(part, BoostedTrees)), None)


def _binning(shape: TreeShape) -> dict[str, Tensor]:
    """How inputs become cells, all features of a kind at once.

    Returns:
        numeric: columns of numbers, each before the one that says whether it is missing, (n,).
        edges: between their bins, shape (n, bins - 1).
        levels: columns of the levels of the other features, shape (m, most), filled up with any.
        no_level: where they are filled up, of the same shape.
        places: of each feature among the numeric ones and, after them, the others.
    """
    numeric, edges, levels, numbers, others, column = [], [], [], [], [], 0
    for number, (feature, cells) in enumerate(zip(shape.features, shape.cells, strict=True)):
        if isinstance(feature, Numeric):
            numeric.append(column)
            edges.append(_inner_edges(feature, shape.settings.tree_bins))
            numbers.append(number)
            column += 2
        else:
            levels.append(torch.arange(column, column + cells.count))
            others.append(number)
            column += cells.count
    most = max((len(one) for one in levels), default=1)
    filled = torch.full((len(levels), most), LEAF)
    for row, one in zip(filled, levels, strict=True):
        row[: len(one)] = one
    between = np.array(edges).reshape(len(edges), shape.settings.tree_bins - 1)
    return {
        "numeric": torch.tensor(numeric, dtype=torch.long),
        "edges": torch.from_numpy(between).float(),
        "levels": filled.clamp(min=0),
        "no_level": filled == LEAF,
        "places": torch.argsort(torch.tensor(numbers + others)),
    }


def _inner_edges(feature: Numeric, bins: int) -> Floats:
    """Where one bin ends and the next begins, among inputs in [-1, 1], shape (bins - 1,).

    Bins are of equal width on the scale of the feature.
    """
    share = np.arange(1, bins) / bins
    low, high, unit = feature.low, feature.high, feature.scale_unit
    if feature.scale == "log":
        values = low * (high / low) ** share
    elif feature.scale == "asinh":
        ends = np.arcsinh(low / unit), np.arcsinh(high / unit)
        values = unit * np.sinh(ends[0] + (ends[1] - ends[0]) * share)
    else:
        values = low + (high - low) * share
    return np.asarray((values - (high + low) / 2) / ((high - low) / 2))
