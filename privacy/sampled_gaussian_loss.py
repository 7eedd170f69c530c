"""Privacy loss distribution of one Poisson-sampled Gaussian, all its points found at once.

The pairs, the bounds and the discretisation are dp-accounting's (`from_gaussian_mechanism`, connect
the dots); it asks for the point of each loss one after the other, which is most of the time of
every epsilon. The same closed forms as arrays (q the sampling rate, s the noise multiplier, e the
loss; dp-accounting's `GaussianPrivacyLoss` gives them and how they are derived):

    a record less:      x = -1/2 - s^2 log(1 + (exp(e) - 1) / q)
    a record more:      x =  1/2 + s^2 log(1 + (exp(-e) - 1) / q)
    a record replaced:  x = -s^2 (asinh(sinh(e / 2) exp(1 / 2 s^2) (1 - q) / q) + e / 2)
"""

import math

import numpy as np
import numpy.typing as npt
from dp_accounting.pld import pld_pmf
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss

from privacy.connect_dots import connect_dots
from privacy.neighbours import REPLACE_ONE

Floats = npt.NDArray[np.float64]


def sampled_gaussian_loss(
    sampling_rate: float, noise_multiplier: float, relation: str, discretisation: float
) -> pld.PrivacyLossDistribution:
    """Connect-the-dots PLD, an upper bound.

    Args:
        sampling_rate: q in (0, 1].
        noise_multiplier: deviation over the L2 sensitivity to one record, > 0.
        relation: add-or-remove-one or replace-one.
        discretisation: width of a bin.
    """
    kinds = [AdjacencyType.REMOVE, AdjacencyType.ADD]
    if relation == REPLACE_ONE:
        kinds = [AdjacencyType.REPLACE]
    elif sampling_rate == 1.0:
        kinds = [AdjacencyType.REMOVE]  # the other one is its mirror image
    return pld.PrivacyLossDistribution(
        *(
            _pessimistic(
                GaussianPrivacyLoss(
                    noise_multiplier, sampling_prob=sampling_rate, adjacency_type=kind
                ),
                discretisation,
            )
            for kind in kinds
        )
    )


def _pessimistic(loss: GaussianPrivacyLoss, discretisation: float) -> pld_pmf.PLDPmf:
    bounds = loss.connect_dots_bounds()
    assert bounds.epsilon_lower is not None
    assert bounds.epsilon_upper is not None
    lowest = math.floor(bounds.epsilon_lower / discretisation)
    highest = math.ceil(bounds.epsilon_upper / discretisation)
    epsilons = np.arange(lowest, highest + 1, dtype=np.float64) * discretisation
    return connect_dots(discretisation, lowest, hockey_stick(loss, epsilons))


def hockey_stick(loss: GaussianPrivacyLoss, epsilons: Floats) -> Floats:
    """Delta in [0, 1] at each epsilon, of a pair of sensitivity 1."""
    x = _points(loss, epsilons)
    deltas: Floats = loss.mu_upper_cdf(x) - np.exp(epsilons + loss.mu_lower_log_cdf(x))
    return np.clip(deltas, 0.0, 1.0)


def _points(loss: GaussianPrivacyLoss, losses: Floats) -> Floats:
    """The largest x at which the loss is at least each of these; infinite where there is none."""
    q, variance = loss.sampling_prob, loss.standard_deviation**2
    if loss.adjacency_type == AdjacencyType.REMOVE:
        points: Floats = -0.5 - variance * _unsampled(losses, q)
    elif loss.adjacency_type == AdjacencyType.ADD:
        points = 0.5 + variance * _unsampled(-losses, q)
    else:
        points = -variance * (_replaced(losses, q, variance) + losses / 2)
    return points


def _unsampled(losses: Floats, q: float) -> Floats:
    """log(1 + (exp(loss) - 1) / q); -inf where no loss without sampling gives it."""
    if q == 1.0:
        return losses
    positive = np.abs(losses)  # exp of a large loss would overflow
    large = positive - math.log(q) + np.log1p(-(1 - q) * np.exp(-positive))
    with np.errstate(divide="ignore"):  # the logarithm of zero is what is said
        small = np.log1p(np.maximum(np.expm1(np.minimum(losses, 0.0)) / q, -1.0))
    return np.where(losses > 0, large, small)


def _replaced(losses: Floats, q: float, variance: float) -> Floats:
    """asinh(sinh(loss / 2) exp(1 / 2 variance) (1 - q) / q), also where the sinh would overflow."""
    if q == 1.0:
        return np.zeros_like(losses)
    positive = np.abs(losses)
    with np.errstate(divide="ignore"):  # a loss of zero: sinh(0) = 0
        log_sinh = positive / 2 + np.log1p(-np.exp(-positive)) - math.log(2)
    log_term = log_sinh + 0.5 / variance + math.log1p(-q) - math.log(q)
    root = np.logaddexp(0.0, 2 * log_term) / 2  # of 1 + the square of the term
    return np.sign(losses) * np.logaddexp(root, log_term)
