"""What is counted: groups, score bins and feature bins, and the segments that carry the counts.

All of it is public and fixed before a row is read, so that one site's counts can be added to
another's. Segment names carry the groups and classes, so that a layout's digest binds them too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from evaluation.feature_scale import edges_on_scale
from evaluation.group_metrics import (
    Gap,
    accuracy_difference,
    demographic_parity_difference,
    equal_opportunity_difference,
    equalized_odds_difference,
)
from federation import canonical
from federation.errors import ConfigError
from federation.layout import Segment, count_segment, finest_segment
from federation.schema import Feature, Numeric, SensitiveAttribute, TaskSchema
from federation.task import Codes, Floats

Bools = npt.NDArray[np.bool_]
Window = Literal["reference", "current"]

OVERALL = "overall"
SMALLEST_PROBABILITY = 1e-7
"""The true class's probability counts as at least this in the log loss: no row outweighs all."""

FRACTION_BITS = 20
"""Losses are rounded to 2**-20 row by row: at most 5e-7 off in a mean, and exact to add."""


CALIBRATION_BINS = 10
"""Runs of score bins in which scores are summed; fewer if there are fewer score bins."""

GAP_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Edges of the buckets that a site's own gaps fall into; the last bucket is closed."""

MINIMUM_SUPPORT = 20
"""Rows that a rate's denominator needs at a site before the site compares it."""


class Level(NamedTuple):
    """One group of one attribute; `code` is its index in `SensitiveAttribute.groups`."""

    attribute: str
    name: str
    code: int


@dataclass(frozen=True, slots=True)
class Group:
    """The rows that share some levels; without any, all rows."""

    levels: tuple[Level, ...] = ()

    @property
    def attribute(self) -> str:
        """What it is a group of: `sex`, `sex & age`, or `overall`."""
        return " & ".join(level.attribute for level in self.levels) or OVERALL

    @property
    def name(self) -> str:
        """Which of them: `F`, `F & 60+`, or `overall`."""
        return " & ".join(level.name for level in self.levels) or OVERALL

    @property
    def label(self) -> str:
        """Both, as segment names carry it: `sex=F & age=60+`, or `overall`."""
        return " & ".join(f"{level.attribute}={level.name}" for level in self.levels) or OVERALL

    def members(self, codes: Mapping[str, Codes], rows: int) -> Bools:
        """Which of `rows` rows belong to it, shape (rows,).

        Args:
            codes: per attribute, shape (rows,).
            rows: number of rows.
        """
        inside = np.ones(rows, dtype=np.bool_)
        for level in self.levels:
            inside &= codes[level.attribute] == level.code
        return inside

    @property
    def is_unknown(self) -> bool:
        """Whether one of its levels is `unknown`: rows of no declared level."""
        return any(level.name == "unknown" for level in self.levels)

    def contains(self, other: "Group") -> bool:
        """Whether every row of `other` is its own row by definition."""
        return set(self.levels) <= set(other.levels)


Family = tuple[Group, ...]
"""Groups that are compared with each other; every row is in exactly one. The last level varies
fastest, as in `itertools.product`."""


def places(family: Family, codes: Mapping[str, Codes], rows: int) -> Codes:
    """Which group of a family each of `rows` rows is in, shape (rows,).

    Args:
        family: all combinations of its attributes' levels, or the one group of all rows.
        codes: per attribute, shape (rows,).
        rows: number of rows.
    """
    place = np.zeros(rows, dtype=np.int64)
    for levels in zip(*(group.levels for group in family), strict=True):
        place *= 1 + max(level.code for level in levels)
        place += codes[levels[0].attribute]
    return place


@dataclass(frozen=True, slots=True)
class TallySpec:
    """Everything that a site counts.

    Attributes:
        schema: of the task.
        intersections: sets of attributes whose combinations are groups too.
        score_bins: bins of equal width of a probability, on [0, 1]; at least 2.
        feature_bins: bins of equal width of a numeric feature, on its public range; at least 2.

    Raises:
        ConfigError: too few bins; an intersection of fewer than two attributes, of one the task
            does not have, or of the same ones as another; groups of one name.
    """

    schema: TaskSchema
    intersections: tuple[tuple[str, ...], ...] = ()
    score_bins: int = 100
    feature_bins: int = 64

    def __post_init__(self) -> None:
        for key, bins in (("score_bins", self.score_bins), ("feature_bins", self.feature_bins)):
            if bins < 2:
                raise ConfigError(f"evaluation.{key}", bins, "at least 2 bins", "usual: 64 to 100")
        _check_intersections(self)
        labels = [group.label for group in self.groups]
        if len(set(labels)) != len(labels):
            repeated = sorted({label for label in labels if labels.count(label) > 1})
            raise ConfigError("schema.attributes", repeated, "groups of distinct names")

    @property
    def families(self) -> tuple[Family, ...]:
        """One family per attribute, then one per intersection."""
        attributes = {attribute.name: attribute for attribute in self.schema.attributes}
        combined = ([attributes[name] for name in names] for names in self.intersections)
        singles = ([attribute] for attribute in self.schema.attributes)
        return tuple(_family(parts) for parts in (*singles, *combined))

    @property
    def groups(self) -> tuple[Group, ...]:
        """All groups: `overall` first, then family by family."""
        return (Group(), *(group for family in self.families for group in family))

    @property
    def class_labels(self) -> tuple[str, ...]:
        """One `class=NAME` per class if there are more than two, else none."""
        return () if self.schema.is_binary else tuple(f"class={c}" for c in self.schema.classes)

    @property
    def table_labels(self) -> tuple[str, ...]:
        """What confusions and score histograms are kept of: groups if binary, else classes."""
        return self.class_labels or tuple(group.label for group in self.groups)

    def segments(self, summands: int) -> tuple[Segment, ...]:
        """Segments of the outcome tallies, as `tallies.count_outcomes` fills them.

        Binary: `confusion/GROUP` (TN, FP, FN, TP) and `scores/GROUP` (label by bin) of every group.
        More classes: `hits/GROUP` (rows, correct) of every group; `confusion/class=NAME` and
        `scores/class=NAME`, one class against the rest, over all rows.
        Both: `rows`, `correct`, and the sums of log loss (nats) and Brier score, each in two words,
        `NAME/whole` and `NAME/fraction`: no ring can hold a large sum at a fine step.

        Args:
            summands: most sites in a sum; from 2,048 on, fractions are rounded once more per site.
        """
        most, tables = self.schema.maximum_rows, self.table_labels
        hits = [group.label for group in self.groups] if self.class_labels else []
        worst_log_loss = -math.log(SMALLEST_PROBABILITY)
        worst_brier = 1.0 if self.schema.is_binary else 2.0
        return (
            count_segment("rows", 1, most, summands),
            count_segment("correct", 1, most, summands),
            *(count_segment(f"hits/{label}", 2, most, summands) for label in hits),
            *(count_segment(f"confusion/{label}", 4, most, summands) for label in tables),
            *(
                count_segment(f"scores/{label}", 2 * self.score_bins, most, summands)
                for label in tables
            ),
            *_sum_segments("log_loss", most, worst_log_loss, summands),
            *_sum_segments("brier", most, worst_brier, summands),
        )

    def report_segments(self, summands: int) -> tuple[Segment, ...]:
        """Segments that an evaluation round has beside `segments`, for curves and site gaps.

        `score_sum/LABEL/whole` and `/fraction`: sum of the positive class's probability per
        calibration bin; `squared_error/LABEL/...`: sum of its squared distance from the outcome;
        LABEL as in `table_labels` (`score_tallies.count_scores` fills them).
        `site_gaps/FAMILY/METRIC`: a one in the bucket of the site's own gap, or in the last place
        if it cannot tell (`site_disparities.count_site_gaps`).

        Args:
            summands: most sites in a sum; see `segments`.
        """
        most, bins = self.schema.maximum_rows, len(self.calibration_edges) - 1
        return (
            *(
                segment
                for label in self.table_labels
                for segment in (
                    *_sum_segments(f"score_sum/{label}", most, 1.0, summands, bins),
                    *_sum_segments(f"squared_error/{label}", most, 1.0, summands),
                )
            ),
            *(
                count_segment(site_gap_name(family, gap), len(GAP_EDGES), 1, summands)
                for family in self.families
                for gap in self.site_gaps
            ),
        )

    @property
    def calibration_edges(self) -> Codes:
        """Where calibration bins begin and end, in score bins: ascending, from 0 to score_bins."""
        count = min(CALIBRATION_BINS, self.score_bins)
        runs = np.array_split(np.arange(self.score_bins), count)
        return np.cumsum([0, *(len(run) for run in runs)])

    @property
    def site_gaps(self) -> tuple[Gap, ...]:
        """The gaps that each site judges on its own rows."""
        if not self.schema.is_binary:
            return (accuracy_difference,)
        return (
            demographic_parity_difference,
            equalized_odds_difference,
            equal_opportunity_difference,
            accuracy_difference,
        )

    def digest(self) -> str:
        """SHA-256 of all that decides what is counted, 64 hexadecimal digits.

        Attributes with their levels, intersections, score grid, features with their ranges or
        levels, classes, bins, row limit, and the constants above: two sites with one digest count
        alike. Names and units are in it too, since they say what a count is of.
        """
        schema = self.schema
        return canonical.digest(
            {
                "label": schema.label,
                "classes": schema.classes,
                "attributes": [[a.name, a.groups] for a in schema.attributes],
                "features": [_described(feature) for feature in schema.features],
                "maximum_rows": schema.maximum_rows,
                "intersections": self.intersections,
                "score_bins": self.score_bins,
                "calibration_edges": self.calibration_edges.tolist(),
                "feature_bins": self.feature_bins,
                "fraction_bits": FRACTION_BITS,
                "smallest_probability": SMALLEST_PROBABILITY,
                "site_gaps": [gap.name for gap in self.site_gaps],
                "gap_edges": GAP_EDGES,
                "minimum_support": MINIMUM_SUPPORT,
            }
        )

    def window_segments(self, window: Window, summands: int) -> tuple[Segment, ...]:
        """Segments of one window's feature histograms, `WINDOW/FEATURE`.

        Args:
            window: `reference` or `current`.
            summands: most sites in a sum.
        """
        most = self.schema.maximum_rows
        return tuple(
            count_segment(f"{window}/{f.name}", len(self.bin_labels(f)), most, summands)
            for f in self.schema.features
        )

    def bin_labels(self, feature: Feature) -> tuple[str, ...]:
        """A feature's bins, in the order in which they are counted.

        Numeric: below, `feature_bins` of equal width, above, missing.
        Categorical: the levels, other, missing.
        """
        if not isinstance(feature, Numeric):
            return (*feature.levels, "other", "missing")
        edges = self.edge_labels(feature)
        inner = (f"{low} to {high}" for low, high in pairwise(edges))
        return (f"below {edges[0]}", *inner, f"above {edges[-1]}", "missing")

    def edge_labels(self, feature: Numeric) -> tuple[str, ...]:
        """The edges as shown, rounded to a tenth of a bin's width or finer."""
        decimals = max(0, 1 - math.floor(math.log10(np.diff(self.edges(feature)).min())))
        return tuple(f"{round(edge, decimals):.12g}" for edge in self.edges(feature).tolist())

    def edges(self, feature: Numeric) -> Floats:
        """Edges of a numeric feature's inner bins, shape (feature_bins + 1,), ascending."""
        return edges_on_scale(feature, self.feature_bins)


def _check_intersections(spec: TallySpec) -> None:
    known = {attribute.name for attribute in spec.schema.attributes}
    for names in spec.intersections:
        if len(set(names)) != len(names) or len(names) < 2 or not known.issuperset(names):
            raise ConfigError(
                "evaluation.intersections",
                [list(names)],
                "lists of two or more distinct sensitive attributes of the task",
                f"it has: {', '.join(sorted(known)) or 'none'}",
            )
    if len({frozenset(names) for names in spec.intersections}) != len(spec.intersections):
        lists = [list(names) for names in spec.intersections]
        raise ConfigError("evaluation.intersections", lists, "each set of attributes once")


def _family(attributes: list[SensitiveAttribute]) -> Family:
    levels = (
        [Level(attribute.name, name, code) for code, name in enumerate(attribute.groups)]
        for attribute in attributes
    )
    return tuple(Group(combination) for combination in product(*levels))


def site_gap_name(family: Family, gap: Gap) -> str:
    """The segment that a site's own gap between the groups of a family is counted in."""
    return f"site_gaps/{family[0].attribute}/{gap.name}"


def _described(feature: Feature) -> dict[str, object]:
    if isinstance(feature, Numeric):
        # 50 and 50.0, 0.0 and -0.0 are the same edge.
        ends = [float(feature.low) + 0.0, float(feature.high) + 0.0]
        scale = [feature.scale, float(feature.scale_unit)]
        return {"name": feature.name, "range": ends, "scale": scale, "unit": feature.unit}
    return {"name": feature.name, "levels": feature.levels}


def _sum_segments(
    name: str, rows: int, worst: float, summands: int, length: int = 1
) -> tuple[Segment, Segment]:
    largest = rows * round(worst * 2**FRACTION_BITS) >> FRACTION_BITS
    whole = count_segment(f"{name}/whole", length, largest, summands)
    return whole, finest_segment(f"{name}/fraction", length, 1.0, summands)
