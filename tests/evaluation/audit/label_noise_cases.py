"""Seeded predictions with flipped labels; the legacy generator's stream never changes."""

import numpy as np

CASES = tuple(
    (seed, rows, classes, flipped)
    for seed, rows, classes in ((1, 80, 2), (2, 1500, 2), (3, 1500, 3), (4, 2500, 10))
    for flipped in (0, 5, 10, 20)
)
"""Seed, rows, classes, flipped labels in percent."""


def case(seed: int, rows: int, classes: int, flipped: int):
    """Probabilities, shape (rows, classes), and given labels, shape (rows,)."""
    given, probabilities, _ = flipped_case(seed, rows, classes, flipped)
    return probabilities, given


def flipped_case(seed: int, rows: int, classes: int, flipped: int):
    """Given labels, probabilities, and which labels were flipped."""
    draw = np.random.RandomState(seed)
    true = draw.randint(classes, size=rows)
    scores = draw.normal(size=(rows, classes)) + 2.5 * np.eye(classes)[true]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    wrong = draw.uniform(size=rows) < flipped / 100
    shift = draw.randint(1, classes, size=rows)
    return np.where(wrong, (true + shift) % classes, true), probabilities, wrong
