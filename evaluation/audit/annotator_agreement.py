"""How far people who label the same rows agree, beyond chance: Cohen's and Fleiss' kappa.

Cohen 1960 for two raters; Fleiss 1971 for more, on the rows that all of them labelled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evaluation.group_metrics import Counts
from federation.task import UNLABELLED, Codes


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two or more raters.

    Attributes:
        raters: their names.
        rows: that all of them labelled.
        observed: share of (pairs of) labels that agree; None without rows.
        kappa: 1 is perfect, 0 what chance gives; None without rows, or if only one class was given.
    """

    raters: tuple[str, ...]
    rows: int
    observed: float | None
    kappa: float | None


def agreements(labels: Mapping[str, Codes], classes: int) -> tuple[Agreement, ...]:
    """Of every two raters and, if there are more than two, of all of them first.

    Args:
        labels: per rater, class index or UNLABELLED, shape (N,).
        classes: number of classes.
    """
    pairs = tuple(cohen((a, b), labels[a], labels[b], classes) for a, b in combinations(labels, 2))
    return (fleiss(labels, classes), *pairs) if len(labels) > 2 else pairs


def cohen(raters: tuple[str, str], first: Codes, second: Codes, classes: int) -> Agreement:
    """Of two raters, on the rows that both labelled."""
    both = (first != UNLABELLED) & (second != UNLABELLED)
    flat = np.bincount(first[both] * classes + second[both], minlength=classes * classes)
    table = flat.reshape(classes, classes)
    rows = int(table.sum())
    if not rows:
        return Agreement(raters, 0, None, None)
    observed = float(np.trace(table) / rows)
    expected = float(table.sum(axis=1) @ table.sum(axis=0) / rows**2)
    return Agreement(raters, rows, observed, _beyond_chance(observed, expected))


def fleiss(labels: Mapping[str, Codes], classes: int) -> Agreement:
    """Of all raters, on the rows that all of them labelled."""
    votes = _votes(labels, classes)
    raters, rows, count = tuple(labels), len(votes), len(labels)
    if not rows:
        return Agreement(raters, 0, None, None)
    observed = float(np.mean(np.sum(votes * (votes - 1), axis=1)) / (count * (count - 1)))
    expected = float(np.sum((votes.sum(axis=0) / votes.sum()) ** 2))
    return Agreement(raters, rows, observed, _beyond_chance(observed, expected))


def _votes(labels: Mapping[str, Codes], classes: int) -> Counts:
    """Raters per row and class, of the rows without a gap, shape (rows, classes)."""
    given = np.stack(list(labels.values()), axis=1)
    whole = given[(given != UNLABELLED).all(axis=1)]
    return np.stack([(whole == place).sum(axis=1) for place in range(classes)], axis=1)


def _beyond_chance(observed: float, expected: float) -> float | None:
    return None if expected >= 1 else (observed - expected) / (1 - expected)
