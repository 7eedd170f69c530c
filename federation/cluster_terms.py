"""What sites are told when clusters of them are found: public centres, and which moves may be made.

A discovery is one series of sums over one window. Step 0 compares starts; each later step asks for
moves, then for counts (`evaluation.monitoring.cohort_discovery`).
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from federation.errors import ConfigError
from federation.section import Section

MOST_STEPS = 22
"""So a discovery takes 45 sums at most: the starts, and two a step."""
MOST_STARTS = 64
MOST_CLUSTERS = 64
ROUNDING = 1e-9
"""Of shares that sum to 1."""

Share = Annotated[float, Field(gt=0, le=1)]
CentreShares = tuple[tuple[Share, ...], ...]


class ClusterTerms(Section):
    """One question of a discovery.

    Attributes:
        discovery: its name, the same in all its questions.
        count: of clusters.
        step: 0 for the starts.
        rows: of the starts: per feature, rows per quantile bin of all sites, a sum that is known.
        seeds: of the starts: each makes one set of centres about the whole.
        centres: of a later step: per feature, each cluster's shares per quantile bin.
        admitted: after the moves: whether sites may go from each cluster, the last row from none,
            to each cluster.
    """

    discovery: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")]
    count: Annotated[int, Field(ge=2, le=MOST_CLUSTERS)]
    step: Annotated[int, Field(ge=0, le=MOST_STEPS)]
    rows: dict[str, tuple[Annotated[int, Field(ge=0)], ...]] = Field(default_factory=dict)
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**63)], ...], Field(max_length=MOST_STARTS)
    ] = ()
    centres: dict[str, CentreShares] = Field(default_factory=dict)
    admitted: tuple[tuple[bool, ...], ...] = ()

    @model_validator(mode="after")
    def _possible_together(self) -> Self:
        starts = self.step == 0
        if bool(self.rows) != starts or bool(self.seeds) != starts or bool(self.centres) == starts:
            raise ConfigError(
                "clusters.step", self.step, "0 with rows and seeds, else with centres"
            )
        for feature, shares in self.centres.items():
            _check_shares(f"clusters.centres.{feature}", shares, self.count)
        if self.admitted:
            self._check_admitted()
        return self

    def _check_admitted(self) -> None:
        if [len(row) for row in self.admitted] != [self.count] * (self.count + 1):
            raise ConfigError(
                "clusters.admitted",
                [len(row) for row in self.admitted],
                f"{self.count + 1} rows of {self.count}",
            )
        if not all(self.admitted[cluster][cluster] for cluster in range(self.count)):
            raise ConfigError(
                "clusters.admitted", "a site must leave", "staying is always admitted"
            )


def _check_shares(key: str, shares: CentreShares, count: int) -> None:
    """Return if these are shares of `count` clusters in the same bins.

    Raises:
        ConfigError: they are not.
    """
    if len(shares) != count or len({len(row) for row in shares}) != 1:
        raise ConfigError(key, [len(row) for row in shares], f"{count} rows of the same bins")
    worst = max(abs(sum(row) - 1) for row in shares)
    if worst > ROUNDING:
        raise ConfigError(key, 1 + worst, "shares that sum to 1")
