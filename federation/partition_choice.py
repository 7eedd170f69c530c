"""`[simulation.partition]`: how a simulation shares the rows of a task out over its sites.

Label skew as in Hsu, Qi and Brown 2019 (arXiv:1909.06335); quantity skew and noise-based feature
skew as in Li, Diao, Chen and He 2022, NIID-Bench (arXiv:2102.02079).
"""

import difflib
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from federation.errors import ConfigError
from federation.section import FEWEST_SITES, Section
from federation.settings_file import validated

TABLE = "simulation.partition"

MOST_SITES = 100_000

Concentration = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
Variance = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class NaturalPartition(Section):
    """The task's own sites, as they are: nothing is shared out."""

    kind: Literal["natural"]
    """Says which of these tables it is."""
    sites: Annotated[int, Field(ge=FEWEST_SITES, le=MOST_SITES)] | None = None
    """How many, the first ones of the task; all if left out. `federation.sites = 12` is short for
    it."""


class SharedOut(Section):
    """What every kind has that shares rows out."""

    sites: Annotated[int, Field(ge=FEWEST_SITES, le=MOST_SITES)] | None = None
    """How many, named site-01 and on; as many as the task has of its own if left out.
    `federation.sites = 12` is short for it."""
    minimum_rows: Annotated[int, Field(ge=3, le=2**31)] = 4
    """Every site has so many rows or more; three is one of each split."""
    held_out_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of a site's rows that is never trained on, one half for reference and one as current;
    one row of each at least, and one to train on."""


class Resampled(SharedOut):
    """What the kinds have that may hand a row to several sites."""

    rows_per_site: Annotated[int, Field(ge=3, le=2**31)] | None = None
    """Rows that a site has, on average with `quantity`; only with `resample`."""
    resample: bool = False
    """Hand rows out again when all are used up, so that more sites can be made than there are rows
    for. Train rows stay train rows and held-out rows held out, at every site. No guarantee about a
    row holds then, for several sites hold it; every output says so."""

    @model_validator(mode="after")
    def _resampling_is_asked_for(self) -> Self:
        if self.rows_per_site is None and self.resample:
            raise ConfigError(
                f"{TABLE}.rows_per_site", None, "a whole number with resample = true",
                "how many rows shall each site have?",
            )  # fmt: skip
        if self.rows_per_site is None:
            return self
        if not self.resample:
            raise ConfigError(
                f"{TABLE}.rows_per_site", self.rows_per_site, "none without resample = true",
                "without resampling all rows are shared out, each to one site",
            )  # fmt: skip
        if self.rows_per_site < self.minimum_rows:
            raise ConfigError(
                f"{TABLE}.rows_per_site",
                self.rows_per_site,
                f"at least {TABLE}.minimum_rows = {self.minimum_rows}",
            )
        return self


class IidPartition(Resampled):
    """Rows at random, as many at each site."""

    kind: Literal["iid"]
    """Says which of these tables it is."""


class DirichletPartition(Resampled):
    """Label skew (Hsu et al. 2019): each site draws its own law of labels; equal numbers of rows.

    A site's law is q ~ Dirichlet(alpha * p), where p are the labels' shares of all rows; it draws
    rows that are left, one of label c with weight q[c] / p[c].
    """

    kind: Literal["dirichlet"]
    """Says which of these tables it is."""
    alpha: Concentration = 0.5
    """Concentration: towards 0 each site has one label; the larger, the more alike."""


class QuantityPartition(Resampled):
    """Quantity skew (Li et al. 2022): rows at random, but not as many at each site.

    Every site has `minimum_rows`; what is left is shared out by the law.
    """

    kind: Literal["quantity"]
    """Says which of these tables it is."""
    law: Literal["lognormal", "dirichlet"] = "lognormal"
    """Of the sites' sizes."""
    sigma: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Of `lognormal`: deviation of the logarithm of a size; 0 makes all alike."""
    beta: Concentration = 0.5
    """Of `dirichlet`: concentration; small means that few sites have most rows."""


class FeaturePartition(SharedOut):
    """Feature skew: sites see other stretches of a feature's values, or noisier inputs."""

    kind: Literal["feature"]
    """Says which of these tables it is."""
    feature: Annotated[str, Field(min_length=1)] | None = None
    """A feature of the task's schema: rows are put in its order and cut into as many stretches as
    there are sites. Levels are in the schema's order; missing values come last."""
    direction: Literal["ascending", "descending"] = "ascending"
    """Whether the first sites have the low values or the high ones."""
    mixing: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of rows that stand anywhere in that order, at random; 1 is iid."""
    input_noise: Variance = 0.0
    """Variance of Gaussian noise on the model's inputs at the last of n sites; the k-th has k / n
    of it (Li et al. 2022). The features that drift is measured on stay as they are."""

    @model_validator(mode="after")
    def _skews_something(self) -> Self:
        if self.feature is None and not self.input_noise:
            raise ConfigError(
                f"{TABLE}.feature", None, "a feature's name, or input_noise > 0",
                "without either nothing is skewed; that is kind = 'iid'",
            )  # fmt: skip
        return self


class TimePartition(SharedOut):
    """Rows in order of time: each site has a stretch of it, the latest rows held out as current.

    In the order of the task's windows and, within them, of its table; of the table alone where it
    names no windows.
    """

    kind: Literal["time"]
    """Says which of these tables it is."""


DrawnPartition = (
    IidPartition | DirichletPartition | QuantityPartition | FeaturePartition | TimePartition
)
PartitionChoice = NaturalPartition | DrawnPartition
KINDS: dict[str, type[PartitionChoice]] = {
    "natural": NaturalPartition,
    "iid": IidPartition,
    "dirichlet": DirichletPartition,
    "quantity": QuantityPartition,
    "feature": FeaturePartition,
    "time": TimePartition,
}
NATURAL = NaturalPartition(kind="natural")


def parse_partition_choice(table: object) -> PartitionChoice:
    """The table `[simulation.partition]`.

    Raises:
        ConfigError: the first thing that is wrong with it.
    """
    if isinstance(table, PartitionChoice):
        return table
    if not isinstance(table, dict):
        raise ConfigError(TABLE, table, "a table: kind = 'dirichlet', for instance")
    # `federation.sites = 12` alone is a number of the task's own sites.
    kind = table.get("kind", None if table.keys() - {"sites"} else "natural")
    chosen = KINDS.get(str(kind))
    if chosen is None:
        near = difflib.get_close_matches(str(kind), KINDS, n=1)
        remedy = f"did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{TABLE}.kind", kind, f"one of {', '.join(KINDS)}", remedy)
    try:
        return validated(chosen, {**table, "kind": kind})
    except ConfigError as wrong:
        key = wrong.key if wrong.key.startswith(TABLE) else f"{TABLE}.{wrong.key}"
        remedy = wrong.remedy.replace("did you mean ", f"did you mean {TABLE}.")
        raise ConfigError(key, wrong.value, wrong.expected, remedy) from None


def numbered_sites(count: int) -> tuple[str, ...]:
    """Names of the sites that a partition makes.

    >>> numbered_sites(3)
    ('site-01', 'site-02', 'site-03')
    """
    width = max(2, len(str(count)))
    return tuple(f"site-{number:0{width}d}" for number in range(1, count + 1))
