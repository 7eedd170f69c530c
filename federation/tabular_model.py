"""The models for a table's rows: logistic regression, an MLP, entity embeddings, boosted trees."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from federation.boosted_trees import CLASSES, TreeOptions, TreeSettings
from federation.errors import ConfigError
from federation.schema import Feature, Numeric
from federation.table_columns import input_width

TabularModel = Literal["logistic", "mlp", "boosted_trees", "embedding"]
USUAL_HIDDEN = (32,)
WITHOUT_HIDDEN = {None, "logistic", "boosted_trees"}


def hidden_widths(model: TabularModel | None, hidden: Sequence[int] | None) -> tuple[int, ...]:
    """Widths of the hidden layers, where either may be left out.

    Raises:
        ConfigError: no such model; a width is none; logistic regression or trees with hidden
            layers, or another model without.
    """
    if model is not None and model not in get_args(TabularModel):
        raise ConfigError("model", model, f"one of {', '.join(get_args(TabularModel))}")
    if hidden is None:
        return () if model in WITHOUT_HIDDEN else USUAL_HIDDEN
    if isinstance(hidden, int) or not all(type(width) is int and width > 0 for width in hidden):
        raise ConfigError("hidden", hidden, "a list of whole numbers > 0")
    if model is not None and (model in WITHOUT_HIDDEN) != (not hidden):
        expected = "none" if model in WITHOUT_HIDDEN else "at least one width"
        raise ConfigError("hidden", list(hidden), f'{expected} with model = "{model}"')
    return tuple(hidden)


def tree_settings(
    model: TabularModel | None, classes: int, options: TreeOptions
) -> TreeSettings | None:
    """What `boosted_trees` are to be; None for another model.

    Args:
        model: as for `tabular_model`.
        classes: of the label.
        options: as given.

    Raises:
        ConfigError: options of trees for another model, a bound of them is broken, or there are
            not two classes.
    """
    if model != "boosted_trees":
        for name, value in options.items():
            expected = "it to be left out without model = 'boosted_trees'"
            raise ConfigError(f"task.options.{name}", value, expected)
        return None
    if classes != CLASSES:
        raise ConfigError(
            "task.options.model", model, f"another one for {classes} classes",
            "trees are grown by the loss of two",
        )  # fmt: skip
    unknown = sorted(set(options) - set(TreeOptions.__annotations__))
    if unknown:
        known = ", ".join(TreeOptions.__annotations__)
        raise ConfigError(f"task.options.{unknown[0]}", "given", f"an option out of {known}")
    return TreeSettings(**options)


def tabular_model(
    features: Sequence[Feature], classes: int, model: TabularModel | None, hidden: Sequence[int]
) -> nn.Module:
    """Linear layers with tanh between them, from rows as `encode_inputs` gives them to `classes`.

    With `embedding`, the levels of every categorical feature are embedded first.
    """
    embedding = EntityEmbedding(features) if model == "embedding" else None
    width = input_width(features) if embedding is None else embedding.width
    layers: list[nn.Module] = [] if embedding is None else [embedding]
    for inputs, outputs in pairwise([width, *hidden, classes]):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class EntityEmbedding(nn.Module):
    """A vector per level of every categorical feature, beside the numbers.

    Guo and Berkhahn 2016, arXiv:1604.06737. `other` and `missing` are levels, too, so every row has
    a vector of every feature. A level is an input of 0 or 1 already, so its vector is a column of a
    linear layer without bias: the same function and the same gradients as of a table of vectors,
    found without writing out each row's table (`privacy.ghost_clipping`).
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        """Vectors are drawn from N(0, 1), as `nn.Embedding` does."""
        super().__init__()
        self._inputs = [input_width([feature]) for feature in features]
        self._widths: list[int] = []
        self.vectors = nn.ModuleDict()
        for place, (feature, inputs) in enumerate(zip(features, self._inputs, strict=True)):
            width = inputs if isinstance(feature, Numeric) else embedding_width(inputs)
            self._widths.append(width)
            if not isinstance(feature, Numeric):
                vectors = nn.Linear(inputs, width, bias=False)
                nn.init.normal_(vectors.weight)
                self.vectors[str(place)] = vectors

    @property
    def width(self) -> int:
        """Number of columns of the output."""
        return sum(self._widths)

    def forward(self, x: Tensor) -> Tensor:
        """From (B, width of the inputs) to (B, width), features in their order."""
        parts = torch.split(x, self._inputs, dim=-1)
        return torch.cat(
            [
                self.vectors[str(place)](part) if str(place) in self.vectors else part
                for place, part in enumerate(parts)
            ],
            dim=-1,
        )


def embedding_width(levels: int) -> int:
    """How long the vectors of so many levels are: 1.6 levels^0.56, fastai's `emb_sz_rule`.

    >>> [embedding_width(levels) for levels in (3, 4, 7, 20)]
    [3, 3, 5, 9]
    """
    width: float = 1.6 * math.pow(levels, 0.56)
    return round(width)
