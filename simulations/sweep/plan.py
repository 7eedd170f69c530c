"""What a sweep will run, settled before it begins: `sweep.json`, which a resumed one keeps to."""

import copy
import math
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from federation import canonical, config_file
from federation.config import FederationConfig
from federation.errors import ConfigError, UsageError
from privacy.accountant import cost
from privacy.event import PoissonSampledGaussian
from simulations.sweep.choice import Aim, Limit
from simulations.sweep.trials import Law, Trial
from simulations.sweep.variation import Setting, Value, shown, written

SCHEMA: Literal["hedgerow/sweep-plan/1"] = "hedgerow/sweep-plan/1"

REFERENCE = 0
"""Number of the trial without privacy that others are held against; it cannot be chosen."""


class PlannedTrial(BaseModel):
    """One choice of the varied settings; see `trials.Trial`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    settings: tuple[tuple[str, Value], ...]
    seeds: tuple[int, ...]

    @property
    def words(self) -> str:
        """Its settings for people."""
        if self.number == REFERENCE:
            return "without privacy"
        return ", ".join(f"{key} = {shown(value)}" for key, value in self.settings)


class SweepPlan(BaseModel):
    """Everything that decides what is run and, where the number of trials is drawn, chosen.

    Attributes:
        file: the configuration, absolute; empty for a built-in federation.
        table: what stood there.
        settings: of `--set`.
        variations: as typed.
        search: how trials were found.
        mean: of the number of trials where it is drawn; else 0.
        support: of a drawn number, every choice that might have been drawn.
        trials: in order; the one without privacy first, if there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_id: Literal["hedgerow/sweep-plan/1"] = SCHEMA
    name: str
    file: str
    table: dict[str, object]
    settings: tuple[str, ...]
    variations: tuple[str, ...]
    search: Law
    mean: float
    support: tuple[tuple[tuple[str, Value], ...], ...]
    trials: tuple[PlannedTrial, ...]
    aim: Aim
    limits: tuple[Limit, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The varied keys, in the order in which they were typed."""
        return tuple(one.partition("=")[0].strip() for one in self.variations)

    def config(self, trial: PlannedTrial, seed: int) -> FederationConfig:
        """What one run is made from.

        Raises:
            ConfigError: the settings are wrong, or impossible together.
        """
        return trial_config(self.table, self.settings, trial.settings, seed)


_NOISE = tuple(
    f"privacy.{key}" for key in ("epsilon", "noise_multiplier", "shared_noise", "site_level")
)
"""What was given for all trials and has no meaning for one without privacy."""


def planned(trials: tuple[Trial, ...]) -> tuple[PlannedTrial, ...]:
    """Trials as a plan holds them."""
    return tuple(PlannedTrial(number=t.number, settings=t.settings, seeds=t.seeds) for t in trials)


def without_privacy(seeds: tuple[int, ...]) -> PlannedTrial:
    """The same configuration without noise."""
    return PlannedTrial(number=REFERENCE, settings=(("privacy.mode", "off"),), seeds=seeds)


def check(plan: SweepPlan) -> None:
    """Return if the settings of all trials, and of all that might have been drawn, are valid.

    Raises:
        ConfigError: those of a trial are not; names it.
    """
    for trial in plan.trials:
        for seed in trial.seeds:
            _check(plan, f"trial {trial.number} ({trial.words})", trial.settings, seed)
    for settings in plan.support:
        words = ", ".join(f"{key} = {shown(value)}" for key, value in settings)
        _check(plan, f"a trial that might be drawn ({words})", settings, 0)


def _check(plan: SweepPlan, name: str, settings: tuple[Setting, ...], seed: int) -> None:
    try:
        trial_config(plan.table, plan.settings, settings, seed)
    except ConfigError as wrong:
        key = f"{name}: {wrong.key}"
        raise ConfigError(key, wrong.value, wrong.expected, wrong.remedy) from wrong


def trial_config(
    base: dict[str, object], given: tuple[str, ...], settings: tuple[Setting, ...], seed: int
) -> FederationConfig:
    """The base with what was given for all trials and what is one trial's own.

    Of a target epsilon and a noise multiplier, the one that is varied replaces the other one of the
    file. One worker a run and no yardsticks, unless asked for: a sweep has its own parallel runs
    and its own comparisons. Where noise is varied and no budget is set, simulated sites allow just
    what the run costs.

    Raises:
        ConfigError: as `config_file.parse`.
    """
    table = copy.deepcopy(base)
    _give_way(table, dict(settings))
    if dict(settings).get("privacy.mode") == "off":
        given = tuple(one for one in given if not one.strip().startswith(_NOISE))
    own = [f"{key}={written(value)}" for key, value in settings]
    changes = [*given, *own, f"run.seed={seed}"]
    asked = {change.partition("=")[0].strip() for change in changes}
    simulation = table.get("simulation", {})
    for key, value in (("workers", "1"), ("baselines", "false")):
        in_file = isinstance(simulation, dict) and key in simulation
        if not in_file and f"simulation.{key}" not in asked:
            changes.append(f"simulation.{key}={value}")
    config = config_file.parse(table, changes)
    budget = _needed_budget(config)
    if budget is None:
        return config
    return config_file.parse(table, [*changes, f"site_policy.epsilon_budget={budget}"])


def _give_way(table: dict[str, object], settings: dict[str, Value]) -> None:
    privacy = table.get("privacy")
    if not isinstance(privacy, dict):
        return
    is_off = settings.get("privacy.mode") == "off"
    if is_off or "privacy.noise_multiplier" in settings:
        privacy.pop("epsilon", None)
    if is_off or "privacy.epsilon" in settings:
        privacy.pop("noise_multiplier", None)
    for key in ("shared_noise", "site_level") if is_off else ():
        privacy.pop(key, None)


def _needed_budget(config: FederationConfig) -> float | None:
    """What a simulated site has to allow, rounded up to a thousandth.

    None where it is said, or where it is not for DP-SGD alone.
    """
    privacy, counted = config.privacy, (config.evaluation.epsilon, config.mitigation.counts_epsilon)
    is_said = config.site_policy.epsilon_budget is not None or privacy.noise_multiplier is None
    if is_said or privacy.shared_noise is not None or any(one is not None for one in counted):
        return None
    training = config.training
    steps = training.local_steps * config.run.rounds
    epsilon = _epsilon(
        training.sampling_rate, privacy.noise_multiplier or 0.0, steps, privacy.delta
    )
    budget = math.ceil(epsilon * 1000) / 1000 if math.isfinite(epsilon) else math.inf
    return budget if 0 < budget <= 1e6 else None


@lru_cache(maxsize=1024)
def _epsilon(sampling_rate: float, noise_multiplier: float, steps: int, delta: float) -> float:
    return cost([PoissonSampledGaussian(sampling_rate, noise_multiplier, steps)], delta).epsilon


def require_same(recorded: SweepPlan, asked: SweepPlan, folder: Path) -> None:
    """Return if a sweep that is resumed with a configuration is the one that was begun.

    Aim and limits may differ where the number of trials was not drawn: they choose among results.

    Raises:
        UsageError: it is another one; names what differs.
    """
    fields = ["table", "settings", "variations", "search", "mean", "trials"]
    differs = [name for name in fields if getattr(recorded, name) != getattr(asked, name)]
    if differs:
        said = {"table": "the configuration", "settings": "--set", "variations": "--vary",
                "search": "--random", "mean": "--random", "trials": "--seeds"}  # fmt: skip
        raise UsageError(
            f"{folder} holds another sweep: {said[differs[0]]} is not what it was begun with; "
            "resume it with --resume alone, or start a new one"
        )


def digest(plan: SweepPlan) -> str:
    """SHA-256 of what was planned."""
    return canonical.digest(plan.model_dump(mode="json"))
