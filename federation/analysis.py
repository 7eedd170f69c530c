"""`analytics.json`, schema 1: what the queries of one run came to."""

from typing import Literal

from federation.analytics_query import Kind
from federation.summary import NoiseSource, Part

ANALYSIS: Literal["hedgerow/analytics/1"] = "hedgerow/analytics/1"


class Released(Part):
    """A number, and what is known of how far it is from the one on the pooled rows.

    Attributes:
        value: None where the sums do not determine it.
        standard_error: of the noise that the sites added for privacy; 0 in an exact answer. It says
            nothing about how rows were sampled.
        resolution: rounding at the sites moves the value by no more than this.
    """

    value: float | None
    standard_error: float | None = 0.0
    resolution: float = 0.0


class Cell(Part):
    """How many rows are in one bin or of one level."""

    label: str
    rows: int


class Quantile(Part):
    """The smallest value that a share `probability` of the rows does not exceed.

    Attributes:
        probability: as asked.
        released: the middle of the bin it is in; its standard error is not known.
        rank_standard_error: of the noise, in rows: how far the rank may be off.
        at_bound: it lies at or beyond a bound, which is then the value.
    """

    probability: float
    released: Released
    rank_standard_error: float
    at_bound: bool


class Answer(Part):
    """One query and what the sum says about it.

    Attributes:
        name: of the query.
        kind: of the query.
        column: None where rows are counted.
        where: which rows are meant, as `sex=Female & age_group=60 and over`, or `overall`.
        bounds: of a number.
        epsilon: what the answer cost each record of each site; None if it is exact.
        sites: how many sites' rows are in the sum.
        sites_with_rows: how many of them have any such row; known of an exact answer only.
        withheld: why nothing is shown; empty otherwise. The coordinator holds the sum all the same.
        rows: rows that the answer is about, values that are missing not counted.
        missing: rows that have no value, where a column is asked about.
        clipped: rows beyond the bounds, which count as the bound.
        released: the number; None for histograms and quantiles.
        cells: of a histogram, and of a count over a column.
        cell_standard_error: of the noise in one cell.
        quantiles: in the order asked.
    """

    name: str
    kind: Kind
    column: str | None
    where: str
    bounds: tuple[float, float] | None
    epsilon: float | None
    sites: int
    sites_with_rows: int | None
    withheld: str = ""
    rows: Released | None = None
    missing: Released | None = None
    clipped: Released | None = None
    released: Released | None = None
    cells: tuple[Cell, ...] = ()
    cell_standard_error: float = 0.0
    quantiles: tuple[Quantile, ...] = ()


class SiteAccount(Part):
    """What a site's ledger says after the run; None stands for infinite.

    Attributes:
        epsilon_spent: on the dataset, over all runs, at `delta`.
        epsilon_budget: of the dataset.
        delta: of both.
        ledger_head: number and hash of the ledger's last entry.
        noise_source: where the site's noise comes from.
    """

    epsilon_spent: float | None
    epsilon_budget: float | None
    delta: float
    ledger_head: str
    noise_source: NoiseSource


class Analysis(Part):
    """The whole file.

    Attributes:
        schema_version: of this format.
        run: id of the run.
        task: that the rows are of.
        agreement_sha256: of what all sites signed, queries and all.
        survivors: the sites that are in the sum.
        dropped: per site that is not, where it was lost and why.
        attempts: how often the round was begun, over all starts.
        privacy: `record`: every answer is noised; `partly`; `none`: every answer is exact.
        answers: in the order of the queries.
        accounts: per site that could still be asked.
    """

    schema_version: Literal["hedgerow/analytics/1"] = ANALYSIS
    run: str
    task: str
    agreement_sha256: str
    survivors: tuple[str, ...]
    dropped: dict[str, str]
    attempts: int
    privacy: Literal["record", "partly", "none"]
    answers: tuple[Answer, ...]
    accounts: dict[str, SiteAccount]
