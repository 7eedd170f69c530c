"""What is counted for each query, from schema and queries alone, so that both sides derive it.

A query becomes parts: vectors of whole numbers that one record moves by a public sensitivity.
Numbers are centred on the middle of their bounds, which halves what one record can add to a sum.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from evaluation.analytics.fixed_point import LARGEST_EXACT, LARGEST_TOTAL, LIMB_BITS, Grid, limbs
from evaluation.tally_spec import Group, Level
from federation.analytics_agreement import AnalyticsAgreement
from federation.analytics_query import DEFAULT_BINS, DEFAULT_RESOLUTION, MOMENTS, MOST_BINS, Query
from federation.config_file import require_known
from federation.errors import ConfigError
from federation.layout import Segment, VectorLayout, count_segment
from federation.schema import Categorical, Feature, Numeric, SensitiveAttribute, TaskSchema
from federation.task import Floats

CELLS, SUM, SQUARES, SITES = "cells", "sum", "squares", "sites"
MARGIN = 64
"""Noise of more scales than this is cut: it has a probability below exp(-64), and cutting a noised
number at a public bound costs no privacy."""


@dataclass(frozen=True, slots=True)
class Part:
    """Whole numbers of one query.

    Attributes:
        query: its name.
        role: `cells` (disjoint counts of rows), `sum` or `squares` (of codes), or `sites` (1 if the
            site has rows; exact queries only).
        length: of the vector, 1 but for cells.
        most: largest absolute value before noise.
        sensitivity: how far one record moves the whole vector (L1).
        epsilon: share of the query's; None if it is exact.
    """

    query: str
    role: str
    length: int
    most: int
    sensitivity: int
    epsilon: Fraction | None

    @property
    def scale(self) -> float | None:
        """Of the discrete Laplace noise each site adds, rounded up; None if there is none."""
        if self.epsilon is None:
            return None
        exact = self.sensitivity / self.epsilon
        nearest = float(exact)
        return nearest if nearest >= exact else math.nextafter(nearest, math.inf)

    @property
    def bound(self) -> int:
        """Largest absolute value that is sent."""
        return self.most + (0 if self.scale is None else math.ceil(MARGIN * self.scale))

    @property
    def noise_variance(self) -> float:
        """Of one site's noise on one number: 2 q / (1 - q)^2 with q = exp(-1 / scale)."""
        if self.scale is None:
            return 0.0
        half = 1 / (2 * self.scale)
        return 0.0 if half > 350 else 1 / (2 * math.sinh(half) ** 2)

    @property
    def segment_names(self) -> tuple[str, ...]:
        """One per limb, low ones first."""
        return tuple(f"{self.query}/{self.role}/{place}" for place in range(limbs(self.bound)))

    def segments(self, summands: int) -> tuple[Segment, ...]:
        """Where its limbs stand in the vector."""
        *low, last = self.segment_names
        most = (1 << LIMB_BITS) - 1
        top = (self.bound >> LIMB_BITS * len(low)) + 1  # shifting rounds -bound down
        return (
            *(count_segment(name, self.length, most, summands) for name in low),
            count_segment(last, self.length, top, summands),
        )


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """One query, tied to the schema.

    Attributes:
        query: as asked.
        column: the feature or attribute; None where rows are counted.
        group: the rows that are meant.
        bounds: of a number; None for levels and rows.
        edges: of a number's inner bins, shape (bins + 1,), ascending; only `bounds` for a query
            that needs no histogram.
        labels: what the cells count.
        parts: `cells` first.
    """

    query: Query
    column: Feature | SensitiveAttribute | None
    group: Group
    bounds: tuple[float, float] | None
    edges: tuple[float, ...]
    labels: tuple[str, ...]
    parts: tuple[Part, ...]

    @property
    def grid(self) -> Grid:
        """Of the column's codes."""
        assert self.bounds is not None
        return Grid(*self.bounds)

    def part(self, role: str) -> Part:
        """The part of this role."""
        (found,) = (part for part in self.parts if part.role == role)
        return found


@dataclass(frozen=True, slots=True)
class AnalyticsPlan:
    """All queries of a run.

    Attributes:
        schema: of the task.
        queries: in the order in which they were asked.
        most_rows: no site holds more.
    """

    schema: TaskSchema
    queries: tuple[QueryPlan, ...]
    most_rows: int

    @property
    def parts(self) -> tuple[Part, ...]:
        """Of all queries."""
        return tuple(part for plan in self.queries for part in plan.parts)

    def layout(self, summands: int) -> VectorLayout:
        """The one vector of all queries.

        Raises:
            ConfigError: a sum could overflow its ring.
        """
        segments = (segment for part in self.parts for segment in part.segments(summands))
        return VectorLayout(tuple(segments), summands)


def plan_queries(schema: TaskSchema, queries: Sequence[Query], training_rows: int) -> AnalyticsPlan:
    """What is counted for `queries`.

    Args:
        schema: of the task.
        queries: of distinct names.
        training_rows: most that any site declares in public; `schema.maximum_rows` bounds the rest.

    Raises:
        ConfigError: a query that the schema has no answer for; names the key and the remedy.
    """
    most = schema.maximum_rows + training_rows
    plans = tuple(_plan(schema, query, most) for query in queries)
    return AnalyticsPlan(schema, plans, most)


def agreed_plan(schema: TaskSchema, agreement: AnalyticsAgreement) -> AnalyticsPlan:
    """What is counted in a run, as coordinator and sites derive it.

    Raises:
        ConfigError: as `plan_queries`.
    """
    return plan_queries(schema, agreement.queries, max(agreement.public_rows.values()))


def columns_of(query: Query) -> frozenset[str]:
    """Every column that a query touches."""
    return frozenset(query.where) | ({query.column} if query.column is not None else frozenset())


def _plan(schema: TaskSchema, query: Query, most_rows: int) -> QueryPlan:
    column = _column(schema, query)
    bounds = _bounds(query, column)
    edges = _edges(query, bounds)
    labels = _labels(column, edges)
    parts = tuple(_parts(query, bounds, len(labels), most_rows))
    return QueryPlan(query, column, _group(schema, query), bounds, edges, labels, parts)


def _column(schema: TaskSchema, query: Query) -> Feature | SensitiveAttribute | None:
    if query.column is None:
        return None
    known: dict[str, Feature | SensitiveAttribute] = {f.name: f for f in schema.features}
    if query.kind in ("count", "histogram"):
        # Of one name, as the heart task's sex, they hold the same; a feature has `missing` apart.
        known = {a.name: a for a in schema.attributes} | known
    require_known(f"queries.{query.name}.column", query.column, known)
    column = known[query.column]
    if not isinstance(column, Numeric) and query.kind in (*MOMENTS, "quantile"):
        numbers = ", ".join(f.name for f in schema.features if isinstance(f, Numeric))
        raise ConfigError(
            f"queries.{query.name}.column", query.column, f"a number for {query.kind}", numbers
        )
    return column


def _bounds(
    query: Query, column: Feature | SensitiveAttribute | None
) -> tuple[float, float] | None:
    key = f"queries.{query.name}"
    if not isinstance(column, Numeric):
        if query.bounds is not None or query.bins is not None:
            setting = "bins" if query.bounds is None else "bounds"
            raise ConfigError(f"{key}.{setting}", getattr(query, setting), "none for levels")
        return None
    if query.bounds is None:
        return column.low, column.high
    low, high = query.bounds
    if low < column.low or high > column.high:
        raise ConfigError(
            f"{key}.bounds",
            [low, high],
            f"within the public range of {column.name}, [{column.low:g}, {column.high:g}]",
        )
    return low, high


def _edges(query: Query, bounds: tuple[float, float] | None) -> tuple[float, ...]:
    if bounds is None:
        return ()
    low, high = bounds
    bins = 1
    if query.kind == "histogram":
        bins = query.bins or DEFAULT_BINS
    if query.kind == "quantile":
        resolution = query.resolution or (high - low) * DEFAULT_RESOLUTION
        # The middle of a bin is at most half its width from anything in it.
        bins = max(2, math.ceil((high - low) / (2 * resolution)))
        if bins > MOST_BINS:
            raise ConfigError(
                f"queries.{query.name}.resolution",
                query.resolution,
                f"at least {(high - low) / (2 * MOST_BINS):g}, {MOST_BINS} bins",
            )
    return tuple(np.linspace(low, high, bins + 1).tolist())


def _labels(column: Feature | SensitiveAttribute | None, edges: Sequence[float]) -> tuple[str, ...]:
    if column is None:
        return ("rows",)
    if isinstance(column, SensitiveAttribute):
        return column.groups
    if isinstance(column, Categorical):
        return (*column.levels, "other", "missing")
    inner = (f"{low:.6g} to {high:.6g}" for low, high in pairwise(edges))
    return (f"below {edges[0]:.6g}", *inner, f"above {edges[-1]:.6g}", "missing")


def _group(schema: TaskSchema, query: Query) -> Group:
    attributes = {attribute.name: attribute for attribute in schema.attributes}
    levels = []
    for name, level in sorted(query.where.items()):
        require_known(f"queries.{query.name}.where", name, attributes)
        groups = attributes[name].groups
        require_known(f"queries.{query.name}.where.{name}", level, groups)
        levels.append(Level(name, level, groups.index(level)))
    return Group(tuple(levels))


def _parts(
    query: Query, bounds: tuple[float, float] | None, cells: int, most_rows: int
) -> Iterator[Part]:
    moments = {"sum": (SUM,), "mean": (SUM,), "variance": (SUM, SQUARES)}.get(query.kind, ())
    share = None if query.epsilon is None else Fraction(query.epsilon) / (1 + len(moments))
    # A record is in one cell, so all cells together move by one.
    yield Part(query.name, CELLS, cells, most_rows, 1, share)
    if bounds is not None:
        grid = Grid(*bounds)
        if moments and max(map(abs, bounds)) / grid.step >= LARGEST_EXACT:
            raise ConfigError(
                f"queries.{query.name}.bounds",
                list(bounds),
                "bounds that are not so close to each other, as far from zero as they are",
            )
        largest = grid.half_width
        for role in moments:
            one = largest if role == SUM else largest**2
            part = Part(query.name, role, 1, most_rows * one, one, share)
            if part.bound >= LARGEST_TOTAL:
                raise ConfigError(
                    f"queries.{query.name}.epsilon", query.epsilon, "a larger one, or fewer rows"
                )
            yield part
    if query.epsilon is None:
        yield Part(query.name, SITES, 1, 1, 1, None)


def inner_edges(plan: QueryPlan) -> Floats:
    """The edges as an array, shape (bins + 1,)."""
    return np.array(plan.edges, np.float64)
