"""Windows of a made-up population, with whatever has changed in them."""

import numpy as np

from evaluation.monitoring.edge_search import frozen_grid, refinement
from evaluation.monitoring.feature_grid import survey_grid
from evaluation.monitoring.window_counts import WindowCounts
from evaluation.tally_spec import TallySpec
from federation.schema import Categorical, Numeric, SensitiveAttribute, TaskSchema

FEATURES = (
    Numeric("age", 0, 100, "years"),
    Numeric("lab", 0.01, 1e4, scale="log"),
    Numeric("gain", 0, 1e5),
    Categorical("ward", tuple("ABCDEFGH")),
    Categorical("sex", ("F", "M")),
)
SPEC = TallySpec(
    TaskSchema(
        FEATURES, "died", ("no", "yes"),
        (SensitiveAttribute("sex", ("F", "M")), SensitiveAttribute("race", tuple("pqr"))),
    )
)  # fmt: skip
WARDS = [0.3, 0.2, 0.2, 0.1, 0.1, 0.03, 0.03, 0.02, 0.015, 0.005]


def grids_of(columns):
    grids = []
    for feature in FEATURES:
        values = columns[feature.name]
        counts = survey_grid(feature).count(values)
        finer = refinement(feature, counts)
        refined = None if finer is None else (finer, finer.count(values))
        grids.append(frozen_grid(feature, counts, refined))
    return tuple(grids)


def columns(rng, rows, older=0.0, missing=0.03):
    ward = rng.choice(10, rows, p=WARDS).astype(float)
    age = rng.normal(50 + older, 15, rows)
    age[rng.random(rows) < missing] = np.nan
    return {
        "age": age,
        "lab": rng.lognormal(1, 2, rows),
        "gain": np.where(rng.random(rows) < 0.9, 0, rng.lognormal(7, 1, rows)),
        "ward": np.where(ward == 9, np.nan, ward),
        "sex": rng.integers(0, 2, rows).astype(float),
    }


def window(rng, rows, grids, name="now", older=0.0, missing=0.03, flipped=0.0, flipped_f=0.0):
    """`flipped`: labels turned over at random, at this rate; `flipped_f`: women's, besides."""
    values = columns(rng, rows, older, missing)
    score = rng.beta(2, 3, rows)
    groups = {"sex": values["sex"].astype(int), "race": rng.choice(3, rows, p=[0.7, 0.2, 0.1])}
    label = (rng.random(rows) < score).astype(int)
    label ^= rng.random(rows) < flipped + flipped_f * (groups["sex"] == 0)
    predicted = (score >= 0.5).astype(int)
    scores = np.zeros((2, 50), int)
    np.add.at(scores, (label, np.minimum((score * 50).astype(int), 49)), 1)
    confusions = {
        group.label: np.bincount((2 * label + predicted)[group.members(groups, rows)], minlength=4)
        for group in SPEC.groups
    }
    features = {grid.feature.name: grid.count(values[grid.feature.name]) for grid in grids}
    return WindowCounts(name, rows, features, scores, confusions, np.array([score.sum()]))


def noisy(rng, counts, deviation):
    """The same sums with noise in every count."""

    def add(cells):
        return cells + np.rint(rng.normal(0, deviation, cells.shape)).astype(int)

    return WindowCounts(
        counts.name, counts.rows, {name: add(cells) for name, cells in counts.features.items()},
        add(counts.scores), {label: add(cells) for label, cells in counts.confusions.items()},
        None, deviation**2,
    )  # fmt: skip
