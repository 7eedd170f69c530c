"""A site's rows in, whole numbers out: what it adds to the sum of each query, before any noise.

The sum of the sites' numbers is the number of their pooled rows, however rows are spread.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.analytics.fixed_point import Integers, join, split
from evaluation.analytics.plan import (
    CELLS,
    SITES,
    SQUARES,
    SUM,
    AnalyticsPlan,
    Part,
    QueryPlan,
    inner_edges,
)
from evaluation.tally_spec import Bools
from federation.errors import DataError
from federation.schema import Categorical, Numeric
from federation.task import Codes, Floats


def count(
    plan: AnalyticsPlan, features: Mapping[str, Floats], groups: Mapping[str, Codes]
) -> dict[Part, Integers]:
    """Values of every part.

    Args:
        plan: what to count.
        features: per feature of the schema, shape (N,): the number, or the level's index
            (`len(levels)` for one not declared), NaN if missing.
        groups: per sensitive attribute, index into its groups, shape (N,).

    Raises:
        DataError: a column is absent or of another length, a code is none, or there are more rows
            than the plan allows for. The text names the column, never a value of a row.
    """
    rows = _rows(plan, features, groups)
    values: dict[Part, Integers] = {}
    for query in plan.queries:
        values |= _count_query(query, features, groups, query.group.members(groups, rows))
    return values


def encode(values: Mapping[Part, Integers]) -> dict[str, Floats]:
    """What the parts hold, by segment of the layout.

    Raises:
        ValueError: a value beyond its part's bound; nothing is cut here.
    """
    segments: dict[str, Floats] = {}
    for part, whole in values.items():
        if not np.all(np.abs(whole) <= part.bound):
            raise ValueError(f"{part.query}/{part.role}: a value beyond {part.bound}")
        names = part.segment_names
        segments |= dict(zip(names, split(whole, len(names)), strict=True))
    return segments


def decode(plan: AnalyticsPlan, sums: Mapping[str, Floats]) -> dict[Part, list[int]]:
    """Undo `encode` on the sums of several sites, exactly."""
    return {part: join(tuple(sums[name] for name in part.segment_names)) for part in plan.parts}


def _count_query(
    plan: QueryPlan, features: Mapping[str, Floats], groups: Mapping[str, Codes], inside: Bools
) -> dict[Part, Integers]:
    cells = _cells(plan, features, groups, inside)
    values = {plan.part(CELLS): cells}
    for part in plan.parts[1:]:
        if part.role == SITES:
            values[part] = np.array([int(cells.sum() > 0)], np.int64)
        else:
            values[part] = np.array([_moment(plan, features, inside, part.role)], np.int64)
    return values


def _cells(
    plan: QueryPlan, features: Mapping[str, Floats], groups: Mapping[str, Codes], inside: Bools
) -> Integers:
    column = plan.column
    if column is None:
        return np.array([inside.sum()], np.int64)
    if isinstance(column, Numeric):
        where = _bins(plan, features[column.name][inside])
    elif isinstance(column, Categorical):
        where = _levels(column, features[column.name][inside])
    else:
        where = groups[column.name][inside]
    return np.bincount(where, minlength=len(plan.labels)).astype(np.int64)


def _bins(plan: QueryPlan, values: Floats) -> Codes:
    """Index into `plan.labels`; inner bins are [low, high), the last one closed, NaN is missing."""
    edges = inner_edges(plan)
    where = np.searchsorted(edges, values, side="right")
    where[values == edges[-1]] = len(edges) - 1
    where[np.isnan(values)] = len(plan.labels) - 1
    return where.astype(np.int64)


def _levels(column: Categorical, values: Floats) -> Codes:
    missing = len(column.levels) + 1
    codes = np.where(np.isnan(values), missing, values)
    if not np.all((codes == np.rint(codes)) & (codes >= 0) & (codes <= missing)):
        raise DataError(f"column {column.name}: expected indices of levels")
    return codes.astype(np.int64)


def _moment(plan: QueryPlan, features: Mapping[str, Floats], inside: Bools, role: str) -> int:
    assert plan.column is not None
    values = features[plan.column.name][inside]
    codes = plan.grid.codes(values[~np.isnan(values)])
    return int({SUM: codes, SQUARES: codes * codes}[role].sum())


def _rows(plan: AnalyticsPlan, features: Mapping[str, Floats], groups: Mapping[str, Codes]) -> int:
    """How many there are."""
    _require_columns("feature", features, [f.name for f in plan.schema.features])
    _require_columns("attribute", groups, [a.name for a in plan.schema.attributes])
    shapes = {column.shape for column in (*features.values(), *groups.values())}
    if len(shapes) != 1 or any(len(shape) != 1 for shape in shapes):
        raise DataError(f"columns have shapes {sorted(shapes)}: expected (rows,), the same for all")
    for attribute in plan.schema.attributes:
        codes = groups[attribute.name]
        if not np.all((codes >= 0) & (codes < len(attribute.groups))):
            raise DataError(f"attribute {attribute.name}: expected indices of its groups")
    ((rows,),) = shapes
    if rows > plan.most_rows:
        raise DataError(
            f"{rows} rows: expected at most {plan.most_rows}, schema.maximum_rows and the training "
            "rows that are declared in public; raise it in the task's schema"
        )
    return int(rows)


def _require_columns(
    kind: str, columns: Mapping[str, Floats] | Mapping[str, Codes], names: Sequence[str]
) -> None:
    for name in names:
        if name not in columns:
            raise DataError(f"{kind} {name} is absent: rows must hold what their schema says")
