"""The audit of training: canaries at every site of a shadow federation, all in one run.

To each site's real rows canaries are added, each by a fair coin: records whose clipped gradient is
a coordinate of their own. Then the federation trains as configured: DP-SGD at each site, clip of
the update, weight, fixed-point code, modular sum, decoding, a new global model. The attacker is the
strongest that the guarantee is for: coordinator and all other sites together, who know everything
but the site's rows, its coins and its noise. So they see the site's own update, and score each
canary by how much likelier what it left is with it than without.

Which coins the attacker guesses right bounds epsilon from below (`privacy.audit.one_run`), by the
trade-off curve of the plan itself at ever less noise: the noise that a run so betraying can have
had at most is refuted or not.
"""

import math
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from federation.entropy import Entropy, SeededEntropy
from federation.errors import ConfigError
from federation.initial_model import initial_model
from federation.layout import VectorLayout, finest_segment
from federation.ring_vector import RingVector
from privacy.accountant import cost
from privacy.audit.canaries import OVERSHOOT, WithCanaries, canary_rows, loss_with_canaries
from privacy.audit.one_run import most_refuted
from privacy.audit.result import AuditResult, Finding, verdict_of
from privacy.audit.shadow import Shadow
from privacy.audit.trade_off import TradeOff, of_event
from privacy.dp_sgd import Descent, train_privately
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.mechanisms.clipping import clip_l2

Floats = npt.NDArray[np.float64]
Coins = npt.NDArray[np.bool_]

UPDATE = "update"
REHEARSALS = 3
"""Of what half the noise would show; the least of them is told."""
LEAST_CHANCE = 1e-12
"""Numbers of steps that a canary takes part in less often than that are left out of its score."""


@dataclass(frozen=True, slots=True)
class CanaryRun:
    """What the attacker has at the end of a shadow run.

    Attributes:
        scores: of all sites' canaries, shape (m,); high ones speak for "in".
        coins: whether each was in, shape (m,).
    """

    scores: Floats
    coins: Coins


def audit_training(
    shadow: Shadow, canaries: int, seed: int, confidence: float = 0.95
) -> AuditResult:
    """Train the shadow federation with canaries and bound epsilon from below.

    Args:
        shadow: the federation.
        canaries: per site, 10 to 10,000; about half of them take part.
        seed: fixes the whole result, >= 0.
        confidence: in (0, 1).

    Raises:
        ConfigError: a bound above is broken.
        PrivacyRefusal: the task's model cannot be trained privately.
    """
    if not 10 <= canaries <= 10_000:
        raise ConfigError("--canaries", canaries, "a whole number from 10 to 10,000")
    if seed < 0:
        raise ConfigError("--seed", seed, "a whole number >= 0")
    if not 0 < confidence < 1:
        raise ConfigError("--confidence", confidence, "a number in (0, 1)")
    entropy = SeededEntropy(seed).child("audit training")
    run = canary_run(shadow, canaries, entropy)
    rehearsed = [
        shown_epsilon(
            shadow, _rehearsal(shadow, len(run.coins), entropy.child("half", n)), confidence
        )
        for n in range(REHEARSALS)
    ]
    finding = Finding(
        "canaries in one shadow run",
        shadow.config.privacy.delta,
        shadow.epsilon if math.isfinite(shadow.epsilon) else None,
        shown_epsilon(shadow, run, confidence),
        min(rehearsed),
        len(run.coins),
    )
    return AuditResult(
        kind="training",
        verdict=verdict_of((finding,)),
        proven_epsilon=finding.proven_epsilon,
        empirical_epsilon=finding.empirical_epsilon,
        confidence=confidence,
        delta=finding.delta,
        parameters={
            "task": shadow.config.task.name,
            "sites": len(shadow.sites),
            "canaries_per_site": canaries,
            "rounds": shadow.config.run.rounds,
            "local_steps": shadow.config.training.local_steps,
            "sampling_rate": shadow.config.training.sampling_rate,
            "noise_multiplier": shadow.noise_multiplier,
        },
        findings=(finding,),
        trials=finding.trials,
        seed=seed,
        version=version("hedgerow"),
    )


def shown_epsilon(shadow: Shadow, run: CanaryRun, confidence: float) -> float:
    """Epsilon of the plan with the most noise that the run refutes; 0 if it refutes none."""

    def at(noise_share: float) -> TradeOff:
        event = shadow.event
        return of_event(replace(event, noise_multiplier=event.noise_multiplier / noise_share))

    less = most_refuted(run.scores, run.coins, at, confidence)
    if less == 0:
        return 0.0
    refuted = replace(shadow.event, noise_multiplier=shadow.noise_multiplier / less)
    epsilon = cost([refuted], shadow.config.privacy.delta).epsilon
    return epsilon if math.isfinite(epsilon) else 0.0


def canary_run(shadow: Shadow, canaries: int, entropy: Entropy) -> CanaryRun:
    """Train with canaries and score them.

    Args:
        shadow: the federation.
        canaries: per site.
        entropy: of coins, batches and noise.
    """
    sites = [_CanarySite.of(shadow, name, canaries, entropy) for name in shadow.sites]
    most = max(site.public_rows for site in sites)
    model = sites[0].model(shadow, canaries)
    parameters = flat_parameters(model).astype(np.float64)
    rules, clip = shadow.config.federation, shadow.config.training.update_clip
    segment = finest_segment(
        UPDATE, len(parameters), clip, len(sites), rules.update_bits, rules.rounding
    )
    layout = VectorLayout((segment,), len(sites))
    scores = np.zeros((len(sites), canaries))
    for round_ in range(1, shadow.config.run.rounds + 1):
        load_flat_parameters(model, parameters)
        total, sent = RingVector.zeros(layout.stretches), []
        for site in sites:
            update = site.update(shadow, model, entropy.child("training", site.name, round_, 1))
            values = clip_l2(update, clip)[0] * (site.public_rows / most)
            rounding = entropy.child("rounding", site.name, round_, 1)
            vector = layout.encode({UPDATE: values}, rounding)
            total.add(vector)
            sent.append(layout.decode(vector)[UPDATE])
        decoded = layout.decode(total)[UPDATE]
        for number, site in enumerate(sites):
            others = np.sum([each for n, each in enumerate(sent) if n != number], axis=0)
            own = (decoded - others)[-canaries:] * (most / site.public_rows)
            scores[number] += site.score(shadow, own, len(parameters))
        parameters += decoded * most / sum(site.public_rows for site in sites)
    return CanaryRun(scores.ravel(), np.concatenate([site.coins for site in sites]))


@dataclass(frozen=True, slots=True)
class _CanarySite:
    """A site of the shadow federation.

    Attributes:
        name: the site's.
        public_rows: its real rows, which canaries do not count among.
        row_shape: of one row of inputs.
        rows: real ones and the canaries that are in.
        coins: which canaries are, shape (m,).
    """

    name: str
    public_rows: int
    row_shape: torch.Size
    rows: tuple[torch.Tensor, torch.Tensor]
    coins: Coins

    @classmethod
    def of(cls, shadow: Shadow, name: str, canaries: int, entropy: Entropy) -> "_CanarySite":
        """A site's real rows, and its coins."""
        real = shadow.rows(name)
        bits = np.frombuffer(entropy.child("coins", name).bytes(canaries), np.uint8)
        coins = (bits & 1).astype(np.bool_)
        rows = canary_rows(real.inputs, real.targets, torch.from_numpy(np.flatnonzero(coins)))
        return cls(name, len(real), real.inputs.shape[1:], rows, coins)

    def model(self, shadow: Shadow, canaries: int) -> WithCanaries:
        """The task's initial model, with canaries beside it."""
        own = initial_model(shadow.task, shadow.config.run.seed)
        return WithCanaries(own, self.row_shape, canaries)

    def update(self, shadow: Shadow, model: WithCanaries, entropy: Entropy) -> Floats:
        """One round of DP-SGD."""
        plan = shadow.plan(self.public_rows, shadow.config.training.local_steps)
        loss = loss_with_canaries(shadow.task.loss, OVERSHOOT * plan.max_grad_norm)
        return train_privately(model, self.rows, loss, plan, shadow.descent, entropy).delta

    def score(self, shadow: Shadow, own: Floats, dimension: int) -> Floats:
        """Log of how much likelier what is seen of each canary in a round is if it is in.

        Args:
            shadow: the federation.
            own: the canaries' coordinates of the site's update, shape (m,).
            dimension: of the whole update, of which the noise says how much the clip shortens it.
        """
        weights, plan = shadow_weights(shadow), shadow.plan(self.public_rows, 1)
        once = plan.max_grad_norm / plan.expected_batch_size
        noise = plan.noise_multiplier * once * float(np.linalg.norm(weights))
        kept = min(1.0, shadow.config.training.update_clip / (noise * math.sqrt(dimension)))
        seen = own / (kept * once * float(np.mean(weights)))
        return _log_ratio(shadow, seen)


def shadow_weights(shadow: Shadow) -> Floats:
    """By how much each local step's gradient moves a round's update, shape (local_steps,)."""
    return step_weights(shadow.config.training.local_steps, shadow.descent)


def step_weights(steps: int, descent: Descent) -> Floats:
    """What multiplies each step's gradient in minus the update, shape (steps,).

    The recursion of `privacy.dp_sgd`, which is linear, on one unit per step.
    """
    here, velocity = np.zeros(steps), np.zeros(steps)
    for gradient in np.eye(steps):
        velocity = descent.momentum * velocity + gradient + descent.proximal_mu * here
        here = here - descent.learning_rate * velocity
    weights: Floats = -here
    return weights


def _log_ratio(shadow: Shadow, seen: Floats) -> Floats:
    """Of a round: the mixture over how many of its steps a canary took part in.

    Args:
        shadow: the federation.
        seen: in units of what one step of a canary adds, shape (m,).
    """
    weights, rate = shadow_weights(shadow), shadow.config.training.sampling_rate
    deviation = shadow.noise_multiplier * float(np.linalg.norm(weights) / np.mean(weights))
    shifts = np.arange(len(weights) + 1)
    chances = stats.binom.pmf(shifts, len(weights), rate)
    shifts, chances = shifts[chances > LEAST_CHANCE], chances[chances > LEAST_CHANCE]
    exponents = (2 * shifts[:, None] * seen - shifts[:, None] ** 2) / (2 * deviation**2)
    ratio: Floats = np.logaddexp.reduce(np.log(chances)[:, None] + exponents, axis=0)
    return ratio


def _rehearsal(shadow: Shadow, canaries: int, entropy: Entropy) -> CanaryRun:
    """A model of a run with half the noise, by numpy's generator; no production code is in it."""
    generator = np.random.default_rng(list(entropy.bytes(32)))
    coins = generator.random(canaries) < 0.5
    weights, rate = shadow_weights(shadow), shadow.config.training.sampling_rate
    deviation = shadow.noise_multiplier * float(np.linalg.norm(weights) / np.mean(weights))
    scores = np.zeros(canaries)
    for _ in range(shadow.config.run.rounds):
        joined = (generator.random((len(weights), canaries)) < rate).T @ (weights / weights.mean())
        noise = deviation / 2 * generator.standard_normal(canaries)
        scores += _log_ratio(shadow, joined * coins + noise)
    return CanaryRun(scores, coins)
