"""`site.toml`: what a site demands for itself, whatever a coordinator proposes."""

import tomllib
from pathlib import Path
from typing import Annotated

import tomli_w
from pydantic import Field, ValidationError

from federation.config import FEWEST_SITES, Name, Section
from federation.durable_file import write_atomically
from federation.errors import ConfigError, UsageError


class SitePolicy(Section):
    """One site's floors and ceilings; a run that goes past any of them is refused.

    Attributes:
        site: the site's name in the roster.
        dataset: names the rows that the ledger keeps the budget of.
        public_rows: the number of training rows the site declares in public.
        tasks: names of the tasks the site runs.
        epsilon_budget: never spent past, over all runs on the dataset; infinite only where
            `allow_without_privacy` says so.
        delta: the delta the budget is stated at.
        minimum_quorum: fewest survivors whose sum the site helps to open.
        minimum_threshold: fewest sites that together can open anything.
        minimum_contributors: fewest sites in a cohort whose sum is read apart.
        allow_without_privacy: whether the site trains without differential privacy at all.
    """

    site: Name
    dataset: Annotated[str, Field(min_length=1)]
    public_rows: Annotated[int, Field(ge=1)]
    tasks: tuple[str, ...]
    epsilon_budget: Annotated[float, Field(gt=0)] | None = None
    delta: Annotated[float, Field(gt=0, lt=1)]
    minimum_quorum: Annotated[int, Field(ge=FEWEST_SITES)] = 3
    minimum_threshold: Annotated[int, Field(ge=2)] = 2
    minimum_contributors: Annotated[int, Field(ge=FEWEST_SITES)] = 3
    allow_without_privacy: bool = False

    def write(self, path: Path) -> None:
        """Write as TOML, atomically, readable by its owner alone."""
        text = tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
        write_atomically(path, text.encode(), mode=0o600)

    @classmethod
    def read(cls, path: Path) -> "SitePolicy":
        """Read and check a policy.

        Raises:
            UsageError: the file cannot be read or is no TOML.
            ConfigError: a key or value is wrong.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"cannot read the site policy {path}: {error.strerror}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"{path} is not valid TOML: {error}") from error
        try:
            return cls.model_validate(table, strict=False)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"site.{key}", first["input"], first["msg"]) from error
