"""A boosted tree's histogram is a gradient, which one row moves by less than 1."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from federation.boosted_trees import (
    BoostedTrees,
    TreeSettings,
    boosted_trees_of,
    boosting_loss,
)
from federation.errors import ConfigError
from federation.schema import Categorical, Numeric
from federation.table_columns import encode_inputs
from federation.tabular import TabularTask
from privacy.clipped_sum import clipped_gradient_sum
from privacy.dp_sgd import gradient_sum
from privacy.flat_parameters import trainable

FEATURES = (
    Numeric("age", 0, 100),
    Categorical("ward", ("a", "b", "c")),
    Numeric("dose", 0.1, 1000, scale="log"),
)
WIDTH = (4 + 1) + (3 + 2) + (4 + 1)
"""Cells of a node: bins or levels, other, missing."""


def histogram_trees(**settings: object) -> BoostedTrees:
    return BoostedTrees(FEATURES, TreeSettings(tree_splits="histogram", tree_bins=4, **settings))


def drawn_rows(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, dict[str, np.ndarray]]:
    """Inputs, targets and the values that they encode, some of them missing or of no level."""
    generator = np.random.default_rng(seed)
    values = {
        "age": generator.uniform(-10, 110, count),
        "ward": generator.integers(0, 4, count).astype(float),
        "dose": 10 ** generator.uniform(-1, 3, count),
    }
    for column in values.values():
        column[generator.random(count) < 0.15] = np.nan
    inputs = torch.from_numpy(encode_inputs(values, FEATURES).astype(np.float32))
    return inputs, torch.from_numpy(generator.integers(0, 2, count)), values


def cell_of(name: str, value: float) -> int:
    """Of a value, worked out from the declared ranges and levels alone."""
    if name == "ward":
        return 4 if math.isnan(value) else int(value)
    if math.isnan(value):
        return 4
    share = value / 100 if name == "age" else math.log10(value / 0.1) / 4
    return min(max(int(share * 4), 0), 3)


def gradient(model: BoostedTrees, rows: tuple[torch.Tensor, torch.Tensor]) -> np.ndarray:
    """Of the histogram, shape (2, cells); that of the trees must be zero."""
    flat, _ = gradient_sum(model.train(), rows, boosting_loss)
    cells = model.histogram.weight.numel()
    assert not flat[cells:].any()
    return flat[:cells].reshape(2, -1)


def test_the_first_histogram_is_that_of_the_rows() -> None:
    inputs, targets, values = drawn_rows(1, 300)
    found = gradient(histogram_trees(tree_depth=2), (inputs, targets)) * math.sqrt(3)
    expected = np.zeros((2, 2 * WIDTH))
    for row in range(300):
        for feature, start in (("age", 0), ("ward", 5), ("dose", 10)):
            cell = start + cell_of(feature, values[feature][row])
            expected[:, cell] += (0.5 - float(targets[row]), 0.25)  # p = 1/2 before any tree
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_below_a_split_each_node_has_a_histogram_of_its_own() -> None:
    model = histogram_trees(trees=2, tree_depth=2)
    with torch.no_grad():
        nodes = model.trees.weight[1:].view(2, 7, 3)
        model.trees.weight[0, 0] = 3  # the first tree is done, the second has its root
        nodes[0, 0] = torch.tensor([0.0, 1, 0])  # age up to 50, in an earlier tree
        nodes[0, 1], nodes[0, 2] = torch.tensor([-1.0, 0, 2]), torch.tensor([-1.0, 0, -1])
        nodes[1, 0] = torch.tensor([1.0, 1, 0])  # ward b alone
        nodes[1, 1, 2], nodes[1, 2, 2] = 7.0, 7.0  # in the logits only once the tree is done
    inputs, targets, values = drawn_rows(2, 300)
    found = gradient(model, (inputs, targets)) * math.sqrt(3)
    expected = np.zeros((2, 2, WIDTH))
    for row in range(300):
        young = cell_of("age", values["age"][row]) <= 1
        p = 1 / (1 + math.exp(-2 if young else 1))
        node = 0 if cell_of("ward", values["ward"][row]) == 1 else 1
        for feature, start in (("age", 0), ("ward", 5), ("dose", 10)):
            cell = start + cell_of(feature, values[feature][row])
            expected[:, node, cell] += (p - float(targets[row]), p * (1 - p))
    np.testing.assert_allclose(found, expected.reshape(2, -1), atol=1e-4)
    judged = model.eval()(inputs).detach().numpy()
    for row in range(300):
        young = cell_of("age", values["age"][row]) <= 1
        assert judged[row, 1] - judged[row, 0] == pytest.approx((2 if young else -1) + 7)


def test_a_row_in_a_leaf_above_the_level_counts_no_more() -> None:
    model = histogram_trees(trees=1, tree_depth=2)
    inputs, targets, _ = drawn_rows(3, 50)
    with torch.no_grad():
        model.trees.weight[0, 0] = 1  # the root was left as it is
    assert not gradient(model, (inputs, targets)).any()


def test_a_whole_model_learns_no_more() -> None:
    inputs, targets, _ = drawn_rows(4, 50)
    for model in (
        histogram_trees(trees=1, tree_depth=1),
        BoostedTrees(FEATURES, TreeSettings(trees=1, tree_depth=1)),
    ):
        assert gradient(model, (inputs, targets)).any()
        with torch.no_grad():
            model.trees.weight[0, 0] = 1
        assert not gradient(model, (inputs, targets)).any()


def test_random_trees_sum_their_leaves() -> None:
    torch.manual_seed(5)
    model = BoostedTrees(FEATURES, TreeSettings(trees=3, tree_depth=2, tree_bins=4))
    with torch.no_grad():
        model.trees.weight[0, 0] = 1
        model.trees.weight[1] = torch.tensor([0.5, -0.5, 1.0, -1.0])
    inputs, targets, values = drawn_rows(5, 200)
    nodes = model.drawn.numpy()
    expected = np.zeros((2, 4))
    for row in range(200):
        first, second = (leaf_of(nodes[tree], values, row) for tree in (0, 1))
        p = 1 / (1 + math.exp(-(0.5, -0.5, 1.0, -1.0)[first]))
        expected[:, second] += (p - float(targets[row]), p * (1 - p))
    np.testing.assert_allclose(gradient(model, (inputs, targets)), expected, atol=1e-4)
    assert (expected[1] > 0).sum() > 1


def leaf_of(nodes: np.ndarray, values: dict[str, np.ndarray], row: int) -> int:
    here = 0
    for _ in range(2):
        feature, place = nodes[here]
        name = FEATURES[int(feature)].name
        cell = cell_of(name, values[name][row])
        left = cell == place if name == "ward" else cell <= place
        here = 2 * here + (1 if left else 2)
    return here - 3


@given(st.floats(-40, 40), st.integers(0, 1))
def test_first_and_second_derivative_of_a_row_are_shorter_than_one(m: float, y: int) -> None:
    p = 1 / (1 + math.exp(-m))
    assert math.hypot(p - y, p * (1 - p)) <= 1
    # What is claimed is the least bound: a row that is quite wrong comes near it.
    wrong = 1 / (1 + math.exp(-20))
    assert math.hypot(wrong, wrong * (1 - wrong)) > 1 - 1e-8


@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["random", "histogram"]), st.floats(0, 30)
)  # fmt: skip
def test_one_row_moves_the_histogram_by_at_most_one_and_the_clip_cuts_nothing(
    seed: int, splits: str, spread: float
) -> None:
    torch.manual_seed(seed)
    settings = TreeSettings(trees=3, tree_depth=2, tree_bins=4, tree_splits=splits)
    model = BoostedTrees(FEATURES, settings).train()
    with torch.no_grad():  # trees whatever they are
        model.trees.weight[0, 0] = seed % settings.most_rounds
        model.trees.weight[1:] = spread * torch.randn_like(model.trees.weight[1:])
    inputs, targets, _ = drawn_rows(seed, 12)
    bound = 1.0
    whole, _ = clipped_gradient_sum(model, (inputs, targets), boosting_loss, bound)
    fewer, _ = clipped_gradient_sum(model, (inputs[1:], targets[1:]), boosting_loss, bound)
    assert np.linalg.norm(whole - fewer) <= bound * (1 + 1e-12)  # the sums are rounded, too
    bare, _ = gradient_sum(model, (inputs, targets), boosting_loss)
    np.testing.assert_allclose(whole, bare, atol=1e-5)


@pytest.mark.parametrize("splits", ["random", "histogram"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e30, -7.5, 2.5])
def test_whatever_a_coordinator_sends_one_row_moves_the_histogram_by_at_most_one(
    splits: str, number: float
) -> None:
    torch.manual_seed(0)
    settings = TreeSettings(trees=3, tree_depth=2, tree_bins=4, tree_splits=splits)
    inputs, targets, _ = drawn_rows(9, 12)
    generator = np.random.default_rng(9)
    for share in (0.1, 0.5, 1.0):
        model = BoostedTrees(FEATURES, settings).train()
        with torch.no_grad():
            for weight in (model.histogram.weight, model.trees.weight):
                weight[torch.from_numpy(generator.random(weight.shape) < share)] = number
        whole, _ = clipped_gradient_sum(model, (inputs, targets), boosting_loss, 1.0)
        fewer, _ = clipped_gradient_sum(model, (inputs[1:], targets[1:]), boosting_loss, 1.0)
        assert np.linalg.norm(whole - fewer) <= 1 + 1e-12


@pytest.mark.parametrize(
    ("feature", "values"),
    [
        (Numeric("x", -2, 6), [0.0, 2.0, 4.0]),
        (Numeric("x", 0.01, 100, scale="log"), [0.1, 1.0, 10.0]),
        (Numeric("x", -50, 50, scale="asinh", scale_unit=2.0), [-6.7, 0.0, 6.7]),
    ],
)
def test_bins_are_of_equal_width_on_the_features_scale(feature: Numeric, values: list) -> None:
    model = BoostedTrees([feature], TreeSettings(tree_bins=4, tree_splits="histogram"))
    if feature.scale == "asinh":
        middle = feature.scale_unit * math.sinh(math.asinh(feature.high / 2.0) / 2)
        values = [-middle, 0.0, middle]
    width = 1e-4 * (feature.high - feature.low)
    below, above = np.array(values) - width, np.array(values) + width
    found = model._binned(torch.from_numpy(encode_inputs({"x": below}, [feature])).float())
    assert found[:, 0].tolist() == [0, 1, 2]
    found = model._binned(torch.from_numpy(encode_inputs({"x": above}, [feature])).float())
    assert found[:, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("kind", [Numeric, Categorical])
def test_all_features_may_be_of_one_kind(kind: type) -> None:
    features = [feature for feature in FEATURES if isinstance(feature, kind)]
    _, targets, values = drawn_rows(8, 60)
    inputs = torch.from_numpy(encode_inputs(values, features).astype(np.float32))
    model = BoostedTrees(features, TreeSettings(tree_bins=4, tree_splits="histogram"))
    found = gradient(model, (inputs, targets))[1] * math.sqrt(len(features))
    expected = np.zeros(len(found))
    for row in range(60):
        for number, feature in enumerate(features):
            expected[5 * number + cell_of(feature.name, values[feature.name][row])] += 0.25
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_without_gradients_the_model_says_the_same() -> None:
    torch.manual_seed(1)
    model = BoostedTrees(FEATURES, TreeSettings(trees=2, tree_depth=2)).eval()
    with torch.no_grad():
        model.trees.weight[1:] = torch.randn_like(model.trees.weight[1:])
        inputs, _, _ = drawn_rows(1, 20)
        quick = model(inputs)
    assert torch.equal(model(inputs).detach(), quick)
    assert len(torch.unique(quick[:, 1])) > 2


@pytest.mark.parametrize(
    ("option", "most", "beyond"),
    [
        ("trees", 10_000, 10_001),
        ("trees", 1, 0),
        ("tree_depth", 8, 9),
        ("tree_depth", 1, 0),
        ("tree_bins", 256, 257),
        ("tree_bins", 2, 1),
        ("tree_bins", 2, 2.0),
        ("tree_l2", 0.0, -1e-9),
        ("tree_l2", 1.0, math.inf),
        ("tree_l2", 1.0, math.nan),
        ("tree_minimum_hessian", 1e-9, 0.0),
        ("tree_splits", "random", "best"),
    ],
)
def test_bounds_of_settings_are_tight(option: str, most: object, beyond: object) -> None:
    TreeSettings(**{option: most})
    with pytest.raises(ConfigError, match=f"^task.options.{option} = "):
        TreeSettings(**{option: beyond})


def task(**options: object) -> TabularTask:
    return TabularTask(None, label_column="y", features=FEATURES, sites=("a", "b", "c"), **options)


def test_options_of_trees_are_for_trees_of_two_classes() -> None:
    two = ("no", "yes")
    model = task(classes=two, model="boosted_trees", tree_depth=2, trees=7).build_model()
    assert boosted_trees_of(model).shape.settings == TreeSettings(trees=7, tree_depth=2)
    assert boosted_trees_of(task(classes=two).build_model()) is None
    for options, text in (
        ({"classes": two, "tree_depth": 2}, "task.options.tree_depth = 2: expected it to be left"),
        ({"classes": two, "model": "mlp", "trees": 2}, "task.options.trees = 2: expected it to be"),
        ({"classes": (*two, "so so"), "model": "boosted_trees"}, "another one for 3 classes"),
        ({"classes": two, "model": "boosted_trees", "hidden": (8,)}, "^hidden = "),
        ({"classes": two, "model": "boosted_trees", "deep": 8}, "task.options.deep = 'given'"),
    ):
        with pytest.raises(ConfigError, match=text):
            task(**options)


def test_probabilities_are_of_the_two_logits_alone() -> None:
    trees = task(classes=("no", "yes"), model="boosted_trees")
    output = torch.tensor([[0.0, math.log(3.0), 5.0]])
    torch.testing.assert_close(
        trees.probabilities(output), torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    )
    loss = trees.loss(torch.tensor([[0.0, math.log(3.0), 0.0]]), torch.tensor([1]))
    assert float(loss) == pytest.approx(-math.log(0.75))


def test_nothing_but_the_two_layers_is_trained() -> None:
    for splits in ("random", "histogram"):
        model = BoostedTrees(FEATURES, TreeSettings(tree_splits=splits))
        assert [id(p) for p in trainable(model)] == [
            id(model.histogram.weight),
            id(model.trees.weight),
        ]
