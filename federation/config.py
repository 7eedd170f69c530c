"""`federation.toml`: what a run shall do, as frozen, strict types with every bound checked.

The settings split in two. What sites must agree to (`federation`, `cohorts`, `task`, `training`,
`server`, `privacy`, `evaluation`) is hashed into every message of a run. What concerns one machine
only (`site_policy`, `simulation`) is not.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from federation.errors import ConfigError

FEWEST_SITES = 3
"""With two sites each learns the other's update from the sum; Bonawitz et al. 2017 need three."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
OptionValue = bool | int | float | str | tuple[str, ...] | tuple[int, ...] | tuple[float, ...]


class Section(BaseModel):
    """A table of the file: frozen, no unknown key, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Run(Section):
    """What the run is called and how long it goes on."""

    name: Name = "heart"
    rounds: Annotated[int, Field(ge=1, le=100_000)] = 20
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 2026
    attempts_per_round: Annotated[int, Field(ge=1, le=10)] = 1
    on_failed_round: Literal["stop", "continue"] = "stop"


class TaskChoice(Section):
    """A built-in task's name or `package.module:attribute`, and what it is constructed with."""

    name: Annotated[str, Field(min_length=1)] = "heart"
    options: dict[str, OptionValue] = {}


class FederationRules(Section):
    """Who takes part, and how many must."""

    sites: tuple[Name, ...] = ()
    quorum: Annotated[int, Field(ge=FEWEST_SITES)] = 3
    threshold: Annotated[int, Field(ge=2)] = 3
    round_timeout_seconds: Positive = 120.0


class Training(Section):
    """What one site does in one round."""

    local_steps: Annotated[int, Field(ge=1)] = 3
    sampling_rate: Rate = 0.25
    learning_rate: Positive = 0.5
    momentum: Fraction = 0.0
    proximal_mu: Annotated[float, Field(ge=0)] = 0.0
    update_clip: Positive = 20.0


class ServerOptimizer(Section):
    """What the server does with the mean update (Reddi et al. 2021, arXiv:2003.00295)."""

    optimizer: Literal["fedavg", "fedavgm", "fedadam"] = "fedavg"
    learning_rate: Positive = 1.0
    momentum: Fraction = 0.9
    beta_1: Fraction = 0.9
    beta_2: Fraction = 0.99
    tau: Positive = 1e-3


class PrivacyChoice(Section):
    """Record-level DP-SGD at each site, or `off`, which every output then says."""

    mode: Literal["record", "off"] = "record"
    epsilon: Positive | None = None
    noise_multiplier: Positive | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    max_grad_norm: Positive = 1.0

    @model_validator(mode="after")
    def _exactly_one_way_to_set_the_noise(self) -> Self:
        given = [v for v in (self.epsilon, self.noise_multiplier) if v is not None]
        if self.mode == "off" and given:
            key = "privacy.epsilon" if self.epsilon is not None else "privacy.noise_multiplier"
            raise ConfigError(
                key, given[0], "no noise setting with privacy.mode = 'off'", "remove one of the two"
            )
        if self.mode == "record" and len(given) != 1:
            value = "both" if given else "neither"
            raise ConfigError(
                "privacy.epsilon / privacy.noise_multiplier",
                value,
                "exactly one of them: a target epsilon, or the noise multiplier itself",
                "usual: epsilon = 2.0; without privacy: mode = 'off'",
            )
        return self


class EvaluationRules(Section):
    """What is counted at the sites and what of the sums is shown."""

    score_bins: Annotated[int, Field(ge=10, le=1000)] = 100
    feature_bins: Annotated[int, Field(ge=10, le=1000)] = 64
    intersections: tuple[tuple[str, ...], ...] = ()
    minimum_cell: Annotated[int, Field(ge=1)] = 10
    minimum_contributors: Annotated[int, Field(ge=FEWEST_SITES)] = 3


class SitePolicyChoice(Section):
    """What every simulated site demands for itself; a deployed site writes its own `site.toml`."""

    epsilon_budget: Positive | None = None
    minimum_quorum: Annotated[int, Field(ge=FEWEST_SITES)] = 3
    minimum_threshold: Annotated[int, Field(ge=2)] = 2


class Dropout(Section):
    """A site that falls silent in one phase of one round, for simulations and tests.

    `attempts` counts how many attempts at that round it misses.
    """

    site: Name
    round: Annotated[int, Field(ge=1)]
    phase: Literal["advertise", "share", "train", "sign", "open"] = "train"
    attempts: Annotated[int, Field(ge=1)] = 1


class Simulation(Section):
    """How this machine plays all the sites."""

    backend: Literal["embedded", "ray"] = "embedded"
    workers: Annotated[int, Field(ge=1, le=256)] = 2
    baselines: bool = True
    dropouts: tuple[Dropout, ...] = ()


class FederationConfig(Section):
    """The whole file.

    Raises:
        ConfigError: settings that are each fine but impossible together.
    """

    version: Literal[1] = 1
    run: Run = Run()
    task: TaskChoice = TaskChoice()
    federation: FederationRules = FederationRules()
    cohorts: dict[Name, tuple[Name, ...]] = {}
    training: Training = Training()
    server: ServerOptimizer = ServerOptimizer()
    privacy: PrivacyChoice = PrivacyChoice(epsilon=2.0)
    evaluation: EvaluationRules = EvaluationRules()
    site_policy: SitePolicyChoice = SitePolicyChoice()
    simulation: Simulation = Simulation()

    @model_validator(mode="after")
    def _possible_together(self) -> Self:
        rules = self.federation
        if rules.threshold > rules.quorum:
            raise ConfigError(
                "federation.threshold",
                rules.threshold,
                f"at most federation.quorum = {rules.quorum}",
                "the survivors must be able to open the sum",
            )
        if rules.sites:
            _check_sites(self)
        _check_cohorts(self)
        if self.site_policy.minimum_quorum > rules.quorum:
            raise ConfigError(
                "federation.quorum",
                rules.quorum,
                f"at least site_policy.minimum_quorum = {self.site_policy.minimum_quorum}",
                "the sites would refuse every round",
            )
        if self.site_policy.minimum_threshold > rules.threshold:
            raise ConfigError(
                "federation.threshold",
                rules.threshold,
                f"at least site_policy.minimum_threshold = {self.site_policy.minimum_threshold}",
                "the sites would refuse every round",
            )
        return self


def _check_sites(config: FederationConfig) -> None:
    rules = config.federation
    if len(set(rules.sites)) != len(rules.sites):
        raise ConfigError("federation.sites", list(rules.sites), "distinct names")
    if len(rules.sites) < FEWEST_SITES:
        raise ConfigError(
            "federation.sites",
            list(rules.sites),
            f"at least {FEWEST_SITES} sites",
            "with fewer, the sum gives a single site away",
        )
    if rules.quorum > len(rules.sites):
        raise ConfigError(
            "federation.quorum", rules.quorum, f"at most the number of sites, {len(rules.sites)}"
        )
    if 2 * rules.quorum <= len(rules.sites) + 1:
        raise ConfigError(
            "federation.quorum",
            rules.quorum,
            f"at least {(len(rules.sites) + 1) // 2 + 1} for {len(rules.sites)} sites",
            "else one colluding site suffices to have two survivor sets signed",
        )
    for dropout in config.simulation.dropouts:
        if dropout.site not in rules.sites:
            raise ConfigError(
                "simulation.dropouts.site", dropout.site, f"one of {', '.join(rules.sites)}"
            )


def _check_cohorts(config: FederationConfig) -> None:
    least = config.evaluation.minimum_contributors
    members = [site for sites in config.cohorts.values() for site in sites]
    for name, sites in config.cohorts.items():
        if len(set(sites)) < least:
            raise ConfigError(
                f"cohorts.{name}",
                list(sites),
                f"at least evaluation.minimum_contributors = {least} distinct sites",
                "a smaller cohort's sum would give a site away",
            )
    repeated = sorted({site for site in members if members.count(site) > 1})
    if repeated:
        raise ConfigError(
            "cohorts", repeated, "each site in one cohort at most", "overlaps can be subtracted"
        )
    if not config.federation.sites:
        return
    unknown = sorted(set(members) - set(config.federation.sites))
    if unknown:
        raise ConfigError("cohorts", unknown, f"sites out of {', '.join(config.federation.sites)}")
    rest = len(config.federation.sites) - len(members)
    if members and 0 < rest < least:
        raise ConfigError(
            "cohorts",
            sorted(set(config.federation.sites) - set(members)),
            f"no site, or at least {least}, outside all cohorts",
            "total minus cohorts would give the rest away",
        )
