"""Rows in, integer tallies out: what a site counts on its held-out rows.

Every tally is a sum over rows of whole numbers (or of whole multiples of 2**-20), so that the sum
of the sites' tallies is the tally of their pooled rows, bit for bit, however rows are spread.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from evaluation.tally_spec import (
    FRACTION_BITS,
    SMALLEST_PROBABILITY,
    Bools,
    TallySpec,
    Window,
)
from federation.errors import DataError
from federation.schema import Feature, Numeric
from federation.task import Codes, Floats

Column = TypeVar("Column", Floats, Codes)

SUM_TOLERANCE = 1e-4
"""How far a row of probabilities may sum from 1: float32 softmax over many classes."""


def count_outcomes(
    spec: TallySpec, probabilities: Floats, targets: Codes, groups: Mapping[str, Codes]
) -> dict[str, Floats]:
    """Tallies of predictions against labels, per name of `spec.segments`.

    Binary: the second class is positive, and predicted where its probability is >= 0.5. More
    classes: the most probable is predicted, the first among equals. Scores fall into
    `floor(probability * bins)`, 1 into the last bin. Log loss is -ln of the true class's
    probability, counted as at least 1e-7; Brier score is the squared distance from the truth,
    summed over classes and halved if binary (as in sklearn).

    Args:
        spec: what to count.
        probabilities: shape (N, classes), rows summing to 1; N may be 0.
        targets: class index, shape (N,).
        groups: per sensitive attribute, index into `SensitiveAttribute.groups`, shape (N,).

    Returns:
        per segment name, shape (segment.length,), float64, whole numbers but for fractions.

    Raises:
        DataError: not probabilities, an index out of range, shapes that do not fit, or more rows
            than `schema.maximum_rows`. The text names the column, never a value of a row.
    """
    _check_probabilities(spec, probabilities)
    rows = len(probabilities)
    _check_codes("targets", targets, rows, len(spec.schema.classes))
    for attribute in spec.schema.attributes:
        codes = _column(groups, attribute.name)
        _check_codes(f"attribute {attribute.name}", codes, rows, len(attribute.groups))
    count = _binary_tallies if spec.schema.is_binary else _multiclass_tallies
    tallies = dict(count(spec, probabilities, targets, groups))
    truth = np.eye(len(spec.schema.classes))[targets]
    brier = np.sum(np.square(probabilities - truth), axis=1)
    log_loss = -np.log(np.maximum(np.sum(probabilities * truth, axis=1), SMALLEST_PROBABILITY))
    tallies |= {"rows": np.array([float(rows)])}
    tallies |= _exact_sum("log_loss", log_loss)
    return tallies | _exact_sum("brier", brier / 2 if spec.schema.is_binary else brier)


def count_features(
    spec: TallySpec, features: Mapping[str, Floats], window: Window
) -> dict[str, Floats]:
    """Feature histograms of one window, per name of `spec.window_segments`.

    Inner bins are [low, high), the last one closed; NaN is missing; a level not declared is other.

    Args:
        spec: what to count.
        features: per feature, shape (N,): the number, or the level's index, NaN if missing.
        window: which window the rows are of.

    Raises:
        DataError: a feature is absent, holds a code that is no level's, or has too many rows or
            another number of them than the rest. The text never holds a value of a row.
    """
    columns = {f.name: _column(features, f.name) for f in spec.schema.features}
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise DataError(f"features have shapes {shapes}: expected (rows,), the same for all")
    return {
        f"{window}/{f.name}": _histogram(spec, f, columns[f.name]) for f in spec.schema.features
    }


def _binary_tallies(
    spec: TallySpec, probabilities: Floats, targets: Codes, groups: Mapping[str, Codes]
) -> Iterator[tuple[str, Floats]]:
    score = probabilities[:, 1]
    predicted = score >= 0.5
    yield "correct", _counts(predicted == targets, 2)[1:]
    for group in spec.groups:
        inside = group.members(groups, len(targets))
        yield from _tables(spec, group.label, score[inside], predicted[inside], targets[inside])


def _multiclass_tallies(
    spec: TallySpec, probabilities: Floats, targets: Codes, groups: Mapping[str, Codes]
) -> Iterator[tuple[str, Floats]]:
    predicted = np.argmax(probabilities, axis=1)
    correct = predicted == targets
    yield "correct", _counts(correct, 2)[1:]
    for group in spec.groups:
        inside = group.members(groups, len(targets))
        yield f"hits/{group.label}", np.array([inside.sum(), (inside & correct).sum()], np.float64)
    for code, label in enumerate(spec.class_labels):
        truth = (targets == code).astype(np.int64)
        yield from _tables(spec, label, probabilities[:, code], predicted == code, truth)


def _tables(
    spec: TallySpec, label: str, score: Floats, predicted: Bools, truth: Codes
) -> Iterator[tuple[str, Floats]]:
    bins = spec.score_bins
    bin_of = np.minimum((score * bins).astype(np.int64), bins - 1)
    yield f"confusion/{label}", _counts(2 * truth + predicted, 4)
    yield f"scores/{label}", _counts(bins * truth + bin_of, 2 * bins)


def _histogram(spec: TallySpec, feature: Feature, values: Floats) -> Floats:
    if len(values) > spec.schema.maximum_rows:
        raise DataError(_too_many(len(values), spec))
    bins, known = len(spec.bin_labels(feature)), ~np.isnan(values)
    where = np.full(len(values), bins - 1)
    if isinstance(feature, Numeric):
        edges = spec.edges(feature)
        inner = np.searchsorted(edges, values[known], side="right")
        # The last edge belongs to the bin below it, so that the public range is closed.
        where[known] = np.where(values[known] == feature.high, len(edges) - 1, inner)
        return _counts(where, bins)
    codes = values[known]
    if not np.all(np.isin(codes, np.arange(bins - 1))):
        raise DataError(
            f"feature {feature.name}: expected level indices 0 to {len(feature.levels) - 1}, "
            f"{len(feature.levels)} for any other level, NaN for missing"
        )
    where[known] = codes.astype(np.int64)
    return _counts(where, bins)


def _counts(indices: npt.NDArray[np.int64] | Bools, length: int) -> Floats:
    return np.bincount(indices.astype(np.int64), minlength=length).astype(np.float64)


def _exact_sum(name: str, values: Floats) -> dict[str, Floats]:
    codes = np.rint(values * 2**FRACTION_BITS).astype(np.int64)
    whole, fraction = divmod(int(codes.sum()), 2**FRACTION_BITS)
    return {
        f"{name}/whole": np.array([float(whole)]),
        f"{name}/fraction": np.array([fraction / 2**FRACTION_BITS]),
    }


def _column(columns: Mapping[str, Column], name: str) -> Column:
    if name not in columns:
        raise DataError(f"column {name} is absent: the task's rows must hold what its schema says")
    return columns[name]


def _check_probabilities(spec: TallySpec, probabilities: Floats) -> None:
    classes = len(spec.schema.classes)
    if probabilities.ndim != 2 or probabilities.shape[1] != classes:
        raise DataError(f"probabilities: expected (rows, {classes}), got {probabilities.shape}")
    if len(probabilities) > spec.schema.maximum_rows:
        raise DataError(_too_many(len(probabilities), spec))
    within = np.all((probabilities >= 0) & (probabilities <= 1))  # also catches NaN
    sums = probabilities.sum(axis=1)
    if not within or not np.all(np.abs(sums - 1) <= SUM_TOLERANCE):
        raise DataError(
            "probabilities: a row is NaN, outside [0, 1] or does not sum to 1; "
            "check the task's `probabilities` and that training did not diverge"
        )


def _check_codes(name: str, codes: Codes, rows: int, count: int) -> None:
    if codes.shape != (rows,) or not np.issubdtype(codes.dtype, np.integer):
        raise DataError(f"{name}: expected ({rows},) integers, got {codes.shape} {codes.dtype}")
    if not np.all((codes >= 0) & (codes < count)):
        raise DataError(f"{name}: expected indices 0 to {count - 1}")


def _too_many(rows: int, spec: TallySpec) -> str:
    return (
        f"{rows} rows: expected at most schema.maximum_rows = {spec.schema.maximum_rows}; "
        "raise it in the task's schema"
    )
