"""A year of windows as a coordinator has them: sums of a reference and of 52 windows, made up.

Used by `evaluation.py`; run by itself it prints nothing.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from evaluation.assessment import Judged
    from federation.evaluation_record import FrozenReference, StageRecord

FEATURES, WINDOWS, ROWS, SITES = 50, 52, 5_000, 5
LEVELS = {"sex": ("F", "M"), "region": tuple("abcdefghi")}


def course() -> "tuple[Judged, FrozenReference, list[StageRecord]]":
    """What `evaluation.assessment.assess` takes: 44 groups, none of which changes."""
    from evaluation.assessment import Judged  # noqa: PLC0415
    from evaluation.measurement import (  # noqa: PLC0415
        Measurement,
        grid_terms,
    )
    from evaluation.monitoring.edge_search import frozen_grid  # noqa: PLC0415
    from evaluation.monitoring.feature_grid import survey_grid  # noqa: PLC0415
    from evaluation.run_layout import evaluation_spec  # noqa: PLC0415
    from federation.config import EvaluationRules  # noqa: PLC0415
    from federation.evaluation_agreement import Stage  # noqa: PLC0415
    from federation.evaluation_record import FrozenReference  # noqa: PLC0415
    from federation.evaluation_summary import Subject  # noqa: PLC0415
    from federation.schema import Numeric, SensitiveAttribute, TaskSchema  # noqa: PLC0415

    features = tuple(Numeric(f"feature {place}", -5, 5) for place in range(FEATURES))
    attributes = tuple(SensitiveAttribute(name, levels) for name, levels in LEVELS.items())
    schema = TaskSchema(features, "label", ("no", "yes"), attributes, maximum_rows=200_000)
    rules = EvaluationRules(intersections=(tuple(LEVELS),))
    spec = evaluation_spec(schema, rules)
    draws = np.random.default_rng(0)
    first = rows(draws, 4 * ROWS)
    grids = tuple(
        frozen_grid(f, survey_grid(f).count(first["features"][f.name]), None) for f in features
    )
    measurement = Measurement(spec, Stage.REFERENCE, grids)
    record = summed(measurement, first, "reference")
    reference = FrozenReference(grids=grid_terms(grids), stages=(), record=record)
    windows = [
        summed(replace(measurement), rows(draws, ROWS), f"week {week:02d}")
        for week in range(1, WINDOWS + 1)
    ]
    subject = Subject(
        run="made-up", name="made up", task="made up", rounds=1, sites=SITES, cohorts={},
        model_sha256="0" * 64, model_parameters=1, epsilon=None, label="label",
        positive_class="yes",
    )  # fmt: skip
    return Judged(subject, schema, rules, {}, "0" * 64, "0"), reference, windows


def rows(draws: np.random.Generator, count: int) -> dict:
    """Rows whose scores are calibrated."""
    score = draws.beta(1.2, 3.0, count)
    return {
        "score": score,
        "label": (draws.random(count) < score).astype(np.int64),
        "groups": {name: draws.integers(0, len(levels), count) for name, levels in LEVELS.items()},
        "features": {f"feature {place}": draws.normal(size=count) for place in range(FEATURES)},
    }


def summed(measurement: object, people: dict, name: str) -> "StageRecord":
    """The sum of five sites, each with every fifth row."""
    from evaluation.audit.confident_learning import CONFIDENT  # noqa: PLC0415
    from evaluation.measurement import WindowRows, count  # noqa: PLC0415
    from federation.evaluation_record import StageRecord  # noqa: PLC0415

    total: dict[str, np.ndarray] = {}
    for site in range(SITES):
        own = slice(site, None, SITES)
        score = people["score"][own]
        counted = count(
            measurement,
            WindowRows(
                {key: values[own] for key, values in people["features"].items()},
                people["label"][own],
                {key: codes[own] for key, codes in people["groups"].items()},
            ),
            np.stack([1 - score, score], axis=1),
        )
        for key, values in counted.items():
            total[key] = total.get(key, 0) + values
    total[CONFIDENT] = np.array([1.0, 0, 0, 1])
    return StageRecord(
        stage=measurement.stage, window=name, run="made-up", at="2026-01-01T00:00:00+00:00",
        agreement_sha256="0" * 64, spec_sha256=measurement.spec.digest(), model_sha256="0" * 64,
        survivors=tuple("abcde"),
        sums={f"overall/{key}": tuple(values.tolist()) for key, values in total.items()},
    )  # fmt: skip
