"""`summary.json`, schema 1: all that a reader of a run may know; the report is made from it alone.

Every number is a sum over at least the quorum of sites, a public fact of the agreement, or (marked
`simulation_only`) known because one machine played every site.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

SCHEMA: Literal["hedgerow/summary/1"] = "hedgerow/summary/1"


SYSTEM: Literal["operating system"] = "operating system"
SEEDED: Literal["seeded (simulation)"] = "seeded (simulation)"
NoiseSource = Literal["operating system", "seeded (simulation)", "none", "unknown"]


class Part(BaseModel):
    """A frozen piece of the summary; unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(Part):
    """A value with an interval; `value` is None where the sums do not determine it.

    Attributes:
        value: the point estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        kind: `confidence_95` (sampling of rows) or `exact_bounds` (the truth on these rows lies
            inside for certain, as for an AUC from a histogram).
        reason: why there is no value.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    kind: Literal["confidence_95", "exact_bounds"] = "confidence_95"
    reason: str = ""


class Utility(Part):
    """How well the model predicts `rows` held-out rows.

    `log_loss` in nats; `auc` is one-vs-rest macro average with more than two classes.
    """

    rows: int
    accuracy: Estimate
    balanced_accuracy: float | None
    log_loss: float | None
    brier: float | None
    auc: Estimate


class UtilityPoint(Part):
    """Utility of the model after `after_round` rounds (0 = as initialised)."""

    after_round: int
    sites: int
    overall: Utility
    cohorts: dict[str, Utility]


class NoiseMeasure(Part):
    """Whether a round's sum carried the noise that was promised.

    Attributes:
        ratio: measured over promised variance.
        p_value: chance of a ratio as far from 1, were all as promised.
        alarm: the noise is not as promised; wrong once in a million rounds.
        too_little: it is less: shares are missing, and the guarantee does not hold.
        coordinates: how many were measured.
        noise_multiplier: promised deviation of all the noise in the sum, over the sensitivity: at
            least that which the guarantee rests on, and more where surplus noise is left in it.
    """

    noise_multiplier: float
    ratio: float
    p_value: float
    alarm: bool
    too_little: bool
    coordinates: int


class Headcount(Part):
    """How many sites took part in a round of a simulation that plays too many to name them.

    Attributes:
        invited: of the round.
        survivors: in its sum.
        dropped: per reason, how many of the others.
    """

    invited: int
    survivors: int
    dropped: dict[str, int]


class Round(Part):
    """What happened in one round.

    Attributes:
        dropped: per lost site, the phase it was lost in and why.
        exchanges: how often the sites were asked in the attempt that succeeded: three times, twice
            more if keys were not exchanged ahead, once more if only some shares were missing.
        groups: where sites summed in groups, the survivors of each whose sum was opened.
        update_norm: mean L2 norm of the sites' updates after clipping.
        clipped_updates: how many of them were clipped.
        noise: of a round whose sum carries noise.
        headcount: instead of `survivors` and `dropped`, where there are too many to name.
    """

    round: int
    kind: Literal["train", "evaluate"]
    status: Literal["completed", "failed"]
    reason: str = ""
    attempts: int = 1
    exchanges: int = 0
    survivors: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    dropped: dict[str, str] = {}
    seconds: float
    update_norm: float | None = None
    clipped_updates: int | None = None
    noise: NoiseMeasure | None = None
    headcount: Headcount | None = None

    @property
    def in_the_sum(self) -> int:
        """How many sites' vectors were added up."""
        return self.headcount.survivors if self.headcount else len(self.survivors)

    @property
    def lost(self) -> int:
        """How many invited sites' vectors were not."""
        return sum(self.headcount.dropped.values()) if self.headcount else len(self.dropped)


class GroupRates(Part):
    """One group's rates on held-out rows (fairlearn's definitions), or why there are none.

    A suppressed group shows no number; `reason` says whether it is small itself. A rate is known
    where its denominator holds enough rows. Rates that are None here were not counted, or stem from
    before they were kept.

    Attributes:
        combines: the groups that this one takes together because they cannot be shown apart.
    """

    attribute: str
    group: str
    rows: int
    positives: int | None
    suppressed: bool = False
    reason: str = ""
    combines: tuple[str, ...] = ()
    selection_rate: Estimate | None = None
    true_positive_rate: Estimate | None = None
    true_negative_rate: Estimate | None = None
    false_positive_rate: Estimate | None = None
    false_negative_rate: Estimate | None = None
    precision: Estimate | None = None
    accuracy: Estimate | None = None
    balanced_accuracy: Estimate | None = None
    f1: Estimate | None = None
    auc: Estimate | None = None


class GapVariant(Part):
    """A gap measured another way.

    Attributes:
        method: groups with each other, or each with all rows together (fairlearn's `method`).
        aggregate: of several rates the worst, or their mean (fairlearn's `agg`).
        null_expectation: as in `Disparity`.
        null_95: as in `Disparity`.
    """

    method: Literal["between_groups", "to_overall"]
    aggregate: Literal["worst_case", "mean"]
    estimate: Estimate
    null_expectation: float | None = None
    null_95: float | None = None


class Disparity(Part):
    """A gap between groups of one attribute, in the worst of the rates that it compares.

    Attributes:
        attribute: whose groups are compared.
        metric: fairlearn's name, for instance `demographic_parity_difference`.
        estimate: value and interval.
        null_expectation: what the gap would be on average if all groups were alike.
        null_95: what groups that are alike exceed in one of twenty tables (a ratio: fall below).
        between: the groups with the lowest and the highest rate.
        p_value: of all groups being alike in the rates compared, adjusted for all attributes and
            rates of the scope.
        significant: whether it is at most 5 %.
        variants: the same gap to all rows together, and over the mean of its rates.
    """

    attribute: str
    metric: str
    estimate: Estimate
    null_expectation: float | None = None
    null_95: float | None = None
    between: tuple[str, ...] = ()
    p_value: float | None = None
    significant: bool | None = None
    variants: tuple[GapVariant, ...] = ()


class GroupComparison(Part):
    """One group's rate against that of the rest of its attribute.

    Attributes:
        metric: the rate.
        difference: the group's rate minus that of all other groups together.
        low: lower end of its 95 % interval, for this comparison alone.
        high: upper end.
        p_value: of there being no difference, for this comparison alone.
        p_adjusted: adjusted for all groups, attributes and rates of the scope (Holm).
        significant: whether the adjusted one is at most 5 %.
    """

    attribute: str
    group: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    significant: bool


class Fairness(Part):
    """Group rates and gaps of one scope: `overall` or a cohort's name.

    Attributes:
        comparisons: every test of a group against the rest, the significant ones among them.
    """

    scope: str
    groups: tuple[GroupRates, ...]
    disparities: tuple[Disparity, ...]
    comparisons: tuple[GroupComparison, ...] = ()


class FairnessPoint(Part):
    """Main gaps of one scope for the model after `after_round` rounds (0 = as initialised)."""

    after_round: int
    scope: str
    disparities: tuple[Disparity, ...]


class Drift(Part):
    """One feature: the current window against the reference window.

    Attributes:
        scope: `overall` or a cohort's name.
        feature: schema name.
        psi: population stability index on about ten bins of the reference.
        psi_critical: what PSI exceeds by chance with probability 5 % (all features together).
        ks: Kolmogorov-Smirnov distance seen through the bins, a lower bound.
        verdict: `ok`, `watch`, `act`, or `window too small` to tell.
        reference: shares per bin, as charted.
        current: shares per bin, as charted.
        bins: label of each bin.
    """

    scope: str
    feature: str
    rows_reference: int
    rows_current: int
    psi: float | None
    psi_critical: float | None
    ks: float | None
    jensen_shannon: float | None
    missing_reference: float
    missing_current: float
    outside_reference: float
    outside_current: float
    verdict: Literal["ok", "watch", "act", "window too small"]
    bins: tuple[str, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]


class SiteAccount(Part):
    """What one site's ledger says at the end.

    `epsilon_spent` counts open reservations too; every epsilon is at the ledger's own `delta`, and
    hides a person with up to `records_per_person` records, by `neighbouring_relation`.
    """

    public_rows: int
    expected_batch_size: float
    delta: float
    epsilon_spent: float | None
    epsilon_pld: float | None
    epsilon_rdp: float | None
    epsilon_budget: float | None
    reserved: int
    committed: int
    voided: int
    refused: int
    ledger_head: str
    records_per_person: int = 1
    neighbouring_relation: str = "add-or-remove-one"
    site_level_epsilon_spent: float | None = None
    site_level_epsilon_budget: float | None = None


class NoiseInTheSum(Part):
    """Noise that sites added in shares, so that the secure sum carried enough.

    Attributes:
        colluders: sites whose noise does not count.
        honest: fewest shares that hide the unit of privacy: the quorum less the colluders.
        granularity: of a coordinate.
        ring_bits: of the sum.
        surplus_removed: whether noise provided for dropouts was taken off again without them.
        alarms: rounds in which the noise was not as promised.
    """

    colluders: int
    honest: int
    granularity: float
    ring_bits: int
    surplus_removed: bool
    alarms: tuple[int, ...]


class Exposure(Part):
    """What a record risks where more is known of the shared noise than was allowed for.

    Attributes:
        further_colluders: beyond those allowed for; None: a site's vector is seen alone, as if the
            secure sum were broken.
        noise_multiplier: of the noise that is left.
        epsilon: of the run's rounds alone, at the run's delta; None if nothing is proven.
    """

    further_colluders: int | None
    noise_multiplier: float
    epsilon: float | None


class SharedNoise(NoiseInTheSum):
    """The noise that hides a record, shared among sites: what that rests on.

    Attributes:
        exposures: from no further colluders on, and last a site alone.
    """

    exposures: tuple[Exposure, ...]


class SampledSites(Part):
    """What site-level noise and random samples together cost a site.

    Attributes:
        expected: sites of a round, on average.
        epsilon: of all training rounds, against who sees the models and not who took part; None if
            unbounded.
        neighbouring_relation: which federations that holds for.
    """

    kind: Literal["poisson", "fixed"]
    expected: float
    sites: int
    epsilon: float | None
    neighbouring_relation: str


class SiteLevel(NoiseInTheSum):
    """The second guarantee, whose unit is one site's whole update; never added to the first.

    Attributes:
        noise_multiplier: of the noise of `honest` shares over the largest update.
        epsilon: of all rounds charged, the largest over the sites; None if unbounded.
        sampled: of a run over random samples of the sites.
    """

    delta: float
    target_epsilon: float | None
    noise_multiplier: float
    epsilon: float | None
    sampled: SampledSites | None = None


class Privacy(Part):
    """The guarantee: numbers, and sentences that say what they mean and what they do not.

    Attributes:
        sites: their accounts.
        unlisted: further sites of a simulation, of which none has spent more than those listed.
    """

    mode: Literal["record", "off"]
    delta: float | None
    target_epsilon: float | None
    noise_multiplier: float | None
    max_grad_norm: float | None
    sampling_rate: float
    steps: int
    unit: str
    neighbouring_relation: str
    noise_source: NoiseSource
    sites: dict[str, SiteAccount]
    unlisted: int = 0
    covered: tuple[str, ...]
    not_covered: tuple[str, ...]
    shared_noise: SharedNoise | None = None
    site_level: SiteLevel | None = None


class Robustness(Part):
    """How a round's update was made of the sums of random groups of sites.

    Attributes:
        group_sizes: sites invited in each group of a training round.
        quorum: fewest sites of the smallest group whose sum may be opened.
        threshold: fewest sites of the smallest group that together can open anything.
        trimmed: groups left out on either side of each coordinate; None for the median.
        tolerated_sites: as many malicious sites cannot move the result out of the honest groups'.
    """

    aggregate: Literal["median", "trimmed_mean"]
    group_sizes: tuple[int, ...]
    quorum: int
    threshold: int
    trimmed: int | None
    tolerated_sites: int


class TrainedMitigation(Part):
    """What training did so that groups fare more alike.

    Attributes:
        criterion: what was to be alike: the one criterion that the user named.
        attribute: whose groups.
        strength: of the adversary, or of the multipliers' steps; None for reweighing.
        weights: of reweighing: per group, of its two labels.
        multipliers: of constrained training: the values that went out with each model, by
            `rate/group`; one per round, the final model's last.
    """

    method: Literal["reweighing", "adversarial", "constrained"]
    criterion: Literal["demographic_parity", "equal_opportunity", "equalized_odds"]
    attribute: str
    strength: float | None = None
    weights: dict[str, tuple[float, float]] = {}
    multipliers: tuple[dict[str, float], ...] = ()


class SecureSum(Part):
    """How the sums were protected.

    Attributes:
        ring_bits: of the rings that the vector's words are summed in, narrow ones first: each sum
            is exact modulo 2**bits.
        words: of the training vector, in all rings.
        upload_bytes_per_site: of its masked words in one round.
        exchanges_per_round: of a round whose keys were exchanged during the round before.
        tolerated_colluders: as many sites and a lying coordinator together learn sums only; where
            sites sum in groups, the least over the groups. None in summaries from before it was
            kept.
        roster_digest: of the consortium's key and every site's certificate.
        rules_digest: of the consortium's run rules; empty in summaries from before there were any.
        method: `arithmetic` if a simulation added the vectors up without running the protocol.
    """

    threshold: int
    quorum: int
    ring_bits: tuple[int, ...]
    words: int
    upload_bytes_per_site: int
    exchanges_per_round: int
    tolerated_colluders: int | None = None
    roster_digest: str
    rules_digest: str = ""
    method: Literal["protocol", "arithmetic"] = "protocol"


class Baseline(Part):
    """A yardstick beside the federated model, on the same held-out rows.

    Attributes:
        name: `majority class`, `alone: SITE`, `centralized`, `centralized with the same DP`,
            `federated`.
        on_own_rows: for a site alone, its utility on its own held-out rows.
        federated_on_own_rows: the federated model on those same rows, with the site's own layers
            where some stay at the sites.
    """

    name: str
    description: str
    simulation_only: bool
    utility: Utility
    on_own_rows: Utility | None = None
    federated_on_own_rows: Utility | None = None


class PartitionFacts(Part):
    """How a simulation shared rows out over its sites.

    Attributes:
        kind: of `simulation.partition`.
        parameters: of that kind, by the names that they have there.
        sites: how many there are.
        rows: of all sites together.
        pool_rows: rows there were to share out.
        resampled: whether a row may be at several sites, so that no epsilon holds for a row.
        ordered_by: the order of time that the rows are in: the task's windows, its table, or only
            the order of its own sites.
        sha256: of the file `partition.npz` in the run folder.
    """

    kind: str
    parameters: dict[str, bool | int | float | str]
    sites: int
    rows: int
    pool_rows: int
    resampled: bool
    ordered_by: Literal["windows", "table", "sites"]
    sha256: str

    @property
    def text(self) -> str:
        """In one line, without the digest."""
        given = ", ".join(f"{name} = {value}" for name, value in sorted(self.parameters.items()))
        twice = ", handed out repeatedly" if self.resampled else ""
        return (
            f"{self.kind} ({given}): {self.rows:,} rows for {self.sites:,} sites, out of "
            f"{self.pool_rows:,}{twice}"
        )


class Strategy(Part):
    """What makes of sites' steps one model.

    Attributes:
        algorithm: of the sites' steps; `fedprox` where they are pulled towards the global model;
            `boosted_trees` where a step is a histogram, from which trees are grown.
        proximal_mu: how much they are.
        optimizer: of the server.
        local_layers: names of the parameters that stay at the sites: the model of the run holds
            them as initialised, and all that is said of utility and groups is of each site's own.
    """

    algorithm: Literal["sgd", "fedprox", "scaffold", "boosted_trees"]
    proximal_mu: float
    optimizer: Literal["fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad"]
    local_layers: tuple[str, ...] = ()


class InjectedAttacker(Part):
    """A site that was made malicious.

    Attributes:
        tried: of a backdoor: held-out rows of honest sites, of another class than its target.
        as_they_are: share of them that the final model takes for the target.
        with_trigger: likewise, with the trigger in them: how often the backdoor opens.
    """

    site: str
    kind: str
    tried: int | None = None
    as_they_are: float | None = None
    with_trigger: float | None = None


class InjectedRound(Part):
    """What the plan of faults had for a round's last attempt.

    Attributes:
        online: sites that could be reached.
        lost: per cause, how many sites fell silent.
        seconds: virtual time of a training round; None where nothing says how long sites train.
        missed_deadline: sites that would have trained longer than was waited for.
    """

    round: int
    online: int
    lost: dict[str, int]
    seconds: float | None
    missed_deadline: tuple[str, ...] = ()


class Injected(Part):
    """What a simulation did on purpose; the truth to hold the other numbers against.

    Attributes:
        drift: one line per injected drift; `injected-drift.json` has it window by window.
        windows: that held-out rows were dealt into; 0 for the task's own.
        availability_sha256: of the file of a trace; empty without one.
    """

    attackers: tuple[InjectedAttacker, ...] = ()
    rounds: tuple[InjectedRound, ...] = ()
    drift: tuple[str, ...] = ()
    windows: int = 0
    availability_sha256: str = ""


class RunFacts(Part):
    """What ran, where, when and on which versions.

    Attributes:
        engine: how a simulation trained its sites: each by itself, or many at once.
        partition: of a simulation that shared the task's rows out anew; None where the sites are
            the task's own, or real.
    """

    id: str
    name: str
    status: Literal["completed", "stopped", "interrupted"]
    stopped_because: str = ""
    stopped_by_budget: bool = False
    stopped_by_refusal: bool = False
    started: str
    finished: str
    seconds: float
    resumed: int
    backend: str
    engine: Literal["per-site", "batched"] = "per-site"
    task: str
    seed: int | None
    rounds_planned: int
    rounds_completed: int
    sites: tuple[str, ...]
    cohorts: dict[str, tuple[str, ...]]
    positive_class: str
    config_digest: str
    model_sha256: str
    model_parameters: int
    versions: dict[str, str]
    partition: PartitionFacts | None = None


class Summary(Part):
    """The whole run."""

    schema_id: Literal["hedgerow/summary/1"] = SCHEMA
    run: RunFacts
    privacy: Privacy
    secure_sum: SecureSum
    strategy: Strategy | None = None
    robustness: Robustness | None = None
    mitigation: TrainedMitigation | None = None
    rounds: tuple[Round, ...]
    utility: tuple[UtilityPoint, ...]
    fairness: tuple[Fairness, ...]
    fairness_by_round: tuple[FairnessPoint, ...] = ()
    drift: tuple[Drift, ...]
    baselines: tuple[Baseline, ...] = ()
    injected: Injected | None = None
    notes: tuple[str, ...] = ()
