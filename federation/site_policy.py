"""`site.toml`: what a site demands for itself, whatever a coordinator proposes."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tomli_w
from pydantic import Field, field_validator, model_validator

from federation import settings_file
from federation.data_choice import DataChoice, parse_data_choice
from federation.durable_file import write_atomically
from federation.errors import ConfigError, UsageError
from federation.json_log import FIELDS, Level
from federation.opening_hours import OpeningHours
from federation.section import FEWEST_SITES, Name, OptionValue, PublicRows, Section

_UTC = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$"
"""As ledgers write times, so that later ones sort later."""

TaskOptions = dict[str, OptionValue]


class Limits(Section):
    """What the agent may take of the machine; what is left out is not limited."""

    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Most processors that it computes on at once."""
    memory_mb: Annotated[int, Field(ge=512)] | None = None
    """Most memory of its own, in MiB: what would go past it fails, and the agent lives on."""
    seconds_per_answer: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Most seconds that loading the rows, or working out one answer from them, may take; past
    them the answer is a refusal, `too_slow`. What was charged for it stays charged."""


class LogChoice(Section):
    """What the site writes down of what it does, beside its ledger and journal."""

    level: Level = "info"
    """The least that log/*.jsonl holds."""
    leave_out: tuple[str, ...] = ()
    """Fields that no log holds, such as `epsilon_spent`."""
    keep_refusals: bool = True
    """Whether the audit log holds what the site refused, and to which run."""

    @field_validator("leave_out")
    @classmethod
    def _are_fields(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in FIELDS:
                raise ConfigError("log.leave_out", name, f"some of {', '.join(sorted(FIELDS))}")
        return names

    @property
    def fields(self) -> frozenset[str]:
        """What logs may hold."""
        return FIELDS - frozenset(self.leave_out)


class SitePolicy(Section):
    """One site's floors and ceilings; a run that goes past any of them is refused."""

    site: Name
    """The site's name in the roster."""
    dataset: Annotated[str, Field(min_length=1)]
    """Names the rows that the ledger keeps the budget of."""
    public_rows: PublicRows
    """The number of training rows the site declares in public."""
    tasks: tuple[str, ...]
    """Names of the tasks the site runs."""
    task_options: dict[str, TaskOptions] = Field(default_factory=dict)
    """What each of them is constructed with, exactly; a task left out here takes none."""
    split_seed: Annotated[int, Field(ge=0, lt=2**63)]
    """Which rows are held out comes from it and from nothing a coordinator says."""
    epsilon_budget: Annotated[float, Field(gt=0)] | None = None
    """Never spent past, over all runs on the dataset; left out only where `allow_without_privacy`
    or `allow_exact_analytics` is true."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """The delta the budget is stated at."""
    records_per_person: Annotated[int, Field(ge=1, le=64)] = 1
    """The budget is per person, of whom the dataset holds so many records at most: a promise about
    the data, kept where rows are loaded. 1: it is per record."""
    neighbouring_relation: Literal["add-or-remove-one", "replace-one"] = "add-or-remove-one"
    """What the budget hides: whether a record (or person) is there, or which one it is."""
    allow_whole_plans: bool = True
    """Whether the first run may be planned closer to the budget's bound than the filter across runs
    allows. It then has the budget to itself, also if it ends early: false keeps a run that is begun
    and abandoned from taking more than it used."""
    filter_order: Annotated[int, Field(ge=2, le=512)] | None = None
    """Renyi order at which charges of several plans are added up; that which suits the first plan
    if left out. To be set before the first run where that is a small one: a count, for instance."""
    budget_mechanisms: tuple[str, ...] | None = None
    """Names of the mechanisms that the budget may be spent on, such as `poisson_sampled_gaussian`;
    all if left out."""
    budget_expires: Annotated[str, Field(pattern=_UTC)] | None = None
    """From when on nothing is charged any more, such as `2027-01-01T00:00:00+00:00`; never if left
    out."""
    minimum_quorum: Annotated[int, Field(ge=FEWEST_SITES)] = 3
    """Fewest survivors whose sum the site helps to open."""
    minimum_threshold: Annotated[int, Field(ge=2)] = 2
    """Fewest sites that together can open anything."""
    minimum_contributors: Annotated[int, Field(ge=FEWEST_SITES)] = 3
    """Fewest sites in a cohort whose sum is read apart."""
    allow_without_privacy: bool = False
    """Whether the site trains without record-level differential privacy."""
    allow_sparse_graph: bool = False
    """Whether the site masks with some of the others only: for federations of hundreds."""
    allow_shared_noise: bool = False
    """Whether the site relies on other sites for part of the noise that hides its records; else it
    adds the whole to its own gradients."""
    site_level_epsilon_budget: Annotated[float, Field(gt=0)] | None = None
    """What the site's updates as a whole may cost over all runs; with it, no run without
    site-level noise is agreed to."""
    site_level_delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The delta that budget is stated at."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What the site trains on: its processor, or a GPU, with the forward pass in bfloat16."""
    exact_evaluations_per_window: Annotated[int, Field(ge=0, le=1000)] = 3
    """How many evaluations may count the site's held-out rows of one window without noise, for one
    model and purpose: counts of ever other cohorts, or on ever other bins, could be subtracted. 0:
    held-out rows are counted with noise only, and not while a model is trained."""
    name_with_flags: bool = False
    """Whether the site may be named with what it finds to have changed in its own rows; else only
    the number of such sites is told."""
    allow_cohort_discovery: bool = False
    """Whether the site takes part when cohorts are discovered: it tells nobody which one it is in,
    and its counts are added to those of the others in it. That these are at least
    minimum_contributors, the coordinator sees to: no site can."""
    evaluation_epsilon: Annotated[float, Field(gt=0)] | None = None
    """Most that one evaluation may cost; the budget alone if left out."""
    analytics_columns: tuple[str, ...] = ()
    """Features and sensitive attributes that the site answers queries about; none if left out."""
    analytics_epsilon: Annotated[float, Field(gt=0)] | None = None
    """Most that the queries of one run may cost together; the budget alone if left out."""
    allow_exact_analytics: bool = False
    """Whether the site answers queries without noise, which has no privacy guarantee; the ledger
    admits it only where there is no budget."""
    data: DataChoice | None = None
    """Where the site's rows are; left out, the task has a table of its own, as in a simulation."""

    @field_validator("data", mode="before")
    @classmethod
    def _one_kind_of_data(cls, table: object) -> DataChoice | None:
        return None if table is None else parse_data_choice(table)

    hours: tuple[str, ...] = ()
    """When the site agrees to a run or begins a round, such as `mon-fri 20:00-06:00`; always if
    left out. A round that was begun is finished."""
    timezone: str = "UTC"
    """Of the hours, such as `Europe/Berlin`."""
    least_noise_multiplier: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Least noise of a run that trains with differential privacy; 0 demands none by itself."""
    most_rounds: Annotated[int, Field(ge=1)] | None = None
    """Most training rounds that one run may have; the consortium's number alone if left out."""
    noise_factor: Annotated[float, Field(ge=1, le=100)] = 1.0
    """The site's own gradients get so many times the noise that was agreed. The budget is charged
    as if it were the agreed noise, so it says more than was spent."""
    limits: Limits = Limits()
    """What the agent may take of the machine."""
    log: LogChoice = LogChoice()
    """What is logged."""

    def is_open(self, now: float) -> bool:
        """Whether the site begins work at `now`, seconds since the epoch."""
        moment = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(self.timezone))
        spans = [OpeningHours.parse(text) for text in self.hours]
        return not spans or any(span.holds(moment) for span in spans)

    @field_validator("hours")
    @classmethod
    def _are_hours(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            try:
                OpeningHours.parse(text)
            except ValueError as error:
                raise ConfigError("hours", text, str(error)) from error
        return texts

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigError(
                "timezone", name, "a name of the IANA time zone database, such as Europe/Berlin"
            ) from error
        return name

    @model_validator(mode="after")
    def _extra_noise_on_its_own_gradients(self) -> Self:
        if self.noise_factor > 1 and self.allow_shared_noise:
            raise ConfigError(
                "noise_factor",
                self.noise_factor,
                "1 where allow_shared_noise is true",
                "a share of the noise in a sum is of the size that all sites planned for: either "
                "add more to this site's own gradients, or rely on the others",
            )
        return self

    @model_validator(mode="after")
    def _a_budget_unless_without_privacy(self) -> Self:
        without_privacy = self.allow_without_privacy or self.allow_exact_analytics
        if self.epsilon_budget is None and not without_privacy:
            raise ConfigError(
                "epsilon_budget",
                None,
                "a number > 0",
                "only a site with allow_without_privacy or allow_exact_analytics = true may go "
                "without a budget",
            )
        if self.site_level_epsilon_budget is not None and self.site_level_delta is None:
            raise ConfigError("site_level_delta", None, "a number in (0, 1), for the budget")
        return self

    def write(self, path: Path) -> None:
        """Write as TOML, atomically, readable by its owner alone."""
        table = self.model_dump(mode="json", exclude_none=True)
        text = tomli_w.dumps({key: value for key, value in table.items() if value != {}})
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
            remedy = "; hedgerow site init makes a site's folder, with one"
            raise UsageError(
                f"cannot read the site policy {path}: {error.strerror}"
                f"{remedy if isinstance(error, FileNotFoundError) else ''}"
            ) from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"{path} is not valid TOML: {error}") from error
        return settings_file.validated_of(path, cls, table)
