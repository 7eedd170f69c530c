"""Rows in, integer tallies out: what a site counts on its held-out rows.

Every tally is a sum over rows of whole numbers (or of whole multiples of 2**-20), so that the sum
of the sites' tallies is the tally of their pooled rows, bit for bit, however rows are spread.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from evaluation.binning import bin_indices
from evaluation.tally_spec import (
    FRACTION_BITS,
    SMALLEST_PROBABILITY,
    Bools,
    Family,
    Group,
    TallySpec,
    Window,
    places,
)
from federation.errors import DataError
from federation.schema import Categorical, Feature, Numeric
from federation.task import Codes, Floats

Column = TypeVar("Column", Floats, Codes)

HALF = 0.5
"""Of the probability of the positive class, from which on it is predicted."""

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
    require_rows(spec, probabilities, targets, groups)
    count = _binary_tallies if spec.schema.is_binary else _multiclass_tallies
    tallies = dict(count(spec, probabilities, targets.astype(np.int64), groups))
    tallies["rows"] = np.array([float(len(targets))])
    log_loss, brier = row_losses(spec, probabilities, targets)
    tallies |= exact_sums("log_loss", log_loss.sum(keepdims=True))
    return tallies | exact_sums("brier", brier.sum(keepdims=True))


@dataclass(frozen=True, slots=True)
class SiteOfRow:
    """Whose rows are counted, where those of several sites are counted at once.

    Attributes:
        codes: the site of each row, shape (N,), 0 to `sites` - 1.
        sites: how many there are.
    """

    codes: Codes
    sites: int


def outcomes_by_site(
    spec: TallySpec,
    family: Family,
    judged: tuple[Floats, Codes, Mapping[str, Codes]],
    of: SiteOfRow,
) -> Codes:
    """TN, FP, FN, TP of a family's groups at each site, shape (sites, groups, 4), int64.

    With more than two classes as `TallySums.outcomes` has them: what is wrong in FN, right in TP.

    Args:
        spec: what is counted.
        family: of groups.
        judged: arguments of `count_outcomes`, known to be right, of all sites' rows.
        of: which site each row is of.
    """
    probabilities, targets, groups = judged
    if spec.schema.is_binary:
        outcome = _outcome(targets.astype(np.int64), probabilities[:, 1] >= HALF)
    else:
        outcome = 2 + (np.argmax(probabilities, axis=1) == targets)
    place = len(family) * of.codes + places(family, groups, len(targets))
    counted = table(place, of.sites * len(family), outcome, 4)
    return counted.astype(np.int64).reshape(of.sites, len(family), 4)


def row_losses(spec: TallySpec, probabilities: Floats, targets: Codes) -> tuple[Codes, Codes]:
    """Log loss and Brier score of each row in multiples of 2**-20, shape (N,) each."""
    errors, every = probabilities.astype(np.float64), np.arange(len(targets))
    log_loss = -np.log(np.maximum(errors[every, targets], SMALLEST_PROBABILITY))
    errors[every, targets] -= 1
    brier = np.sum(np.square(errors, out=errors), axis=1)
    brier = brier / 2 if spec.schema.is_binary else brier
    return fixed_point(log_loss), fixed_point(brier)


def require_rows(
    spec: TallySpec, probabilities: Floats, targets: Codes, groups: Mapping[str, Codes]
) -> None:
    """Return if the arguments of `count_outcomes` are what it says; else raise as it does."""
    _check_probabilities(spec, probabilities)
    rows = len(probabilities)
    _check_codes("targets", targets, rows, len(spec.schema.classes))
    for attribute in spec.schema.attributes:
        codes = _column(groups, attribute.name)
        _check_codes(f"attribute {attribute.name}", codes, rows, len(attribute.groups))


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
    require_features(spec, features)
    return {
        f"{window}/{f.name}": _histogram(spec, f, features[f.name]) for f in spec.schema.features
    }


def require_features(spec: TallySpec, features: Mapping[str, Floats]) -> None:
    """Return if all features are there, each of as many rows; else raise as `count_features`."""
    shapes = {f.name: _column(features, f.name).shape for f in spec.schema.features}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise DataError(f"features have shapes {shapes}: expected (rows,), the same for all")
    for (rows,) in list(shapes.values())[:1]:
        require_few_rows(spec, rows)


def _binary_tallies(
    spec: TallySpec, probabilities: Floats, targets: Codes, groups: Mapping[str, Codes]
) -> Iterator[tuple[str, Floats]]:
    score = probabilities[:, 1]
    predicted = score >= HALF
    yield "correct", _counts(predicted == targets, 2)[1:]
    outcome, cell = _outcome(targets, predicted), _score_cell(spec, targets, score)
    for family in ((Group(),), *spec.families):
        place = places(family, groups, len(targets))
        confusion = table(place, len(family), outcome, 4)
        scores = table(place, len(family), cell, 2 * spec.score_bins)
        for group, outcomes, histogram in zip(family, confusion, scores, strict=True):
            yield f"confusion/{group.label}", outcomes
            yield f"scores/{group.label}", histogram


def _multiclass_tallies(
    spec: TallySpec, probabilities: Floats, targets: Codes, groups: Mapping[str, Codes]
) -> Iterator[tuple[str, Floats]]:
    predicted = np.argmax(probabilities, axis=1)
    correct = (predicted == targets).astype(np.int64)
    yield "correct", _counts(correct, 2)[1:]
    for family in ((Group(),), *spec.families):
        hits = table(places(family, groups, len(targets)), len(family), correct, 2)
        for group, (wrong, right) in zip(family, hits, strict=True):
            yield f"hits/{group.label}", np.array([wrong + right, right])
    for code, label in enumerate(spec.class_labels):
        truth, score = (targets == code).astype(np.int64), probabilities[:, code]
        yield f"confusion/{label}", _counts(_outcome(truth, predicted == code), 4)
        yield f"scores/{label}", _counts(_score_cell(spec, truth, score), 2 * spec.score_bins)


def _outcome(truth: Codes, predicted: Bools) -> Codes:
    """Place in TN, FP, FN, TP, shape (N,)."""
    return 2 * truth + predicted


def _score_cell(spec: TallySpec, truth: Codes, score: Floats) -> Codes:
    """Place in a table of label by score bin, shape (N,)."""
    return spec.score_bins * truth + score_bin(spec, score)


def score_bin(spec: TallySpec, score: Floats) -> Codes:
    """The bin of each score in [0, 1], shape (N,)."""
    return np.minimum((score * spec.score_bins).astype(np.int64), spec.score_bins - 1)


def table(
    row: Codes, rows: int, column: Codes, columns: int, weights: Floats | None = None
) -> Floats:
    """How often each pair occurs, or the sum of their weights; shape (rows, columns).

    One pass over the data, however many groups the rows of the table are.
    """
    counted = np.bincount(row * columns + column, weights, minlength=rows * columns)
    return counted.reshape(rows, columns).astype(np.float64)


def _histogram(spec: TallySpec, feature: Feature, values: Floats) -> Floats:
    bins = len(spec.bin_labels(feature))
    if not isinstance(feature, Numeric):
        return _level_counts(feature, values, bins)
    counts = _counts(bin_indices(spec.edges(feature), values), bins)
    # The last edge belongs to the bin below it, so that the public range is closed; the search
    # puts it, and what is missing, above.
    at_high, missing = np.count_nonzero(values == feature.high), np.count_nonzero(np.isnan(values))
    counts[-3:] += [at_high, -at_high - missing, missing]
    return counts


def _level_counts(feature: Categorical, values: Floats, bins: int) -> Floats:
    known = values[~np.isnan(values)]
    if not np.all((known >= 0) & (known < bins - 1) & (known == np.floor(known))):
        raise DataError(
            f"feature {feature.name}: expected level indices 0 to {len(feature.levels) - 1}, "
            f"{len(feature.levels)} for any other level, NaN for missing"
        )
    counts = _counts(known, bins)
    counts[-1] = len(values) - len(known)
    return counts


def _counts(indices: Codes | Bools | Floats, length: int) -> Floats:
    """How often each whole number occurs, shape (length,)."""
    return np.bincount(indices.astype(np.int64), minlength=length).astype(np.float64)


def fixed_point(values: Floats) -> Codes:
    """Multiples of 2**-20, rounded to nearest, as integers."""
    codes: Codes = np.rint(values * 2**FRACTION_BITS).astype(np.int64)
    return codes


def exact_sums(name: str, sums: Codes) -> dict[str, Floats]:
    """Sums of fixed-point numbers in two words each, `NAME/whole` and `NAME/fraction`."""
    whole, fraction = np.divmod(sums, 2**FRACTION_BITS)
    return {
        f"{name}/whole": whole.astype(np.float64),
        f"{name}/fraction": fraction / 2**FRACTION_BITS,
    }


def _column(columns: Mapping[str, Column], name: str) -> Column:
    if name not in columns:
        raise DataError(f"column {name} is absent: the task's rows must hold what its schema says")
    return columns[name]


def _check_probabilities(spec: TallySpec, probabilities: Floats) -> None:
    classes = len(spec.schema.classes)
    if probabilities.ndim != 2 or probabilities.shape[1] != classes:
        raise DataError(f"probabilities: expected (rows, {classes}), got {probabilities.shape}")
    require_few_rows(spec, len(probabilities))
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


def require_few_rows(spec: TallySpec, rows: int) -> None:
    """Return if one site may count as many rows.

    Raises:
        DataError: there are more than `schema.maximum_rows`.
    """
    if rows > spec.schema.maximum_rows:
        raise DataError(
            f"{rows} rows: expected at most schema.maximum_rows = {spec.schema.maximum_rows}; "
            "raise it in the task's schema"
        )
