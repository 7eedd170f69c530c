"""What coordinator and sites bind themselves to when rows are only counted, not trained on."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from federation.agreement import SignedByAll
from federation.analytics_query import Query, require_distinct_names
from federation.canonical import Digest
from federation.config import TaskChoice
from federation.errors import ConfigError
from federation.section import FEWEST_SITES, Name, PublicRows


class AnalyticsAgreement(SignedByAll):
    """One set of queries, as every party signs it; it is answered in one round.

    Attributes:
        kind: tells it from the agreement of a training run.
        run: the run's id.
        rules_digest: of the consortium's run rules, so that all sites sign that they hold the same.
        public_rows: per site, the training rows it declares in public; bounds every count.
        minimum_contributors: fewest sites in a sum; at most the quorum.
        queries: distinct names.
    """

    kind: Literal["analytics"] = "analytics"
    run: str
    rules_digest: Digest
    task: TaskChoice
    public_rows: dict[Name, PublicRows]
    minimum_contributors: Annotated[int, Field(ge=FEWEST_SITES)]
    queries: tuple[Query, ...]

    @model_validator(mode="after")
    def _possible_together(self) -> Self:
        require_distinct_names(self.queries)
        if self.minimum_contributors > self.federation.quorum:
            raise ConfigError(
                "minimum_contributors",
                self.minimum_contributors,
                f"at most federation.quorum = {self.federation.quorum}",
                "a sum over fewer sites could be opened",
            )
        if set(self.public_rows) != set(self.federation.sites):
            raise ConfigError("public_rows", sorted(self.public_rows), "the rows of every site")
        return self

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """No set of sites is read apart."""
        return ()

    @property
    def rounds(self) -> int:
        """A site is charged once."""
        return 1

    @property
    def exact_queries(self) -> tuple[str, ...]:
        """Names of the queries that are answered without noise."""
        return tuple(query.name for query in self.queries if query.epsilon is None)
