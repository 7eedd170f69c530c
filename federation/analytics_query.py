"""Questions about the pooled rows of all sites: few kinds, each of which a site can check.

A query says what is counted and nothing about how: bounds and levels are public, and every answer
follows from whole numbers that are added over the sites.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from federation.errors import ConfigError
from federation.section import Name, Section

Kind = Literal["count", "sum", "mean", "variance", "histogram", "quantile"]
MOMENTS: tuple[Kind, ...] = ("sum", "mean", "variance")

DEFAULT_BINS = 20
MOST_BINS = 65_536
DEFAULT_RESOLUTION = 1 / 512
"""Of a quantile, as a share of the bounds' width."""


class Query(Section):
    """One question."""

    name: Name
    """Names the answer; each name once."""
    kind: Kind
    """What is asked."""
    column: str | None = None
    """A feature of the task, or a sensitive attribute for `count` and `histogram`; a `count`
    without one counts rows."""
    where: dict[str, str] = Field(default_factory=dict)
    """Only rows of these groups: a level per sensitive attribute."""
    bounds: tuple[float, float] | None = None
    """Within the feature's public range, which they are if left out. Values beyond count as the
    bound, and how many those are is an answer, too."""
    bins: Annotated[int, Field(ge=2, le=MOST_BINS)] | None = None
    """Of a histogram of a number; 20 if left out."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Which quantiles; the median is 0.5."""
    resolution: Annotated[float, Field(gt=0)] | None = None
    """How far a quantile may be from the true one, in the feature's unit; 1/512 of the bounds'
    width if left out."""
    epsilon: Annotated[float, Field(ge=1e-3, le=100)] | None = None
    """What the answer may cost each record; without one it is exact."""

    @model_validator(mode="after")
    def _settings_of_its_kind(self) -> Self:
        if self.column is None and self.kind != "count":
            raise ConfigError(f"{self._key}.column", None, "the name of a feature")
        self._require_only("bins", ("histogram",), given=self.bins is not None)
        self._require_only("resolution", ("quantile",), given=self.resolution is not None)
        self._require_only("quantiles", ("quantile",), given=bool(self.quantiles))
        if self.kind == "quantile" and not self.quantiles:
            raise ConfigError(f"{self._key}.quantiles", [], "one or more, for instance [0.5]")
        if len(set(self.quantiles)) != len(self.quantiles):
            raise ConfigError(f"{self._key}.quantiles", list(self.quantiles), "each of them once")
        if self.bounds is not None:
            low, high = self.bounds
            if not (low < high and math.isfinite(high - low)):
                raise ConfigError(f"{self._key}.bounds", [low, high], "[low, high] with low < high")
            if self.column is None:
                raise ConfigError(f"{self._key}.bounds", [low, high], "none without a column")
        return self

    def _require_only(self, key: str, kinds: tuple[Kind, ...], *, given: bool) -> None:
        if given and self.kind not in kinds:
            raise ConfigError(
                f"{self._key}.{key}", getattr(self, key), f"none for kind {self.kind!r}"
            )

    @property
    def _key(self) -> str:
        return f"queries.{self.name}"


def require_distinct_names(queries: tuple[Query, ...]) -> None:
    """Return if there are queries, and no two of one name.

    Raises:
        ConfigError: else.
    """
    names = [query.name for query in queries]
    if not names:
        raise ConfigError("queries", [], "one query at least")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError("queries.name", repeated, "each name once")
