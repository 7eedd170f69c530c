"""From a configuration and what the sites declare to the agreement that all of them sign."""

from collections.abc import Callable, Mapping, Sequence

from federation import config_file
from federation.agreement import Agreement, NoiseInTheSum, RecordPrivacy, SiteLevelPrivacy
from federation.config import FederationConfig, Mitigation, SharedNoiseChoice, SharesOfNoise
from federation.errors import ConfigError, PrivacyRefusal
from privacy.calibration import (
    noise_multiplier,
    shared_noise_multiplier,
    site_level_noise_multiplier,
)
from privacy.distributed_noise import DistributedNoisePlan, choose_plan
from privacy.noised_sum import NoisedSum
from privacy.run_plan import clipped_step, contributors
from privacy.sampled_sites import sampled_site_epsilon, sampled_site_noise_multiplier
from privacy.shared_record_noise import SharedRecordNoisePlan, choose_shared_plan

Weights = Sequence[Sequence[float]]
"""Per group of the attribute, of its two labels."""


def propose(
    config: FederationConfig,
    run: str,
    public_rows: Mapping[str, int],
    rules_digest: str,
    parameters: int = 0,
    weights: Weights = (),
) -> Agreement:
    """The agreement of a run.

    Args:
        config: with `federation.sites` named.
        run: the run's id.
        public_rows: per site, as it declared.
        rules_digest: of the run rules that every site holds.
        parameters: of the model; only noise within the sum asks for it.
        weights: of reweighing, where the configuration gives none.

    Raises:
        ConfigError: no ring holds the noise within the sum, or reweighing has no weights.
        PrivacyRefusal: the promised epsilon cannot be met, or delta is above 1 / rows of a site.
    """
    if config.privacy.mode == "record":
        _check_delta(config.privacy.delta, public_rows)
    return Agreement(
        run=run,
        rules_digest=rules_digest,
        rounds=config.run.rounds,
        seed=config.run.seed,
        task=config.task,
        federation=config.federation,
        cohorts=config.cohorts,
        public_rows={site: public_rows[site] for site in config.federation.sites},
        training=config.training,
        sampling=config.sampling,
        server=config.server,
        robustness=config.robustness,
        privacy=record_privacy(config, public_rows, parameters),
        site_level=site_level_privacy(config, parameters),
        evaluation=config.evaluation,
        mitigation=settled_mitigation(config.mitigation, weights),
    )


def settled_mitigation(choice: Mitigation, weights: Weights = ()) -> Mitigation | None:
    """The mitigation as it is agreed, the weights of reweighing included; None without any.

    Args:
        choice: of the configuration, whose own weights go first.
        weights: per group and label, as counted over all sites.

    Raises:
        ConfigError: reweighing has no weights, or one is out of bounds.
    """
    if choice.method == "none":
        return None
    if choice.method != "reweighing" or choice.weights:
        return choice
    if not weights:
        raise ConfigError(
            "mitigation.weights",
            [],
            "two weights per group with method = 'reweighing'",
            "n_group n_label / (n n_group_and_label) of all sites' train rows together; "
            "docs/mitigation.md says how to have them",
        )
    table = choice.model_dump(mode="json", exclude={"counts_epsilon"})
    table["weights"] = [list(pair) for pair in weights]
    settled = config_file.parse({"mitigation": table}).mitigation
    return settled.model_copy(update={"counts_epsilon": choice.counts_epsilon})


def record_privacy(
    config: FederationConfig, public_rows: Mapping[str, int], parameters: int
) -> RecordPrivacy | None:
    """The privacy terms with the noise solved for the target; None with privacy off.

    Raises:
        ConfigError: sites share the noise, and no ring holds it.
        PrivacyRefusal: no noise multiplier meets the target.
    """
    choice, training = config.privacy, config.training
    if choice.mode == "off":
        return None
    noise, shared = choice.noise_multiplier, choice.shared_noise
    plan = _shared_plan(config, shared, public_rows, parameters) if shared else None
    if choice.epsilon is not None and plan is not None:
        rate, rounds = training.sampling_rate, config.run.rounds
        noise = shared_noise_multiplier(plan, choice.epsilon, choice.delta, rate, rounds)
    elif choice.epsilon is not None:
        steps = config.run.rounds * training.local_steps
        noise = noise_multiplier(choice.epsilon, choice.delta, training.sampling_rate, steps)
    if noise is None:
        raise ConfigError("privacy.noise_multiplier", None, "a number > 0")
    return RecordPrivacy(
        noise_multiplier=noise,
        delta=choice.delta,
        max_grad_norm=choice.max_grad_norm,
        target_epsilon=choice.epsilon,
        shared=_solved(shared, plan(noise)) if shared and plan else None,
    )


def _shared_plan(
    config: FederationConfig,
    choice: SharedNoiseChoice,
    public_rows: Mapping[str, int],
    parameters: int,
) -> Callable[[float], SharedRecordNoisePlan]:
    """The plan of noise that sites share, for a noise multiplier."""
    rules, training = config.federation, config.training
    rows = {site: public_rows[site] for site in rules.sites}
    step = clipped_step(training, config.privacy.max_grad_norm, rows)

    def plan(noise: float) -> SharedRecordNoisePlan:
        return choose_shared_plan(
            parameters + choice.meter_coordinates,
            step,
            training.update_clip,
            noise,
            **contributors(rules, choice),
        )

    return plan


def site_level_privacy(config: FederationConfig, parameters: int) -> SiteLevelPrivacy | None:
    """The site-level terms with the noise solved for the target; None without any.

    Raises:
        ConfigError: no ring holds the noise.
        PrivacyRefusal: no noise multiplier meets the target.
    """
    choice = config.privacy.site_level
    if choice is None:
        return None
    rules, sampling = config.federation, config.sampling
    dimension = parameters + choice.meter_coordinates
    of = contributors(rules, choice, sampling)

    def plan(noise: float) -> DistributedNoisePlan:
        return choose_plan(dimension, config.training.update_clip, noise, **of)

    noise = choice.noise_multiplier
    if noise is None and sampling.kind != "all":
        assert choice.epsilon is not None
        sites, rounds, delta = len(rules.sites), config.run.rounds, choice.delta
        noise = sampled_site_noise_multiplier(
            plan,
            lambda made: sampled_site_epsilon(made, sampling, sites, rounds, delta),
            choice.epsilon,
        )
    if noise is None:
        assert choice.epsilon is not None
        noise = site_level_noise_multiplier(plan, config.run.rounds, choice.epsilon, choice.delta)
    return SiteLevelPrivacy(
        noise_multiplier=noise,
        delta=choice.delta,
        target_epsilon=choice.epsilon,
        **_solved(choice, plan(noise)).model_dump(),
    )


def _solved(choice: SharesOfNoise, plan: NoisedSum) -> NoiseInTheSum:
    return NoiseInTheSum(
        colluders=choice.colluders,
        meter_coordinates=choice.meter_coordinates,
        dimension=plan.dimension,
        granularity=plan.granularity,
        ring_bits=plan.ring_bits,
        largest_code=plan.largest_code,
        remove_surplus=choice.remove_surplus,
    )


def _check_delta(delta: float, public_rows: Mapping[str, int]) -> None:
    site, rows = max(public_rows.items(), key=lambda item: item[1])
    if delta > 1 / rows:
        raise PrivacyRefusal(
            f"privacy.delta = {delta:g}: expected at most 1 / {rows} = {1 / rows:.2g}, the rows of "
            f"{site}; a larger delta would permit giving a whole record away"
        )
