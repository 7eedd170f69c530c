"""Privacy loss distributions (PLD) of a history: the tightest of the bounds.

Connect-the-dots discretisation (Doroshenko et al. 2022, arXiv:2207.04380) by dp-accounting, whose
convolutions are exact but for floating point; at a small delta that is enough to under-state (by
0.15 at delta 1e-14 for 100 Gaussians), so a little of delta is set aside for it.

What has no PLD (the selection of the best of many repetitions) joins as a block: together it is
(epsilon', delta')-DP by Renyi DP, and the worst such mechanism has a PLD, which composes with the
rest (Kairouz, Oh and Viswanath 2015, arXiv:1311.0776, Theorem 3.2). How delta is split is free.

A sampled Gaussian's PLD is `privacy.sampled_gaussian_loss`, under replace-one of dp-accounting's
REPLACE adjacency; that of a person's records is `privacy.gaussian_mixture`, where both are proven
to be the worst case.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
import numpy.typing as npt
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.pld.common import DifferentialPrivacyParameters

from privacy import renyi
from privacy.event import (
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    Laplace,
    PoissonSampledDistributedGaussian,
    PoissonSampledGaussian,
)
from privacy.gaussian_mixture import from_sampled_group
from privacy.mechanism import Loss, Mechanism, SampledGroup, Selection, pure_epsilon
from privacy.mechanism import rounded_up as up
from privacy.neighbours import ADD_OR_REMOVE_ONE, REPLACE_ONE
from privacy.sampled_discrete_gaussian import ContinuousCounterpart, continuous_counterpart
from privacy.sampled_gaussian_loss import sampled_gaussian_loss

Floats = npt.NDArray[np.float64]

DISCRETISATION = 1e-4
"""Width of a PLD's bins; a smaller one is tighter, none is optimistic."""
COARSE = 1e-3
"""A width ten times faster, for questions whose answer is clear."""

LARGEST_EPSILON = 200.0
"""Where Renyi DP says more, no PLD is made: it would need gigabytes to bound what no budget
covers, at the word of whoever proposed the event."""

MOST_COMPOSITIONS = 10**6
"""Where a history has more, no PLD is made, for its tails cannot be cut any more."""

BLOCK_SHARES = (0.5, 0.1, 0.9)
"""Of delta, for what has no PLD; each split is a bound, so the least of them is."""


@dataclass(frozen=True, slots=True)
class LossDistribution:
    """The PLD of a whole history, with what the bound needs beside it.

    Attributes:
        near: of mechanisms of which those of the history are nearly functions.
        log_ratio: how nearly: probabilities are within exp of this of each other.
        rounding: what floating point may take away from a delta.
    """

    near: pld.PrivacyLossDistribution
    log_ratio: float
    rounding: float

    def epsilon(self, delta: float) -> float:
        """Least epsilon >= 0 at this delta, an upper bound; infinite where there is none."""
        least_delta = delta * math.exp(-self.log_ratio) - self.rounding
        if least_delta <= 0:
            return math.inf
        return float(self.near.get_epsilon_for_delta(least_delta)) + 2 * self.log_ratio

    def deltas(self, epsilons: Floats) -> Floats:
        """Least delta in [0, 1] at each epsilon, an upper bound; epsilons >= 0 and ascending."""
        near = np.asarray(self.near.get_delta_for_epsilon((epsilons - 2 * self.log_ratio).tolist()))
        outward: Floats = np.clip(math.exp(self.log_ratio) * (near + self.rounding), 0.0, 1.0)
        return outward


# A curve and an epsilon of one history are often asked for one after the other.
@lru_cache(maxsize=4)
def of_history(
    losses: tuple[Loss, ...], discretisation: float, block: tuple[float, float] | None = None
) -> LossDistribution | None:
    """The PLD of all together; None where there is no bound, or none worth its work.

    Args:
        losses: of mechanisms that have a PLD, and no selections.
        discretisation: width of a bin.
        block: (epsilon, delta) of what else there is.
    """
    compositions = sum(count for _, count in losses)
    log_ratio = sum(_log_ratio(mechanism) * count for mechanism, count in losses)
    if compositions > MOST_COMPOSITIONS or log_ratio > LARGEST_EPSILON:
        return None
    composed = _identity(discretisation)
    if losses:
        nearby = tuple((_continuous(mechanism), count) for mechanism, count in losses)
        composed = _repeated(nearby[-1], discretisation)
        if len(nearby) > 1:
            composed = _composed(nearby[:-1], discretisation).compose(composed)
    if block is not None:
        composed = composed.compose(_of_block(*block, discretisation))
    # Measured against the closed form, rounding takes up to 4e-17 of delta per composition away.
    return LossDistribution(composed, log_ratio, 1e-13 + 1e-15 * compositions)


def with_loss_distribution(losses: tuple[Loss, ...]) -> tuple[tuple[Loss, ...], tuple[Loss, ...]]:
    """Losses that have a PLD, and those that have none."""
    having = tuple(loss for loss in losses if not isinstance(loss[0], Selection))
    return having, tuple(loss for loss in losses if isinstance(loss[0], Selection))


def is_worth_its_work(losses: tuple[Loss, ...], delta: float) -> bool:
    """Whether Renyi DP, or what stands for it where it has no bound, is not beyond any budget."""
    guard = tuple((_guard(mechanism), count) for mechanism, count in losses)
    return renyi.epsilon(guard, delta) <= LARGEST_EPSILON


@lru_cache(maxsize=1024)
def epsilon(losses: tuple[Loss, ...], delta: float, discretisation: float) -> float:
    """Least epsilon of all together at delta: an upper bound, infinite where there is none."""
    having, others = with_loss_distribution(losses)
    if not is_worth_its_work(losses, delta):
        return math.inf
    if not others:
        whole = of_history(having, discretisation, None)
        return math.inf if whole is None else whole.epsilon(delta)
    return min(_epsilon_with_block(having, others, delta, s, discretisation) for s in BLOCK_SHARES)


def epsilons_along(
    steps: Sequence[tuple[Loss, ...]], delta: float, discretisation: float
) -> list[float]:
    """Epsilon after each step of a history: upper bounds, infinite where there is none.

    Each step's PLD is composed with that of all before, so that many points of a long history take
    hardly longer than the last.

    Args:
        steps: what each adds.
        delta: in (0, 1).
        discretisation: width of a bin.
    """
    composed, log_ratio, compositions = _identity(discretisation), 0.0, 0
    epsilons: list[float] = []
    for step in steps:
        compositions += sum(count for _, count in step)
        log_ratio += sum(_log_ratio(mechanism) * count for mechanism, count in step)
        too_much = compositions > MOST_COMPOSITIONS or log_ratio > LARGEST_EPSILON
        if too_much or with_loss_distribution(step)[1] or (epsilons and math.isinf(epsilons[-1])):
            epsilons.append(math.inf)
            continue
        for mechanism, count in step:
            part = _repeated_often((_continuous(mechanism), count), discretisation)
            composed = composed.compose(part)
        whole = LossDistribution(composed, log_ratio, 1e-13 + 1e-15 * compositions)
        epsilons.append(whole.epsilon(delta))
    return epsilons


def _epsilon_with_block(
    having: tuple[Loss, ...],
    others: tuple[Loss, ...],
    delta: float,
    share: float,
    discretisation: float,
) -> float:
    block = (renyi.epsilon(others, delta * share), delta * share)
    if block[0] > LARGEST_EPSILON:
        return math.inf
    whole = of_history(having, discretisation, block)
    return math.inf if whole is None else whole.epsilon(delta)


def _guard(mechanism: Mechanism) -> Mechanism:
    """A mechanism of a similar loss whose Renyi divergence is known: no bound, a measure of work.

    In place of a group's sample, the Gaussian of its divergence at order 2: with X and Y binomial
    log E[exp(X Y / sigma^2)], under replace-one at twice the sensitivity.
    """
    if not isinstance(mechanism, SampledGroup):
        return mechanism
    one, records = _near(mechanism.one), mechanism.neighbours.records
    noise = one.noise_multiplier * records / mechanism.neighbours.stretch
    chosen = np.arange(records + 1)
    weights = np.array([math.comb(records, j) for j in chosen], np.float64)
    weights *= one.sampling_rate**chosen * (1 - one.sampling_rate) ** (records - chosen)
    # Far beyond `LARGEST_EPSILON` in any case.
    exponents = np.minimum(np.outer(chosen, chosen) / noise**2, 600.0)
    divergence = math.log1p(float(weights @ np.expm1(exponents) @ weights))
    return PoissonSampledGaussian(1.0, 1 / math.sqrt(divergence), 1)


# While one run goes on, only the count of its own mechanism grows; what was before stays as it is.
@lru_cache(maxsize=4)
def _composed(losses: tuple[Loss, ...], discretisation: float) -> pld.PrivacyLossDistribution:
    return reduce(
        lambda one, other: one.compose(other), (_repeated(loss, discretisation) for loss in losses)
    )


# Steps of one length recur along a history.
@lru_cache(maxsize=8)
def _repeated_often(loss: Loss, discretisation: float) -> pld.PrivacyLossDistribution:
    return _repeated(loss, discretisation)


def _repeated(loss: Loss, discretisation: float) -> pld.PrivacyLossDistribution:
    mechanism, count = loss
    return _once(mechanism, discretisation).self_compose(count)


@lru_cache(maxsize=16)
def _once(mechanism: Mechanism, discretisation: float) -> pld.PrivacyLossDistribution:
    """Of one repetition of a continuous mechanism."""
    if isinstance(mechanism, DiscreteLaplace):
        return _of_block(up(pure_epsilon(mechanism)), 0.0, discretisation)
    if isinstance(mechanism, Laplace):
        return pld.from_laplace_mechanism(
            mechanism.noise_multiplier, value_discretization_interval=discretisation
        )
    if isinstance(mechanism, SampledGroup):
        return _of_group(mechanism, discretisation)
    assert isinstance(mechanism, PoissonSampledGaussian)
    return sampled_gaussian_loss(
        mechanism.sampling_rate, mechanism.noise_multiplier, ADD_OR_REMOVE_ONE, discretisation
    )


def _of_group(group: SampledGroup, discretisation: float) -> pld.PrivacyLossDistribution:
    one = group.one
    assert isinstance(one, PoissonSampledGaussian)
    if group.neighbours.records == 1 and group.neighbours.relation == REPLACE_ONE:
        return sampled_gaussian_loss(
            one.sampling_rate, one.noise_multiplier, REPLACE_ONE, discretisation
        )
    return from_sampled_group(
        one.sampling_rate, one.noise_multiplier, group.neighbours, discretisation
    )


def _of_block(epsilon: float, delta: float, discretisation: float) -> pld.PrivacyLossDistribution:
    return pld.from_privacy_parameters(
        DifferentialPrivacyParameters(epsilon, delta),
        value_discretization_interval=discretisation,
    )


def _identity(discretisation: float) -> pld.PrivacyLossDistribution:
    return pld.identity(value_discretization_interval=discretisation)


def _continuous(mechanism: Mechanism) -> Mechanism:
    """The mechanism of which this one is nearly a function: often itself.

    Near whatever the neighbours are, for the function does not look at the rows.
    """
    if isinstance(mechanism, SampledGroup):
        return SampledGroup(_near(mechanism.one), mechanism.neighbours)
    if isinstance(mechanism, PoissonSampledDistributedGaussian):
        return _near(mechanism)
    return mechanism


def _near(
    mechanism: PoissonSampledGaussian | PoissonSampledDistributedGaussian,
) -> PoissonSampledGaussian:
    if isinstance(mechanism, PoissonSampledGaussian):
        return mechanism
    noise = min(counterpart.noise_multiplier for counterpart in counterparts(mechanism))
    return PoissonSampledGaussian(mechanism.sampling_rate, noise, 1)


@lru_cache(maxsize=1024)
def _log_ratio(mechanism: Mechanism) -> float:
    """How near it is to that function: probabilities are within exp of this of each other."""
    if isinstance(mechanism, SampledGroup):
        mechanism = mechanism.one
    if not isinstance(mechanism, PoissonSampledDistributedGaussian):
        return 0.0
    return max(counterpart.log_ratio for counterpart in counterparts(mechanism))


def counterparts(
    event: PoissonSampledDistributedGaussian | DistributedDiscreteGaussian,
) -> list[ContinuousCounterpart]:
    """What each set of survivors' noise is nearly a function of."""
    return [continuous_counterpart(event.sensitivity, noise) for noise in event.honest_noise()]
