"""Trees grown from histograms are those that anyone else grows from the rows."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from federation.boosted_trees import BoostedTrees, TreeSettings, boosting_loss
from federation.entropy import SeededEntropy
from federation.schema import Categorical, Feature, Numeric
from federation.table_columns import encode_inputs
from federation.tree_growth import grown
from privacy.dp_sgd import Descent, train_without_privacy
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.plan import NonPrivatePlan

RATE = 0.3
Values = dict[str, np.ndarray]


def whole(model: BoostedTrees, inputs: torch.Tensor, labels: np.ndarray, rounds: int) -> np.ndarray:
    """Parameters after so many rounds of one site that has all rows; the model has them, too."""
    rows, parameters = (inputs, torch.from_numpy(labels)), flat_parameters(model).astype(float)
    plan = NonPrivatePlan(1.0, 1, len(labels))
    for _ in range(rounds):
        update = train_without_privacy(
            model, rows, boosting_loss, plan, Descent(RATE), SeededEntropy(0)
        )
        parameters = grown(model.shape, parameters, update.delta, len(labels), RATE)
        load_flat_parameters(model, parameters)
    return parameters


def logits(model: BoostedTrees, inputs: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        output = model.eval()(inputs).double()
    return (output[:, 1] - output[:, 0]).numpy()


def encoded(values: Values, features: tuple[Feature, ...]) -> torch.Tensor:
    return torch.from_numpy(encode_inputs(values, features).astype(np.float32))


# --- a straightforward booster, row by row, that shares no code with the one that is tested ---


@dataclass
class Node:
    value: float
    feature: str = ""
    below: float | None = None
    level: float | None = None
    sides: tuple["Node", "Node"] | None = None

    def goes_left(self, row: dict[str, float]) -> bool:
        x = row[self.feature]
        return bool(x < self.below) if self.below is not None else x == self.level

    def of(self, row: dict[str, float]) -> float:
        if self.sides is None:
            return self.value
        return self.sides[0 if self.goes_left(row) else 1].of(row)


class Booster:
    """Every split of every feature is tried on the rows themselves."""

    def __init__(self, candidates: dict[str, list], levels: set[str], l2: float, least: float):
        self.candidates, self.levels, self.l2, self.least = candidates, levels, l2, least

    def fit(self, rows: list[dict[str, float]], labels: np.ndarray, trees: int, depth: int):
        margin, self.trees = np.zeros(len(rows)), []
        for _ in range(trees):
            p = 1 / (1 + np.exp(-margin))
            g, h = p - labels, p * (1 - p)
            tree = self.node(rows, g, h, np.arange(len(rows)), depth, value=0.0)
            margin = margin + [tree.of(row) for row in rows]
            self.trees.append(tree)
        return margin

    def score(self, g: np.ndarray, h: np.ndarray) -> float:
        return g.sum() ** 2 / (h.sum() + self.l2)

    def node(self, rows, g, h, mine, depth, value) -> Node:
        best, gain = None, 1e-9
        for name, places in self.candidates.items() if depth else ():
            for place in places:
                made = Node(value, name, *((None, place) if name in self.levels else (place,)))
                left = np.array([made.goes_left(rows[i]) for i in mine], bool)
                a, b = mine[left], mine[~left]
                if min(h[a].sum(), h[b].sum()) < self.least:
                    continue
                gained = self.score(g[a], h[a]) + self.score(g[b], h[b])
                gained -= self.score(g[mine], h[mine])
                if gained > gain + 1e-9:
                    best, gain = (made, a, b), gained
        if best is None:
            return Node(value)
        made, *parts = best
        made.sides = tuple(
            self.node(
                rows, g, h, part, depth - 1, -RATE * g[part].sum() / (h[part].sum() + self.l2)
            )
            for part in parts
        )
        return made


FEATURES = (
    Numeric("age", 0, 80),
    Categorical("ward", ("a", "b", "c")),
    Numeric("pulse", 40, 200),
)


def patients(seed: int, count: int) -> tuple[Values, np.ndarray]:
    generator = np.random.default_rng(seed)
    values = {
        "age": generator.uniform(0, 80, count),
        "ward": generator.integers(0, 4, count).astype(float),
        "pulse": generator.uniform(40, 200, count),
    }
    values["pulse"][generator.random(count) < 0.2] = np.nan
    risk = (values["age"] > 45) * (values["ward"] == 1) + np.isnan(values["pulse"])
    labels = (generator.random(count) < 0.15 + 0.35 * risk).astype(np.int64)
    return values, labels


@pytest.mark.parametrize(("depth", "l2", "least"), [(1, 0.0, 1e-6), (3, 1.0, 1.0), (4, 10.0, 5.0)])
def test_one_site_grows_the_trees_of_a_straightforward_booster(
    depth: int, l2: float, least: float
) -> None:
    values, labels = patients(depth, 400)
    settings = TreeSettings(5, depth, 8, "histogram", l2, least)
    model = BoostedTrees(FEATURES, settings)
    inputs = encoded(values, FEATURES)
    whole(model, inputs, labels, settings.most_rounds)
    # Missing numbers are above all others; missing levels are a level.
    rows = [
        {name: np.inf if np.isnan(column[i]) else column[i] for name, column in values.items()}
        for i in range(400)
    ]
    candidates = {
        "age": [*np.arange(10, 81, 10)],
        "ward": [0.0, 1.0, 2.0, 3.0],
        "pulse": [*np.arange(60, 181, 20), 1e9],
    }
    booster = Booster(candidates, {"ward"}, l2, least)
    expected = booster.fit(rows, labels, 5, depth)
    np.testing.assert_allclose(logits(model, inputs), expected, atol=2e-5)
    assert len(np.unique(expected.round(6))) > 3


def test_they_are_the_trees_of_sklearn() -> None:
    generator = np.random.default_rng(7)
    x = generator.integers(0, 16, (600, 3))
    risk = (x[:, 0] > 8).astype(float) + (x[:, 1] > 3) * (x[:, 2] < 10)
    labels = (generator.random(600) < 0.1 + 0.4 * risk).astype(np.int64)
    order = np.argsort(labels, kind="stable")
    few = min(labels.sum(), 600 - labels.sum())
    balanced = np.concatenate([order[:few], order[-few:]])  # sklearn starts from the mean label
    x, labels = x[balanced], labels[balanced]
    features = tuple(Numeric(f"x{n}", -0.5, 15.5) for n in range(3))
    settings = TreeSettings(10, 3, 16, "histogram", 2.0, 1e-3)
    model = BoostedTrees(features, settings)
    inputs = encoded({f"x{n}": x[:, n].astype(float) for n in range(3)}, features)
    whole(model, inputs, labels, settings.most_rounds)
    theirs = HistGradientBoostingClassifier(
        learning_rate=RATE, max_iter=10, max_depth=3, max_leaf_nodes=None, min_samples_leaf=1,
        l2_regularization=2.0, early_stopping=False,
    ).fit(x, labels)  # fmt: skip
    np.testing.assert_allclose(logits(model, inputs), theirs.decision_function(x), atol=1e-4)


def test_leaves_of_random_trees_have_newtons_values() -> None:
    values, labels = patients(3, 300)
    torch.manual_seed(3)
    settings = TreeSettings(trees=4, tree_depth=2, tree_l2=3.0, tree_minimum_hessian=8.0)
    model = BoostedTrees(FEATURES, settings)
    inputs = encoded(values, FEATURES)
    whole(model, inputs, labels, 4)
    expected, light = np.zeros(300), 0
    reached = model._reached(model._binned(inputs), model._nodes()).numpy()
    for tree in range(4):
        p = 1 / (1 + np.exp(-expected))
        g, h = p - labels, p * (1 - p)
        step = np.zeros(300)
        for leaf in np.unique(reached[:, tree]):
            mine = reached[:, tree] == leaf
            light += h[mine].sum() < 8
            step[mine] = -RATE * g[mine].sum() / (max(h[mine].sum(), 8.0) + 3.0)
        expected += step
    np.testing.assert_allclose(logits(model, inputs), expected, atol=1e-5)
    assert light  # both sides of the bound were tried


def one_split(least: float) -> np.ndarray:
    """Nodes of a tree of 8 rows, of which h = 1/4 each, 2 of them left of the only split."""
    feature = Numeric("x", 0, 2)
    model = BoostedTrees([feature], TreeSettings(1, 1, 2, "histogram", 0.0, least))
    x = np.array([0.5, 0.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5])
    whole(model, encoded({"x": x}, (feature,)), (x > 1).astype(np.int64), 1)
    return model.trees.weight.detach().numpy().reshape(-1, 3)[[0, 3, 4, 5]]


def test_a_side_may_be_as_light_as_the_bound_and_no_lighter() -> None:
    counted, root, left, right = one_split(0.5)
    assert counted[0] == 1
    assert tuple(root) == (0, 0, 0)
    assert left[2] == pytest.approx(-RATE * 2 * 0.5 / 0.5)
    assert right[2] == pytest.approx(RATE * 6 * 0.5 / 1.5)
    counted, root, *_ = one_split(0.501)
    assert (counted[0], root[0]) == (1, -1)


def steps(model: BoostedTrees) -> int:
    return int(model.trees.weight.detach()[0, 0])


def test_a_tree_that_gains_nothing_more_is_done_and_the_next_begins() -> None:
    feature = Numeric("x", 0, 2)
    model = BoostedTrees([feature], TreeSettings(3, 3, 2, "histogram", 1.0, 0.1))
    x = np.repeat([0.5, 1.5], 10)
    inputs, labels = encoded({"x": x}, (feature,)), (x > 1).astype(np.int64)
    seen = []
    for _ in range(5):
        whole(model, inputs, labels, 1)
        seen.append(steps(model))
    # Below its root no tree can be split: the round that finds it out ends the tree.
    assert seen == [1, 3, 4, 6, 7]
    nodes = model.trees.weight.detach()[1:].view(3, 15, 3)
    assert (nodes[:, 0, 0] == 0).all()
    assert (nodes[:, 1:, 0] == -1).all()
    useless = BoostedTrees([feature], TreeSettings(3, 3, 2, "histogram", 1.0, 1e6))
    whole(useless, inputs, labels, 1)
    assert steps(useless) == 3  # not even the root: the second tree is next


def test_a_whole_model_stays_as_it_is() -> None:
    values, labels = patients(1, 100)
    for splits in ("random", "histogram"):
        model = BoostedTrees(FEATURES, TreeSettings(1, 1, 4, splits, 1.0, 1.0))
        once = whole(model, encoded(values, FEATURES), labels, 1)
        again = whole(model, encoded(values, FEATURES), labels, 1)
        np.testing.assert_array_equal(again, flat_parameters(model))
        np.testing.assert_allclose(again, once, rtol=1e-6)
        noise = np.random.default_rng(0).standard_normal(len(once))
        np.testing.assert_array_equal(grown(model.shape, once, noise, 100.0, RATE), once)


def test_noise_in_what_travels_beside_the_histogram_changes_nothing() -> None:
    values, labels = patients(2, 200)
    for splits in ("random", "histogram"):
        model = BoostedTrees(FEATURES, TreeSettings(2, 2, 4, splits, 1.0, 1.0))
        before = whole(model, encoded(values, FEATURES), labels, 1)
        update = np.random.default_rng(0).standard_normal(len(before))
        other = update.copy()
        other[model.histogram.weight.numel() :] += 5.0
        after = grown(model.shape, before, update, 200.0, RATE)
        np.testing.assert_array_equal(after, grown(model.shape, before, other, 200.0, RATE))
        assert not after[: model.histogram.weight.numel()].any()
        assert np.isfinite(after).all()
