"""What it costs to choose: of several trainings on the same rows, the best alone is released.

Rows that took part in all of them pay for all: an epsilon of the winner alone holds for a training
that was fixed beforehand, not for one that was chosen by how well it did (Liu and Talwar 2019,
arXiv:1811.07971; Papernot and Steinke 2022, arXiv:2110.03620).
"""

from collections.abc import Iterable

from privacy.event import Composed, NonPrivate, PoissonSampledGaussian, RepeatAndSelect, SingleEvent
from privacy.neighbours import RECORD, Neighbours
from privacy.report.spending import tightest

Charge = tuple[SingleEvent, ...]
"""What one run was charged: all its releases; empty for none."""


def covering(charges: Iterable[Charge]) -> Charge | None:
    """A charge that costs at least what any one of these does, also beside other charges.

    Equal ones are covered by themselves. Of one Poisson-sampled Gaussian each, the largest rate,
    the least noise and the most steps together cover all: each of the three, made larger, less and
    more, gives a pair of laws of which the former is a post-processing (a batch thinned out, noise
    added, steps forgotten). None where no cover is known.
    """
    different = list(dict.fromkeys(charge for charge in charges if charge))
    if len(different) <= 1:
        return different[0] if different else ()
    if any(isinstance(event, NonPrivate) for charge in different for event in charge):
        return (NonPrivate(),)
    gaussians = [
        charge[0]
        for charge in different
        if len(charge) == 1 and isinstance(charge[0], PoissonSampledGaussian)
    ]
    if len(gaussians) < len(different):
        return None
    return (
        PoissonSampledGaussian(
            max(one.sampling_rate for one in gaussians),
            min(one.noise_multiplier for one in gaussians),
            max(one.count for one in gaussians),
        ),
    )


def composed_epsilon(charges: Iterable[Charge], delta: float, hidden: Neighbours = RECORD) -> float:
    """Epsilon of releasing something of every run, as if all had been fixed beforehand.

    Args:
        charges: of all runs.
        delta: in (0, 1).
        hidden: whose part in the rows is hidden.
    """
    events = tuple(event for charge in charges for event in charge)
    return tightest(events, delta, hidden).epsilon if events else 0.0


def selected_epsilon(
    charge: Charge, mean: float, shape: float, delta: float, hidden: Neighbours = RECORD
) -> float:
    """Epsilon of releasing the best of a random number of repetitions, and nothing else of them.

    Holds if the number was drawn from this law whatever the rows are and stays secret, repetitions
    are independent draws, and which is best was settled before.

    Args:
        charge: that covers whatever a repetition may be, not empty.
        mean: of the number of repetitions, >= 1.
        shape: of its truncated negative binomial law; infinite for Poisson.
        delta: in (0, 1).
        hidden: whose part in the rows is hidden.
    """
    once = charge[0] if len(charge) == 1 else Composed(charge)
    assert not isinstance(once, RepeatAndSelect)
    return tightest((RepeatAndSelect(once, mean, shape, 1),), delta, hidden).epsilon
