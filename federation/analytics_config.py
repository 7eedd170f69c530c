"""`analytics.toml`: which queries are asked, of which sites, and what simulated sites allow."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

import tomli_w
from pydantic import Field, model_validator

from federation import config_file
from federation.analytics_query import Query, require_distinct_names
from federation.config import FederationRules, TaskChoice
from federation.errors import ConfigError, UsageError
from federation.section import FEWEST_SITES, Name, Positive, Section
from federation.settings_file import validated


class AnalyticsSitePolicy(Section):
    """What every simulated site demands for itself; a deployed site writes its own `site.toml`."""

    epsilon_budget: Positive | None = None
    """What each site allows to be spent; what the queries cost together if left out."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    """The delta the budget is stated at."""
    columns: tuple[str, ...] | None = None
    """What each site answers about; everything the task declares if left out."""
    allow_exact: bool = False
    """Whether each site answers without noise. Such an answer has no privacy guarantee: its ledger
    then has no budget, and says so for ever."""
    minimum_contributors: Annotated[int, Field(ge=FEWEST_SITES)] = 3
    """Sites refuse queries that fewer sites may answer."""


class AnalyticsConfig(Section):
    """The whole file.

    Raises:
        ConfigError: settings that are each fine but impossible together.
    """

    version: Literal[1] = 1
    """Of this format."""
    name: Name = "analytics"
    """Names the federation in its roster and the run folder."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 2026
    """Of the noise in a simulation, and of the split of rows."""
    task: TaskChoice = TaskChoice()
    federation: FederationRules = FederationRules()
    minimum_contributors: Annotated[int, Field(ge=FEWEST_SITES)] = 3
    """Fewest sites whose rows are added up."""
    site_policy: AnalyticsSitePolicy = AnalyticsSitePolicy()
    queries: tuple[Query, ...]
    """One or more."""

    @model_validator(mode="after")
    def _queries_apart(self) -> Self:
        require_distinct_names(self.queries)
        return self

    def with_sites(self, sites: tuple[str, ...]) -> "AnalyticsConfig":
        """With these sites, and the quorum and threshold that suit them where left out.

        Raises:
            ConfigError: impossible together.
        """
        given = self.federation.model_dump(mode="json", exclude_unset=True) | {"sites": sites}
        rules = _checked_rules(given)
        if "quorum" not in given and rules.quorum < self.minimum_contributors <= len(sites):
            rules = _checked_rules(given | {"quorum": self.minimum_contributors})
        if self.minimum_contributors > rules.quorum:
            raise ConfigError(
                "minimum_contributors",
                self.minimum_contributors,
                f"at most federation.quorum = {rules.quorum}",
                "a sum over fewer sites could be opened",
            )
        return self.model_copy(update={"federation": rules})

    def to_toml(self) -> str:
        """Every setting spelled out; `parse_analytics` gives the same back."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def _checked_rules(table: dict[str, object]) -> FederationRules:
    """Through the whole configuration, which knows what is impossible together."""
    return config_file.parse({"federation": table}).federation


def read_analytics(path: Path) -> AnalyticsConfig:
    """The queries in a file.

    Raises:
        UsageError: the file cannot be read or is no TOML.
        ConfigError: a key or value is wrong; names it, the expectation and the nearest valid name.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text") from error
    try:
        return parse_analytics(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error


def parse_analytics(text: str) -> AnalyticsConfig:
    """As `read_analytics`, of the text.

    Raises:
        TOMLDecodeError: not TOML.
        ConfigError: as `read_analytics`.
    """
    return validated(AnalyticsConfig, tomllib.loads(text))
