"""The audit of the mechanism: neighbouring inputs through the code that every site runs.

Half of a model's coordinates have a canary among the records, the other half have none: so one
call of the production code makes many independent runs with the record, and as many without. What
comes out is clipped, encoded, summed with other sites' vectors and decoded, as in a round. The
attacker knows everything but whether the canary is there, and scores a run by the exact likelihood
ratio (Neyman and Pearson): no other score shows more.

Each experiment tests a guarantee of the accountant's for exactly what was run. The first four are
the same for every plan, at settings where a fault shows; the last is the plan itself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import torch

from federation.entropy import Entropy, SeededEntropy
from federation.errors import ConfigError
from federation.layout import Segment, VectorLayout, finest_segment
from federation.ring_vector import RingVector
from privacy.accountant import cost
from privacy.audit.canaries import OVERSHOOT, CanaryCoordinates, steep_loss
from privacy.audit.result import AuditResult, Finding, verdict_of
from privacy.audit.split_sample import confidence_of_each, epsilon_lower_bound
from privacy.dp_sgd import Descent, train_for_shared_noise, train_privately
from privacy.event import PoissonSampledDistributedGaussian, PoissonSampledGaussian
from privacy.mechanisms.clipping import clip_l2
from privacy.noised_sum import decoded_sum, noise_share
from privacy.plan import DpSgdPlan, clipped_step_plan
from privacy.shared_record_noise import (
    SharedRecordNoisePlan,
    choose_shared_plan,
    rounded_gradient,
)

Floats = npt.NDArray[np.float64]
Rounds = Callable[[int, Entropy], Floats]
"""From a round's number and its entropy to what is seen of each coordinate, in clips."""

CLEAR_DELTA = 0.02
"""Claims hold at every delta; at this one a few ten thousand runs come near what is proven."""
CLIP = 1.0
OTHER_SITES = 2
"""Whose vectors stand in the sum, and are known to the attacker."""
REHEARSALS = 3
"""Of what half the noise would show; the least of them is told."""
UPDATE = "update"
ROTATION_SEED = bytes(32)
"""Public, and no guarantee rests on it: with one for all rounds, noise that repeats shows."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A mechanism that is run, and whose guarantee is tested.

    Attributes:
        name: what it is about.
        sampling_rate: q in (0, 1].
        rounds: releases, >= 1, each seen by the attacker; the canary's gradient changes its sign
            from one to the next, so that noise that repeats cancels.
        opposed_steps: whether a round has two steps of which the attacker sees the difference.
    """

    name: str
    sampling_rate: float
    rounds: int
    opposed_steps: bool = False

    @property
    def steps(self) -> int:
        """Of DP-SGD in all."""
        return self.rounds * (2 if self.opposed_steps else 1)


NOISE_AND_CLIP = Experiment("noise and clip: one step on all records", 1.0, 1)
SAMPLER = Experiment("sampler: one step on a sample", 0.25, 1)
FRESH_ROUNDS = Experiment("fresh noise: two rounds", 1.0, 2)
FRESH_STEPS = Experiment("fresh noise: two steps of a round", 0.5, 1, opposed_steps=True)
REFERENCE_NOISE = 1.0


@dataclass(frozen=True, slots=True)
class MechanismAudit:
    """What is audited, and how hard.

    Attributes:
        noise_multiplier: of the plan, > 0.
        sampling_rate: of the plan, in (0, 1].
        steps: of the plan, 1 to 10,000; each is seen.
        delta: of the plan, in (0, 1).
        trials: runs with the record, and as many without, of each experiment, >= 100.
        seed: fixes the whole result, >= 0.
        confidence: of all findings together, in (0, 1).

    Raises:
        ConfigError: a bound above is broken.
    """

    noise_multiplier: float = 1.0
    sampling_rate: float = 0.25
    steps: int = 8
    delta: float = 1e-3
    trials: int = 50_000
    seed: int = 2026
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0.01 <= self.noise_multiplier <= 1e4:
            raise ConfigError(
                "--noise-multiplier", self.noise_multiplier, "a number from 0.01 to 10,000"
            )
        if not 0 < self.sampling_rate <= 1:
            raise ConfigError("--sampling-rate", self.sampling_rate, "a number in (0, 1]")
        if not 1 <= self.steps <= 10_000:
            raise ConfigError("--steps", self.steps, "a whole number from 1 to 10,000")
        if not 0 < self.delta < 1:
            raise ConfigError("--delta", self.delta, "a number in (0, 1)", "usual: 1e-3")
        if not 100 <= self.trials <= 10**7:
            raise ConfigError("--trials", self.trials, "a whole number from 100 to 10,000,000")
        if self.seed < 0:
            raise ConfigError("--seed", self.seed, "a whole number >= 0")
        if not 0 < self.confidence < 1:
            raise ConfigError("--confidence", self.confidence, "a number in (0, 1)")

    @property
    def plan(self) -> Experiment:
        """The configured mechanism, step by step."""
        return Experiment("the plan, every step seen", self.sampling_rate, self.steps)


def audit_own_noise(audit: MechanismAudit) -> AuditResult:
    """Test DP-SGD where each site adds its whole noise itself (`privacy.dp_sgd`)."""
    experiments = [NOISE_AND_CLIP, SAMPLER, FRESH_ROUNDS, FRESH_STEPS]
    cases = [(each, REFERENCE_NOISE) for each in experiments]
    cases.append((audit.plan, audit.noise_multiplier))
    return _audited(audit, "own", cases, _own_noise)


def audit_shared_noise(audit: MechanismAudit) -> AuditResult:
    """Test one-step rounds in which three sites share the noise (`privacy.shared_record_noise`)."""
    cases = [(each, REFERENCE_NOISE) for each in (NOISE_AND_CLIP, SAMPLER, FRESH_ROUNDS)]
    cases.append((audit.plan, audit.noise_multiplier))
    return _audited(audit, "shared", cases, _shared_noise)


@dataclass(frozen=True, slots=True)
class Mechanism:
    """An experiment, ready to run.

    Attributes:
        observe: runs a round; coordinates of the first half have a canary.
        at_once: canaries of one run; as many more coordinates have none.
        event: of all its rounds, as it is charged.
        deviation: of the noise that hides a canary, in clips, per step.
    """

    observe: Rounds
    at_once: int
    event: PoissonSampledGaussian | PoissonSampledDistributedGaussian
    deviation: float


Build = Callable[[Experiment, float, int], Mechanism]
"""From an experiment, a noise multiplier and how many canaries run at a time to the mechanism."""


def _audited(
    audit: MechanismAudit, noise: str, cases: list[tuple[Experiment, float]], build: Build
) -> AuditResult:
    deltas = sorted({audit.delta, CLEAR_DELTA})
    each = confidence_of_each(audit.confidence, len(cases) * len(deltas))
    findings: list[Finding] = []
    for number, (experiment, multiplier) in enumerate(cases):
        mechanism = build(experiment, multiplier, _runs_at_once(experiment, audit.trials))
        entropy = SeededEntropy(audit.seed).child("audit mechanism", noise, number)
        findings += _tested(experiment, mechanism, audit.trials, Claims(deltas, each), entropy)
    of_plan = next(f for f in reversed(findings) if f.delta == audit.delta)
    return AuditResult(
        kind="mechanism",
        verdict=verdict_of(tuple(findings)),
        proven_epsilon=of_plan.proven_epsilon,
        empirical_epsilon=of_plan.empirical_epsilon,
        confidence=audit.confidence,
        delta=audit.delta,
        parameters={
            "noise": noise,
            "noise_multiplier": audit.noise_multiplier,
            "sampling_rate": audit.sampling_rate,
            "steps": audit.steps,
        },
        findings=tuple(findings),
        trials=sum(f.trials for f in findings[:: len(deltas)]),
        seed=audit.seed,
        version=version("hedgerow"),
    )


@dataclass(frozen=True, slots=True)
class Claims:
    """What is tested of one experiment: epsilon at each delta, each at this confidence."""

    deltas: list[float]
    confidence: float

    def bounds(self, present: Floats, absent: Floats) -> list[float]:
        """What epsilon is at least, per delta."""
        return [epsilon_lower_bound(present, absent, d, self.confidence) for d in self.deltas]


def _tested(
    experiment: Experiment, mechanism: Mechanism, trials: int, claims: Claims, entropy: Entropy
) -> list[Finding]:
    """A finding per delta."""
    present, absent = _scores(experiment, mechanism, trials, entropy.child("runs"))
    shown = claims.bounds(present, absent)
    halved = _of_half_the_noise(experiment, mechanism, trials, claims, entropy.child("half noise"))
    return [
        Finding(
            experiment.name,
            delta,
            _finite(cost([mechanism.event], delta).epsilon),
            at_least,
            half,
            len(present) + len(absent),
        )
        for delta, at_least, half in zip(claims.deltas, shown, halved, strict=True)
    ]


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None


def _runs_at_once(experiment: Experiment, trials: int) -> int:
    """Canaries of one call: so many that some 64 of them are in a batch, within memory."""
    return min(trials, max(256, min(4096, round(64 / experiment.sampling_rate))))


def _scores(
    experiment: Experiment, mechanism: Mechanism, trials: int, entropy: Entropy
) -> tuple[Floats, Floats]:
    """Of at least `trials` runs with a canary and as many without, each shape (n,)."""
    present, absent = [], []
    for call in range(-(-trials // mechanism.at_once)):
        total = np.zeros(2 * mechanism.at_once)
        for round_ in range(experiment.rounds):
            seen = mechanism.observe(round_, entropy.child("training", call, round_))
            total += _log_ratio(experiment, seen * _sign(round_), mechanism.deviation)
        present.append(total[: mechanism.at_once])
        absent.append(total[mechanism.at_once :])
    return np.concatenate(present), np.concatenate(absent)


def _sign(round_: int) -> float:
    return -1.0 if round_ % 2 else 1.0


def _log_ratio(experiment: Experiment, seen: Floats, deviation: float) -> Floats:
    """Logarithm of how much likelier each value is with the canary than without."""
    rate, both = experiment.sampling_rate, 2 * deviation**2
    if not experiment.opposed_steps:
        return _mixture({0.0: 1 - rate, 1.0: rate}, seen, both)
    once = rate * (1 - rate)
    return _mixture({0.0: 1 - 2 * once, 1.0: once, -1.0: once}, seen, 2 * both)


def _mixture(shifts: dict[float, float], seen: Floats, twice_variance: float) -> Floats:
    """Log of the sum over shifts of probability * N(seen; shift) / N(seen; 0)."""
    terms = [
        math.log(chance) + (2 * shift * seen - shift**2) / twice_variance
        for shift, chance in shifts.items()
        if chance > 0
    ]
    ratio: Floats = np.logaddexp.reduce(np.stack(terms), axis=0)
    return ratio


def _of_half_the_noise(
    experiment: Experiment, mechanism: Mechanism, trials: int, claims: Claims, entropy: Entropy
) -> list[float]:
    """What this test would show, per delta, of half the noise: the least of several rehearsals.

    A model of the fault, with numpy's generator: nothing of the production code is in it.
    """
    rehearsed = _rehearsed(experiment, mechanism.deviation / 2, trials)
    halved = replace(mechanism, observe=rehearsed, at_once=trials)
    shown = [
        claims.bounds(*_scores(experiment, halved, trials, entropy.child(number)))
        for number in range(REHEARSALS)
    ]
    return [min(of_delta) for of_delta in zip(*shown, strict=True)]


def _rehearsed(experiment: Experiment, deviation: float, trials: int) -> Rounds:
    steps = 2 if experiment.opposed_steps else 1

    def observe(round_: int, entropy: Entropy) -> Floats:
        generator = np.random.default_rng(list(entropy.bytes(32)))
        noise = generator.standard_normal(2 * trials)
        noise *= deviation * math.sqrt(steps)
        joined = generator.random((steps, trials)) < experiment.sampling_rate
        noise[:trials] += _sign(round_) * (joined[0] - (joined[1] * 1.0 if steps == 2 else 0.0))
        return noise

    return observe


def _own_noise(experiment: Experiment, noise_multiplier: float, at_once: int) -> Mechanism:
    """Production DP-SGD, then clip, encode, sum and decode as in a round."""
    divisor = experiment.sampling_rate * at_once
    steps = 2 if experiment.opposed_steps else 1
    plan = DpSgdPlan(experiment.sampling_rate, steps, noise_multiplier, CLIP, divisor, CLEAR_DELTA)
    # The second step starts from x = -g1; a pull of 2 x towards the start makes it g2 - 2 g1, so
    # that the update is g1 - g2: a difference in which noise that repeats would cancel.
    descent = Descent(1.0, proximal_mu=2.0 if experiment.opposed_steps else 0.0)
    rows, model = _rows(at_once), CanaryCoordinates(2 * at_once)
    bound = 10 * (math.sqrt(at_once) + noise_multiplier * math.sqrt(4 * at_once)) * CLIP / divisor

    def observe(round_: int, entropy: Entropy) -> Floats:
        loss = steep_loss(_sign(round_) * OVERSHOOT * CLIP)
        update = train_privately(model, rows, loss, plan, descent, entropy).delta
        seen = _through_the_sum(clip_l2(update, bound)[0], bound)
        return seen * divisor / CLIP

    event = replace(plan.event(), count=experiment.steps)
    return Mechanism(observe, at_once, event, noise_multiplier)


def _rows(canaries: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One record per canary; the targets say nothing."""
    return torch.arange(canaries)[:, None], torch.zeros(canaries, dtype=torch.long)


def _through_the_sum(update: Floats, bound: float) -> Floats:
    """The update as a coordinator decodes it who knows all other sites' vectors."""
    sites = 1 + OTHER_SITES
    layout = VectorLayout((finest_segment(UPDATE, len(update), bound, sites),), sites)
    total = layout.encode({UPDATE: update})
    known = np.full(len(update), bound / 2)
    for _ in range(OTHER_SITES):
        total.add(layout.encode({UPDATE: known}))
    others = layout.decode(layout.encode({UPDATE: known}))[UPDATE] * OTHER_SITES
    decoded: Floats = layout.decode(total)[UPDATE] - others
    return decoded


def _shared_noise(experiment: Experiment, noise_multiplier: float, at_once: int) -> Mechanism:
    """A round of shared noise as a coordinator decodes it to whom one site tells everything."""
    step = clipped_step_plan(1, experiment.sampling_rate, 1.0, CLIP, at_once)
    # Far above what clipped canaries add up to: the clip of updates must not hide a missing one.
    update_clip = 30 * math.sqrt(at_once) * step.record_norm
    plan = choose_shared_plan(
        2 * at_once, step, update_clip, noise_multiplier, 1 + OTHER_SITES + 1, 1 + OTHER_SITES
    )
    rows, model = _rows(at_once), CanaryCoordinates(2 * at_once)

    def observe(round_: int, entropy: Entropy) -> Floats:
        loss = steep_loss(_sign(round_) * OVERSHOOT * CLIP)
        update = train_for_shared_noise(model, rows, loss, step, entropy).delta
        seen = _through_the_noised_sum(plan, update, round_, entropy)
        return seen * step.expected_batch_size / CLIP

    event = replace(plan.event(), count=experiment.rounds)
    noise = math.sqrt(plan.honest * plan.share_variance) * plan.granularity
    return Mechanism(observe, at_once, event, noise * step.expected_batch_size / CLIP)


def _through_the_noised_sum(
    plan: SharedRecordNoisePlan, update: Floats, round_: int, entropy: Entropy
) -> Floats:
    """The sum of all sites less the last one's vector, which it tells; only the first has rows."""
    bound = plan.largest_code * plan.granularity
    segment = Segment(UPDATE, plan.dimension, bound, plan.granularity, plan.ring_bits)
    layout = VectorLayout((segment,), plan.sites)
    total, told = RingVector.zeros(layout.stretches), np.zeros(plan.dimension)
    for site in range(plan.sites):
        signal = update if site == 0 else np.zeros(plan.dimension)
        units = rounded_gradient(plan, signal, ROTATION_SEED)
        rounded: Floats = np.multiply(units, plan.granularity, dtype=np.float64)
        vector = layout.encode({UPDATE: rounded})
        layout.add(
            vector, UPDATE, noise_share(plan, entropy.child("noise in the sum", site, round_, 1))
        )
        total.add(vector)
        told = layout.decode(vector)[UPDATE]
    units = np.rint((layout.decode(total)[UPDATE] - told) / plan.granularity).astype(np.int64)
    return decoded_sum(plan, units, ROTATION_SEED)
