"""The attacks that people ask about, on a shadow site: with the plan's privacy, and without any.

They show what an update or a model gives away in practice, beside the most that the guarantee
allows any attack. That an attack fails proves nothing; the other audits are stronger.
"""

import math
from dataclasses import dataclass
from importlib.metadata import version

from torch import nn

from federation.entropy import Entropy, SeededEntropy
from federation.errors import ConfigError
from privacy.audit import inversion, membership
from privacy.audit.membership import Attacked, Floats, Rows, Train
from privacy.audit.result import AuditResult, Finding, verdict_of
from privacy.audit.shadow import Shadow
from privacy.audit.trade_off import of_event
from privacy.audit.training import CanaryRun, shown_epsilon
from privacy.dp_sgd import train_privately, train_without_privacy
from privacy.plan import NonPrivatePlan

MOST_ROWS = 400
"""Of the site, so that the attack takes minutes."""


@dataclass(frozen=True, slots=True)
class AttackAudit:
    """What is attacked, and how hard.

    Attributes:
        shadow: plan, task and rows.
        site: whose rows.
        shadow_models: of each kind, 4 to 1,000.
        seed: fixes the whole result, >= 0.
        confidence: of the bound, in (0, 1).

    Raises:
        ConfigError: a bound above is broken, or there is no such site.
    """

    shadow: Shadow
    site: str
    shadow_models: int = 32
    seed: int = 2026
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.site not in self.shadow.sites:
            raise ConfigError("--site", self.site, f"one of {', '.join(self.shadow.sites)}")
        if not 4 <= self.shadow_models <= 1000:
            raise ConfigError(
                "--shadow-models", self.shadow_models, "a whole number from 4 to 1000"
            )
        if self.seed < 0:
            raise ConfigError("--seed", self.seed, "a whole number >= 0")
        if not 0 < self.confidence < 1:
            raise ConfigError("--confidence", self.confidence, "a number in (0, 1)")


def audit_attack(audit: AttackAudit) -> AuditResult:
    """Invert gradients and infer membership, and set the success beside what is proven.

    Raises:
        PrivacyRefusal: the task's model cannot be trained privately.
    """
    shadow, entropy = audit.shadow, SeededEntropy(audit.seed).child("audit attack")
    real = shadow.rows(audit.site)
    rows = (real.inputs[:MOST_ROWS], real.targets[:MOST_ROWS])

    def attacked(train: Train, name: str) -> Attacked:
        task, seed, models = shadow.task, shadow.config.run.seed, audit.shadow_models
        own = entropy.child("membership", name)
        return membership.attacked_models(task, seed, rows, train, models, own)

    plain = attacked(_trained_plainly(shadow, len(rows[1])), "without")
    private = attacked(_trained_privately(shadow, len(rows[1])), "with")
    # Of one model only: the coins of the others are then known, and its own are still fair.
    one = CanaryRun(membership.likelihood_ratios(private, 0), private.members[0])
    finding = Finding(
        "membership of one model's rows",
        shadow.config.privacy.delta,
        shadow.epsilon if math.isfinite(shadow.epsilon) else None,
        shown_epsilon(shadow, one, audit.confidence),
        None,
        len(one.coins),
    )
    return AuditResult(
        kind="attack",
        verdict=verdict_of((finding,)),
        proven_epsilon=finding.proven_epsilon,
        empirical_epsilon=finding.empirical_epsilon,
        confidence=audit.confidence,
        delta=finding.delta,
        parameters={
            "task": shadow.config.task.name,
            "site": audit.site,
            "rows": len(rows[1]),
            "shadow_models": audit.shadow_models,
            "steps": shadow.event.count,
            "sampling_rate": shadow.event.sampling_rate,
            "noise_multiplier": shadow.noise_multiplier,
        },
        findings=(finding,),
        trials=finding.trials,
        seed=audit.seed,
        version=version("hedgerow"),
        measures=_measures(audit, rows, plain, private, entropy.child("inversion")),
    )


def _trained_privately(shadow: Shadow, rows: int) -> Train:
    """All rounds' steps of DP-SGD in one go, at a site that declares half of `rows`."""
    plan = shadow.plan(rows // 2, shadow.event.count)

    def train(model: nn.Module, members: Rows, entropy: Entropy) -> Floats:
        loss = shadow.task.loss
        return train_privately(model, members, loss, plan, shadow.descent, entropy).delta

    return train


def _trained_plainly(shadow: Shadow, rows: int) -> Train:
    """The same steps without clip and noise."""
    private = shadow.plan(rows // 2, shadow.event.count)
    plan = NonPrivatePlan(private.sampling_rate, private.steps, private.expected_batch_size)

    def train(model: nn.Module, members: Rows, entropy: Entropy) -> Floats:
        loss = shadow.task.loss
        return train_without_privacy(model, members, loss, plan, shadow.descent, entropy).delta

    return train


def _measures(
    audit: AttackAudit, rows: Rows, plain: Attacked, private: Attacked, entropy: Entropy
) -> dict[str, float]:
    """Every number by its name; `with` and `without` say whether DP-SGD trained."""
    measures: dict[str, float] = {}
    for name, attacked in (("without", plain), ("with", private)):
        for attack, success in (
            ("loss", membership.by_loss(attacked)),
            ("lira", membership.by_shadow_models(attacked)),
        ):
            measures[f"{attack}_auc_{name}"] = success.auc
            measures[f"{attack}_tpr_{name}"] = success.power
    allowed = of_event(audit.shadow.event)
    measures["allowed_auc"] = allowed.most_auc()
    measures["allowed_tpr"] = allowed.most_power(membership.FALSE_ALARMS)
    for found in inversion.inversions(audit.shadow, rows, entropy):
        measures[f"inversion_{found.batch}_without"] = found.without_privacy
        measures[f"inversion_{found.batch}_with"] = found.with_privacy
        measures[f"inversion_{found.batch}_by_chance"] = found.by_chance
    return measures
