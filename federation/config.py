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
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
OptionValue = bool | int | float | str | tuple[str, ...] | tuple[int, ...] | tuple[float, ...]


class Section(BaseModel):
    """A table of the file: frozen, no unknown key, no silent conversion."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Run(Section):
    """What the run is called and how long it goes on."""

    name: Name = "heart"
    """Names the federation in its roster and the run folder."""
    rounds: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Training rounds; one evaluation round follows them."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 2026
    """Of the initial model and, in a simulation, of batches and noise; fixes the result."""
    attempts_per_round: Annotated[int, Field(ge=1, le=10)] = 1
    """How often a round is tried; a retry resends the same noised vectors and costs no privacy."""
    on_failed_round: Literal["stop", "continue"] = "stop"
    """`continue` goes on with the model as it was; `stop` leaves a run that can be resumed."""


class TaskChoice(Section):
    """A built-in task's name or `package.module:attribute`, and what it is constructed with."""

    name: Annotated[str, Field(min_length=1)] = "heart"
    """`heart`, `acs-employment`, `digits`, or the `module:attribute` of a task of your own."""
    options: dict[str, OptionValue] = {}
    """Keyword arguments that the task is constructed with."""


def usual_quorum(sites: int) -> int:
    """Two thirds: a third of the sites may be lost, and two survivor sets share enough sites."""
    return max(FEWEST_SITES, -(-2 * sites // 3))


def usual_threshold(sites: int) -> int:
    """A majority: no two disjoint sets of sites can both open something."""
    return sites // 2 + 1


class FederationRules(Section):
    """Who takes part, and how many must."""

    sites: tuple[Name, ...] = ()
    """Who is invited; empty means every site that the task has data for."""
    quorum: Annotated[int, Field(ge=FEWEST_SITES)] = 3
    """Fewest sites whose sum may be opened; two thirds of the sites if left out."""
    threshold: Annotated[int, Field(ge=2)] = 3
    """Fewest sites that together can open anything; a majority of the sites if left out."""
    neighbours: Annotated[int, Field(ge=2)] | None = None
    """With how many others each site masks, an even number; all of them if left out. For hundreds
    of sites; `hedgerow secure-sum graph` says how many are enough, and with which threshold."""
    update_bits: Literal[16, 20, 24, 32] = 32
    """Of the ring that updates are summed in: fewer bits are sent, and rounded more coarsely."""
    rounding: Literal["nearest", "stochastic"] = "nearest"
    """How updates are rounded; `stochastic` keeps the expectation of every coordinate."""
    round_timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 120.0
    """How long each exchange of a round may take; there are three, and five in a first round."""

    @property
    def degree(self) -> int:
        """Neighbours of each site: all others unless fewer are asked for."""
        return len(self.sites) - 1 if self.neighbours is None else self.neighbours


class Training(Section):
    """What one site does in one round."""

    local_steps: Annotated[int, Field(ge=1, le=100_000)] = 3
    """Gradient steps at each site in each round."""
    sampling_rate: Rate = 0.25
    """Probability with which each row joins the batch of each step."""
    learning_rate: Positive = 0.5
    """Of the gradient steps."""
    momentum: Fraction = 0.0
    """Of the gradient steps; starts from zero every round."""
    proximal_mu: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Above 0: FedProx' pull towards the global model (Li et al. 2020, arXiv:1812.06127)."""
    update_clip: Positive = 20.0
    """Largest L2 norm of a site's update in a round; longer ones are scaled down."""


class ServerOptimizer(Section):
    """What the server does with the mean update (Reddi et al. 2021, arXiv:2003.00295)."""

    optimizer: Literal["fedavg", "fedavgm", "fedadam"] = "fedavg"
    """What the mean update is taken for: the step itself, or a gradient."""
    learning_rate: Positive = 1.0
    """Of the server."""
    momentum: Fraction = 0.9
    """Of fedavgm."""
    beta_1: Fraction = 0.9
    """Of fedadam."""
    beta_2: Fraction = 0.99
    """Of fedadam."""
    tau: Positive = 1e-3
    """Of fedadam: added to the root of the second moment."""


class SiteLevelChoice(Section):
    """Noise that hides each site's whole update, added in shares within the secure sum."""

    epsilon: Positive | None = None
    """Target for the whole run, from which the noise multiplier is solved."""
    noise_multiplier: Positive | None = None
    """Noise on a round's sum over the largest update, where no target epsilon is given."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Well below 1 / sites."""
    colluders: Annotated[int, Field(ge=0)] = 0
    """How many survivors may pool what they know of their own noise: the others add the more."""
    meter_coordinates: Annotated[int, Field(ge=16, le=2**24)] = 1024
    """Coordinates without signal, on which every round measures whether all noise is there."""

    @model_validator(mode="after")
    def _exactly_one_way_to_set_the_noise(self) -> Self:
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ConfigError(
                "privacy.site_level.epsilon / privacy.site_level.noise_multiplier",
                "neither" if self.epsilon is None else "both",
                "exactly one of them: a target epsilon, or the noise multiplier itself",
            )
        return self


class PrivacyChoice(Section):
    """Record-level DP-SGD at each site, or `off`, which every output then says."""

    mode: Literal["record", "off"] = "record"
    """`record`: DP-SGD at every site, neighbours differ in one record. `off`: no privacy."""
    epsilon: Positive | None = None
    """Target for the whole run, from which the noise multiplier is solved."""
    noise_multiplier: Positive | None = None
    """Noise per step over max_grad_norm, where no target epsilon is given."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """At most 1 / rows of the largest site."""
    max_grad_norm: Positive = 1.0
    """Per-record gradients are clipped to this L2 norm."""
    site_level: SiteLevelChoice | None = None
    """A second guarantee, whose unit is a whole site; beside the other or alone."""

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
    """Bins of the score histograms that AUC is read from."""
    feature_bins: Annotated[int, Field(ge=10, le=1000)] = 64
    """Bins of a numeric feature in the drift histograms."""
    intersections: tuple[tuple[str, ...], ...] = ()
    """Sets of sensitive attributes whose combined groups are judged, too."""
    minimum_cell: Annotated[int, Field(ge=1)] = 10
    """Groups with fewer held-out rows are not shown."""
    minimum_contributors: Annotated[int, Field(ge=FEWEST_SITES)] = 3
    """Fewest sites in a cohort whose sum is read apart."""


class SitePolicyChoice(Section):
    """What every simulated site demands for itself; a deployed site writes its own `site.toml`."""

    epsilon_budget: Positive | None = None
    """What each site allows to be spent; privacy.epsilon if left out."""
    minimum_quorum: Annotated[int, Field(ge=FEWEST_SITES)] = 3
    """Sites refuse a federation with a smaller quorum."""
    minimum_threshold: Annotated[int, Field(ge=2)] = 2
    """Sites refuse a federation with a smaller threshold."""
    site_level_epsilon_budget: Positive | None = None
    """What each site allows its updates to cost as a whole; privacy.site_level.epsilon if left
    out, and any cost if there is none."""


class Dropout(Section):
    """A site that falls silent in one phase of one round, for simulations and tests."""

    site: Name
    """Which site."""
    round: Annotated[int, Field(ge=1)]
    """In which round."""
    phase: Literal["advertise", "share", "train", "sign", "open"] = "train"
    """From which phase of the round on it is silent."""
    attempts: Annotated[int, Field(ge=1)] = 1
    """How many attempts at that round it misses."""


class Simulation(Section):
    """How this machine plays all the sites."""

    backend: Literal["embedded", "ray"] = "embedded"
    """`embedded`: worker processes of this machine. `ray`: Flower's engine on Ray."""
    workers: Annotated[int, Field(ge=1, le=256)] = 2
    """Worker processes, or cores that Ray may use; changes no result."""
    baselines: bool = True
    """Put each site alone and the centralized model beside the result."""
    dropouts: tuple[Dropout, ...] = ()
    """Sites that fall silent, for trying out what a federation survives."""


class FederationConfig(Section):
    """The whole file.

    Raises:
        ConfigError: settings that are each fine but impossible together.
    """

    version: Literal[1] = 1
    """Of this format."""
    run: Run = Run()
    task: TaskChoice = TaskChoice()
    federation: FederationRules = FederationRules()
    cohorts: dict[Name, tuple[Name, ...]] = {}
    """Named sets of sites whose sums are read apart, such as `north = ["a", "b", "c"]`."""
    training: Training = Training()
    server: ServerOptimizer = ServerOptimizer()
    privacy: PrivacyChoice = PrivacyChoice(epsilon=2.0)
    evaluation: EvaluationRules = EvaluationRules()
    site_policy: SitePolicyChoice = SitePolicyChoice()
    simulation: Simulation = Simulation()

    @model_validator(mode="after")
    def _possible_together(self) -> Self:
        _check_cohorts(self)
        if self.federation.sites:
            _check_sites(self)
            _check_quorum(self)
            _check_graph(self)
            _check_site_level(self)
        return self


def _check_graph(config: FederationConfig) -> None:
    rules, n = config.federation, len(config.federation.sites)
    k = rules.neighbours
    if k is None:
        return
    if k % 2 or k >= n - 1:
        raise ConfigError(
            "federation.neighbours", k, f"an even number below {n - 1}", "leave it out for all"
        )
    if not k // 2 + 1 <= rules.threshold <= k:
        raise ConfigError(
            "federation.threshold",
            rules.threshold,
            f"from {k // 2 + 1} to {k} for {k} neighbours",
            "`hedgerow secure-sum graph` says which one is safe",
        )


def _check_site_level(config: FederationConfig) -> None:
    choice, rules = config.privacy.site_level, config.federation
    if choice is not None and choice.colluders >= rules.quorum:
        raise ConfigError(
            "privacy.site_level.colluders",
            choice.colluders,
            f"below federation.quorum = {rules.quorum}",
            "someone must be left whose noise nobody knows",
        )


def _check_quorum(config: FederationConfig) -> None:
    rules, policy = config.federation, config.site_policy
    if rules.threshold > rules.quorum:
        raise ConfigError(
            "federation.threshold",
            rules.threshold,
            f"at most federation.quorum = {rules.quorum}",
            "the survivors must be able to open the sum",
        )
    if policy.minimum_quorum > rules.quorum:
        raise ConfigError(
            "federation.quorum",
            rules.quorum,
            f"at least site_policy.minimum_quorum = {policy.minimum_quorum}",
            "the sites would refuse every round",
        )
    if policy.minimum_threshold > rules.threshold:
        raise ConfigError(
            "federation.threshold",
            rules.threshold,
            f"at least site_policy.minimum_threshold = {policy.minimum_threshold}",
            "the sites would refuse every round",
        )


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
    if config.evaluation.minimum_contributors > len(rules.sites):
        raise ConfigError(
            "evaluation.minimum_contributors",
            config.evaluation.minimum_contributors,
            f"at most the number of sites, {len(rules.sites)}",
        )
    for dropout in config.simulation.dropouts:
        if dropout.site not in rules.sites:
            raise ConfigError(
                "simulation.dropouts.site", dropout.site, f"one of {', '.join(rules.sites)}"
            )
        if dropout.round > config.run.rounds + 1:
            raise ConfigError(
                "simulation.dropouts.round",
                dropout.round,
                f"at most {config.run.rounds + 1}, the evaluation round",
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
