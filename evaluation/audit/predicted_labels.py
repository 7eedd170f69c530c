"""Labels held against predictions: how many look wrong, and which rows to label again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.audit.class_balance import class_counts
from evaluation.audit.confident_learning import label_noise
from evaluation.audit.document import (
    DoubtfulRow,
    NoiseEstimate,
    Predictions,
    PredictionSource,
)
from evaluation.audit.doubtful_rows import doubt
from evaluation.audit.rows import SPLITS, AuditData, Split
from federation.errors import DataError
from federation.schema import TaskSchema
from federation.task import Codes, Floats


@dataclass(frozen=True, slots=True)
class RowPredictions:
    """Class probabilities of the rows of some splits, out of sample.

    Attributes:
        source: of them.
        probabilities: per split, shape (N, classes).
        folds: into how many parts the rows were dealt; 0 with a model.
        model_sha256: of the model that was given.
        reason: why there are none.
    """

    source: PredictionSource
    probabilities: Mapping[Split, Floats]
    folds: int = 0
    model_sha256: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DoubtedLabels:
    """What the document says of them.

    Attributes:
        facts: where the predictions came from, and how often they are right.
        noise: None without predictions.
        mislabelled: rows that confident learning counts as another class.
        likely_mislabelled: the first of them, least probable label first.
        most_uncertain: rows of the least margin.
    """

    facts: Predictions
    noise: NoiseEstimate | None = None
    mislabelled: int = 0
    likely_mislabelled: tuple[DoubtfulRow, ...] = ()
    most_uncertain: tuple[DoubtfulRow, ...] = ()


def labels_against(
    schema: TaskSchema, data: AuditData, predicted: RowPredictions, top: int
) -> DoubtedLabels:
    """The labels of the splits that have predictions, held against them.

    Args:
        schema: of the task.
        data: the rows.
        predicted: their probabilities.
        top: how many rows each ranking lists.

    Raises:
        DataError: probabilities are none, or not as many as rows.
    """
    splits = tuple(split for split in SPLITS if split in predicted.probabilities)
    if not sum(len(data.split(split)) for split in splits):
        reason = predicted.reason or "No row has a prediction."
        facts = Predictions(source="none", model_sha256=predicted.model_sha256, reason=reason)
        return DoubtedLabels(facts)
    probabilities = _pooled(schema, data, predicted, splits)
    rows = data.pooled(splits)
    noise, doubts = label_noise(probabilities, rows.targets), doubt(probabilities, rows.targets)
    places = [(split, row) for split in splits for row in range(len(data.split(split)))]

    def listed(chosen: Codes) -> tuple[DoubtfulRow, ...]:
        return tuple(
            DoubtfulRow(
                split=places[place][0],
                row=places[place][1],
                number=None if rows.numbers is None else int(rows.numbers[place]),
                given=schema.classes[int(rows.targets[place])],
                suggested=schema.classes[int(doubts.suggested[place])],
                margin=float(doubts.margin[place]),
                entropy=float(doubts.entropy[place]),
                self_confidence=float(doubts.self_confidence[place]),
            )
            for place in chosen.tolist()
        )

    return DoubtedLabels(
        Predictions(
            source=predicted.source,
            model_sha256=predicted.model_sha256,
            folds=predicted.folds,
            splits=splits,
            rows=len(rows),
            accuracy=float(np.mean(doubts.suggested == rows.targets)),
            majority_accuracy=int(class_counts(schema, rows).max()) / len(rows),
        ),
        NoiseEstimate(
            joint=tuple(map(tuple, noise.joint.tolist())),
            wrong=noise.wrong,
            share=noise.wrong / noise.rows,
        ),
        int(doubts.is_mislabelled.sum()),
        listed(doubts.likely_mislabelled(top)),
        listed(doubts.most_uncertain(top)),
    )


def _pooled(
    schema: TaskSchema, data: AuditData, predicted: RowPredictions, splits: Sequence[Split]
) -> Floats:
    for split in splits:
        found = predicted.probabilities[split].shape
        expected = (len(data.split(split)), len(schema.classes))
        if found != expected:
            raise DataError(f"{split}, predictions: expected {expected}, got {found}")
    return np.concatenate([predicted.probabilities[split] for split in splits])
