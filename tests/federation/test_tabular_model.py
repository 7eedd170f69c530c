"""Entity embeddings are the tables of vectors that they stand for."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from federation.errors import ConfigError
from federation.schema import Categorical, Numeric
from federation.table_columns import encode_inputs, feature_values, input_width
from federation.tabular_model import EntityEmbedding, hidden_widths, tabular_model

FEATURES = (
    Categorical("ward", ("a", "b", "c")),
    Numeric("age", 0, 100),
    Categorical("site", ("x",)),
)
ROWS = pd.DataFrame(
    {
        "ward": ["a", "c", "z", None, "b"],
        "age": ["10", None, "50", "90", "200"],
        "site": ["x", None, "x", "y", "x"],
    }
)
CODES = {"ward": [0, 2, 3, 4, 1], "site": [0, 2, 0, 1, 0]}
"""After the levels come other and missing."""


def inputs() -> torch.Tensor:
    values = {feature.name: feature_values(ROWS, feature, "rows") for feature in FEATURES}
    return torch.from_numpy(encode_inputs(values, FEATURES).astype(np.float32))


def tables(embedding: EntityEmbedding) -> dict[str, nn.Embedding]:
    """torch's own tables of vectors, with the same vectors."""
    return {
        FEATURES[int(place)].name: nn.Embedding.from_pretrained(
            layer.weight.detach().T.contiguous(), freeze=False
        )
        for place, layer in embedding.vectors.items()
    }


def looked_up(found: dict[str, nn.Embedding]) -> torch.Tensor:
    age = inputs()[:, 5:7]
    ward, site = (found[name](torch.tensor(CODES[name])) for name in ("ward", "site"))
    return torch.cat([ward, age, site], dim=1)


def test_every_level_and_other_and_missing_has_its_vector() -> None:
    torch.manual_seed(0)
    embedding = EntityEmbedding(FEATURES)
    output = embedding(inputs())
    assert output.shape == (5, embedding.width)
    torch.testing.assert_close(output, looked_up(tables(embedding)), rtol=0, atol=0)


def test_a_vectors_gradient_is_that_of_a_table_of_vectors() -> None:
    torch.manual_seed(0)
    embedding = EntityEmbedding(FEATURES)
    found = tables(embedding)
    weight = torch.randn(embedding.width)
    (embedding(inputs()) @ weight).tanh().sum().backward()
    (looked_up(found) @ weight).tanh().sum().backward()
    for place, layer in embedding.vectors.items():
        torch.testing.assert_close(
            layer.weight.grad.T, found[FEATURES[int(place)].name].weight.grad
        )


def test_a_table_of_numbers_alone_has_nothing_to_embed() -> None:
    numbers = (Numeric("age", 0, 100),)
    embedding = EntityEmbedding(numbers)
    x = torch.tensor([[0.5, 0.0]])
    assert torch.equal(embedding(x), x)
    assert embedding.width == input_width(numbers) == 2


@pytest.mark.parametrize(
    ("model", "hidden", "widths"),
    [
        (None, None, ()), (None, (4, 2), (4, 2)), ("logistic", None, ()), ("logistic", [], ()),
        ("mlp", None, (32,)), ("mlp", [8], (8,)), ("embedding", None, (32,)),
    ],
)  # fmt: skip
def test_what_is_left_out_is_the_usual(model, hidden, widths) -> None:
    assert hidden_widths(model, hidden) == widths
    built = tabular_model(FEATURES, 3, model, widths)
    assert built(inputs()).shape == (5, 3)
    assert isinstance(built[0], EntityEmbedding) == (model == "embedding")


@pytest.mark.parametrize(
    ("model", "hidden", "text"),
    [
        ("tree", None, "one of logistic, mlp, boosted_trees, embedding"),
        ("logistic", (4,), 'none with model = "logistic"'),
        ("mlp", (), 'at least one width with model = "mlp"'),
        (None, (0,), "whole numbers > 0"),
        (None, (True,), "whole numbers > 0"),
        (None, 8, "whole numbers > 0"),
    ],
)
def test_what_contradicts_itself_is_refused(model, hidden, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        hidden_widths(model, hidden)
