"""What a task declares in public before anyone looks at a row: features, classes, sensitive groups.

Ranges and levels come from here and never from rows, so that preprocessing leaks nothing. Values
outside a range and levels nobody declared have places of their own (`below`, `above`, `other`,
`missing`); no row is dropped or mended in silence.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from federation.errors import ConfigError

Scale = Literal["linear", "log", "asinh"]


@dataclass(frozen=True, slots=True)
class Numeric:
    """A number with a public range.

    Attributes:
        name: column name.
        low: smallest plausible value, in `unit`.
        high: largest plausible value, in `unit`, above `low`.
        unit: shown in reports.
        scale: where bins are of equal width: in x, in log x (then `low` > 0), or in
            asinh(x / scale_unit), which is like log far from 0 on both sides and like x near it:
            for amounts that may be 0 or negative.
        scale_unit: of asinh: about where x turns from "near 0" to "far", in `unit`; public, never
            chosen from rows.
    """

    name: str
    low: float
    high: float
    unit: str = ""
    scale: Scale = "linear"
    scale_unit: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.high - self.low):
            raise ConfigError(
                f"feature {self.name}", [self.low, self.high], "a range with finite ends"
            )
        if not self.low < self.high:
            raise ConfigError(
                f"feature {self.name}.high", self.high, f"a number > low = {self.low:g}"
            )
        if self.scale not in get_args(Scale):
            raise ConfigError(f"feature {self.name}.scale", self.scale, f"one of {get_args(Scale)}")
        if self.scale == "log" and not self.low > 0:
            raise ConfigError(
                f"feature {self.name}.low",
                self.low,
                "a number > 0 on scale 'log'",
                "scale 'asinh' takes 0 and negative numbers",
            )
        if not (math.isfinite(self.scale_unit) and self.scale_unit > 0):
            raise ConfigError(f"feature {self.name}.scale_unit", self.scale_unit, "a number > 0")


@dataclass(frozen=True, slots=True)
class Categorical:
    """A value out of a public list of levels.

    Attributes:
        name: column name.
        levels: the levels, without `other` and `missing`, which are always there.
    """

    name: str
    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        _require_levels(f"feature {self.name}.levels", self.levels)


Feature = Numeric | Categorical


@dataclass(frozen=True, slots=True)
class SensitiveAttribute:
    """An attribute whose groups are compared; rows of no declared level count as `unknown`."""

    name: str
    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        _require_levels(f"attribute {self.name}.levels", self.levels)
        if "unknown" in self.levels:
            raise ConfigError(
                f"attribute {self.name}.levels",
                self.levels,
                "levels without 'unknown'",
                "it is added to every attribute",
            )

    @property
    def groups(self) -> tuple[str, ...]:
        """The levels and, last, `unknown`."""
        return (*self.levels, "unknown")


@dataclass(frozen=True, slots=True)
class TaskSchema:
    """The public description of a task.

    Attributes:
        features: the columns that drift is watched on.
        label: name of the column to predict.
        classes: at least two; with exactly two, the second is the positive class.
        attributes: the sensitive attributes; may be empty.
        maximum_rows: no site holds more evaluation rows than this; bounds every count.
    """

    features: tuple[Feature, ...]
    label: str
    classes: tuple[str, ...]
    attributes: tuple[SensitiveAttribute, ...] = ()
    maximum_rows: int = 100_000

    def __post_init__(self) -> None:
        _require_distinct("schema.features", tuple(feature.name for feature in self.features))
        _require_distinct("schema.attributes", tuple(a.name for a in self.attributes))
        _require_distinct("schema.classes", self.classes)
        if len(self.classes) < 2:
            raise ConfigError("schema.classes", self.classes, "at least two classes")
        if self.maximum_rows < 1:
            raise ConfigError("schema.maximum_rows", self.maximum_rows, "a whole number > 0")

    @property
    def is_binary(self) -> bool:
        """Whether group rates (selection rate, TPR, ...) are defined."""
        return len(self.classes) == 2


def _require_levels(key: str, levels: tuple[str, ...]) -> None:
    if isinstance(levels, str) or not levels or not all(isinstance(x, str) for x in levels):
        raise ConfigError(key, levels, "one or more texts", "for instance ('F', 'M')")
    _require_distinct(key, levels)


def _require_distinct(key: str, names: tuple[str, ...]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(key, names, "distinct names", f"{', '.join(repeated)} stands there twice")
