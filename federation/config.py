"""`federation.toml`: what a run shall do, as frozen, strict types with every bound checked.

The settings split in two. What sites must agree to (`federation`, `cohorts`, `task`, `training`,
`server`, `robustness`, `privacy`, `mitigation`, `evaluation`) is hashed into every message of a
run. What concerns one machine only (`site_policy`, `simulation`) is not.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from federation.client_sampling import ClientSampling
from federation.errors import ConfigError
from federation.section import (
    FEWEST_SITES,
    Fraction,
    Name,
    OptionValue,
    Positive,
    PublicRows,
    Section,
)
from federation.simulation_choice import Simulation
from federation.simulation_rules import check_simulated_sites, check_simulation
from federation.training_choice import Training, require_state_safe

FEWEST_GROUPS = 3
"""Of two groups' values the median is their mean, which either of them can move anywhere."""

MOST_NAMED = 20
"""Sites that an error lists."""

LARGEST_EXAMPLE_WEIGHT = 10.0
"""Weight of a group and label so rare that it would be larger: few rows decide nothing."""

ExampleWeight = Annotated[float, Field(gt=0, le=LARGEST_EXAMPLE_WEIGHT)]


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
    """One of `hedgerow tasks list`, or the `module:attribute` of a task of your own."""
    options: dict[str, OptionValue] = Field(default_factory=dict)
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
    """Who is invited; empty means every site that the task has data for. In a simulation also a
    whole number, how many: short for `simulation.partition.sites`."""
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

    def degree_among(self, sites: tuple[Name, ...]) -> int:
        """Neighbours of each of the sites of a sum: all others unless fewer are asked for."""
        return len(sites) - 1 if self.neighbours is None else self.neighbours


class ServerOptimizer(Section):
    """What the server does with the mean update (Reddi et al. 2021, arXiv:2003.00295)."""

    optimizer: Literal["fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad"] = "fedavg"
    """What the mean update is taken for: the step itself, or a gradient."""
    learning_rate: Positive = 1.0
    """Of the server."""
    momentum: Fraction = 0.9
    """Of fedavgm."""
    beta_1: Fraction = 0.9
    """Of fedadam, fedyogi and fedadagrad: how much of the mean update is kept from round to round;
    with fedadagrad the paper sets it to 0."""
    beta_2: Fraction = 0.99
    """Of fedadam and fedyogi: likewise of its square."""
    tau: Positive = 1e-3
    """Of fedadam, fedyogi and fedadagrad: added to the root of the second moment, whose first value
    is its square."""


class SharesOfNoise(Section):
    """Noise that is added in shares within the secure sum."""

    colluders: Annotated[int, Field(ge=0)] = 1
    """How many survivors may pool what they know of their own noise: the others add the more. With
    0, a site that reads the model learns more than others do, as it knows its own share."""
    meter_coordinates: Annotated[int, Field(ge=16, le=2**24)] = 1024
    """Coordinates without signal, on which every round measures whether all noise is there."""
    remove_surplus: bool = False
    """Whether the noise that was provided for dropouts is taken off again when fewer drop out."""


class SharedNoiseChoice(SharesOfNoise):
    """The noise that hides a record, shared: each site adds a part of it, not the whole."""


class SiteLevelChoice(SharesOfNoise):
    """Noise that hides each site's whole update, added in shares within the secure sum."""

    epsilon: Positive | None = None
    """Target for the whole run, from which the noise multiplier is solved."""
    noise_multiplier: Positive | None = None
    """Noise on a round's sum over the largest update, where no target epsilon is given."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Well below 1 / sites."""

    @model_validator(mode="after")
    def _exactly_one_way_to_set_the_noise(self) -> Self:
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ConfigError(
                "privacy.site_level.epsilon / privacy.site_level.noise_multiplier",
                "neither" if self.epsilon is None else "both",
                "exactly one of them: a target epsilon, or the noise multiplier itself",
            )
        return self


class Robustness(Section):
    """How a round's update is made of what sites send: one mean, or one robust to a few groups."""

    aggregate: Literal["mean", "median", "trimmed_mean"] = "mean"
    """`mean` of all sites; coordinate-wise `median` or `trimmed_mean` over random groups' means."""
    groups: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Groups that sum apart in each training round, drawn anew; each has 3 sites or more."""
    trim: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Of trimmed_mean: the share of groups that is left out on either side of each coordinate."""

    @property
    def is_grouped(self) -> bool:
        """Whether sites sum in groups rather than all together."""
        return self.aggregate != "mean"

    @property
    def trimmed(self) -> int:
        """How many groups the trimmed mean leaves out on either side."""
        return int(self.trim * self.groups)

    @property
    def tolerated(self) -> int:
        """How many malicious sites, wherever they are, cannot move the result out of the honest."""
        if self.aggregate == "trimmed_mean":
            return self.trimmed
        return (self.groups - 1) // 2 if self.is_grouped else 0

    @property
    def fewest_groups(self) -> int:
        """How many groups' sums must be opened: a majority, three, and more than are trimmed."""
        left = 2 * self.trimmed + 1 if self.aggregate == "trimmed_mean" else 0
        return max(FEWEST_GROUPS, self.groups // 2 + 1, left)


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
    shared_noise: SharedNoiseChoice | None = None
    """Sites share the noise that hides a record, instead of each adding the whole; needs
    training.local_steps = 1."""
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

    @model_validator(mode="after")
    def _noise_of_one_unit_within_the_sum(self) -> Self:
        if self.shared_noise is None:
            return self
        if self.mode == "off":
            raise ConfigError(
                "privacy.shared_noise", "set", "left out with privacy.mode = 'off'",
                "it is the noise of record-level privacy that is shared",
            )  # fmt: skip
        if self.site_level is not None:
            raise ConfigError(
                "privacy.shared_noise", "set", "left out beside privacy.site_level",
                "a sum carries the noise of one of the two; with site-level noise each site adds "
                "the whole noise that hides a record to its own gradients",
            )  # fmt: skip
        return self

    @property
    def in_the_sum(self) -> tuple[str, SharesOfNoise] | None:
        """What noise the secure sum carries, if any, and under which key."""
        if self.shared_noise is not None:
            return "privacy.shared_noise", self.shared_noise
        return None if self.site_level is None else ("privacy.site_level", self.site_level)


class Mitigation(Section):
    """What training does so that the groups of one attribute fare more alike, by one criterion."""

    method: Literal["none", "reweighing", "adversarial", "constrained"] = "none"
    """`reweighing`: weights per group and label. `adversarial`: gradient reversal against an
    adversary that guesses the group. `constrained`: a penalty with multipliers that the server
    adapts each round to the groups' summed rates."""
    criterion: Literal["demographic_parity", "equal_opportunity", "equalized_odds"] | None = None
    """What shall be alike: selection rates, true positive rates, or true and false positive rates.
    They conflict, so one is named; reweighing serves `demographic_parity`."""
    attribute: Annotated[str, Field(min_length=1)] | None = None
    """The sensitive attribute whose groups are meant; rows of unknown group are left alone."""
    strength: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Of adversarial: the factor of the reversed gradient. Of constrained: by how much the smallest
    group's multiplier moves in a round per unit of its distance from the groups' mean rate."""
    largest_multiplier: Annotated[float, Field(gt=0, le=100)] = 10.0
    """Of constrained: no multiplier grows past it, and no site takes a larger one."""
    counts_epsilon: Positive | None = None
    """Of reweighing: what counting the training rows by group and label costs each record. Needed
    with record-level privacy, unless the weights are given."""
    weights: tuple[tuple[ExampleWeight, ExampleWeight], ...] = ()
    """Of reweighing: per group of the attribute the weights of its two labels, in the order of the
    task's levels and classes."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.method == "none":
            return self
        for key in ("criterion", "attribute"):
            if getattr(self, key) is None:
                raise ConfigError(
                    f"mitigation.{key}", None, f"it to be set with method = {self.method!r}"
                )
        if self.method == "reweighing" and self.criterion != "demographic_parity":
            raise ConfigError(
                "mitigation.criterion",
                self.criterion,
                "'demographic_parity' with method = 'reweighing'",
                "weights make group and label independent; for odds choose 'adversarial' or "
                "'constrained', or thresholds after training",
            )
        if self.weights and self.method != "reweighing":
            raise ConfigError(
                "mitigation.weights", [list(pair) for pair in self.weights],
                f"none with method = {self.method!r}", "they are those of 'reweighing'",
            )  # fmt: skip
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
    criterion: Literal["demographic_parity", "equal_opportunity", "equalized_odds"] = (
        "demographic_parity"
    )
    """What fairness is judged by; parity and odds conflict, so reports show both."""
    gap_watch: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """A difference between groups beyond it, and beyond chance, is to be watched."""
    gap_act: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """A difference between groups beyond it, and beyond chance, is to be acted on."""
    psi_watch: Annotated[float, Field(gt=0, le=10)] = 0.1
    """A population stability index beyond it, and beyond chance, is to be watched."""
    psi_act: Annotated[float, Field(gt=0, le=10)] = 0.25
    """A population stability index beyond it, and beyond chance, is to be acted on."""
    windows_per_false_alarm: Annotated[int, Field(ge=10, le=10_000)] = 100
    """Without drift, the alarms on a stream of windows are false at most once in so many."""
    maximum_rows: PublicRows | None = None
    """Most held-out rows of any site, if fewer than the task's schema allows for: sums over more
    sites fit then. A simulation of more than a thousand sites sets it to what its sites have."""
    site_flags: bool = True
    """Whether each site tests its own window against the reference and adds its verdicts to a sum:
    drift of one site is invisible in the sums of many."""
    epsilon: Positive | None = None
    """What all `releases` of evaluation may cost a record; counts are exact if left out."""
    releases: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How many stand-alone evaluations that epsilon is for, the reference's among them."""
    colluders: Annotated[int, Field(ge=0)] = 0
    """Sites whose share of the noise on counts does not count."""

    @model_serializer(mode="wrap")
    def _without_a_bound_that_is_not_set(
        self, dump: SerializerFunctionWrapHandler
    ) -> dict[str, Any]:
        """Rules without it are, byte for byte, what they were before it: so are digests."""
        fields: dict[str, Any] = dump(self)
        return {key: v for key, v in fields.items() if (key, v) != ("maximum_rows", None)}

    @model_validator(mode="after")
    def _marks_in_order(self) -> Self:
        for name in ("gap", "psi"):
            watch, act = getattr(self, f"{name}_watch"), getattr(self, f"{name}_act")
            if watch >= act:
                raise ConfigError(
                    f"evaluation.{name}_act", act, f"more than evaluation.{name}_watch = {watch:g}"
                )
        return self


class SitePolicyChoice(Section):
    """What every simulated site demands for itself; a deployed site writes its own `site.toml`."""

    epsilon_budget: Positive | None = None
    """What each site allows to be spent; privacy.epsilon if left out."""
    records_per_person: Annotated[int, Field(ge=1, le=64)] = 1
    """That budget is per person, with up to so many records each; 1: per record."""
    minimum_quorum: Annotated[int, Field(ge=FEWEST_SITES)] = 3
    """Sites refuse a federation with a smaller quorum."""
    minimum_threshold: Annotated[int, Field(ge=2)] = 2
    """Sites refuse a federation with a smaller threshold."""
    site_level_epsilon_budget: Positive | None = None
    """What each site allows its updates to cost as a whole; privacy.site_level.epsilon if left
    out, and any cost if there is none."""


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
    cohorts: dict[Name, tuple[Name, ...]] = Field(default_factory=dict)
    """Named sets of sites whose sums are read apart, such as `north = ["a", "b", "c"]`."""
    sampling: ClientSampling = ClientSampling()
    training: Training = Training()
    server: ServerOptimizer = ServerOptimizer()
    robustness: Robustness = Robustness()
    privacy: PrivacyChoice = PrivacyChoice(epsilon=2.0)
    mitigation: Mitigation = Mitigation()
    evaluation: EvaluationRules = EvaluationRules()
    site_policy: SitePolicyChoice = SitePolicyChoice()
    simulation: Simulation = Simulation()

    @model_validator(mode="after")
    def _possible_together(self) -> Self:
        _check_cohorts(self)
        _check_robustness(self)
        _check_one_step(self)
        _check_site_state(self)
        _check_mitigation(self)
        _check_arithmetic(self)
        _check_sampling(self)
        check_simulation(self.simulation, in_groups=self.robustness.is_grouped)
        if self.federation.sites:
            _check_sites(self)
            _check_quorum(self)
            _check_graph(self)
            _check_colluders(self)
            _check_attackers(self)
            check_simulated_sites(self.simulation, self.federation.sites, self.run.rounds)
            _check_groups(self)
            _check_partition(self)
        return self


def _check_arithmetic(config: FederationConfig) -> None:
    if config.simulation.secure_aggregation == "real":
        if config.simulation.noise == "rehearsal":
            raise ConfigError(
                "simulation.noise", "rehearsal", "'as-deployed' with secure_aggregation = 'real'",
                "agents have the sampler that sites have",
            )  # fmt: skip
        return
    for key, value in (
        ("evaluation.epsilon", config.evaluation.epsilon),
        ("mitigation.counts_epsilon", config.mitigation.counts_epsilon),
    ):
        if value is not None:
            raise ConfigError(
                key, value, "left out with simulation.secure_aggregation = 'arithmetic'",
                "noised counts are asked of sites that have ledgers: choose 'real'",
            )  # fmt: skip
    if config.simulation.coordinator != "honest":
        raise ConfigError(
            "simulation.coordinator", config.simulation.coordinator, "'honest' with "
            "secure_aggregation = 'arithmetic'", "there are no agents who could refuse",
        )  # fmt: skip
    if config.simulation.backend == "ray":
        raise ConfigError(
            "simulation.backend", "ray", "'embedded' with secure_aggregation = 'arithmetic'",
            "no message is sent, so there is nothing for Ray to carry",
        )  # fmt: skip


def _check_sampling(config: FederationConfig) -> None:
    sampling, rules = config.sampling, config.federation
    if sampling.kind == "all":
        return
    for key, value in (
        ("federation.neighbours", rules.neighbours),
        ("privacy.shared_noise", config.privacy.shared_noise),
        ("robustness.groups", None if not config.robustness.is_grouped else config.robustness),
        ("cohorts", sorted(config.cohorts) or None),
    ):
        if value is not None:
            raise ConfigError(
                key, "set", f"left out with sampling.kind = {sampling.kind!r}",
                "a sample is one sum over the sites that are drawn",
            )  # fmt: skip
    site_level = config.privacy.site_level
    if site_level is not None and site_level.remove_surplus:
        raise ConfigError(
            "privacy.site_level.remove_surplus", "true", "false with client sampling",
            "how many shares are surplus depends on the sample",
        )  # fmt: skip
    sites = len(rules.sites)
    if sites and sampling.sites is not None and sampling.sites > sites:
        raise ConfigError("sampling.sites", sampling.sites, f"at most the {sites} sites there are")
    if sites and sampling.expected(sites) < FEWEST_SITES:
        raise ConfigError(
            "sampling.rate", sampling.rate, f"at least {FEWEST_SITES} of {sites} sites on average",
            "a sum over fewer gives a site away",
        )  # fmt: skip


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


def _check_one_step(config: FederationConfig) -> None:
    steps = config.training.local_steps
    if config.privacy.shared_noise is not None and steps != 1:
        raise ConfigError(
            "training.local_steps",
            steps,
            "1 with privacy.shared_noise",
            "a second step would start from parameters that no noise has hidden yet; raise "
            "run.rounds instead",
        )


def _check_site_state(config: FederationConfig) -> None:
    privacy, local = config.privacy, list(config.training.local_layers)
    require_state_safe(
        config.training,
        shared_noise=privacy.shared_noise is not None,
        site_level=privacy.site_level is not None,
        grouped=config.robustness.is_grouped,
    )
    if local and config.evaluation.epsilon is not None:
        raise ConfigError(
            "training.local_layers",
            local,
            "none with evaluation.epsilon",
            "sites judge their own layers in the rounds of the run, where counts are exact",
        )
    if local and config.mitigation.method == "adversarial":
        raise ConfigError(
            "training.local_layers",
            local,
            "none with mitigation.method = 'adversarial'",
            "the adversary needs the whole model that it watches; choose 'reweighing' or "
            "'constrained'",
        )


def _check_mitigation(config: FederationConfig) -> None:
    _check_counts(config)
    if config.mitigation.method == "constrained" and config.robustness.is_grouped:
        raise ConfigError(
            "mitigation.method",
            "constrained",
            f"another with robustness.aggregate = {config.robustness.aggregate!r}",
            "multipliers follow the groups' rates, and sums in random groups of sites carry none; "
            "choose 'reweighing' or 'adversarial'",
        )
    if config.mitigation.method == "constrained" and config.evaluation.epsilon is not None:
        raise ConfigError(
            "mitigation.method",
            "constrained",
            "another with evaluation.epsilon",
            "multipliers follow exact counts of held-out rows in every round; choose "
            "'reweighing' or 'adversarial'",
        )


def _check_counts(config: FederationConfig) -> None:
    mitigation, private = config.mitigation, config.privacy.mode == "record"
    counted = mitigation.method == "reweighing" and not mitigation.weights
    if counted and private and mitigation.counts_epsilon is None:
        raise ConfigError(
            "mitigation.counts_epsilon",
            None,
            "a number > 0 with method = 'reweighing' and record-level privacy",
            "training rows are counted with noise, which is charged for; usual: 0.1; or give "
            "mitigation.weights",
        )
    if mitigation.counts_epsilon is not None and not (counted and private):
        raise ConfigError(
            "mitigation.counts_epsilon",
            mitigation.counts_epsilon,
            "none unless reweighing counts rows that privacy protects",
        )


def _check_colluders(config: FederationConfig) -> None:
    carried, rules = config.privacy.in_the_sum, config.federation
    if carried is None:
        return
    key, shares = carried
    if shares.colluders >= rules.quorum:
        raise ConfigError(
            f"{key}.colluders",
            shares.colluders,
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


def group_sizes(sites: int, groups: int) -> tuple[int, ...]:
    """Sizes of `groups` groups of `sites` sites, largest first; they differ by one at most.

    >>> group_sizes(14, 4)
    (4, 4, 3, 3)
    """
    each, over = divmod(sites, groups)
    return (each + 1,) * over + (each,) * (groups - over)


def group_quorum(rules: FederationRules, size: int) -> int:
    """Fewest sites of a group of `size` whose sum may be opened: the federation's share of them.

    Rounded up, and more than half by one site at least, as the terms of a session demand.
    """
    share = -(-rules.quorum * size // len(rules.sites))
    return max(FEWEST_SITES, (size + 1) // 2 + 1, share)


def group_threshold(rules: FederationRules, size: int) -> int:
    """Fewest sites of a group of `size` that together can open anything: the federation's share."""
    return max(2, -(-rules.threshold * size // len(rules.sites)))


def _check_robustness(config: FederationConfig) -> None:
    rule = config.robustness
    if not rule.is_grouped:
        if rule.groups != 1:
            raise ConfigError(
                "robustness.groups",
                rule.groups,
                "1 with robustness.aggregate = 'mean'",
                "one sum over all sites tells the coordinator least; or choose 'median'",
            )
        return
    if rule.groups < FEWEST_GROUPS:
        raise ConfigError(
            "robustness.groups",
            rule.groups,
            f"at least {FEWEST_GROUPS} with robustness.aggregate = {rule.aggregate!r}",
            "of two groups either can move the result anywhere",
        )
    if rule.aggregate == "trimmed_mean" and rule.trimmed == 0:
        raise ConfigError(
            "robustness.trim",
            rule.trim,
            f"at least 1 / {rule.groups} with {rule.groups} groups",
            "else nothing is trimmed and a single site can move the result anywhere",
        )
    if config.cohorts:
        raise ConfigError(
            "cohorts",
            sorted(config.cohorts),
            "none with robustness.aggregate = 'median' or 'trimmed_mean'",
            "remove the cohorts, or sum all sites together with aggregate = 'mean'",
        )


def _check_groups(config: FederationConfig) -> None:
    rule, rules, policy = config.robustness, config.federation, config.site_policy
    if not rule.is_grouped:
        return
    for key, value in (
        ("federation.neighbours", rules.neighbours),
        ("privacy.site_level", config.privacy.site_level),
        ("privacy.shared_noise", config.privacy.shared_noise),
    ):
        if value is not None:
            raise ConfigError(
                key, "set", f"left out with robustness.aggregate = {rule.aggregate}",
                "each group is a complete graph, and its sum a release of its own",
            )  # fmt: skip
    smallest = min(group_sizes(len(rules.sites), rule.groups))
    if smallest < FEWEST_SITES:
        raise ConfigError(
            "robustness.groups",
            rule.groups,
            f"at most {len(rules.sites) // FEWEST_SITES} for {len(rules.sites)} sites",
            f"a sum over fewer than {FEWEST_SITES} sites would give one away",
        )
    if policy.minimum_quorum > group_quorum(rules, smallest):
        raise ConfigError(
            "robustness.groups",
            rule.groups,
            "groups whose quorum is at least site_policy.minimum_quorum = "
            f"{policy.minimum_quorum}; a group of {smallest} has {group_quorum(rules, smallest)}",
            "the sites would refuse every round: choose fewer groups",
        )
    if policy.minimum_threshold > group_threshold(rules, smallest):
        raise ConfigError(
            "robustness.groups",
            rule.groups,
            "groups whose threshold is at least site_policy.minimum_threshold = "
            f"{policy.minimum_threshold}; a group of {smallest} has "
            f"{group_threshold(rules, smallest)}",
            "the sites would refuse every round: choose fewer groups",
        )


def _check_partition(config: FederationConfig) -> None:
    named, count = len(config.federation.sites), config.simulation.partition.sites
    if count is not None and count != named:
        raise ConfigError(
            "simulation.partition.sites",
            count,
            f"the number of federation.sites, which names {named}",
            "leave one of the two out",
        )


def _named(sites: Iterable[str]) -> str:
    """Names for an error; of thousands of sites the first ones."""
    listed = list(sites)
    more = len(listed) - MOST_NAMED
    return ", ".join(listed[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _check_attackers(config: FederationConfig) -> None:
    sites = [attacker.site for attacker in config.simulation.attackers]
    unknown = sorted(set(sites) - set(config.federation.sites))
    if unknown:
        known = _named(config.federation.sites)
        raise ConfigError("simulation.attackers.site", unknown, f"one of {known}")
    if len(set(sites)) != len(sites):
        raise ConfigError("simulation.attackers.site", sites, "each site once")


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
    _check_dropouts(config)


def _check_dropouts(config: FederationConfig) -> None:
    sites = frozenset(config.federation.sites)
    for dropout in config.simulation.dropouts:
        if dropout.site not in sites:
            known = _named(config.federation.sites)
            raise ConfigError("simulation.dropouts.site", dropout.site, f"one of {known}")
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
    repeated = sorted(site for site, times in Counter(members).items() if times > 1)
    if repeated:
        raise ConfigError(
            "cohorts", repeated, "each site in one cohort at most", "overlaps can be subtracted"
        )
    if not config.federation.sites:
        return
    unknown = sorted(set(members) - set(config.federation.sites))
    if unknown:
        raise ConfigError("cohorts", unknown, f"sites out of {_named(config.federation.sites)}")
    rest = len(config.federation.sites) - len(members)
    if members and 0 < rest < least:
        raise ConfigError(
            "cohorts",
            sorted(set(config.federation.sites) - set(members)),
            f"no site, or at least {least}, outside all cohorts",
            "total minus cohorts would give the rest away",
        )
