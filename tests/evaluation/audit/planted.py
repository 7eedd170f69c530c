"""A site's rows with planted problems, and the same without."""

import numpy as np

from evaluation.audit.rows import SPLITS, AuditData, AuditRows, pooled
from federation.schema import Categorical, Numeric, SensitiveAttribute, TaskSchema

SCHEMA = TaskSchema(
    (
        Numeric("age", 0, 100, "years"),
        Numeric("pressure", 50, 250, "mmHg"),
        Categorical("ward", ("medicine", "surgery")),
        Numeric("site_code", 0, 10),
        Numeric("discharge_code", -10, 10),
    ),
    "readmitted",
    ("no", "yes"),
    (SensitiveAttribute("sex", ("F", "M")),),
    maximum_rows=20_000,
)
SIZES = {"train": 700, "reference": 150, "current": 150}
CANARY = 87.654321
"""An age that no page, document or list may show."""


def clean(seed=0, sizes=SIZES) -> AuditData:
    """Rows without a problem; `site_code` varies and `discharge_code` tells little."""
    draw = np.random.default_rng(seed)

    def rows(count: int) -> AuditRows:
        targets = draw.integers(2, size=count)
        return AuditRows(
            {
                "age": draw.uniform(20, 90, count) + 3 * targets,
                "pressure": draw.normal(130, 15, count) + 15 * targets,
                "ward": draw.integers(2, size=count).astype(float),
                "site_code": draw.uniform(0, 10, count),
                "discharge_code": draw.normal(size=count),
            },
            targets,
            {"sex": draw.integers(2, size=count)},
        )

    return AuditData(*(rows(sizes[split]) for split in SPLITS))


def planted(seed=0) -> AuditData:
    """With every problem that a check looks for."""
    data = clean(seed)
    return AuditData(*(_spoilt(data.split(split), data.train, split) for split in SPLITS))


def _spoilt(rows: AuditRows, train: AuditRows, split: str) -> AuditRows:
    features = {name: values.copy() for name, values in rows.features.items()}
    features["age"][0] = CANARY
    features["age"][1:20] = 999.0
    features["pressure"][np.flatnonzero(rows.targets)[::2]] = np.nan
    features["ward"][:40] = 2.0
    features["site_code"][:] = 7.0
    features["discharge_code"] += 8 * rows.targets - 4
    sex = rows.groups["sex"].copy()
    sex[110:][rows.targets[110:] == 1] = 2  # nobody of unknown sex has the other class
    spoilt = AuditRows(features, rows.targets, {"sex": sex})
    parts = [spoilt, take(spoilt, range(52))]
    if split == "train":
        parts.append(flipped(take(spoilt, range(60, 66))))
    else:
        parts.append(take(_spoilt(train, train, "train"), range(100, 110)))
    return pooled(parts)


def take(rows: AuditRows, places) -> AuditRows:
    chosen = np.asarray(list(places), dtype=np.int64)
    return AuditRows(
        {name: values[chosen] for name, values in rows.features.items()},
        rows.targets[chosen],
        {name: codes[chosen] for name, codes in rows.groups.items()},
    )


def flipped(rows: AuditRows) -> AuditRows:
    return AuditRows(rows.features, 1 - rows.targets, rows.groups)
