"""A configuration as audits run it: real rows, the configured plan, and nothing of a real run.

No key, ledger, journal or run folder is opened, and all randomness is a seed's.
"""

from dataclasses import dataclass

from federation.boosted_trees import boosted_trees_of
from federation.config import FederationConfig
from federation.errors import ConfigError
from federation.initial_model import initial_model
from federation.task import Rows, SiteRequest, Task
from privacy.accountant import cost
from privacy.calibration import noise_multiplier
from privacy.dp_sgd import Descent
from privacy.event import PoissonSampledGaussian
from privacy.plan import DpSgdPlan


@dataclass(frozen=True, slots=True)
class Shadow:
    """What sites would do under a configuration, each adding its noise itself.

    Attributes:
        task: model, loss and rows.
        config: the configuration.
        noise_multiplier: as configured, or solved for the target epsilon.
    """

    task: Task
    config: FederationConfig
    noise_multiplier: float

    @property
    def sites(self) -> tuple[str, ...]:
        """Those of the configuration, or all that the task has."""
        return self.config.federation.sites or self.task.sites

    @property
    def descent(self) -> Descent:
        """How gradients become steps."""
        training = self.config.training
        return Descent(training.learning_rate, training.momentum, training.proximal_mu)

    @property
    def event(self) -> PoissonSampledGaussian:
        """All rounds of one site."""
        training = self.config.training
        steps = training.local_steps * self.config.run.rounds
        return PoissonSampledGaussian(training.sampling_rate, self.noise_multiplier, steps)

    @property
    def epsilon(self) -> float:
        """Proven of all rounds."""
        return cost([self.event], self.config.privacy.delta).epsilon

    def plan(self, rows: int, steps: int) -> DpSgdPlan:
        """DP-SGD on a site that declares so many rows."""
        training, privacy = self.config.training, self.config.privacy
        return DpSgdPlan(
            training.sampling_rate,
            steps,
            self.noise_multiplier,
            privacy.max_grad_norm,
            training.sampling_rate * rows,
            privacy.delta,
        )

    def rows(self, site: str) -> Rows:
        """What a site trains on."""
        return self.task.load(SiteRequest(site, self.config.run.seed)).train


def shadow(task: Task, config: FederationConfig) -> Shadow:
    """A configuration, ready to be audited.

    Raises:
        ConfigError: it has no record-level privacy, sites share its noise, a site is unknown, or
            the model is grown from histograms.
        PrivacyRefusal: no noise meets its epsilon.
    """
    choice, training = config.privacy, config.training
    if choice.mode == "off":
        raise ConfigError("privacy.mode", "off", "'record': without it nothing is promised")
    if choice.shared_noise is not None:
        raise ConfigError(
            "privacy.shared_noise", "set", "noise of each site's own",
            "of noise that sites share, hedgerow privacy audit mechanism --shared tests the code",
        )  # fmt: skip
    partition = config.simulation.partition
    if partition.kind != "natural" or (partition.sites and not config.federation.sites):
        raise ConfigError(
            "simulation.partition.kind", partition.kind, "left out, and federation.sites as names",
            "the audit trains at the task's own sites",
        )  # fmt: skip
    if unknown := set(config.federation.sites) - set(task.sites):
        raise ConfigError(
            "federation.sites", sorted(unknown), f"sites of the task: {', '.join(task.sites)}"
        )
    if boosted_trees_of(initial_model(task, config.run.seed)) is not None:
        raise ConfigError(
            "task.options.model", "boosted_trees", "one that is trained by gradient steps alone",
            "the audit takes no part of a coordinator, who grows trees between the steps; hedgerow "
            "privacy audit mechanism tests the clip and the noise of those",
        )  # fmt: skip
    noise = choice.noise_multiplier
    if noise is None:
        assert choice.epsilon is not None
        steps = config.run.rounds * training.local_steps
        noise = noise_multiplier(choice.epsilon, choice.delta, training.sampling_rate, steps)
    return Shadow(task, config, noise)
